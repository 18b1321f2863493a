# SPDX-License-Identifier: Apache-2.0
"""Landmarks as sums of the rig's control vertices, and what shapes and motions make of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from people import person

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.training.synthetic import rig as door
from splatface.models.training.synthetic.actor_identity import actor_identity
from splatface.models.training.synthetic.blendshape_mapping import to_arkit_blendshapes
from splatface.models.training.synthetic.body import make_body
from splatface.models.training.synthetic.rig import CANONICAL_ANNY, BodyPose, Rig, pose_rig
from splatface.models.typing import AnyArray

__all__ = [
    "Eyes",
    "eyes_of",
    "motion_steps",
    "reference",
    "sample_neutral_faces",
    "skin_matrix",
    "vertices_of",
]


_BOTH_WAYS = {"gaze_yaw": 0.2, "gaze_pitch": 0.12, "jaw_side": 1.0}


@dataclass(frozen=True, eq=False)
class Eyes:
    """Both eyeballs of a rig: the picture's left one (the person's right) first."""

    centers: AnyArray  # [2, 3]
    radius: float


def reference() -> Rig:
    """Return a rig whose topology and actions are everybody's."""
    return door.load_rig(actor_identity("mira").shape)


def skin_matrix() -> tuple[Any, NDArray[np.int64], AnyArray]:
    """Return the subdivided skin: matrix [P, V] on control vertices, quads [F, 4], rest points [P, 3]."""
    part = make_body(actor_identity("mira")).parts["skin"]
    piece = make_body(actor_identity("mira"))._pieces["skin"]
    return piece.deformer.matrix, part.faces, part.positions


def eyes_of(rest: AnyArray, rig: Rig) -> Eyes:
    """Measure the eyeballs among control vertices [V, 3]."""
    balls = [_sphere(rest[rig.vertices(f"helper-{side}-eye")]) for side in "rl"]
    return Eyes(np.stack([center for center, _ in balls]), float(np.mean([radius for _, radius in balls])))


def vertices_of(rig: Rig, motion: AnyArray, pose: AnyArray) -> tuple[AnyArray, AnyArray]:
    """Return control vertices [V, 3] and T_world_head of motion [16] and head turns [3], rad."""
    modes = len(MOUTH_MODES)
    posed = pose_rig(rig, to_arkit_blendshapes(motion[:modes], motion[modes:]), BodyPose(*pose.tolist()))
    return posed.vertices, posed.T_world_head


def motion_steps(rig: Rig) -> AnyArray:
    """Return displacement [16, V, 3] of control vertices per unit of every mode and control."""
    still = np.zeros(len(MOUTH_MODES) + len(CONTROLS))
    rest, _ = vertices_of(rig, still, np.zeros(3))
    steps = []
    for number, name in enumerate((*MOUTH_MODES, *CONTROLS)):
        size = _BOTH_WAYS.get(name, 1.0)
        on = still.copy()
        on[number] = size
        moved, _ = vertices_of(rig, on, np.zeros(3))
        if name in _BOTH_WAYS:
            rest_or_back, _ = vertices_of(rig, -on, np.zeros(3))
            steps.append((moved - rest_or_back) / (2 * size))
        else:
            steps.append((moved - rest) / size)
    return np.stack(steps)


def sample_neutral_faces(count: int, rig: Rig, first: int = 1000) -> AnyArray:
    """Return control vertices [N, V, 3] of many people with resting faces, origin between their eyes."""
    model = door._anny_model()
    still = np.zeros(len(MOUTH_MODES) + len(CONTROLS))
    smile = vertices_of(rig, still, np.zeros(3))[0] - rig.rest
    people = []
    for seed in range(first, first + count):
        shape = person(seed).shape
        answer = model(phenotype_kwargs=dict(shape.phenotype), local_changes_kwargs=dict(shape.local_changes))
        rest = answer["rest_vertices"][0].numpy().astype(np.float64) @ CANONICAL_ANNY.T
        rest -= eyes_of(rest, rig).centers.mean(0)
        people.append((rest + smile).astype(np.float32))
    return np.stack(people)


def _sphere(points: AnyArray) -> tuple[AnyArray, float]:
    system = np.c_[2 * points, np.ones(len(points))]
    answer = np.linalg.lstsq(system, (points**2).sum(1), rcond=None)[0]
    return answer[:3], float(np.sqrt(answer[3] + answer[:3] @ answer[:3]))
