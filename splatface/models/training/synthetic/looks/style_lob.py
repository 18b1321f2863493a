"""A lob: shoulder-length hair with a side part that falls over the ears and frames the face."""

import numpy as np

from splatface.models.training.synthetic.identity import Looks
from splatface.models.training.synthetic.looks.comb import clump, ground_of, roots_on
from splatface.models.training.synthetic.looks.marks import FaceMeasurements
from splatface.models.training.synthetic.looks.numbers import coordinates, smooth_noise, smoothstep
from splatface.models.training.synthetic.looks.skin import Skin
from splatface.models.typing import AnyArray

__all__ = ["lob"]


_STRANDS, _POINTS = 15000, 20
_STEP_M = 0.0158
_PART_ACROSS = 0.014  # where the hair parts
_END_UP = -0.136  # height of the tips
# How far back the inner edge of the hair lies beside the face, by height.
_EDGE_UP = (-0.16, -0.12, -0.08, -0.03, 0.01, 0.035, 0.055, 0.075)
_EDGE_BACK = (0.042, 0.036, 0.032, 0.031, 0.027, 0.017, 0.002, -0.05)
# How far out the hair reaches, by height.
_OUT_UP = (-0.15, -0.11, -0.06, -0.01, 0.03)
_OUT_ACROSS = (0.090, 0.098, 0.099, 0.095, 0.100)
_CURTAIN_IN = 0.067


def lob(skin: Skin, marks: FaceMeasurements, looks: Looks, rng: np.random.Generator) -> AnyArray:
    """Strands [S, K, 3]."""
    ground = ground_of(skin)
    points, _ = roots_on(skin, marks, looks, _STRANDS, rng)
    side = np.where(points[:, 0] > _PART_ACROSS, 1.0, -1.0)
    layer = rng.uniform(0, 1, _STRANDS)
    wave = smooth_noise(points, 70, 9)
    frontal = smoothstep(0.07, -0.01, points[:, 2])
    strand = [points]
    for step in range(1, _POINTS):
        s = step / (_POINTS - 1)
        heading = _heading(points, side, frontal, wave, s)
        height, normals = ground.above(points)
        on_head = smoothstep(-0.075, -0.045, -points[:, 1]) * (height < 0.03)
        heading -= normals * ((heading * normals).sum(1) * on_head)[:, None]
        heading /= np.linalg.norm(heading, axis=1, keepdims=True) + 1e-9
        end = _END_UP - 0.010 * layer + 0.006 * wave
        advance = _STEP_M * np.clip((-points[:, 1] - end) / 0.02, 0, 1)
        points = points + heading * advance[:, None]
        points = _kept_off(points, ground.above(points), layer, frontal, marks, s)
        points = _within_outline(_off_the_face(points, layer), layer)
        strand.append(points)
    strands = np.stack(strand, 1)
    strands = clump(strands, 360, 0.55, rng)
    return _loosened(_smoothed(strands), rng)


def _heading(points: AnyArray, side: AnyArray, frontal: AnyArray, wave: AnyArray, s: float) -> AnyArray:
    """Where strands grow [S, 3]: aside and back from the part, then down, inwards at the tips."""
    across, _, up = coordinates(points)
    down = smoothstep(0.065, -0.005, up)
    low = smoothstep(-0.06, -0.13, up)
    aside = side * (1.0 - 0.97 * down) + 0.12 * wave * (1 - down) - 0.35 * np.sign(across) * low
    backwards = 0.10 + 0.45 * frontal * (1 - down) - 0.05 * down
    falling = 0.30 + 1.0 * down - 0.35 * frontal * (1 - down) * smoothstep(0.25, 0.0, np.full(len(up), s))
    return np.stack([aside, falling, backwards], 1)


def _kept_off(
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


def _loosened(strands: AnyArray, rng: np.random.Generator) -> AnyArray:
    """Some disorder towards the tips."""
    t = np.linspace(0, 1, strands.shape[1])[None, :, None] ** 1.2
    loose: AnyArray = strands + t * rng.normal(0, 0.0008, (len(strands), 1, 3))
    return loose
