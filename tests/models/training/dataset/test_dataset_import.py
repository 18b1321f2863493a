import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from shared_format import OPENGL, WORN, parsed, write_shared

from splatface.models.audio2motion.audio_to_mouth import CONTROLS
from splatface.models.errors import DatasetError
from splatface.models.rotations import CANONICAL_REP103, matrix_from_quat, quat_from_euler
from splatface.models.training.dataset.body_poses import neck_joint
from splatface.models.training.dataset.dataset_audio import load_audio, load_features
from splatface.models.training.dataset.dataset_io import load_dataset
from splatface.models.training.dataset.ernerf_files import read_transforms
from splatface.models.training.dataset.frame_images import read_image, read_labels
from splatface.models.training.dataset.import_ernerf import ImportPlan, import_ernerf, labels_from_parsing
from splatface.models.training.dataset.types import (
    BACKGROUND,
    EYES,
    FACE,
    HAIR,
    LABELS,
    LIPS,
    MOUTH,
    NECK,
    TEST,
    TORSO,
    TRAIN,
    VAL,
)


@pytest.fixture(scope="module")
def shared(tiny, tmp_path_factory):
    return write_shared(tiny, tmp_path_factory.mktemp("shared") / "obama")


@pytest.fixture
def broken(shared, tmp_path):
    return Path(shutil.copytree(shared, tmp_path / "broken"))


def plan(source, target, **others):
    return ImportPlan(source=source, target=target, license="CC0-1.0", consent="nobody", fps=12.5, **others)


