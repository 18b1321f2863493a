"""Laws of the procedural head: what moves, what never does, and what the picture shows of it."""

import numpy as np
import pytest

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.head.controls import basis_coefficients
from splatface.models.head.pose import bone_poses
from splatface.models.head.skinning import deform_reference
from splatface.models.head.splats import DELTA_CHANNELS, Splats
from splatface.models.head.validate import check_head
from splatface.models.messages import HeadControl
from splatface.models.render.render import renderer
from splatface.models.training.synthetic.procedural import procedural_head

SIZE = 128
EYE_X, EYE_Y = 0.033, -0.003  # m, canonical
MOUTH_Y = 0.067
CPU = renderer("cpu")


@pytest.fixture(scope="module")
def head():
    return procedural_head()


def splats_of(head, heard=None, **control):
    spoken = np.zeros(len(MOUTH_MODES), np.float32)
    for name, value in (heard or {}).items():
        spoken[MOUTH_MODES.index(name)] = value
    wish = HeadControl(**control)
    s = deform_reference(head, basis_coefficients(head, spoken, wish), bone_poses(wish, head.info))
    arrays = (s.means, s.quats, s.scales, s.opacities, s.sh)
    return Splats(*(np.ascontiguousarray(a, np.float32) for a in arrays))


def picture(head, heard=None, **control):
    camera = head.info.camera.scaled_to(SIZE, SIZE)
    return CPU.draw(splats_of(head, heard, **control), camera, head.info.background).image.copy()


def pixel_of(head, x, y, z):
    camera = head.info.camera.scaled_to(SIZE, SIZE)
    p = camera.T_camera_world @ [x, y, z, 1.0]
    return round(camera.fx * p[0] / p[2] + camera.cx - 0.5), round(camera.fy * p[1] / p[2] + camera.cy - 0.5)


def patch(head, image, x, y, half=(4, 2)):
    u, v = pixel_of(head, x, y, -0.08)
    return image[v - half[1] : v + half[1] + 1, u - half[0] : u + half[0] + 1]


def column(head, name):
    return head.basis[:, :, head.info.coefficient_names.index(name)]


def moving(head, name):
    """Means of the Gaussians that a coefficient moves."""
    return head.gaussians.means[head.dynamic[np.abs(column(head, name)).max(axis=1) > 1e-6]]


@pytest.mark.parametrize("seed", [0, 1, 4])
def test_a_head_of_any_seed_is_whole(seed):
    made = procedural_head(seed)
    check_head(made)
    assert 5_000 <= len(made.gaussians) <= 12_000
    assert made.basis.shape == (len(made.dynamic), DELTA_CHANNELS, len(made.info.coefficient_names))
    assert made.info.coefficient_names[: len(MOUTH_MODES)] == MOUTH_MODES
    assert (np.diff(made.dynamic) > 0).all()
    assert made.skinning_weight.min() == 0.0
    assert made.skinning_weight.max() == 1.0


def test_a_seed_is_always_the_same_person_and_another_seed_another(head):
    again, other = procedural_head(0), procedural_head(1)
    for name in ("means", "quats", "log_scales", "opacity_logits", "sh"):
        np.testing.assert_array_equal(getattr(head.gaussians, name), getattr(again.gaussians, name))
    np.testing.assert_array_equal(head.basis, again.basis)
    assert np.abs(picture(head) - picture(other)).mean() > 0.01


def test_neutral_is_the_canonical_head(head):
    splats = splats_of(head)
    np.testing.assert_allclose(splats.means, head.gaussians.means, atol=1e-6)
    np.testing.assert_allclose(splats.scales, np.exp(head.gaussians.log_scales), rtol=1e-5)


@pytest.mark.parametrize("name", MOUTH_MODES)
def test_mouth_modes_leave_torso_eyes_and_crown_alone(head, name):
    still, moved = splats_of(head).means, splats_of(head, {name: 1.0}).means
    shift = np.linalg.norm(moved - still, axis=1)
    assert shift.max() > 0.001  # m: the mode does something
    assert shift[head.skinning_weight == 0].max() < 1e-6
    assert shift[head.gaussians.means[:, 1] < -0.05].max() < 1e-4  # forehead and hair on top


