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


def test_a_saved_clip_loads_unchanged(tmp_path):
    clip = filmed()
    save_filmed_mouth(tmp_path / "clip0.npz", clip)
    again = load_filmed_mouth(tmp_path / "clip0.npz")
    assert (again.name, again.speaker, again.license) == (clip.name, clip.speaker, clip.license)
    assert again.phones == clip.phones
    np.testing.assert_array_equal(again.modes, clip.modes)
    np.testing.assert_array_equal(again.gap, clip.gap)
    np.testing.assert_allclose(again.samples, clip.samples, atol=1e-4)


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 half a file"])
def test_a_damaged_clip_is_refused(tmp_path, content):
    path = tmp_path / "clip.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TrackingError, match="expected a tracked clip"):
        load_filmed_mouth(path)


def test_frames_without_a_mouth_are_dropped():
    clip = filmed()
    modes, gap = clip.modes.copy(), clip.gap.copy()
    modes[10:20], gap[10:20] = np.nan, np.nan
    track = MouthTrack(clip.samples, clip.times_s, modes, gap, AudioOffset(0.0, 0.5, 0.5, reliable=True))
    kept = filmed_mouth_from_track(track, name="x", speaker="x", license="CC0-1.0")
    assert len(kept.times_s) == len(clip.times_s) - 10
    assert np.isfinite(kept.modes).all()


def test_a_clip_with_too_few_mouth_frames_is_refused(tmp_path):
    clip = filmed()
    few = replace(clip, times_s=clip.times_s[:10], modes=clip.modes[:10], gap=clip.gap[:10])
    save_filmed_mouth(tmp_path / "few.npz", few)
    with pytest.raises(TrackingError, match="at least 25 frames"):
        load_filmed_mouth(tmp_path / "few.npz")
