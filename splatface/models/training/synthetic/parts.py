"""The pieces a body is drawn from: meshes of quads and strands of hair, at rest and posed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Part", "PosedBody"]

Array = NDArray[Any]


@dataclass(frozen=True, eq=False, kw_only=True)
class Part:
    """One piece of a body at rest: a mesh of P points, or S strands of K points (P = S K).

    `colours`, `labels` and `skin` have one row a point for a mesh and one row a strand for strands.
    """

    kind: str  # "mesh" or "strands"
    material: str  # skin, teeth, mouth, eye, hair, brow, lash or cloth: how light meets it
    positions: Array  # [P, 3] or [S, K, 3] m, canonical, at rest
    colours: Array  # [P or S, 3] linear RGB 0..1
    labels: NDArray[np.uint8]  # [P or S] dataset LABELS
    skin: Array  # [P or S] 0 torso .. 1 head
    faces: NDArray[np.int64] | None = None  # [F, 4]; None for strands
    roughness: float = 0.5
    subsurface: float = 0.0  # 0..1
    radius: tuple[float, float] = (0.0, 0.0)  # m at root and tip, strands only
    gloss: Array | None = None  # [P] 0..1, where the skin is moist


@dataclass(frozen=True, eq=False)
class PosedBody:
    """A body in one pose, canonical frame, metres; T_world_head and T_world_torso are identity at rest."""

    positions: Mapping[str, Array]  # part -> [P, 3] or [S, K, 3]
    T_world_head: Array  # [4, 4]
    T_world_torso: Array  # [4, 4]
    landmarks: Array  # [68, 3] iBUG-68 order
