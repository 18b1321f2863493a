"""A short cut: clipped sides, longer on top, combed up from the forehead and to one side."""

import numpy as np

from splatface.models.training.synthetic.identity import Looks
from splatface.models.training.synthetic.looks.comb import clump, ground_of, roots_on
from splatface.models.training.synthetic.looks.marks import FaceMeasurements
from splatface.models.training.synthetic.looks.numbers import coordinates, smooth_noise, smoothstep
from splatface.models.training.synthetic.looks.skin import Skin
from splatface.models.typing import AnyArray

__all__ = ["short"]


_STRANDS, _POINTS = 22000, 10
_SIDE_M, _TOP_M = 0.009, 0.040  # lengths


def short(skin: Skin, marks: FaceMeasurements, looks: Looks, rng: np.random.Generator) -> AnyArray:
    """Strands [S, K, 3]."""
    ground = ground_of(skin)
    points, inside = roots_on(skin, marks, looks, _STRANDS, rng)
    across, back, up = coordinates(points)
    top = smoothstep(0.040, 0.085, up * 0.114 / marks.crown_up)
    edge = smoothstep(0.0, 0.012, inside)
    length = (_SIDE_M + (_TOP_M - _SIDE_M) * top) * (0.55 + 0.45 * edge) * rng.uniform(0.8, 1.1, _STRANDS)
    wave = smooth_noise(points, 60, 9)
    layer = rng.uniform(0, 1, _STRANDS)
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
    for step in range(1, _POINTS):
        s = step / (_POINTS - 1)
        height, normals = ground.above(points)
        heading = flow - normals * (flow * normals).sum(1, keepdims=True)
        heading /= np.linalg.norm(heading, axis=1, keepdims=True) + 1e-9
        stand = (0.14 + 0.95 * top * lively) * (1 - s) ** 1.3
        heading += normals * stand[:, None]
        heading /= np.linalg.norm(heading, axis=1, keepdims=True) + 1e-9
        points = points + heading * (length / (_POINTS - 1))[:, None]
        height, normals = ground.above(points)
        want = 0.0010 + (0.0035 + 0.010 * top) * layer * s**0.7
        points = points + normals * np.maximum(0, want - height)[:, None]
        strand.append(points)
    strands = clump(np.stack(strand, 1), 1400, 0.35, rng)
    t = np.linspace(0, 1, _POINTS)[None, :, None] ** 1.2
    loose: AnyArray = strands + t * rng.normal(0, 0.0010, (len(strands), 1, 3))
    return loose
