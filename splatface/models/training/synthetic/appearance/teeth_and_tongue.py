# SPDX-License-Identifier: Apache-2.0
"""Inside the mouth: two rows of teeth in their gums, carried by anny's own rows, and the tongue."""

from itertools import pairwise

import numpy as np
from scipy.interpolate import CubicSpline

from splatface.models.training.dataset.types import MOUTH
from splatface.models.training.synthetic.appearance.face_measurements import lerp, smoothstep
from splatface.models.training.synthetic.body_parts import (
    DeformablePart,
    LinearDeformer,
    Part,
    make_rigid,
    subdivide,
)
from splatface.models.training.synthetic.rig import Rig
from splatface.models.typing import AnyArray

__all__ = ["make_teeth_and_tongue"]


_ENAMEL = np.array([0.86, 0.82, 0.75])
_GUM = np.array([0.46, 0.15, 0.14])
_TONGUE = (0.45, 0.13, 0.12)
# Widths (mm) of the teeth of one side from the middle out; heights of their crowns.
_UPPER_MM = ((8.6, 10.2), (6.8, 9.0), (7.6, 9.8), (7.0, 8.4), (6.8, 7.8), (9.5, 7.2))
_LOWER_MM = ((5.4, 8.6), (5.9, 8.6), (6.8, 9.4), (7.0, 8.2), (7.1, 7.8), (10.5, 7.2))
_STEPS_ALONG, _STEPS_DOWN = 12, 18  # grid of one tooth
# anny's rows reach into the lips of a smiling mouth.
_NARROWER, _DEEPER_M = 0.93, 0.0012
# And they sit high behind the lips: an upper tooth shows 2 mm below a resting lip, a lower none.
_DROP_M = {1.0: 0.0033, -1.0: 0.0078}
_GUM_MM = 5.0  # above the crowns


def make_teeth_and_tongue(rig: Rig) -> dict[str, DeformablePart]:
    """Return upper_teeth, lower_teeth and tongue."""
    pieces = {
        "upper_teeth": _teeth(rig, "helper-upper-teeth", np.array(_UPPER_MM) / 1000, 1.0),
        "lower_teeth": _teeth(rig, "helper-lower-teeth", np.array(_LOWER_MM) / 1000, -1.0),
    }
    refined = subdivide(rig.faces["helper-tongue"], len(rig.rest), 2)
    points = np.asarray(refined.matrix @ rig.rest)
    tongue = Part(
        kind="mesh",
        material="mouth",
        positions=points,
        colors=np.tile([_TONGUE], (len(points), 1)),
        labels=np.full(len(points), MOUTH, np.uint8),
        skin=np.ones(len(points)),
        faces=refined.faces,
        roughness=0.35,
        subsurface=0.4,
    )
    pieces["tongue"] = DeformablePart(tongue, LinearDeformer(refined.matrix, points.shape))
    return pieces


def _teeth(rig: Rig, group: str, sizes: AnyArray, down: float) -> DeformablePart:
    """Return one row: a sheet along the arch, in relief tooth by tooth. `down` +1: the edges point down."""
    points, colors = _sheet(_arch(rig.rest[rig.vertices(group)], down), sizes, down)
    rows, columns = points.shape[:2]
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns - 1), indexing="ij")
    corners = (i * columns + j, (i + 1) * columns + j, (i + 1) * columns + j + 1, i * columns + j + 1)
    flat = points.reshape(-1, 3)
    part = Part(
        kind="mesh",
        material="teeth",
        positions=flat,
        colors=colors.reshape(-1, 3),
        labels=np.full(len(flat), MOUTH, np.uint8),
        skin=np.ones(len(flat)),
        faces=np.stack(corners, -1).reshape(-1, 4),
        roughness=0.22,
        subsurface=0.35,
    )
    return DeformablePart(part, make_rigid(rig, group, flat))


