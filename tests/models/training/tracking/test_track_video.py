"""From a film file to a data set that can be trained on; stopped, it goes on."""

import itertools
from dataclasses import replace

import cv2
import numpy as np
import pytest
from clips import RATE, at_rate, robin, write_film

from splatface.models.errors import SplatfaceError, TrackingError
from splatface.models.training.dataset.dataset_audio import load_audio
from splatface.models.training.dataset.dataset_io import load_dataset, load_points
from splatface.models.training.dataset.findings import read_findings
from splatface.models.training.dataset.frame_images import read_image, read_labels
from splatface.models.training.dataset.types import BACKGROUND, FACE, LIPS, TEST, TRAIN
from splatface.models.training.tracking import track_video as tracking
from splatface.models.training.tracking.track_video import Provenance, TrackOptions, track

pytestmark = pytest.mark.slow

FPS, SECONDS, SIDE = 12.5, 5.2, 128
OWNER = Provenance(name="Robin", license="Apache-2.0", consent="Nobody is shown: this face is drawn.")
OPTIONS = TrackOptions(provenance=OWNER, side_px=SIDE)


def swaying(seconds):
    """A drawn face that sways before a gray wall: 384x288."""
    small = cv2.resize(robin(), (288, 288), interpolation=cv2.INTER_AREA)
    for time_s in at_rate(round(seconds * FPS), FPS):
        affine = cv2.getRotationMatrix2D((144, 288), 5 * np.sin(2 * time_s), 1.0)
        affine[:, 2] += (48 + 6 * np.sin(1.3 * time_s), 0)
        yield cv2.warpAffine(small, affine, (384, 288), borderMode=cv2.BORDER_REPLICATE)


def film(path, seconds, sound=None):
    pictures = list(swaying(seconds))
    return write_film(path, pictures, at_rate(len(pictures), FPS), sound=sound)


def tracked(path, folder, report=lambda progress: None, options=OPTIONS):
    return track(path, folder, options, clock=itertools.count().__next__, report=report)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A data set made in two goes: the first is stopped at half the pictures."""
    place = tmp_path_factory.mktemp("clip")
    path = film(place / "clip.mp4", SECONDS)
    calls, process_chunk = [], tracking.process_chunk

    def counted(video, appearance, span, *others):
        calls.append(span)
        return process_chunk(video, appearance, span, *others)

    def stop(progress):
        if progress.stage == "frames" and progress.fraction > 0.45:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracking, "_CHUNK_S", 2.0)
        patch.setattr(tracking, "process_chunk", counted)
        with pytest.raises(KeyboardInterrupt):
            tracked(path, place / "data", stop)
        reported = []
        tracked(path, place / "data", reported.append)
    return load_dataset(place / "data"), reported, calls


def test_a_film_becomes_a_data_set(made):
    dataset, _, _ = made
    assert len(dataset.frames) == len(dataset.motion.time_ns) == round(SECONDS * FPS)
    assert (dataset.source, dataset.name, dataset.license) == ("video", "Robin", "Apache-2.0")
    assert dataset.fps == pytest.approx(FPS)
    assert dataset.landmark_scheme == "mediapipe478"
    assert set(dataset.frames.split) >= {TRAIN, TEST}
    assert dataset.frames.time_ns[1] - dataset.frames.time_ns[0] == pytest.approx(1e9 / FPS, rel=1e-6)


def test_pictures_show_the_face_where_the_landmarks_are(made):
    dataset, _, _ = made
    for row in (0, 30):
        label_image, lips = read_labels(dataset, row), dataset.frames.landmarks_px[row, [61, 291, 0, 17]]
        assert read_image(dataset, row).shape == (SIDE, SIDE, 3)
        assert {BACKGROUND, FACE, LIPS} <= set(np.unique(label_image))
        y, x = np.nonzero(label_image == LIPS)
        assert (x.mean(), y.mean()) == pytest.approx(lips.mean(axis=0), abs=3)


def test_the_head_turns_as_the_film_does(made):
    dataset, _, _ = made
    rotations = dataset.motion.T_world_head[:, :3, :3]
    roll_deg = np.degrees(np.arctan2(rotations[:, 1, 0], rotations[:, 0, 0]))
    true_deg = -5 * np.sin(2 * dataset.motion.time_ns / 1e9)
    assert abs(np.corrcoef(roll_deg, true_deg)[0, 1]) > 0.95
    assert roll_deg.std() == pytest.approx(true_deg.std(), rel=0.25)


def test_a_silent_film_has_silence_and_says_so(made):
    dataset, _, _ = made
    assert len(load_audio(dataset)) == pytest.approx(SECONDS * RATE, abs=RATE / 10)
    assert not load_audio(dataset).any()
    subjects = {finding.subject: finding for finding in read_findings(dataset.folder)}
    assert subjects["sound"].observation == "the film has none"
    assert "duration" in subjects


def test_what_was_done_before_the_stop_was_not_done_again(made):
    _, _, calls = made
    assert len(calls) == len({span.start for span in calls})
    assert sorted(span.start for span in calls) == [0, 25, 50]


def test_the_same_command_finds_what_it_made(made):
    dataset, _, calls = made
    before = len(calls)
    again = tracked(dataset.folder.parent / "clip.mp4", dataset.folder)
    assert len(again.frames) == len(dataset.frames)
    assert len(calls) == before


def test_there_are_points_to_start_from(made):
    dataset, _, _ = made
    found = load_points(dataset)
    assert found is not None
    assert {FACE, LIPS} <= set(np.unique(found.labels))


def test_progress_never_falls_and_ends_whole(made):
    _, reported, _ = made
    fractions = [progress.fraction for progress in reported]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


def test_two_seconds_are_refused_before_any_work(tmp_path):
    path = film(tmp_path / "clip.mp4", 2.0)
    with pytest.raises(TrackingError, match=r"duration: 2\.0 s"):
        tracked(path, tmp_path / "data")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("missing", ["name", "license", "consent"])
def test_nothing_is_made_of_who_did_not_agree(tmp_path, missing):
    owner = replace(OWNER, **{missing: "  "})
    with pytest.raises(TrackingError, match=missing):
        tracked(tmp_path / "clip.mp4", tmp_path / "data", options=TrackOptions(provenance=owner))


def test_a_wall_is_no_person(tmp_path):
    wall = [np.full((96, 128, 3), 90, np.uint8)] * 70
    path = write_film(tmp_path / "clip.mp4", wall, at_rate(70, FPS))
    with pytest.raises(SplatfaceError, match="face: expected one"):
        tracked(path, tmp_path / "data")