def test_every_control_moves_something(head):
    for control in np.eye(len(CONTROLS), dtype=np.float32):
        c = head.motion_map(np.zeros(len(MOUTH_MODES), np.float32), control)
        assert np.abs(head.basis @ c).max() > 0


@pytest.mark.parametrize(("name", "side"), [("blink_left", 1), ("blink_right", -1)])
def test_a_blink_moves_only_its_own_eye(head, name, side):
    means = moving(head, name)
    assert (side * means[:, 0] > 0).all()
    assert (np.abs(side * means[:, 0] - EYE_X) < 0.03).all()
    assert (np.abs(means[:, 1] - EYE_Y) < 0.03).all()


@pytest.mark.parametrize(("name", "side"), [("blink_left", 1), ("blink_right", -1)])
def test_a_blink_hides_the_iris_of_one_eye(head, name, side):
    rest, shut = picture(head), picture(head, **{name: 1.0})
    dark_rest = patch(head, rest, side * EYE_X, EYE_Y, (1, 1)).mean(axis=(0, 1))
    dark_shut = patch(head, shut, side * EYE_X, EYE_Y, (1, 1)).mean(axis=(0, 1))
    assert dark_shut[0] - dark_shut[2] > dark_rest[0] - dark_rest[2] + 0.1  # a blue iris gave way to skin
    other = [patch(head, image, -side * EYE_X, EYE_Y) for image in (rest, shut)]
    np.testing.assert_allclose(other[0], other[1], atol=1e-3)


def test_open_shows_a_dark_mouth_and_carries_the_chin_down(head):
    at = (0.0, MOUTH_Y + 0.008)
    rest, opened = (patch(head, picture(head, h), *at, (2, 1)) for h in ({}, {"open": 1.0}))
    assert opened.mean() < 0.55 * rest.mean()
    g = head.gaussians.means
    chin = (np.abs(g[:, 0]) < 0.01) & (np.abs(g[:, 1] - 0.10) < 0.008) & (g[:, 2] < -0.07)
    drop = (splats_of(head, {"open": 1.0}).means - g)[chin]
    assert chin.sum() > 3
    assert drop[:, 1].min() > 0.008  # m down
    assert drop[:, 2].mean() > 0  # and back


def test_teeth_stay_behind_closed_lips(head):
    lips = patch(head, picture(head), 0.0, MOUTH_Y, (4, 2)).reshape(-1, 3)
    assert (lips[:, 0] > lips[:, 1] + 0.1).all()  # red everywhere: neither teeth nor a gap


@pytest.mark.parametrize("name", [*MOUTH_MODES, "brow_up", "brow_down"])
def test_both_sides_of_the_face_move_alike(head, name):
    means, delta = head.gaussians.means[head.dynamic], column(head, name)[:, :3]
    left, right = means[:, 0] > 0.002, means[:, 0] < -0.002
    up, down = np.abs(delta[left]).sum(axis=0), np.abs(delta[right]).sum(axis=0)
    np.testing.assert_allclose(up, down, rtol=0.06, atol=0.003)


@pytest.mark.parametrize(("name", "axis"), [("gaze_x", 0), ("gaze_y", 1)])
def test_gaze_turns_both_eyes_the_same_way(head, name, axis):
    shift = column(head, name)[:, axis]
    means = head.gaussians.means[head.dynamic]
    for side in (1, -1):
        iris = (np.hypot(side * means[:, 0] - EYE_X, means[:, 1] - EYE_Y) < 0.004) & (np.abs(shift) > 0.006)
        assert iris.sum() > 20
        assert (shift[iris] > 0).all()


@pytest.mark.parametrize("yaw", [-0.35, 0.35])
def test_a_turned_head_keeps_its_neck_closed(head, yaw):
    turned = {"quat_world_head": np.array([np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)])}
    camera = head.info.camera.scaled_to(SIZE, SIZE)
    drawn = CPU.draw(splats_of(head, **turned), camera, (0.0, 1.0, 0.0)).image
    top, bottom = pixel_of(head, 0, 0.11, 0.0)[1], pixel_of(head, 0, 0.20, 0.0)[1]
    middle = drawn[top:bottom, SIZE // 2 - 8 : SIZE // 2 + 8]
    assert (middle[..., 1] < middle[..., 0] + middle[..., 2]).all()  # no green shines through
