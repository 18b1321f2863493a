# SPDX-License-Identifier: Apache-2.0
"""Painted skin: blush, eyelids, freckles, lips, beard, brow shade, and the scalp with its hairline."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from splatface.models.training.dataset.types import FACE, HAIR, LIPS, MOUTH, NECK
from splatface.models.training.synthetic.actor_identity import Appearance
from splatface.models.training.synthetic.appearance.face_measurements import (
    FaceMeasurements,
    coordinates,
    gaussian_bump,
    lerp,
    region_mask,
    smooth_noise,
    smoothstep,
)
from splatface.models.training.synthetic.body_parts import (
    DeformablePart,
    LinearDeformer,
    Part,
    subdivide,
    vertex_normals,
)
from splatface.models.training.synthetic.rig import BodyPose, Rig, head_weights, pose_rig
from splatface.models.typing import AnyArray

__all__ = [
    "BrowPath",
    "SkinSurface",
    "azimuth_around_head",
    "brow_cover",
    "brow_paths",
    "make_skin",
    "scalp_distance",
]

# the head: 0 forehead, 67 in front of the ear (sideburn), 84 above it, 180 nape.
_ANGLES_DEG = (0, 18, 32, 42, 50, 56, 60, 64, 67, 70, 84, 96, 102, 112, 130, 180)
_HEIGHTS = (
    0.0680, 0.0695, 0.0665, 0.0570, 0.0400, 0.0200, 0.0020, -0.0180, -0.0180,
    0.0060, 0.0140, 0.0100, -0.0050, -0.0350, -0.0560, -0.0680,
)  # fmt: skip
_CROWN = 0.114
_AXIS_BACK = 0.085  # m, depth of the head's own axis behind the eyes


def azimuth_around_head(points: AnyArray) -> AnyArray:
    """Return the angle [N] rad about the head's upright axis: 0 at the forehead, pi at the nape."""
    across, back, _ = coordinates(points)
    angle: AnyArray = np.arctan2(np.abs(across), _AXIS_BACK - back)
    return angle


def scalp_distance(points: AnyArray, marks: FaceMeasurements, looks: Appearance) -> AnyArray:
    """Return about how far [N] m points lie inside the hairline; negative on bare skin."""
    _, _, up = coordinates(points)
    line = np.interp(np.degrees(azimuth_around_head(points)), _ANGLES_DEG, _HEIGHTS)
    wave = 0.0016 * smooth_noise(points, 110, 3) + 0.0008 * smooth_noise(points, 350, 7)
    distance: AnyArray = up * _CROWN / marks.crown_up - line + wave + looks.hairline_lower_m
    return distance


@dataclass(frozen=True, eq=False)
class BrowPath:
    """The middle line of a brow from the nose outwards, N points in the frontal plane."""

    side: float  # +1 picture's right
    across: AnyArray  # [N] m
    up: AnyArray  # [N] m
    half_width: AnyArray  # [N] m


def brow_paths(marks: FaceMeasurements, looks: Appearance) -> tuple[BrowPath, BrowPath]:
    """Return the two brows: a straight rise over two thirds of the eye, then a taper."""
    t = np.linspace(0, 1, 48)
    eye = abs(float(marks.eyes[0][0]))
    scale = marks.eye_radius / 0.0162
    height = 0.0185 * scale
    arch = 0.0052 * np.sin(np.pi * np.clip(t / 1.30, 0, 1)) - 0.0050 * np.clip(t - 0.62, 0, 1) / 0.38
    width = np.interp(t, [0, 0.10, 0.35, 0.65, 1], [0.0030, 0.0040, 0.0039, 0.0029, 0.0014])
    across = eye - 0.0180 * scale + 0.0430 * scale * t
    paths = [
        BrowPath(side, side * across, height + arch, width * looks.brow_thickness) for side in (1.0, -1.0)
    ]
    return paths[0], paths[1]


def brow_cover(points: AnyArray, marks: FaceMeasurements, looks: Appearance) -> AnyArray:
    """Return how much [P] 0..1 a point of the face lies under a brow."""
    across, back, up = coordinates(points)
    cover = np.zeros(len(points))
    near = np.flatnonzero((back < 0.05) & (up > 0) & (up < 0.05) & (np.abs(across) < 0.08))
    for path in brow_paths(marks, looks):
        tree = cKDTree(np.stack([path.across, path.up], 1))
        distance, nearest = tree.query(np.stack([across[near], up[near]], 1))
        cover[near] += 1 - smoothstep(0.2, 1.5, distance / path.half_width[nearest])
    return np.clip(cover, 0, 1)


_INSIDE_MOUTH = (0.22, 0.045, 0.04)
_LEVELS = 2


@dataclass(frozen=True, eq=False)
class SkinSurface:
    """The skin's surface at rest, on which hair, brows and lashes are placed."""

    piece: DeformablePart
    points: AnyArray  # [P, 3]
    normals: AnyArray  # [P, 3] outwards
    uv: AnyArray  # [P, 2]
    matrix: Any  # [P, V]
    ears: AnyArray  # [P] 0..1