@pytest.fixture(scope="module")
def imported(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("imported") / "set"
    import_ernerf(plan(shared, folder))
    return load_dataset(folder)


def test_poses_come_back(tiny, imported):
    """The camera stands elsewhere in the head's frame; where the head is seen is the same."""
    seen = imported.camera.T_camera_world @ imported.frames.T_world_head
    assert np.abs(seen - tiny.camera.T_camera_world @ tiny.frames.T_world_head).max() < 1e-6
    assert np.abs(np.median(imported.frames.T_world_head[:, :3, 3], axis=0)).max() < 1e-9
    assert np.array_equal(imported.motion.T_world_head, imported.frames.T_world_head)
    assert not np.array_equal(imported.frames.T_world_torso[0], imported.frames.T_world_torso[-1])


def test_pictures_sound_times_and_landmarks_come_back(tiny, imported):
    assert np.array_equal(imported.frames.time_ns, tiny.frames.time_ns)
    assert np.abs(imported.frames.landmarks_px - tiny.frames.landmarks_px).max() < 1e-4
    assert np.abs(load_audio(imported) - load_audio(tiny)).max() < 1e-4
    for row in range(len(tiny.frames)):
        worn = np.abs(read_image(imported, row).astype(int) - read_image(tiny, row))
        assert worn.mean() < WORN
    assert np.abs(imported.background - tiny.background).max() < 0.02
    assert (imported.camera.fx, imported.camera.width, imported.name) == (tiny.camera.fx, 96, "obama")


def test_masks_come_back(tiny, imported):
    """Parts that the parser knows exactly; what landmarks tell, nearly."""
    shares = dict.fromkeys((FACE, EYES, LIPS, HAIR), 0.0)
    for row in range(len(tiny.frames)):
        truth, found = read_labels(tiny, row), read_labels(imported, row)
        for part in (BACKGROUND, TORSO, NECK):
            assert np.array_equal(truth == part, found == part)
        for part in shares:
            union = ((truth == part) | (found == part)).sum()
            shares[part] += ((truth == part) & (found == part)).sum() / max(union, 1) / len(tiny.frames)
    assert shares[FACE] > 0.75
    assert shares[HAIR] > 0.5  # ears are among it
    assert min(shares[LIPS], shares[EYES]) > 0.25  # a few pixels each


def test_the_val_part_of_the_format_is_tested(tiny, imported):
    assert np.array_equal(imported.frames.split == TEST, tiny.frames.split == TEST)
    assert {TRAIN, VAL} <= set(imported.frames.split.tolist())


def test_blinks_and_brows_come_from_the_action_units(tiny, imported):
    for name in ("blink_left", "blink_right", "brow_up"):
        column = CONTROLS.index(name)
        assert imported.frames.controls[:, column] == pytest.approx(tiny.frames.controls[:, column], abs=1e-3)
    for name in ("gaze_yaw", "gaze_pitch", "smile"):
        assert np.isnan(imported.frames.controls[:, CONTROLS.index(name)]).all()
    assert np.isnan(imported.frames.mouth).all()


def test_features_of_other_encoders_are_one_stream_again(imported):
    values, centers_ns = load_features(imported, "aud_ds")
    assert values.shape == (2 * 38, 29)
    assert np.array_equal(values[:, 0], np.arange(76))
    assert np.diff(centers_ns) == pytest.approx(40_000_000)  # two to a picture, at 12.5 per second
    hubert, times_ns = load_features(imported, "aud_hu")
    assert np.array_equal(hubert[:, 0], np.arange(76))
    assert np.array_equal(times_ns, centers_ns)
    assert load_features(imported, "logmel")[0].shape[1] == 120


def test_a_point_of_the_head_is_seen_where_their_camera_sees_it(shared, tiny):
    """proj_x = -f X / Z + cx, proj_y = f Y / Z + cy of AD-NeRF's geo_transform.py, on the other axes."""
    shots = read_transforms(shared)
    frames = json.loads((shared / "transforms_train.json").read_text())["frames"]
    point = np.array([0.03, 0.02, -0.08])
    for row in (0, 5, 20):
        X, Y, Z, _ = np.linalg.inv(frames[row]["transform_matrix"]) @ OPENGL @ [*point, 1]
        theirs = (-tiny.camera.fx * X / Z + 48, tiny.camera.fx * Y / Z + 48)
        x, y, z, _ = shots.camera.T_camera_world @ shots.T_world_head[row] @ [*point, 1]
        ours = (shots.camera.fx * x / z + shots.camera.cx, shots.camera.fy * y / z + shots.camera.cy)
        assert ours == pytest.approx(theirs, abs=1e-3)
        assert z > 0.5


def test_an_import_cut_short_goes_on(shared, imported, tmp_path):
    class Stopped(Exception):
        pass

    def stop(done, total):
        if done == 10:
            raise Stopped

    with pytest.raises(Stopped):
        import_ernerf(plan(shared, tmp_path / "set"), stop)
    early = (tmp_path / "set" / "pictures" / "000003.png").stat().st_mtime_ns
    counts = []
    import_ernerf(plan(shared, tmp_path / "set"), lambda done, total: counts.append((done, total)))
    assert counts[-1] == (36, 36)
    assert (tmp_path / "set" / "pictures" / "000003.png").stat().st_mtime_ns == early
    again = load_dataset(tmp_path / "set")
    assert np.array_equal(read_image(again, 35), read_image(imported, 35))
    with pytest.raises(DatasetError, match="finished data set"):
        import_ernerf(plan(shared, tmp_path / "set"))


def test_what_is_optional_may_be_missing(broken, tmp_path):
    for name in ("au.csv", "aud_ds.npy", "aud_hu.npy"):
        (broken / name).unlink()
    for name in ("gt_imgs", "torso_imgs"):
        shutil.rmtree(broken / name)
    (broken / "ori_imgs" / "3.lms").unlink()
    dataset = import_ernerf(plan(broken, tmp_path / "set"))
    assert np.isnan(dataset.frames.controls).all()
    assert np.isnan(dataset.frames.landmarks_px[3]).all()
    assert set(np.unique(read_labels(dataset, 3))) <= {BACKGROUND, TORSO, NECK, FACE}


def edit(path, change):
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("transforms_train.json", None, ("transforms_train.json", "none")),
        ("transforms_val.json", b"{", ("transforms_val.json", "JSON")),
        ("transforms_val.json", b"[1]", ("object",)),
        ("transforms_val.json", b'{"frames": []}', ("frames",)),
        ("parsing/4.png", None, ("parsing/4.png",)),
        ("parsing/4.png", b"no picture", ("parsing/4.png", "damaged")),
        ("gt_imgs/4.jpg", b"", ("gt_imgs/4.jpg", "damaged")),
        ("ori_imgs/4.lms", b"1 2 3", ("4.lms", "68")),
        ("ori_imgs/4.lms", b"one two", ("4.lms", "numbers")),
        ("bc.jpg", None, ("bc.jpg",)),
        ("aud.wav", None, ("ffmpeg",)),
        ("aud.wav", b"RIFF", ("aud.wav",)),
        ("au.csv", b"frame\n1\n", ("AU45_r",)),
        ("au.csv", b"frame, AU45_r\n1, 0.5\n", ("38 pictures", "found 1")),
        ("au.csv", b"AU45_r\n" + b"shut\n" * 40, ("numbers",)),
        ("aud_ds.npy", b"junk", ("aud_ds.npy", "numpy array")),
    ],
)
def test_broken_folders_are_refused(broken, tmp_path, name, content, words):
    path = broken / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatasetError) as error:
        import_ernerf(plan(broken, tmp_path / "set"))
    for word in ("expected", "found", *words):
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda data: data.pop("focal_len"), "focal_len"),
        (lambda data: data.update(focal_len="long"), "focal_len"),
        (lambda data: data.pop("cx"), "size"),
        (lambda data: data.update(cx=40), "found 96x96"),
        (lambda data: data["frames"][1].update(img_id=0), "twice"),
        (lambda data: data["frames"][1].update(img_id=None), "img_id"),
        (lambda data: data["frames"][1].update(transform_matrix=[[1, 2], [3, 4]]), "4x4"),
        (lambda data: data["frames"][1]["transform_matrix"][0].__setitem__(0, 3.0), "stretches"),
        (lambda data: data["frames"][1]["transform_matrix"][0].__setitem__(3, float("nan")), "4x4 numbers"),
    ],
)
def test_odd_transforms_are_refused(broken, tmp_path, change, word):
    edit(broken / "transforms_train.json", change)
    with pytest.raises(DatasetError, match=word):
        import_ernerf(plan(broken, tmp_path / "set"))


