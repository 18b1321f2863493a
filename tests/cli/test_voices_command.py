import argparse
import json

import numpy as np
import pytest
import soundfile

from splatface.cli import voices_command
from splatface.models.errors import SplatfaceError
from splatface.models.head.head_file import load_head, save_head
from splatface.models.tts.speak import engine
from splatface.models.tts.voice_matching import voice_of_head

needs_flite = pytest.mark.skipif(not engine("flite").voices(), reason=engine("flite").INSTALL)


def run(*arguments):
    parser = argparse.ArgumentParser()
    voices_command.add_arguments(parser)
    return voices_command.main(parser.parse_args(list(map(str, arguments))))


@needs_flite
def test_voices_are_listed_with_language_and_license(capsys):
    assert run() == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:3] == ["flite/slt", "en-us", "female"] and "BSD" in line for line in lines)
    assert run("list", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert {"flite/slt"} <= {voice["name"] for voice in listed["voices"]}
    assert all("install" in how for how in listed["not_installed"].values())


def test_what_is_not_installed_says_how_to(capsys, monkeypatch):
    from splatface.models.tts import kokoro_engine

    kokoro_engine.voices.cache_clear()
    monkeypatch.setattr(kokoro_engine, "package_dir", lambda name: None)
    try:
        assert run() == 0
    finally:
        kokoro_engine.voices.cache_clear()
    assert "kokoro: not installed: apt-get install espeak-ng && pip install" in capsys.readouterr().out


@needs_flite
@pytest.mark.parametrize("name", ["out.wav", "out.flac"])
def test_a_text_is_said_into_a_file(tmp_path, capsys, name):
    file = tmp_path / name
    assert run("say", "Hello. Who is there?", "--voice", "flite/kal16", "--rate", 1.2, "--out", file) == 0
    samples, rate = soundfile.read(file)
    assert rate == 16_000
    assert 1.0 < len(samples) / rate < 4.0
    assert np.abs(samples).max() > 0.1
    assert f"{len(samples) / rate:.1f} s" in capsys.readouterr().out


@needs_flite
@pytest.mark.parametrize(
    ("name", "why"), [("no/out.wav", "make it first"), ("out.xyz", "expected a .wav, .flac")]
)
def test_a_file_that_cannot_be_written_is_one_clear_line(tmp_path, name, why):
    with pytest.raises(SplatfaceError, match=why):
        run("say", "Hello.", "--out", tmp_path / name)


@needs_flite
def test_the_best_voice_is_written_into_the_head(tmp_path, tiny_head, capsys, monkeypatch):
    monkeypatch.setenv("SPLATFACE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(voices_command, "voices", engine("flite").voices)  # the neural ones take seconds each
    head = load_head(tiny_head)
    save_head(head, tmp_path / "head", np.zeros((8, 8, 3), np.uint8))
    run(
        "say",
        "I bring the old green books back to the library.",
        "--voice",
        "flite/rms",
        "--out",
        tmp_path / "x.wav",
    )
    assert run("match", tmp_path / "x.wav", "--head", tmp_path / "head") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[1] == "flite/rms"
    changed = load_head(tmp_path / "head")
    assert voice_of_head(changed.info.reports) == "flite/rms"
    np.testing.assert_array_equal(changed.gaussians.means, head.gaussians.means)
    assert (tmp_path / "head" / "preview.png").is_file()
    assert len(list((tmp_path / "cache").glob("voice-*.npy"))) == 4