def make_skin(rig: Rig, marks: FaceMeasurements, looks: Appearance) -> SkinSurface:
    """Return head and neck down to where the shirt hides them, painted."""
    neck = rig.bone_heads[rig.bone("neck01")]
    faces = rig.faces["body"]
    corners = rig.rest[faces]
    above = corners[..., 1].max(1) < neck[1] + 0.10
    narrow = np.abs(corners[..., 0]).max(1) < 0.125
    refined = subdivide(faces[above & narrow], len(rig.rest), _LEVELS)
    points = np.asarray(refined.matrix @ pose_rig(rig, {}, BodyPose()).vertices)  # arms down
    normals = vertex_normals(points, refined.faces)
    uv = np.asarray(refined.matrix @ rig.uv)
    ears = region_mask(rig, "ears", uv, 4)
    lips = smoothstep(0.25, 0.75, region_mask(rig, "lips", uv, 3))
    inside = region_mask(rig, "inside-mouth", uv, 1)
    scalp = smoothstep(-0.004, 0.010, scalp_distance(points, marks, looks)) * (1 - smoothstep(0.3, 0.7, ears))
    weights = np.asarray(refined.matrix @ head_weights(rig))
    colors = _paint(points, normals, marks, looks)
    colors = lerp(colors, colors * (1.07, 0.80, 0.78), 0.6 * region_mask(rig, "ears", uv, 3))
    tone = np.array(looks.lips) * (1 + 0.05 * smooth_noise(points, 400, 4))[:, None]
    colors = lerp(colors, tone, 0.88 * lips)
    colors = lerp(colors, _INSIDE_MOUTH, inside)
    colors = lerp(colors, np.array(looks.hair) * 1.2 + np.array(looks.skin) * 0.08, 0.92 * scalp)
    part = Part(
        kind="mesh",
        material="skin",
        positions=points,
        colors=np.clip(colors, 0, 1),
        labels=_labels(weights, lips, inside, scalp),
        skin=weights,
        faces=refined.faces,
        roughness=0.42,
        subsurface=0.55,
        gloss=lips,
    )
    return SkinSurface(
        DeformablePart(part, LinearDeformer(refined.matrix, points.shape)),
        points,
        normals,
        uv,
        refined.matrix,
        ears,
    )


def _labels(weights: AnyArray, lips: AnyArray, inside: AnyArray, scalp: AnyArray) -> NDArray[np.uint8]:
    labels = np.where(weights < 0.9, NECK, FACE)
    labels[scalp > 0.6] = HAIR
    labels[lips > 0.5] = LIPS
    labels[inside > 0.5] = MOUTH
    return labels.astype(np.uint8)


def _paint(points: AnyArray, normals: AnyArray, marks: FaceMeasurements, looks: Appearance) -> AnyArray:
    """Return the skin without lips, scalp and ears [P, 3]."""
    skin = np.array(looks.skin)
    red, dark = skin * (1.10, 0.74, 0.70), skin * (0.80, 0.66, 0.62)
    colors = np.repeat(skin[None], len(points), 0)
    for side in (-1, 1):
        cheek = _front_point(points, normals, side * 0.040, -0.034)
        colors = lerp(colors, red, 0.42 * looks.blush * gaussian_bump(points, cheek, 0.021))
    colors = lerp(colors, red, 0.40 * looks.blush * gaussian_bump(points, marks.nose, 0.014))
    chin = marks.mouth + np.array([0, 0.034, 0])
    colors = lerp(colors, red, 0.20 * looks.blush * gaussian_bump(points, chin, 0.016))
    for eye in marks.eyes:
        lid = eye - np.array([0, 0, marks.eye_radius])
        below = lid + np.array([0, 0.008, 0])
        colors = lerp(colors, dark, 0.22 * gaussian_bump(points, lid - (0, 0.004, 0), 0.016))
        colors = lerp(colors, dark, 0.30 * gaussian_bump(points, below, 0.009))
    if looks.beard:
        colors = lerp(colors, skin * (0.72, 0.73, 0.78), 0.45 * looks.beard * _beard(points, marks))
    fine = 0.030 * smooth_noise(points, 60, 1) + 0.022 * smooth_noise(points, 160, 2)
    tint = np.stack(
        [np.zeros(len(points)), 0.02 * smooth_noise(points, 45, 5), 0.025 * smooth_noise(points, 50, 6)], 1
    )
    colors = colors * (1 + fine)[:, None] * (1 + tint)
    brow = np.array(looks.brow) + skin * 0.18
    return lerp(colors, brow, 0.45 * brow_cover(points, marks, looks))


def _front_point(points: AnyArray, normals: AnyArray, across: float, up: float) -> AnyArray:
    """Return the point of the face that is seen at (across, up)."""
    miss = np.abs(points[:, 0] - across) + np.abs(points[:, 1] + up) + 9.0 * (normals[:, 2] > 0)
    found: AnyArray = points[np.argmin(miss)]
    return found


def _beard(points: AnyArray, marks: FaceMeasurements) -> AnyArray:
    """Return where a beard would grow [P] 0..1: jaw, chin and above the lip, up to the sideburns."""
    across, back, up = coordinates(points)
    jaw = smoothstep(-0.030, -0.060, up - 0.35 * np.abs(across)) * smoothstep(0.085, 0.055, back)
    neck = smoothstep(-0.150, -0.115, up)
    moustache = gaussian_bump(points, marks.mouth - (0, 0.012, 0), 0.020)
    shadow: AnyArray = np.clip(jaw * neck + 0.5 * moustache, 0, 1)
    return shadow
