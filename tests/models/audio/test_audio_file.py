"""Sound files: the same sound whatever the format, and one clear line for what is none."""

import itertools

import numpy as np
import pytest
import soundfile

from splatface.models.audio.audio_file import check_sound, chunks_of_file, endless_chunks, read_sound
from splatface.models.errors import AudioError

RATE = 16_000


def tone(rate, seconds=1.0, hertz=440.0):
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.fixture
def write_audio(tmp_path):
    def write(samples, rate, name="sound.wav", **options):
        path = tmp_path / name
        soundfile.write(path, samples, rate, **options)
        return path

    return write


def test_sound_at_16_khz_is_read_exactly(write_audio):
    sound = tone(RATE)
    np.testing.assert_array_equal(read_sound(write_audio(sound, RATE, subtype="FLOAT")), sound)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_any_rate_and_channels_become_mono_16_khz(write_audio, rate, channels):
    sound = read_sound(write_audio(np.repeat(tone(rate)[:, None], channels, 1), rate, subtype="FLOAT"))
    assert sound.dtype == np.float32
    assert abs(len(sound) - RATE) <= 1
    middle = slice(800, RATE - 800)  # a resampler rings at the ends
    np.testing.assert_allclose(sound[middle], tone(RATE)[middle], atol=2e-3)


def test_channels_are_averaged(write_audio):
    stereo = np.stack([tone(RATE), -tone(RATE)], 1)
    assert np.abs(read_sound(write_audio(stereo, RATE))).max() < 1e-4


@pytest.mark.parametrize(("name", "tolerance"), [("a.flac", 1e-4), ("a.ogg", 0.05), ("a.mp3", 0.05)])
def test_formats(write_audio, name, tolerance):
    sound = read_sound(write_audio(tone(RATE), RATE, name))
    assert abs(np.sqrt(np.mean(sound[2000:14000] ** 2)) - 0.5 / np.sqrt(2)) < tolerance


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("chunk_ms", [5, 20, 100])
def test_chunks_together_are_the_file(write_audio, rate, chunk_ms):
    path = write_audio(tone(rate, 20.013), rate)
    chunks = list(chunks_of_file(path, chunk_ms))
    whole = read_sound(path)
    assert {len(chunk) for chunk in chunks} == {chunk_ms * 16}
    joined = np.concatenate(chunks)
    np.testing.assert_array_equal(joined[: len(whole)], whole)
    assert not joined[len(whole) :].any()
    assert len(joined) - len(whole) < chunk_ms * 16


def test_played_once_ends_in_silence_looped_begins_again(write_audio):
    path = write_audio(tone(RATE, 0.1), RATE, subtype="FLOAT")
    once = list(itertools.islice(endless_chunks(path, 20), 20))
    assert [bool(chunk.any()) for chunk in once] == [True] * 5 + [False] * 15
    looped = list(itertools.islice(endless_chunks(path, 20, loop=True), 65))
    assert [bool(chunk.any()) for chunk in looped] == ([True] * 5 + [False] * 50 + [True] * 5 + [False] * 5)


def test_check_returns_the_duration(write_audio):
    assert check_sound(write_audio(tone(44100, 1.5), 44100)) == pytest.approx(1.5)


def refused(path, message):
    for read in (read_sound, lambda path: list(chunks_of_file(path)), check_sound):
        with pytest.raises(AudioError, match=message) as raised:
            read(path)
        assert str(path) in str(raised.value)
        assert "\n" not in str(raised.value)


def test_files_without_audio_are_refused(tmp_path, write_audio):
    refused(tmp_path / "absent.wav", "nothing there")
    refused(tmp_path, "something else")
    (tmp_path / "text.wav").write_text("RIFF, or so they say")
    refused(tmp_path / "text.wav", "cannot be read")
    (tmp_path / "none.wav").write_bytes(b"")
    refused(tmp_path / "none.wav", "cannot be read")
    (tmp_path / "some.raw").write_bytes(bytes(1000))
    refused(tmp_path / "some.raw", "cannot be read")
    refused(write_audio(np.zeros(0, np.float32), RATE, "empty.wav"), "no samples")
    refused(write_audio(tone(RATE), 7, "slow.wav"), "found 7 Hz")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_are_refused_with_their_time(write_audio, bad):
    sound = tone(RATE)
    sound[4000] = bad
    refused(write_audio(sound, RATE, subtype="FLOAT"), r"NaN or infinity at 0\.250 s")


def test_a_damaged_flac_names_the_time(write_audio):
    noise = np.random.default_rng(0).normal(0, 0.1, 40 * RATE)
    path = write_audio(noise, RATE, "long.flac")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 200_000] = bytes(200_000)
    path.write_bytes(data)
    with pytest.raises(AudioError, match="damaged after"):
        read_sound(path)
