"""How each piece of a body follows the rig: subdivided, rigid, on the head, rooted in the skin, or worn."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from splatface.models.training.synthetic.bones import PosedRig
from splatface.models.training.synthetic.parts import Part
from splatface.models.training.synthetic.rig import Rig
from splatface.models.training.synthetic.subdivide import vertex_normals
from splatface.models.typing import AnyArray

__all__ = [
    "ClothDeformer",
    "Deformer",
    "HeadAttached",
    "LinearDeformer",
    "Piece",
    "Rigid",
    "RootedStrands",
    "rigid_of",
]


class Deformer(Protocol):
    """From a posed rig to the positions of one part, in the shape of `Part.positions`."""

    def __call__(self, posed: PosedRig) -> AnyArray:
        """Positions of the part."""
        ...


@dataclass(frozen=True, eq=False)
class Piece:
    """A part and what moves it."""

    part: Part
    mover: Deformer


@dataclass(frozen=True, eq=False)
class LinearDeformer:
    """Points that are fixed sums of control vertices: `matrix` [P, V]."""

    matrix: Any
    shape: tuple[int, ...]  # (P, 3) or (S, K, 3)

    def __call__(self, posed: PosedRig) -> AnyArray:
        """Positions of `shape`."""
        return np.asarray(self.matrix @ posed.vertices).reshape(self.shape)


@dataclass(frozen=True, eq=False)
class Rigid:
    """A stiff thing carried by some control vertices (an eye, a row of teeth)."""

    points: AnyArray  # [P, 3] at rest
    carriers: NDArray[np.int64]  # [N] control vertices
    carriers_rest: AnyArray  # [N, 3]

    def __call__(self, posed: PosedRig) -> AnyArray:
        """Positions [P, 3] under the turn that fits the carriers best (Kabsch 1976)."""
        now = posed.vertices[self.carriers]
        center, center_now = self.carriers_rest.mean(0), now.mean(0)
        u, _, vt = np.linalg.svd((self.carriers_rest - center).T @ (now - center_now))
        handed = np.diag([1.0, 1.0, np.sign(np.linalg.det(vt.T @ u.T))])
        rotation = vt.T @ handed @ u.T
        moved: AnyArray = (self.points - center) @ rotation.T + center_now
        return moved


@dataclass(frozen=True, eq=False)
class HeadAttached:
    """Points fixed to the head bone."""

    points: AnyArray  # [..., 3] at rest

    def __call__(self, posed: PosedRig) -> AnyArray:
        """Positions in the shape of `points`."""
        moved: AnyArray = self.points @ posed.T_world_head[:3, :3].T + posed.T_world_head[:3, 3]
        return moved


@dataclass(frozen=True, eq=False)
class RootedStrands:
    """Strands [S, K, 3] that stand on points of the skin and turn with the head."""

    roots: Any  # matrix [S, V]: the skin point below every strand
    offsets: AnyArray  # [S, K, 3] from that point, at rest

    def __call__(self, posed: PosedRig) -> AnyArray:
        """Positions [S, K, 3]."""
        roots = np.asarray(self.roots @ posed.vertices)
        moved: AnyArray = roots[:, None] + self.offsets @ posed.T_world_head[:3, :3].T
        return moved


@dataclass(frozen=True, eq=False)
class ClothDeformer:
    """Cloth over the body: a smoothed control mesh pushed out along its normals, then subdivided."""

    smooth: Any  # matrix [N, V]
    faces: NDArray[np.int64]  # [F, 4] over N
    fine: Any  # matrix [P, N]
    distance_m: float

    def __call__(self, posed: PosedRig) -> AnyArray:
        """Positions [P, 3]."""
        near = np.asarray(self.smooth @ posed.vertices)
        return np.asarray(self.fine @ (near + self.distance_m * vertex_normals(near, self.faces)))


def rigid_of(rig: Rig, group: str, points: AnyArray) -> Rigid:
    """Carry points [P, 3], given at rest, by all control vertices of a face group."""
    carriers = rig.vertices(group)
    return Rigid(points, carriers, rig.rest[carriers])
