"""A procedural head: nobody's face, computed from a seed, so that splatface speaks before anyone is trained.

Signed distances make the shape (shape), paint and baked light the colors (paint), and
displacement fields the linear basis (motion); a patch (patch) holds them together.
"""

from functools import partial

import numpy as np

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.camera import Camera
from splatface.models.head.head import Head, HeadInfo, PoseLimits
from splatface.models.head.motion_map import MOTION_SIZE, MotionMap, linear_map
from splatface.models.training.synthetic.procedural.eyes import eyes
from splatface.models.training.synthetic.procedural.hair import hair
from splatface.models.training.synthetic.procedural.motion import skin_weight
from splatface.models.training.synthetic.procedural.mouth import mouth
from splatface.models.training.synthetic.procedural.patch import COEFFICIENT_NAMES, Patch, gaussians_of, join
from splatface.models.training.synthetic.procedural.person import Person, person_of_seed
from splatface.models.training.synthetic.procedural.shape import body_distance, ear_distance, skull_distance
from splatface.models.training.synthetic.procedural.skin import ears, face, neck, shirt

__all__ = ["procedural_head"]

# What moves under another name; the others are named alike.
_COLUMN_OF = {"gaze_yaw": "gaze_x", "gaze_pitch": "gaze_y"}
_DISTANCE_M = 1.0


def _camera() -> Camera:
    """Head and shoulders as in a video call, from a meter away."""
    T_camera_world = np.eye(4)
    T_camera_world[:3, 3] = [0.0, -0.058, _DISTANCE_M]
    return Camera(512, 512, 1120.0, 1120.0, 256.0, 256.0, T_camera_world)


def _patch_of(person: Person) -> Patch:
    body = partial(body_distance, person=person)
    skull = partial(skull_distance, person=person)
    ear = partial(ear_distance, person=person)
    return join(
        [
            face(person, body, skull, 2400),
            ears(person, body, ear),
            neck(person, body, skull, 640),
            shirt(person, 1900),
            hair(person, body, skull, 1400),
            eyes(person, body),
            mouth(person, body),
        ]
    )


def _motion_map() -> MotionMap:
    line = np.zeros((MOTION_SIZE, len(COEFFICIENT_NAMES)), np.float32)
    for row, name in enumerate((*MOUTH_MODES, *CONTROLS)):
        line[row, COEFFICIENT_NAMES.index(_COLUMN_OF.get(name, name))] = 1.0
    return linear_map(line)


def procedural_head(seed: int = 0) -> Head:
    """The head of a seed, without nets: 5,000 to 12,000 Gaussians, K = 15. Seed 0 is the house's default."""
    person = person_of_seed(seed)
    patch = _patch_of(person)
    moving = np.abs(patch.basis).max(axis=(1, 2)) > 1e-6
    info = HeadInfo(
        name="robin" if seed == 0 else f"procedural {seed}",
        person="nobody: a computed face",
        license="Apache-2.0",
        consent="Nobody is shown: this face is computed by splatface and resembles no one on purpose.",
        camera=_camera(),
        coefficient_names=COEFFICIENT_NAMES,
        background=(0.80, 0.83, 0.86),
        pivot_m=(0.0, 0.095, 0.030),
        pose_limits=PoseLimits(),
        fps=60.0,
    )
    return Head(
        gaussians=gaussians_of(patch),
        skinning_weight=skin_weight(patch.means).astype(np.float32),
        dynamic=np.flatnonzero(moving).astype(np.int32),
        basis=patch.basis[moving].astype(np.float32),
        motion_map=_motion_map(),
        info=info,
    )
