"""`splatface render` as a user runs it: a real process, a real film."""

import io
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from splatface.cli.progress_line import VideoProgress
from splatface.models.tts.speak import engine

pytestmark = pytest.mark.slow

av = pytest.importorskip("av")
COMMAND = """
import argparse, sys
from splatface.cli import render_command
from splatface.models.errors import SplatfaceError
parser = argparse.ArgumentParser()
render_command.add_arguments(parser)
try:
    sys.exit(render_command.main(parser.parse_args()))
except SplatfaceError as error:
    sys.exit(str(error))
"""
needs_flite = pytest.mark.skipif(not engine("flite").voices(), reason=engine("flite").INSTALL)


def command(*arguments):
    return [sys.executable, "-c", COMMAND, *map(str, arguments)]


def render(*arguments, text=""):
    return subprocess.run(command(*arguments), capture_output=True, text=True, input=text, timeout=150)


def lengths(path):
    """Seconds of picture and of sound, and the size."""
    with av.open(str(path)) as film:
        pictures = [(frame.width, frame.height) for frame in film.decode(video=0)]
        rate = film.streams.video[0].average_rate
    with av.open(str(path)) as film:
        samples = sum(frame.samples for frame in film.decode(audio=0))
    return float(len(pictures) / rate), samples / 48_000, pictures[0]


@needs_flite
def test_a_text_becomes_a_film(tiny_head, tmp_path):
    out = tmp_path / "film.mp4"
    done = render(
        tiny_head, "--say", "-", "--out", out, "--size", "96x128", "--fps", 20, text="Good morning."
    )
    assert done.returncode == 0, done.stderr
    picture_s, sound_s, size = lengths(out)
    assert size == (96, 128)
    assert 1.0 < picture_s < 4.0
    assert sound_s == pytest.approx(picture_s, abs=0.08)  # a last picture, AAC's last block
    assert f"film.mp4: {picture_s:.1f} s, 96x128, 20 fps" in done.stdout


def test_ctrl_c_leaves_a_film_as_far_as_it_came(tiny_head, tmp_path):
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "long.wav", 0.05 * rng.normal(size=16_000 * 900), 16_000)
    out = tmp_path / "film.mp4"
    child = subprocess.Popen(
        command(tiny_head, "--audio", tmp_path / "long.wav", "--out", out, "--size", "128x128"),
        stderr=subprocess.PIPE,
        text=True,
    )
    part = Path(f"{out}.part")
    try:
        while not (part.exists() and part.stat().st_size > 40_000):
            assert child.poll() is None, child.stderr.read()
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=60)
    finally:
        child.kill()
    assert child.returncode == 130
    picture_s, sound_s, _ = lengths(out)
    assert picture_s > 1.0
    assert sound_s == pytest.approx(picture_s, abs=0.08)
    assert f"stopped: {out} holds the first {picture_s:.1f} s" in said
    assert "Traceback" not in said
    assert not part.exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--audio", "none.wav"], "found nothing there"),
        (["--say", "Hello.", "--voice", "nobody/x"], "voice: expected engine/voice"),
        (["--say", "Hello.", "--size", "33x44"], "size: expected even numbers"),
        (["--say", "Hello.", "--aspect", "4:3"], "aspect: expected one of"),
        (["--say", "Hello.", "--encoder", "ears"], "trained for encoder"),
        (["--say", "Hello.", "--background", "blue"], "background: expected a color"),
        (["--say", "Hello.", "--out", "film.gif"], r"expected a name that ends in .mp4 or .webm"),
    ],
)
@needs_flite
def test_what_cannot_be_done_is_one_line_and_leaves_nothing(tiny_head, tmp_path, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    done = render(tiny_head, "--out", "film.mp4", *options)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_line_tells_speed_and_time_left():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    now = [100.0]
    out = Terminal()
    line = VideoProgress(out, lambda: now[0])
    line.show(0.04, 0.001)
    assert out.getvalue() == ""
    now[0] = 110.0
    line.show(30.0, 0.25)
    assert out.getvalue().endswith("30 s of video, 25%, 3.0 times real time, 0:30 left")
    line.end()
    quiet = io.StringIO()
    VideoProgress(quiet, lambda: now[0]).end()
    assert quiet.getvalue() == ""
