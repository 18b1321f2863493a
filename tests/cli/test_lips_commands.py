"""`splatface hear films` and `splatface bench lips` as a user runs them: a video of a head that speaks."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench import lips_benchmark
from splatface.cli import hear_command, render_command
from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.errors import TrackingError, TrainingError
from splatface.models.training.filmed_lips.filmed_mouth import load_filmed_mouth

pytestmark = pytest.mark.slow

GREETING = Path(__file__).parents[2] / "launch" / "sounds" / "greeting.flac"


def call(command, *words):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.main(parser.parse_args([str(word) for word in words]))


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Two heads that speak the greeting, as fsmn hears it."""
    folder = tmp_path_factory.mktemp("videos")
    for head in ("mira", "theo"):
        call(render_command, head, "--audio", GREETING, "--out", folder / f"{head}.mp4", "--size", "384x384")
    return sorted(folder.glob("*.mp4"))


@pytest.fixture(scope="module")
def films(videos):
    folder = videos[0].parent / "films"
    call(hear_command, "films", *videos, "--out", folder, "--license", "Apache-2.0")
    return folder


def test_films_writes_a_tracked_clip(films, capsys):
    film = load_filmed_mouth(films / "mira.npz")
    assert (film.speaker, film.license) == ("mira", "Apache-2.0")
    assert film.modes[:, MOUTH_MODES.index("open")].std() > 0.05
    assert len(film.samples) / 16000 == pytest.approx(film.times_s[-1], abs=0.3)


def test_tracked_videos_are_skipped(videos, films):
    before = {path: path.stat().st_mtime_ns for path in films.glob("*.npz")}
    call(hear_command, "films", *videos, "--out", films, "--license", "Apache-2.0")
    assert {path: path.stat().st_mtime_ns for path in films.glob("*.npz")} == before


def test_bench_lips_recovers_the_net_that_drove_the_video(films, capsys):
    """The ground truth of the bench: this mouth was driven by the very net that is measured."""
    clips = sorted(films.glob("*.npz"))
    call(lips_benchmark, *clips, "--encoders", "fsmn", "--json", "--again", *clips)
    found = json.loads(capsys.readouterr().out)
    assert set(found["clips"]) == {"mira", "theo"}
    own, ceiling = found["mean"]["fsmn"], found["mean"]["tracked again"]
    assert own["r_speech"] > 0.7
    assert own["r_speech"] > found["mean"]["level"]["r_speech"]
    assert own["abs_lag_ms"] < 40
    assert ceiling["r_speech"] == pytest.approx(1)
    assert {"r_raw", "r_gap", "amplitude", "closure_recall", "closure_precision", "mode_r"} <= set(own)
    assert "ridge fsmn" in found["mean"]


def test_bench_lips_prints_tables_and_writes_plots(films, tmp_path, capsys):
    clip = films / "mira.npz"
    call(lips_benchmark, clip, "--encoders", "fsmn", "--no-ridge", "--plots", tmp_path)
    output = capsys.readouterr().out
    assert "| fsmn |" in output
    assert "| mira | fsmn |" in output
    assert (tmp_path / "mira.png").stat().st_size > 10_000


def test_again_needs_as_many_data_sets_as_clips(films):
    with pytest.raises(TrainingError, match="expected 2 data sets, found 1"):
        call(lips_benchmark, *sorted(films.glob("*.npz")), "--again", films / "mira.npz")


def test_untrackable_videos_are_reported(tmp_path, capsys):
    nothing = tmp_path / "nothing.mp4"
    nothing.write_bytes(b"no film")
    with pytest.raises(TrackingError, match="expected a video that can be tracked"):
        call(hear_command, "films", nothing, "--out", tmp_path / "films", "--license", "CC0-1.0")
    assert "left out: " in capsys.readouterr().out


def test_bench_lips_is_a_command():
    done = subprocess.run(
        [sys.executable, "-m", "splatface.cli.main", "bench", "lips", "--help"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "DATASET" in done.stdout


def test_lips_fine_tunes_a_net(films, tmp_path, capsys):
    pytest.importorskip("torch")
    from splatface.models.audio2motion.pretrained_nets import read_net
    from splatface.models.training.speech_corpus.corpus import write_sentence
    from splatface.models.training.speech_corpus.phonemes import LabeledSpeech, Phone

    t = np.arange(48000) / 16000
    sound = (0.4 * np.sin(2 * np.pi * 220 * t) * (t % 0.5 < 0.3)).astype(np.float32)
    phones = tuple(Phone("a", 0.5 * i, 0.5 * i + 0.3) for i in range(6))
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    write_sentence(corpus, "flite_slt", LabeledSpeech(sound, phones, "flite/slt", "en"))
    out = tmp_path / "net.safetensors"
    words = ("lips", corpus, films, "--encoder", "fsmn", "--out", out, "--steps", 3, "--copies", 0)
    call(hear_command, *words, "--amplitude", films)
    assert read_net(out).encoder == "fsmn"
    with pytest.raises(TrainingError, match="expected some persons to learn from"):
        call(hear_command, *words, "--without", "mira", "theo")
