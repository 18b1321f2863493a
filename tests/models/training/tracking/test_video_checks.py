"""Which shots are used, and what is findings to be odd about a video."""

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
        "fps": FPS,
        "variable_rate": False,
        "frame_count": 750,
        "start_s": 0.0,
        "duration_s": 30.0,
        "container_duration_s": 30.0,
        "rotation_deg": 0,
        "has_sound": True,
        "hdr_transfer": "",
    }
    return VideoInfo(**{**plain, **changed})


def scan(seconds=30.0, cuts=(), **changed):
    """A video of one face that stands still; `changed` replaces parts of it."""
    samples, count = int(seconds * 2), int(seconds * FPS)
    boxes = np.full((samples, 4, 4), np.nan)
    boxes[:, 0] = (500, 200, 700, 450)
    rng = np.random.default_rng(0)
    difference = rng.uniform(0.5, 1.5, count)
    difference[list(cuts)] = 60.0
    plain = {
        "sample_s": np.arange(samples) / 2,
        "boxes": boxes,
        "hand_boxes": np.full((samples, 2, 4), np.nan),
        "background_motion": rng.normal(0, 2e-4, (samples, 2)),
        "frame_difference": difference,
        "repeated": np.zeros(count, bool),
        "thumbnails": np.full((samples, 48, 48, 3), 100, np.uint8),
    }
    return VideoScan(**{**plain, **changed})


def subjects(findings, level=None):
    return [finding.subject for finding in findings if level in (None, finding.level)]


def checked(video, about=None):
    return check_video(about or info(), FPS, video, select_shots(video, FPS))


def test_a_good_film_has_nothing_odd():
    video = scan(120.0)
    assert checked(video, info(duration_s=120.0, container_duration_s=120.0, frame_count=3000)) == []


def test_high_dynamic_range_is_reported():
    (findings,) = checked(
        scan(120.0), info(duration_s=120.0, container_duration_s=120.0, frame_count=3000, hdr_transfer="HLG")
    )
    assert (findings.level, findings.subject) == (CORRECTED, "colors")


def test_a_cut_is_where_the_picture_jumps_and_movement_is_none():
    rng = np.random.default_rng(1)
    difference = rng.uniform(0, 3, 400)
    difference[150] = 55.0
    assert detect_cuts(difference).tolist() == [150]
    assert detect_cuts(rng.uniform(10, 30, 400)).tolist() == []  # a video full of movement
    assert detect_cuts(np.array([0.0])).tolist() == []


def test_shots_of_one_view_are_used_together():
    video = scan(cuts=(250, 500))
    shots = select_shots(video, FPS)
    assert shots.shot_count == 3
    assert shots.used.all()
    assert subjects(checked(video), NOTE) == ["duration", "cuts"]


def test_shots_of_another_view_are_left_out():
    video = scan(cuts=(250,))
    video.boxes[:20, 0] = (100, 50, 160, 130)
    video.thumbnails[:20] = 180
    shots = select_shots(video, FPS)
    assert np.flatnonzero(shots.used).tolist() == list(range(250, 750))
    (cut,) = (finding for finding in checked(video) if finding.subject == "cuts")
    assert cut.level == CORRECTED
    assert cut.spans_s == ((0.0, 10.0),)


def test_a_title_without_a_face_is_left_out():
    video = scan(cuts=(100,))
    video.boxes[:8] = np.nan
    assert np.flatnonzero(select_shots(video, FPS).used)[0] == 100


def test_other_people_are_reported_with_their_times():
    video = scan()
    video.boxes[10:14, 1] = (100, 300, 220, 450)
    (people,) = (finding for finding in checked(video) if finding.subject == "people")
    assert people.spans_s == ((5.0, 7.0),)


def test_a_hand_before_the_face_is_reported_and_one_below_it_is_not():
    video = scan()
    video.hand_boxes[4:6, 0] = (560, 350, 680, 480)
    video.hand_boxes[20:30, 1] = (500, 500, 640, 700)
    (hands,) = (finding for finding in checked(video) if finding.subject == "hands")
    assert hands.spans_s == ((2.0, 3.0),)


