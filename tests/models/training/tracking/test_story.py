"""Which shots are used, and what is found to be odd about a film."""

import numpy as np
import pytest

from splatface.models.errors import TrackingError
from splatface.models.training.dataset.findings import CORRECTED, NOTE, REJECTED
from splatface.models.training.tracking.av_sync import AudioOffset, Loudness, applied_shift_ms
from splatface.models.training.tracking.segmentation import BackgroundEstimate
from splatface.models.training.tracking.video_analysis import VideoScan, detect_cuts, select_shots
from splatface.models.training.tracking.video_checks import (
    camera_moves,
    check_audio,
    check_background,
    check_landmarks,
    check_video,
    find_spans_s,
    raise_if_rejected,
)
from splatface.models.training.tracking.video_input import VideoInfo

FPS = 25.0


def info(**changed):
    plain = {
        "width": 1280,
        "height": 720,
        "rate": FPS,
        "variable": False,
        "pictures": 750,
        "start_s": 0.0,
        "duration_s": 30.0,
        "promised_s": 30.0,
        "rotation_deg": 0,
        "has_sound": True,
        "bright": "",
    }
    return VideoInfo(**{**plain, **changed})


def scan(seconds=30.0, cuts=(), **changed):
    """A film of one face that stands still; `changed` replaces parts of it."""
    looks, count = int(seconds * 2), int(seconds * FPS)
    boxes = np.full((looks, 4, 4), np.nan)
    boxes[:, 0] = (500, 200, 700, 450)
    rng = np.random.default_rng(0)
    change = rng.uniform(0.5, 1.5, count)
    change[list(cuts)] = 60.0
    plain = {
        "look_s": np.arange(looks) / 2,
        "boxes": boxes,
        "hands": np.full((looks, 2, 4), np.nan),
        "shift": rng.normal(0, 2e-4, (looks, 2)),
        "change": change,
        "repeated": np.zeros(count, bool),
        "thumbs": np.full((looks, 48, 48, 3), 100, np.uint8),
    }
    return VideoScan(**{**plain, **changed})


def subjects(found, level=None):
    return [finding.subject for finding in found if level in (None, finding.level)]


def checked(film, about=None):
    return check_video(about or info(), FPS, film, select_shots(film, FPS))


def test_a_good_film_has_nothing_odd():
    film = scan(120.0)
    assert checked(film, info(duration_s=120.0, promised_s=120.0, pictures=3000)) == []


def test_colors_of_high_dynamic_range_are_told():
    (found,) = checked(scan(120.0), info(duration_s=120.0, promised_s=120.0, pictures=3000, bright="HLG"))
    assert (found.level, found.subject) == (CORRECTED, "colors")


def test_a_cut_is_where_the_picture_jumps_and_movement_is_none():
    rng = np.random.default_rng(1)
    change = rng.uniform(0, 3, 400)
    change[150] = 55.0
    assert detect_cuts(change).tolist() == [150]
    assert detect_cuts(rng.uniform(10, 30, 400)).tolist() == []  # a film full of movement
    assert detect_cuts(np.array([0.0])).tolist() == []


def test_shots_of_one_view_are_used_together():
    film = scan(cuts=(250, 500))
    story = select_shots(film, FPS)
    assert story.shots == 3
    assert story.used.all()
    assert subjects(checked(film), NOTE) == ["duration", "cuts"]


def test_shots_of_another_view_are_left_out():
    film = scan(cuts=(250,))
    film.boxes[:20, 0] = (100, 50, 160, 130)
    film.thumbs[:20] = 180
    story = select_shots(film, FPS)
    assert np.flatnonzero(story.used).tolist() == list(range(250, 750))
    (cut,) = (finding for finding in checked(film) if finding.subject == "cuts")
    assert cut.level == CORRECTED
    assert cut.spans_s == ((0.0, 10.0),)


def test_a_title_without_a_face_is_left_out():
    film = scan(cuts=(100,))
    film.boxes[:8] = np.nan
    assert np.flatnonzero(select_shots(film, FPS).used)[0] == 100


def test_other_people_are_told_with_their_times():
    film = scan()
    film.boxes[10:14, 1] = (100, 300, 220, 450)
    (people,) = (finding for finding in checked(film) if finding.subject == "people")
    assert people.spans_s == ((5.0, 7.0),)


