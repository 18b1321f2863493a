"""A patch: some flat Gaussians of one part of the procedural head, and how they move."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.head.splats import DELTA_CHANNELS, Gaussians
from splatface.models.typing import Float64Array

__all__ = [
    "COEFFICIENT_NAMES",
    "Patch",
    "facing_patch",
    "gaussians_of",
    "grid_patch",
    "join",
    "moved",
    "pick",
    "strand_patch",
    "with_color",
]

COEFFICIENT_NAMES = (
    *MOUTH_MODES,
    "blink_left",
    "blink_right",
    "gaze_x",  # rad, to the head's left
    "gaze_y",  # rad, down
    "brow_up",
    "brow_down",
    "jaw_side",  # to the head's left
)
SH_C0 = 0.28209479177387814
SIGMA = 0.62  # standard deviation over spacing: neighbors at this width close a surface without ripples


Motion = Callable[
    [Float64Array], Float64Array
]  # points [n, 3] -> displacement per unit coefficient [n, 3, K]


@dataclass(frozen=True, slots=True)
class Patch:
    """n Gaussians; the columns of `axes` are the two tangents and the normal."""

    means: Float64Array  # [n, 3] m
    axes: Float64Array  # [n, 3, 3]
    scales: Float64Array  # [n, 3] m, along the axes
    opacity: Float64Array  # [n] 0..1
    color: Float64Array  # [n, 3] RGB 0..1
    basis: Float64Array  # [n, 14, K]

    def __len__(self) -> int:
        return len(self.means)

    @property
    def normals(self) -> Float64Array:
        """Outward unit normals [n, 3]."""
        return self.axes[:, :, 2]


def _patch(means: Float64Array, axes: Float64Array, scales: Float64Array, opacity: float) -> Patch:
    n = len(means)
    return Patch(
        means=means,
        axes=axes,
        scales=np.maximum(scales, 2e-4),
        opacity=np.full(n, opacity),
        color=np.full((n, 3), 0.5),
        basis=np.zeros((n, DELTA_CHANNELS, len(COEFFICIENT_NAMES))),
    )


def _unit(v: Float64Array) -> Float64Array:
    unit: Float64Array = v / (np.linalg.norm(v, axis=-1, keepdims=True) + 1e-12)
    return unit


def _frame(first: Float64Array, normals: Float64Array) -> Float64Array:
    """Right-handed axes [n, 3, 3] from a direction near the first tangent and unit normals."""
    a = _unit(first - normals * np.einsum("ij,ij->i", first, normals)[:, None])
    return np.stack([a, np.cross(normals, a), normals], axis=2)


def facing_patch(
    means: Float64Array, normals: Float64Array, seen_from: Float64Array, spacing: Float64Array, opacity: float
) -> Patch:
    """Gaussians of a surface sampled along rays; `spacing` [n] is the distance across the rays.

    Where the surface slants away from its rays the Gaussians are stretched along the slant, so it closes.
    """
    rays = _unit(means - seen_from)
    facing = np.clip(np.abs(np.einsum("ij,ij->i", rays, normals)), 0.3, 1.0)
    scales = SIGMA * spacing[:, None] * np.column_stack([1 / facing, np.ones_like(facing), 0.15 / facing])
    return _patch(means, _frame(rays + 1e-6, normals), scales, opacity)


def grid_patch(grid: Float64Array, opacity: float, *, wraps: bool = False, overlap: float = 1.0) -> Patch:
    """Gaussians at the points of a grid [rows, columns, 3], each as large as its cell.

    Normals are turned towards the viewer (-z); `wraps` closes the columns to a ring.
    """
    along = (np.roll(grid, -1, axis=1) - np.roll(grid, 1, axis=1)) / 2 if wraps else np.gradient(grid, axis=1)
    across = np.gradient(grid, axis=0)
    u, v = along.reshape(-1, 3), across.reshape(-1, 3)
    normals = _unit(np.cross(u, v))
    normals[normals[:, 2] > 0] *= -1
    axes = _frame(u, normals)
    height = np.abs(np.einsum("ij,ij->i", v, axes[:, :, 1]))
    size = np.column_stack([np.linalg.norm(u, axis=1), height])
    thick = 0.2 * size.min(axis=1)
    return _patch(grid.reshape(-1, 3), axes, SIGMA * overlap * np.column_stack([size, thick]), opacity)


def strand_patch(
    starts: Float64Array, ends: Float64Array, normals: Float64Array, width: Float64Array, opacity: float
) -> Patch:
    """One long Gaussian per stroke from `starts` to `ends` [n, 3], `width` [n] across."""
    v = ends - starts
    length = np.linalg.norm(v, axis=1)
    scales = np.column_stack([0.36 * length, width / 2, 0.3 * width])
    return _patch((starts + ends) / 2, _frame(v, normals), scales, opacity)


def with_color(patch: Patch, color: Float64Array | Sequence[float]) -> Patch:
    """The same patch painted [n, 3] or in one color."""
    return replace(patch, color=np.broadcast_to(np.asarray(color, float), patch.color.shape).copy())


def pick(patch: Patch, chosen: NDArray[np.bool_]) -> Patch:
    """The chosen Gaussians of a patch."""
    return Patch(*(getattr(patch, name)[chosen] for name in Patch.__slots__))


def join(patches: Sequence[Patch]) -> Patch:
    """All patches as one, in order."""
    return Patch(*(np.concatenate([getattr(p, name) for p in patches]) for name in Patch.__slots__))


def moved(patch: Patch, motion: Motion, step: float = 3e-4) -> Patch:
    """Let the patch move with a displacement field: means, and the field's stretch and turn per Gaussian."""
    rest = motion(patch.means)
    slopes = np.stack(
        [(motion(patch.means + step * patch.axes[:, :, i]) - rest) / step for i in range(3)], axis=1
    )  # [n, along axis, 3, K]
    local = np.einsum("nicK,ncj->nijK", slopes, patch.axes)  # component j of the change along axis i
    basis = patch.basis.copy()
    basis[:, :3] += rest
    basis[:, 7:9] += np.clip(np.stack([local[:, 0, 0], local[:, 1, 1]], axis=1), -0.5, 0.8)
    turn = np.stack(
        [local[:, 1, 2] - local[:, 2, 1], local[:, 2, 0] - local[:, 0, 2], local[:, 0, 1] - local[:, 1, 0]]
    )
    basis[:, 3:7] += _turned(quats_of_axes(patch.axes), np.clip(turn / 2, -0.6, 0.6))
    return replace(patch, basis=basis)


