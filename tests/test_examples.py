"""Every script of examples/ works, and does what its first lines promise."""

import csv
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
GREETING = ROOT / "launch" / "sounds" / "greeting.flac"
SAFETY_S = 300  # only ends a script that hangs


@pytest.fixture
def run(tmp_path, ros_environment):
    def run_example(name, *arguments):
        command = [sys.executable, ROOT / "examples" / name, *arguments]
        result = subprocess.run(
            list(map(str, command)), cwd=tmp_path, capture_output=True, text=True, timeout=SAFETY_S
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run_example


def test_a_sentence_becomes_a_film_with_sound(run, tmp_path):
    av = pytest.importorskip("av")
    run("say_a_sentence.py", "Hi.", "film.mp4", "--size", "96x96")
    with av.open(str(tmp_path / "film.mp4")) as film:
        assert [stream.type for stream in film.streams] == ["video", "audio"]
        images = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(images) > 20
    assert images[0].shape == (96, 96, 3)


def test_mouth_modes_change_the_image(run, tmp_path):
    run("draw_mouth_modes.py", "rest.png", "--size", "96")
    run("draw_mouth_modes.py", "open.png", "open=0.8", "--size", "96")
    rest, opened = (cv2.imread(str(tmp_path / f"{name}.png")).astype(int) for name in ("rest", "open"))
    changed = np.abs(opened - rest).max(axis=2) > 20
    assert rest.shape == (96, 96, 3)
    assert 0 < changed.mean() < 0.2  # the mouth, and little else


def test_a_recording_becomes_a_table_of_mouth_modes(run, tmp_path):
    run("audio_to_mouth_csv.py", GREETING, "mouth.csv")
    with (tmp_path / "mouth.csv").open() as file:
        header, *rows = csv.reader(file)
    values = np.array(rows, float)
    assert header == ["time_s", *MOUTH_MODES]
    assert np.allclose(np.diff(values[:, 0]), 0.04)
    assert values[:, 1].max() > 0.3  # it opens
    assert values[:, 1].min() < 0.05  # and closes


def test_a_turned_head_looks_to_both_sides(run, tmp_path):
    run("turn_the_head.py", "strip.png", "--size", "96")
    strip = cv2.imread(str(tmp_path / "strip.png")).astype(int)
    images = np.split(strip, 5, axis=1)
    assert strip.shape == (96, 480, 3)
    differences = [np.abs(image - images[2]).mean() for image in images]
    assert differences[2] == 0
    assert min(differences[0], differences[4]) > 1.0
    assert differences[0] >= differences[1] > 0
    assert differences[4] >= differences[3] > 0


@pytest.mark.graph
def test_latency_of_running_nodes_is_printed(run, start):
    start.node("audio_capture", source=GREETING, loop=True)
    start.node("head_controller")
    lines = run("print_latency.py", "--seconds", "6").splitlines()
    counts = {line.split()[0]: int(line.split()[1]) for line in lines}
    assert counts["audio"] > 0
    assert counts["head_control"] > 0
    assert counts["image"] == 0  # no renderer runs
    assert "no message" in lines[-1]


@pytest.mark.graph
def test_a_text_is_spoken_word_by_word(run, start):
    start.node("tts", voice="flite/slt")
    lines = run("send_text.py", "Hello there.").splitlines()
    assert lines[:2] == ["Hello", "there"]
    assert float(lines[-1].split()[0]) > 0.3
    run("send_text.py", "--interrupt")


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_short_and_say_what_to_expect(script):
    text = script.read_text()
    assert len(text.splitlines()) <= 61
    assert "Expect" in text.split('"""')[1]
    assert f"python examples/{script.name}" in text
