# SPDX-License-Identifier: Apache-2.0
"""Hair: strands grown from the scalp in one of three styles, fixed to the head."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from splatface.models.errors import ActorError
from splatface.models.training.dataset.types import HAIR
from splatface.models.training.synthetic.actor_identity import HAIR_STYLES, Appearance
from splatface.models.training.synthetic.appearance.face_measurements import (
    FaceMeasurements,
    coordinates,
    smooth_noise,
    smoothstep,
)
from splatface.models.training.synthetic.appearance.skin_paint import SkinSurface, scalp_distance
from splatface.models.training.synthetic.body_parts import DeformablePart, HeadAttached, Part
from splatface.models.typing import AnyArray

__all__ = [
    "HeadSurface",
    "clump",
    "grow_coils",
    "grow_lob",
    "grow_short",
    "head_surface",
    "make_hair",
    "sample_roots",
]

_GRID_M = 0.004


@dataclass(frozen=True, eq=False)
class HeadSurface:
    """The head without its ears, as a surface that hair must stay outside of."""

    tree: cKDTree
    points: AnyArray
    normals: AnyArray

    def above(self, points: AnyArray) -> tuple[AnyArray, AnyArray]:
        """Return height [N] of points over the surface and its normals [N, 3] there."""
        _, nearest = self.tree.query(points, k=4)
        normals = self.normals[nearest].mean(1)
        normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9
        height = ((points - self.points[nearest].mean(1)) * normals).sum(1)
        return height, normals


def head_surface(skin: SkinSurface) -> HeadSurface:
    """Return the surface of a skin, ears left out."""
    bare = np.flatnonzero((skin.ears < 0.25) & (skin.points[:, 1] < 0.16))
    return HeadSurface(cKDTree(skin.points[bare]), skin.points[bare], skin.normals[bare])


def sample_roots(
    skin: SkinSurface, marks: FaceMeasurements, looks: Appearance, count: int, rng: np.random.Generator
) -> tuple[AnyArray, AnyArray]:
    """Return roots [N, 3] spread evenly over the scalp, and their distance [N] to the hairline."""
    distance = scalp_distance(skin.points, marks, looks)
    inside = np.flatnonzero((distance > -0.001) & (skin.ears < 0.25))
    cells = np.floor(skin.points[inside] / _GRID_M).astype(int)
    _, cell, members = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    weight = (0.25 + 0.75 * smoothstep(-0.001, 0.010, distance[inside])) / members[cell.reshape(-1)]
    chosen = inside[rng.choice(len(inside), count, p=weight / weight.sum())]
    return skin.points[chosen] + rng.normal(0, 0.0013, (count, 3)), distance[chosen]


def clump(strands: AnyArray, locks: int, strength: float, rng: np.random.Generator) -> AnyArray:
    """Pull strands [S, K, 3] towards the nearest of some leaders, more towards the tips."""
    leaders = rng.choice(len(strands), locks, replace=False)
    key = np.concatenate([strands[:, 0], 0.35 * strands[:, -1]], 1)
    follow = leaders[cKDTree(key[leaders]).query(key)[1]]
    t = np.linspace(0, 1, strands.shape[1])[None, :, None] ** 0.8
    pull = strength * rng.uniform(0.3, 1.0, (len(strands), 1, 1))
    together: AnyArray = strands + (strands[follow] - strands) * t * pull
    return together


_COILS_STRANDS, _COILS_POINTS = 15000, 14
_LENGTH_M = 0.020
_COIL_M, _TURNS = 0.0022, 2.2


def grow_coils(
    skin: SkinSurface, marks: FaceMeasurements, looks: Appearance, rng: np.random.Generator
) -> AnyArray:
    """Return strands [S, K, 3]."""
    ground = head_surface(skin)
    roots, inside = sample_roots(skin, marks, looks, _COILS_STRANDS, rng)
    _, normals = ground.above(roots)
    up = smoothstep(-0.06, 0.08, -roots[:, 1])
    length = _LENGTH_M * (0.30 + 0.70 * up) * (0.25 + 0.75 * smoothstep(0.0, 0.030, inside))
    length = length * (1 + 0.10 * smooth_noise(roots, 120, 11)) * rng.uniform(0.7, 1.05, _COILS_STRANDS)
    lean = normals + rng.normal(0, 0.28, (_COILS_STRANDS, 3))
    lean /= np.linalg.norm(lean, axis=1, keepdims=True)
    first = np.cross(lean, rng.normal(size=(_COILS_STRANDS, 3)))
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(lean, first)
    s = np.linspace(0, 1, _COILS_POINTS)
    turn = 2 * np.pi * (_TURNS * s[None] + rng.uniform(0, 1, (_COILS_STRANDS, 1)))
    width = _COIL_M * smoothstep(0.0, 0.35, s)[None] * (length / _LENGTH_M)[:, None]
    around = np.cos(turn)[..., None] * first[:, None] + np.sin(turn)[..., None] * second[:, None]
    strands: AnyArray = (
        roots[:, None] + lean[:, None] * (length[:, None] * s)[..., None] + around * width[..., None]
    )
    return strands


_LOB_STRANDS, _LOB_POINTS = 15000, 20
_STEP_M = 0.0158
_PART_ACROSS = 0.014  # where the hair parts
_END_UP = -0.136  # height of the tips
# Depth of the inner edge of the hair beside the face, by height.
_EDGE_UP = (-0.16, -0.12, -0.08, -0.03, 0.01, 0.035, 0.055, 0.075)
_EDGE_BACK = (0.042, 0.036, 0.032, 0.031, 0.027, 0.017, 0.002, -0.05)
# Outer radius of the hair, by height.
_OUT_UP = (-0.15, -0.11, -0.06, -0.01, 0.03)
_OUT_ACROSS = (0.090, 0.098, 0.099, 0.095, 0.100)
_CURTAIN_IN = 0.067


def grow_lob(
    skin: SkinSurface, marks: FaceMeasurements, looks: Appearance, rng: np.random.Generator
) -> AnyArray:
    """Return strands [S, K, 3]."""
    ground = head_surface(skin)
    points, _ = sample_roots(skin, marks, looks, _LOB_STRANDS, rng)
    side = np.where(points[:, 0] > _PART_ACROSS, 1.0, -1.0)
    layer = rng.uniform(0, 1, _LOB_STRANDS)
    wave = smooth_noise(points, 70, 9)
    frontal = smoothstep(0.07, -0.01, points[:, 2])
    strand = [points]
    for step in range(1, _LOB_POINTS):
        s = step / (_LOB_POINTS - 1)
        heading = _growth_direction(points, side, frontal, wave, s)
        height, normals = ground.above(points)
        on_head = smoothstep(-0.075, -0.045, -points[:, 1]) * (height < 0.03)
        heading -= normals * ((heading * normals).sum(1) * on_head)[:, None]
        heading /= np.linalg.norm(heading, axis=1, keepdims=True) + 1e-9
        end = _END_UP - 0.010 * layer + 0.006 * wave
        advance = _STEP_M * np.clip((-points[:, 1] - end) / 0.02, 0, 1)
        points = points + heading * advance[:, None]
        points = _lift_to_layer(points, ground.above(points), layer, frontal, marks, s)
        points = _within_outline(_off_the_face(points, layer), layer)
        strand.append(points)
    strands = np.stack(strand, 1)
    strands = clump(strands, 360, 0.55, rng)
    return _add_disorder(_smoothed(strands), rng)


def _growth_direction(
    points: AnyArray, side: AnyArray, frontal: AnyArray, wave: AnyArray, s: float
) -> AnyArray:
    """Return where strands grow [S, 3]: aside and back from the part, then down, inwards at the tips."""
    across, _, up = coordinates(points)
    down = smoothstep(0.065, -0.005, up)
    low = smoothstep(-0.06, -0.13, up)
    aside = side * (1.0 - 0.97 * down) + 0.12 * wave * (1 - down) - 0.35 * np.sign(across) * low
    backwards = 0.10 + 0.45 * frontal * (1 - down) - 0.05 * down
    falling = 0.30 + 1.0 * down - 0.35 * frontal * (1 - down) * smoothstep(0.25, 0.0, np.full(len(up), s))
    return np.stack([aside, falling, backwards], 1)


def _lift_to_layer(
    points: AnyArray,
    above: tuple[AnyArray, AnyArray],
    layer: AnyArray,
    frontal: AnyArray,
    marks: FaceMeasurements,
    s: float,
) -> AnyArray:
    """Lift strands to their layer over the head: fuller at the crown and over the ears."""
    height, normals = above
    across, _, up = coordinates(points)
    rise = float(smoothstep(0.0, 0.15, np.array(s)))
    want = (0.007 + 0.010 * layer) * rise * (1 + 0.35 * frontal)
    ear = np.exp(-(((up + marks.ear[1]) / 0.045) ** 2)) * smoothstep(0.03, 0.06, np.abs(across))
    want = want + 0.006 * ear * rise
    near = smoothstep(0.05, 0.03, np.abs(height)) * smoothstep(-0.09, -0.05, up)
    lift = np.where(height < want, want - height, 0.8 * (want - height) * smoothstep(-0.04, 0.0, up))
    kept: AnyArray = points + normals * (lift * near)[:, None]
    return kept


def _off_the_face(points: AnyArray, layer: AnyArray) -> AnyArray:
    """Hold strands behind the inner edge beside the face."""
    _, back, up = coordinates(points)
    edge = np.interp(up, _EDGE_UP, _EDGE_BACK) + 0.012 * layer
    moved = points.copy()
    moved[:, 2] += np.maximum(0, edge - back) * 0.6 * (up < 0.07)
    return moved


def _within_outline(points: AnyArray, layer: AnyArray) -> AnyArray:
    """Draw strands beside the head in, softly, to the outline of the cut."""
    across, _, up = coordinates(points)
    reach = np.interp(up, _OUT_UP, _OUT_ACROSS)
    beyond = np.maximum(0, np.abs(across) - reach)
    moved = points.copy()
    moved[:, 0] -= 0.8 * np.sign(across) * beyond
    # Below the ears the hair hangs as a curtain: its layers share the space from the cheek outwards.
    hang = _CURTAIN_IN + (reach - _CURTAIN_IN) * layer
    moved[:, 0] += 0.30 * smoothstep(-0.01, -0.05, up) * np.sign(across) * (hang - np.abs(across))
    return moved


def _smoothed(strands: AnyArray) -> AnyArray:
    """Even out the bends of strands; roots and tips stay."""
    for _ in range(6):
        middle = 0.25 * strands[:, :-2] + 0.5 * strands[:, 1:-1] + 0.25 * strands[:, 2:]
        strands = np.concatenate([strands[:, :1], middle, strands[:, -1:]], 1)
    return strands


def _add_disorder(strands: AnyArray, rng: np.random.Generator) -> AnyArray:
    """Return some disorder towards the tips."""
    t = np.linspace(0, 1, strands.shape[1])[None, :, None] ** 1.2
    loose: AnyArray = strands + t * rng.normal(0, 0.0008, (len(strands), 1, 3))
    return loose


_SHORT_STRANDS, _SHORT_POINTS = 22000, 10
_SIDE_M, _TOP_M = 0.009, 0.040  # lengths


def grow_short(
    skin: SkinSurface, marks: FaceMeasurements, looks: Appearance, rng: np.random.Generator
) -> AnyArray:
    """Return strands [S, K, 3]."""
    ground = head_surface(skin)
    points, inside = sample_roots(skin, marks, looks, _SHORT_STRANDS, rng)
    across, back, up = coordinates(points)
    top = smoothstep(0.040, 0.085, up * 0.114 / marks.crown_up)
    edge = smoothstep(0.0, 0.012, inside)
    length = (
        (_SIDE_M + (_TOP_M - _SIDE_M) * top) * (0.55 + 0.45 * edge) * rng.uniform(0.8, 1.1, _SHORT_STRANDS)
    )
    wave = smooth_noise(points, 60, 9)
    layer = rng.uniform(0, 1, _SHORT_STRANDS)
    frontal = smoothstep(0.07, 0.0, back)
    side_flow = np.stack([0.15 * np.sign(across), 0.9 + 0 * up, 0.55 + 0 * up], 1)
    top_flow = np.stack(
        [
            -0.22 + 0.22 * wave + 0.12 * smoothstep(0.015, 0.05, np.abs(across)) * np.sign(across),
            -0.30 * frontal,
            0.75 + 0 * up,
        ],
        1,
    )
    flow = side_flow * (1 - top)[:, None] + top_flow * top[:, None]
    # Less at the corners of the forehead, where single hairs would stand against the light.
    lively = (0.6 + 0.6 * frontal) * (1 - 0.6 * smoothstep(0.028, 0.052, np.abs(across)))
    strand = [points]
    for step in range(1, _SHORT_POINTS):
        s = step / (_SHORT_POINTS - 1)
        height, normals = ground.above(points)
        heading = flow - normals * (flow * normals).sum(1, keepdims=True)
        heading /= np.linalg.norm(heading, axis=1, keepdims=True) + 1e-9
        stand = (0.14 + 0.95 * top * lively) * (1 - s) ** 1.3
        heading += normals * stand[:, None]
        heading /= np.linalg.norm(heading, axis=1, keepdims=True) + 1e-9
        points = points + heading * (length / (_SHORT_POINTS - 1))[:, None]
        height, normals = ground.above(points)
        want = 0.0010 + (0.0035 + 0.010 * top) * layer * s**0.7
        points = points + normals * np.maximum(0, want - height)[:, None]
        strand.append(points)
    strands = clump(np.stack(strand, 1), 1400, 0.35, rng)
    t = np.linspace(0, 1, _SHORT_POINTS)[None, :, None] ** 1.2
    loose: AnyArray = strands + t * rng.normal(0, 0.0010, (len(strands), 1, 3))
    return loose


Style = Callable[[SkinSurface, FaceMeasurements, Appearance, np.random.Generator], AnyArray]

_STYLES: Mapping[str, Style] = {"lob": grow_lob, "short": grow_short, "coils": grow_coils}
_RADIUS_M = {"lob": (0.00025, 0.00011), "short": (0.00026, 0.00010), "coils": (0.00022, 0.00014)}


def make_hair(
    skin: SkinSurface, marks: FaceMeasurements, looks: Appearance, rng: np.random.Generator
) -> DeformablePart:
    """Return the hair of the head, about 15,000 strands."""
    if looks.hair_style not in _STYLES:
        raise ActorError(f"hair_style: expected one of {', '.join(HAIR_STYLES)}, found '{looks.hair_style}'")
    strands = _STYLES[looks.hair_style](skin, marks, looks, rng)
    streaks = 0.22 * smooth_noise(strands[:, 0], 260, 21) + 0.10 * smooth_noise(strands[:, 0], 60, 22)
    tone = np.exp(streaks + rng.normal(0, 0.15, len(strands)))[:, None]
    part = Part(
        kind="strands",
        material="hair",
        positions=strands,
        colors=np.clip(np.array(looks.hair) * tone, 0, 1),
        labels=np.full(len(strands), HAIR, np.uint8),
        skin=np.ones(len(strands)),
        roughness=0.45,
        radius=_RADIUS_M[looks.hair_style],
    )
    return DeformablePart(part, HeadAttached(strands))