@pytest.mark.parametrize(
    "motion",
    [np.tile([0.02, 0.0], (60, 1)) * np.sin(np.arange(60))[:, None], np.tile([0.0, 0.0015], (60, 1))],
    ids=["shakes", "drifts"],
)
def test_a_camera_that_moves_is_detected(motion):
    video = scan(background_motion=motion)
    assert camera_moves(video, select_shots(video, FPS))
    assert "camera" in subjects(checked(video), CORRECTED)


def test_a_plain_wall_does_not_move():
    video = scan(background_motion=np.full((60, 2), np.nan))
    assert not camera_moves(video, select_shots(video, FPS))


@pytest.mark.parametrize("seconds", [2.0, 4.5])
def test_too_short_is_refused(seconds):
    findings = checked(scan(seconds), info(duration_s=seconds, container_duration_s=seconds))
    assert subjects(findings, REJECTED) == ["duration"]
    with pytest.raises(TrackingError, match="at least 5 s"):
        raise_if_rejected(findings)


def test_five_seconds_are_enough():
    raise_if_rejected(checked(scan(5.0), info(duration_s=5.0, container_duration_s=5.0)))


def test_a_tiny_face_is_refused_and_a_small_one_is_reported():
    video = scan()
    video.boxes[:, 0] = (600, 300, 625, 330)
    assert "face size" in subjects(checked(video), REJECTED)
    video.boxes[:, 0] = (600, 300, 680, 400)
    assert "face size" in subjects(checked(video), NOTE)


def test_nobody_is_refused():
    video = scan()
    video.boxes[:] = np.nan
    with pytest.raises(TrackingError, match="face"):
        select_shots(video, FPS)


def test_a_film_cut_off_and_a_variable_rate_are_reported():
    findings = checked(scan(20.0), info(container_duration_s=30.0, duration_s=20.0, variable_rate=True))
    assert subjects(findings, CORRECTED) == ["file", "rate"]


def test_lost_landmarks_are_reported_and_a_face_hardly_seen_is_refused():
    used = np.ones(500, bool)
    known = used.copy()
    known[100:125] = False
    (lost,) = check_landmarks(known, used, FPS)
    assert (lost.level, lost.spans_s) == (CORRECTED, ((4.0, 5.0),))
    assert check_landmarks(used, used, FPS) == []
    known[60:] = False
    assert subjects(check_landmarks(known, used, FPS), REJECTED) == ["face"]


def test_a_moving_background_is_reported():
    background = BackgroundEstimate(
        np.zeros((8, 8, 3), np.float32), uniform=False, visible_fraction=0.5, moving_fraction=0.4
    )
    assert subjects(check_background(background, moving_camera=False), CORRECTED) == ["background"]


RELIABLE, UNRELIABLE = AudioOffset(100.0, 0.5, 0.2, reliable=True), AudioOffset(0.0, 0.1, 0.1, reliable=False)


@pytest.mark.parametrize(
    ("loudness", "offset", "words"),
    [
        (None, UNRELIABLE, "the film has none"),
        (Loudness(-90.0, -80.0, 0.0), UNRELIABLE, "silence"),
        (Loudness(-20.0, -15.0, 0.0), UNRELIABLE, "music or noise"),
        (Loudness(-22.0, -19.0, 0.8), UNRELIABLE, "no clear peak"),
        (Loudness(-22.0, -19.0, 0.8), RELIABLE, "100 ms late"),
        (Loudness(-22.0, -19.0, float("nan")), RELIABLE, "100 ms late"),
    ],
)
def test_sound_is_described(loudness, offset, words):
    findings = check_audio(info(has_sound=loudness is not None), loudness, offset)
    assert words in findings[-1].observation
    assert REJECTED not in [finding.level for finding in findings]


def test_only_a_reliable_and_large_delay_is_corrected():
    assert applied_shift_ms(RELIABLE) == 100
    assert applied_shift_ms(UNRELIABLE) == 0
    assert applied_shift_ms(AudioOffset(12.0, 0.6, 0.6, reliable=True)) == 0


def test_spans_are_runs():
    assert find_spans_s(np.array([1, 1, 0, 0, 1], bool), 0.5) == ((0.0, 1.0), (2.0, 2.5))
    assert find_spans_s(np.zeros(4, bool), 0.5) == ()
