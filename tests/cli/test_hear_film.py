"""`splatface hear film` as a user calls it."""

import argparse

import numpy as np
import pytest
import soundfile

from splatface.cli import hear
from splatface.models.errors import AudioError, HeadError

av = pytest.importorskip("av")


def call(*words):
    parser = argparse.ArgumentParser()
    hear.add_arguments(parser)
    return hear.main(parser.parse_args(["film", *map(str, words)]))


@pytest.fixture
def sound(tmp_path):
    path = tmp_path / "sound.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(0).normal(size=(8000, 2)), 8000)
    return path


def test_a_recording_becomes_a_film(tiny_head, sound, tmp_path, capsys):
    out = tmp_path / "film.mp4"
    shape = ("--size", "64x64", "--fps", 5)
    assert call(sound, "--head", tiny_head, "--out", out, "--encoder", "fsmn", "logmel", *shape) == 0
    assert "film.mp4: 1.0 s, 128x224, 5 fps" in capsys.readouterr().out
    with av.open(str(out)) as film:
        assert len(list(film.decode(video=0))) == 5
        assert film.streams.audio[0].layout.name == "stereo"


def test_what_cannot_be_is_said_and_leaves_no_film(tiny_head, sound, tmp_path):
    out = tmp_path / "film.mp4"
    with pytest.raises(HeadError, match="wavlm"):
        call(sound, "--head", tiny_head, "--out", out, "--encoder", "wavlm", "--size", "64x64")
    with pytest.raises(AudioError):
        call(tmp_path / "absent.wav", "--head", tiny_head, "--out", out)
    assert [path.name for path in tmp_path.glob("film*")] == []