def _turned(quats: Float64Array, turn: Float64Array) -> Float64Array:
    """First-order change [n, 4, K] of quaternions [n, 4] turned by local vectors [3, n, K] rad."""
    w, x, y, z = quats.T[:, :, None] / 2
    a, b, c = turn
    return np.stack(
        [-x * a - y * b - z * c, w * a + y * c - z * b, w * b + z * a - x * c, w * c + x * b - y * a], axis=1
    )


def quats_of_axes(axes: Float64Array) -> Float64Array:
    """Unit quaternions wxyz [n, 4] of rotation matrices [n, 3, 3]."""
    m00, m11, m22 = axes[:, 0, 0], axes[:, 1, 1], axes[:, 2, 2]
    squares = np.stack(
        [1 + m00 + m11 + m22, 1 + m00 - m11 - m22, 1 - m00 + m11 - m22, 1 - m00 - m11 + m22], 1
    )
    a = axes
    products = np.stack(
        [
            np.stack(
                [squares[:, 0], a[:, 2, 1] - a[:, 1, 2], a[:, 0, 2] - a[:, 2, 0], a[:, 1, 0] - a[:, 0, 1]], 1
            ),
            np.stack(
                [a[:, 2, 1] - a[:, 1, 2], squares[:, 1], a[:, 0, 1] + a[:, 1, 0], a[:, 0, 2] + a[:, 2, 0]], 1
            ),
            np.stack(
                [a[:, 0, 2] - a[:, 2, 0], a[:, 0, 1] + a[:, 1, 0], squares[:, 2], a[:, 1, 2] + a[:, 2, 1]], 1
            ),
            np.stack(
                [a[:, 1, 0] - a[:, 0, 1], a[:, 0, 2] + a[:, 2, 0], a[:, 1, 2] + a[:, 2, 1], squares[:, 3]], 1
            ),
        ],
        axis=1,
    )  # row k is 4 q_k q: take the row with the largest q_k
    return _unit(products[np.arange(len(a)), squares.argmax(axis=1)])


def gaussians_of(patch: Patch) -> Gaussians:
    """The patch at rest in 3DGS conventions."""
    opacity = np.clip(patch.opacity, 1e-4, 0.9995)
    return Gaussians(
        means=patch.means.astype(np.float32),
        quats=quats_of_axes(patch.axes).astype(np.float32),
        log_scales=np.log(patch.scales).astype(np.float32),
        opacity_logits=np.log(opacity / (1 - opacity)).astype(np.float32),
        sh=((patch.color[:, None, :] - 0.5) / SH_C0).astype(np.float32),
    )
