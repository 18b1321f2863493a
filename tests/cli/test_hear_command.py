"""`splatface hear` as a user calls it."""

import argparse
import json

import numpy as np
import pytest
import soundfile

from splatface.cli import hear_command
from splatface.models.audio2motion.pretrained_nets import read_net
from splatface.models.errors import AudioError, HeadError, TrainingError
from splatface.models.training.speech_corpus.corpus import read_sentence, write_sentence
from splatface.models.training.speech_corpus.phonemes import LabeledSpeech, Phone

pytestmark = pytest.mark.slow


def call(*words):
    parser = argparse.ArgumentParser()
    hear_command.add_arguments(parser)
    return hear_command.main(parser.parse_args([str(word) for word in words]))


@pytest.fixture
def corpus(tmp_path):
    """A voice to train on, one to validate with, one that was held out: tones with pauses."""
    t = np.arange(32000) / 16000
    sound = (0.4 * np.sin(2 * np.pi * 220 * t) * (t % 0.5 < 0.3)).astype(np.float32)
    phones = tuple(Phone("a", 0.5 * i, 0.5 * i + 0.3) for i in range(4))
    for voice in ("slt", "rms", "awb"):
        write_sentence(tmp_path, f"flite_{voice}", LabeledSpeech(sound, phones, f"flite/{voice}", "en"))
    return tmp_path


def test_train_and_eval(corpus, capsys):
    pytest.importorskip("torch")
    pytest.importorskip("matplotlib")
    net = corpus / "mine.safetensors"
    assert call("train", corpus, "--encoder", "logmel", "--copies", 2, "--steps", 2, "--out", net) == 0
    assert read_net(net).encoder == "logmel"
    assert "amplitude:" in capsys.readouterr().out
    out = corpus / "report"
    assert (
        call("eval", corpus, "--encoders", "logmel", "--net", net, "--ridge", "--each", 1, "--out", out) == 0
    )
    found = json.loads((out / "report.json").read_text())["listeners"]
    assert set(found) == {"logmel", "mine", "ridge on logmel", "level"}
    assert found["logmel"]["groups"]["flite en clean"]["seconds"] > 2
    assert (out / "opening_flite_en_clean.png").is_file()
    assert "ms of sound after a picture's moment" in capsys.readouterr().out


def test_data_writes_a_corpus(tmp_path, monkeypatch, capsys):
    from splatface.models.training.speech_corpus import corpus

    sentence = LabeledSpeech(np.ones(16000, np.float32), (Phone("a", 0, 1),), "flite/slt", "en")
    monkeypatch.setitem(corpus.SOURCES, "flite", (lambda rng, rounds: iter([sentence] * rounds), 2))
    assert call("data", tmp_path / "corpus", "--sources", "flite") == 0
    assert capsys.readouterr().out == "flite: 2 sentences, 0.0 min\n"
    assert read_sentence(tmp_path / "corpus" / "flite_00001.npz").voice == "flite/slt"


def test_missing_inputs_are_errors(tmp_path):
    with pytest.raises(AudioError, match="expected a folder of recordings"):
        call("data", tmp_path, "--recordings", tmp_path / "absent")
    with pytest.raises(TrainingError, match="splatface hear data"):
        call("eval", tmp_path, "--encoders", "logmel")
    with pytest.raises(TrainingError, match="--rounds"):
        call("data", tmp_path, "--rounds", 0)
    with pytest.raises(SystemExit):
        call("eval", tmp_path, "--encoders", "wavlm")


@pytest.fixture
def sound(tmp_path):
    path = tmp_path / "sound.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(0).normal(size=(8000, 2)), 8000)
    return path


def test_film_renders_a_recording_with_each_net(tiny_head, sound, tmp_path, capsys):
    av = pytest.importorskip("av")
    out = tmp_path / "film.mp4"
    shape = ("--size", "64x64", "--fps", 5)
    assert call("film", sound, "--head", tiny_head, "--out", out, "--encoder", "fsmn", "logmel", *shape) == 0
    assert "film.mp4: 1.0 s, 128x224, 5 fps" in capsys.readouterr().out
    with av.open(str(out)) as film:
        assert len(list(film.decode(video=0))) == 5
        assert film.streams.audio[0].layout.name == "stereo"


def test_a_refused_film_leaves_no_file(tiny_head, sound, tmp_path):
    out = tmp_path / "film.mp4"
    with pytest.raises(HeadError, match="wavlm"):
        call("film", sound, "--head", tiny_head, "--out", out, "--encoder", "wavlm", "--size", "64x64")
    with pytest.raises(AudioError):
        call("film", tmp_path / "absent.wav", "--head", tiny_head, "--out", out)
    assert [path.name for path in tmp_path.glob("film*")] == []
