"""The pieces a body is drawn from: meshes of quads and strands of hair, at rest and posed."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatface.models.typing import AnyArray

__all__ = ["Part", "PosedBody"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Part:
    """One piece of a body at rest: a mesh of P points, or S strands of K points (P = S K).

    `colors`, `labels` and `skin` have one row a point for a mesh and one row a strand for strands.
    """

    kind: str  # "mesh" or "strands"
    material: str  # skin, teeth, mouth, eye, hair, brow, lash or cloth: how light meets it
    positions: AnyArray  # [P, 3] or [S, K, 3] m, canonical, at rest
    colors: AnyArray  # [P or S, 3] linear RGB 0..1
    labels: NDArray[np.uint8]  # [P or S] dataset LABELS
    skin: AnyArray  # [P or S] 0 torso .. 1 head
    faces: NDArray[np.int64] | None = None  # [F, 4]; None for strands
    roughness: float = 0.5
    subsurface: float = 0.0  # 0..1
    radius: tuple[float, float] = (0.0, 0.0)  # m at root and tip, strands only
    gloss: AnyArray | None = None  # [P] 0..1, where the skin is moist


@dataclass(frozen=True, eq=False)
class PosedBody:
    """A body in one pose, canonical frame, meters; T_world_head and T_world_torso are identity at rest."""

    positions: Mapping[str, AnyArray]  # part -> [P, 3] or [S, K, 3]
    T_world_head: AnyArray  # [4, 4]
    T_world_torso: AnyArray  # [4, 4]
    landmarks: AnyArray  # [68, 3] iBUG-68 order
