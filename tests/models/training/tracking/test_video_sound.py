"""The sound of a film by the clock of its pictures."""

import numpy as np
import pytest
import soundfile
from clips import RATE, at_rate, gray_steps, write_film

from splatface.models.errors import TrackingError
from splatface.models.training.tracking.video_input import probe_video, read_audio


def click(at_s, seconds):
    sound = np.zeros(round(seconds * RATE), np.float32)
    sound[round(at_s * RATE) : round(at_s * RATE) + 32] = 0.8
    return sound


def heard_at_s(sound):
    return float(np.argmax(np.abs(sound) > 0.3)) / RATE


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_click_is_heard_when_it_was_made(tmp_path, suffix):
    path = write_film(tmp_path / f"clip{suffix}", gray_steps(50), at_rate(50, 25.0), sound=click(1.2, 2.0))
    sound = read_audio(path, probe_video(path))
    assert heard_at_s(sound) == pytest.approx(1.2, abs=0.004)
    assert len(sound) == pytest.approx(2.0 * RATE, abs=700)


def test_sound_that_begins_later_stays_later(tmp_path):
    path = write_film(
        tmp_path / "clip.mkv", gray_steps(50), at_rate(50, 25.0), sound=click(0.2, 1.0), sound_from_s=0.5
    )
    sound = read_audio(path, probe_video(path))
    assert heard_at_s(sound) == pytest.approx(0.7, abs=0.004)
    assert np.abs(sound[: round(0.4 * RATE)]).max() < 1e-3
    assert len(sound) == pytest.approx(2.0 * RATE, abs=700)


def test_pictures_that_begin_later_take_sound_away(tmp_path):
    path = write_film(
        tmp_path / "clip.mkv", gray_steps(25), [0.4 + t for t in at_rate(25, 25.0)], sound=click(0.9, 1.6)
    )
    assert heard_at_s(read_audio(path, probe_video(path))) == pytest.approx(0.5, abs=0.004)


def test_a_film_without_sound_has_none(tmp_path):
    path = write_film(tmp_path / "clip.mp4", gray_steps(10), at_rate(10, 25.0))
    info = probe_video(path)
    assert not info.has_sound
    assert read_audio(path, info) is None


def test_a_song_without_pictures_is_no_film(tmp_path):
    soundfile.write(tmp_path / "song.wav", click(0.5, 1.0), RATE)
    with pytest.raises(TrackingError, match="pictures"):
        probe_video(tmp_path / "song.wav")