def test_a_hand_before_the_face_is_told_and_one_below_it_is_not():
    film = scan()
    film.hands[4:6, 0] = (560, 350, 680, 480)
    film.hands[20:30, 1] = (500, 500, 640, 700)
    (hands,) = (finding for finding in checked(film) if finding.subject == "hands")
    assert hands.spans_s == ((2.0, 3.0),)


@pytest.mark.parametrize(
    "shift",
    [np.tile([0.02, 0.0], (60, 1)) * np.sin(np.arange(60))[:, None], np.tile([0.0, 0.0015], (60, 1))],
    ids=["shakes", "drifts"],
)
def test_a_camera_that_moves_is_noticed(shift):
    film = scan(shift=shift)
    assert camera_moves(film, select_shots(film, FPS))
    assert "camera" in subjects(checked(film), CORRECTED)


def test_a_plain_wall_does_not_move():
    film = scan(shift=np.full((60, 2), np.nan))
    assert not camera_moves(film, select_shots(film, FPS))


@pytest.mark.parametrize("seconds", [2.0, 4.5])
def test_too_short_is_refused(seconds):
    found = checked(scan(seconds), info(duration_s=seconds, promised_s=seconds))
    assert subjects(found, REJECTED) == ["duration"]
    with pytest.raises(TrackingError, match="at least 5 s"):
        raise_if_rejected(found)


def test_five_seconds_are_enough():
    raise_if_rejected(checked(scan(5.0), info(duration_s=5.0, promised_s=5.0)))


def test_a_tiny_face_is_refused_and_a_small_one_is_told():
    film = scan()
    film.boxes[:, 0] = (600, 300, 625, 330)
    assert "face size" in subjects(checked(film), REJECTED)
    film.boxes[:, 0] = (600, 300, 680, 400)
    assert "face size" in subjects(checked(film), NOTE)


def test_nobody_is_refused():
    film = scan()
    film.boxes[:] = np.nan
    with pytest.raises(TrackingError, match="face"):
        select_shots(film, FPS)


def test_a_film_cut_off_and_a_variable_rate_are_told():
    found = checked(scan(20.0), info(promised_s=30.0, duration_s=20.0, variable=True))
    assert subjects(found, CORRECTED) == ["file", "rate"]


def test_lost_landmarks_are_told_and_a_face_hardly_seen_is_refused():
    used = np.ones(500, bool)
    known = used.copy()
    known[100:125] = False
    (lost,) = check_landmarks(known, used, FPS)
    assert (lost.level, lost.spans_s) == (CORRECTED, ((4.0, 5.0),))
    assert check_landmarks(used, used, FPS) == []
    known[60:] = False
    assert subjects(check_landmarks(known, used, FPS), REJECTED) == ["face"]


def test_a_moving_background_is_told():
    plate = BackgroundEstimate(np.zeros((8, 8, 3), np.float32), flat=False, seen=0.5, moving=0.4)
    assert subjects(check_background(plate, moving_camera=False), CORRECTED) == ["background"]


SURE, UNSURE = AudioOffset(100.0, 0.5, 0.2, reliable=True), AudioOffset(0.0, 0.1, 0.1, reliable=False)


@pytest.mark.parametrize(
    ("loudness", "offset", "words"),
    [
        (None, UNSURE, "the film has none"),
        (Loudness(-90.0, -80.0, 0.0), UNSURE, "silence"),
        (Loudness(-20.0, -15.0, 0.0), UNSURE, "music or noise"),
        (Loudness(-22.0, -19.0, 0.8), UNSURE, "no clear peak"),
        (Loudness(-22.0, -19.0, 0.8), SURE, "100 ms late"),
        (Loudness(-22.0, -19.0, float("nan")), SURE, "100 ms late"),
    ],
)
def test_sound_is_described(loudness, offset, words):
    found = check_audio(info(has_sound=loudness is not None), loudness, offset)
    assert words in found[-1].found
    assert REJECTED not in [finding.level for finding in found]


def test_only_what_is_sure_and_large_enough_moves_the_sound():
    assert applied_shift_ms(SURE) == 100
    assert applied_shift_ms(UNSURE) == 0
    assert applied_shift_ms(AudioOffset(12.0, 0.6, 0.6, reliable=True)) == 0


def test_spans_are_runs():
    assert find_spans_s(np.array([1, 1, 0, 0, 1], bool), 0.5) == ((0.0, 1.0), (2.0, 2.5))
    assert find_spans_s(np.zeros(4, bool), 0.5) == ()