def test_odd_features_are_refused(broken, tmp_path):
    for array, word in (
        (np.zeros((38, 5, 29)), "16 | 2 | 1"),
        (np.full((38, 16, 29), np.nan), "finite"),
        (np.array(["a"]), "numbers"),
        (np.zeros(38), "pictures, features"),
    ):
        np.save(broken / "aud_ds.npy", array)
        with pytest.raises(DatasetError) as error:
            import_ernerf(plan(broken, tmp_path / "set"))
        assert word in str(error.value)


def test_license_and_consent_must_be_said(shared, tmp_path):
    with pytest.raises(DatasetError, match="consent"):
        import_ernerf(replace(plan(shared, tmp_path / "set"), consent=" "))


def test_every_way_to_say_the_focal_length(broken):
    path = broken / "transforms_train.json"
    focal = read_transforms(broken).camera.fx
    edit(path, lambda data: data.update(fl_x=data.pop("focal_len"), w=96, h=96))
    assert read_transforms(broken).camera.fx == pytest.approx(focal)
    edit(path, lambda data: data.update(camera_angle_x=2 * np.arctan(48 / data.pop("fl_x"))))
    assert read_transforms(broken).camera.fy == pytest.approx(focal)


def test_the_colors_are_bgr():
    strip = np.array([[0, 1, 2, 4]], np.uint8)
    nowhere = np.full((68, 2), np.nan, np.float32)
    assert labels_from_parsing(parsed(strip), nowhere).tolist() == [[BACKGROUND, TORSO, NECK, FACE]]
    red_in_a_viewer = cv2.imencode(".png", parsed(strip))[1]
    assert cv2.imdecode(red_in_a_viewer, cv2.IMREAD_COLOR)[0, 1].tolist() == [0, 0, 255]


def test_a_mouth_is_only_seen_where_it_is_open(tiny):
    row = int(np.argmax(tiny.frames.mouth[:, 0]))
    head = np.full((96, 96, 3), (255, 0, 0), np.uint8)
    landmarks = tiny.frames.landmarks_px[row].copy()
    assert LABELS[MOUTH] == "mouth"
    assert (labels_from_parsing(head, landmarks) == MOUTH).any()
    landmarks[60:] = landmarks[60:].mean(axis=0)
    shut = labels_from_parsing(head, landmarks)
    assert not (shut == MOUTH).any()
    assert (shut == LIPS).any()


def test_the_neck_is_where_the_head_turns():
    rng = np.random.default_rng(1)
    joint, poses = np.array([0.004, 0.12, 0.05]), []
    for angles in rng.normal(0, 0.4, (200, 3)):
        T = np.eye(4)
        T[:3, :3] = CANONICAL_REP103 @ matrix_from_quat(quat_from_euler(angles)) @ CANONICAL_REP103.T
        T[:3, 3] = joint - T[:3, :3] @ joint + rng.normal(0, 0.001, 3)
        poses.append(T)
    assert neck_joint(np.stack(poses)) == pytest.approx(joint, abs=0.006)
    still = np.tile(np.eye(4), (50, 1, 1))
    assert neck_joint(still) == pytest.approx([0.0, 0.095, 0.070])
