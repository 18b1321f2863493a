"""The mouth of a video, tracked without keeping a picture."""

import numpy as np
import pytest
from clips import RATE, at_rate, write_film

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.errors import TrackingError
from splatface.models.head.head_file import head_folder, load_head
from splatface.models.messages import HeadControl
from splatface.models.render.render import renderer
from splatface.models.talking_head import TalkingHead
from splatface.models.training.tracking.extract_frames import track_mouth

FPS, SECONDS, SIDE = 12.5, 4.0, 256
OPEN = MOUTH_MODES.index("open")


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A head that opens its mouth twice a second and hides for a while, and how far it opened."""
    talker = TalkingHead(load_head(head_folder("mira")), renderer("cpu"), size=(SIDE, SIDE))
    times_s = at_rate(round(SECONDS * FPS), FPS)
    opening = 0.3 + 0.3 * np.sin(2 * np.pi * 2.0 * np.array(times_s))
    pictures = []
    for amount in opening:
        mouth = np.zeros(len(MOUTH_MODES), np.float32)
        mouth[OPEN] = amount
        pictures.append(talker.draw(mouth, HeadControl()))
    pictures[20:25] = [np.full((SIDE, SIDE, 3), 128, np.uint8)] * 5
    noise = 0.1 * np.random.default_rng(0).standard_normal(round(SECONDS * RATE)).astype(np.float32)
    path = write_film(tmp_path_factory.mktemp("mouth") / "film.mp4", pictures, times_s, sound=noise)
    return path, opening


def test_the_opening_is_tracked_and_a_lost_face_is_not_made_up(film):
    path, opening = film
    told = []
    track = track_mouth(path, told.append)
    assert len(track.times_s) == len(opening)
    assert np.isnan(track.gap[20:25]).all()
    known = np.isfinite(track.gap)
    assert known.sum() > 40
    assert np.corrcoef(track.modes[known, OPEN], opening[known])[0, 1] > 0.9
    assert np.corrcoef(track.gap[known], opening[known])[0, 1] > 0.7
    assert len(track.samples) == pytest.approx(SECONDS * RATE, abs=RATE / 5)
    assert told[-1] == pytest.approx(1.0, abs=0.05)
    assert track.modes.shape[1] + len(CONTROLS) == 16


def test_a_video_without_sound_is_refused(tmp_path):
    path = write_film(tmp_path / "silent.mp4", [np.zeros((64, 64, 3), np.uint8)] * 5, at_rate(5, FPS))
    with pytest.raises(TrackingError, match="expected a sound track"):
        track_mouth(path)


def test_a_video_without_a_face_is_refused(tmp_path):
    pictures = [np.full((64, 64, 3), 90, np.uint8)] * 20
    sound = np.zeros(round(20 / FPS * RATE), np.float32)
    path = write_film(tmp_path / "empty.mp4", pictures, at_rate(20, FPS), sound=sound)
    with pytest.raises(TrackingError, match="face: expected one"):
        track_mouth(path)