def _arch(row: AnyArray, down: float) -> AnyArray:
    """Return the biting edge [N, 3] of a row of anny's teeth from the middle to one side, front surface."""
    side = row[row[:, 0] > -1e-4]
    edge = (down * side[:, 1]).max()
    outer = side[(edge - down * side[:, 1]) < 0.007]
    angle = np.arctan2(outer[:, 0], 0.03 - outer[:, 2])
    radius = np.hypot(outer[:, 0], 0.03 - outer[:, 2])
    # Where anny has two points near one angle, the outer one is the front of the tooth.
    bins = np.linspace(0, np.pi / 2 + 0.05, 10)
    best = []
    for low, high in pairwise(bins):
        inside = np.flatnonzero((angle >= low - 1e-6) & (angle < high))
        if len(inside):
            best.append(outer[inside[np.argmax(radius[inside])]])
    arch = np.array(best)
    arch[0, 0] = 0.0
    arch[:, 0] *= _NARROWER
    arch[:, 2] += _DEEPER_M
    arch[:, 1] = down * edge + _DROP_M[down]
    return arch


def _sheet(arch: AnyArray, sizes: AnyArray, down: float) -> tuple[AnyArray, AnyArray]:
    """Return points [R, C, 3] and colors [R, C, 3] of both sides of a row, mirrored at the middle."""
    length = np.r_[0, np.cumsum(np.linalg.norm(np.diff(arch, axis=0), axis=1))]
    curve = CubicSpline(length, arch, bc_type=((1, np.array([1.0, 0, 0])), "natural"))
    widths, heights = sizes.T * (1.0 if length[-1] > sizes[:, 0].sum() else length[-1] / sizes[:, 0].sum())
    sides = []
    for number, (width, height) in enumerate(zip(widths, heights, strict=True)):
        u = np.linspace(-1, 1, _STEPS_ALONG)
        s = widths[:number].sum() + width * (u + 1) / 2
        sides.append(_tooth(curve, s, u, height, down))
    points = np.concatenate([points for points, _ in sides], 1)
    colors = np.concatenate([colors for _, colors in sides], 1)
    mirrored = points[:, ::-1] * np.array([-1.0, 1, 1])
    return np.concatenate([mirrored, points], 1), np.concatenate([colors[:, ::-1], colors], 1)


def _tooth(
    curve: CubicSpline, s: AnyArray, u: AnyArray, height: float, down: float
) -> tuple[AnyArray, AnyArray]:
    """Return points and colors [R, C, 3] of one crown and the gum above it; u -1..1 across the crown."""
    t = np.linspace(0, 1, _STEPS_DOWN)[:, None]  # 0 biting edge, 1 top of the gum
    rise = t * (height + _GUM_MM / 1000)
    base, tangent = curve(s), curve(s, 1)
    outward = np.stack([tangent[:, 2], np.zeros(len(s)), -tangent[:, 0]], 1)
    outward /= np.linalg.norm(outward, axis=1, keepdims=True) * -1.0
    outward *= np.sign((outward * (base - np.array([0, 0, 0.03]))).sum(1, keepdims=True))
    gum_line = height * (1 - 0.16 * np.abs(u) ** 2.2)[None]
    crown = smoothstep(0.0006, -0.0006, rise - gum_line)
    bulge = (
        0.0011
        * (1 - np.abs(u) ** 3)[None]
        * np.sqrt(np.clip(1.25 - np.abs(2 * rise / height - 0.9) ** 2, 0.02, 1))
    )
    gum = 0.0009 * (1 - 0.3 * np.abs(u)[None]) + 0 * t
    depth = bulge * crown + gum * (1 - crown) - 0.0012 * smoothstep(0.0012, 0.0, rise)
    corner = 0.0007 * np.abs(u)[None] ** 4 * smoothstep(0.003, 0.0, rise)  # rounded corners of the edge
    points = np.repeat(base[None], _STEPS_DOWN, 0) + depth[..., None] * outward[None]
    points[..., 1] -= down * (rise + corner)
    gap = np.abs(u)[None] ** 8 * np.ones_like(t)
    enamel = (
        _ENAMEL * (1 - 0.50 * gap)[..., None] * (1 - 0.10 * smoothstep(0.5, 1.0, rise / height))[..., None]
    )
    flat = lerp(enamel.reshape(-1, 3), _GUM, (1 - crown).ravel())
    dim = 1 - 0.45 * smoothstep(0.010, 0.030, s)  # little light comes to the back of a mouth
    return points, flat.reshape(points.shape) * dim[None, :, None]
