from dataclasses import replace

import numpy as np
import pytest
from lips_scene import filmed

from splatface.models.errors import TrackingError
from splatface.models.training.filmed_lips.filmed_mouth import (
    filmed_mouth_from_track,
    load_filmed_mouth,
    save_filmed_mouth,
)
from splatface.models.training.tracking.av_sync import AudioOffset
from splatface.models.training.tracking.extract_frames import MouthTrack


def test_a_clip_is_kept_whole(tmp_path):
    film = filmed()
    save_filmed_mouth(tmp_path / "clip0.npz", film)
    again = load_filmed_mouth(tmp_path / "clip0.npz")
    assert (again.name, again.speaker, again.license) == (film.name, film.speaker, film.license)
    assert again.phones == film.phones
    np.testing.assert_array_equal(again.modes, film.modes)
    np.testing.assert_array_equal(again.gap, film.gap)
    np.testing.assert_allclose(again.samples, film.samples, atol=1e-4)


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 half a file"])
def test_what_is_no_clip_is_refused_in_our_words(tmp_path, content):
    path = tmp_path / "clip.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TrackingError, match="expected a tracked clip"):
        load_filmed_mouth(path)


def test_frames_without_a_mouth_are_left_out():
    film = filmed()
    modes, gap = film.modes.copy(), film.gap.copy()
    modes[10:20], gap[10:20] = np.nan, np.nan
    track = MouthTrack(film.samples, film.times_s, modes, gap, AudioOffset(0.0, 0.5, 0.5, reliable=True))
    kept = filmed_mouth_from_track(track, name="x", speaker="x", license="CC0-1.0")
    assert len(kept.times_s) == len(film.times_s) - 10
    assert np.isfinite(kept.modes).all()


def test_a_clip_that_hardly_shows_a_mouth_is_refused(tmp_path):
    film = filmed()
    few = replace(film, times_s=film.times_s[:10], modes=film.modes[:10], gap=film.gap[:10])
    save_filmed_mouth(tmp_path / "few.npz", few)
    with pytest.raises(TrackingError, match="at least 25 frames"):
        load_filmed_mouth(tmp_path / "few.npz")
