"""Short coils: a soft crop of tight curls that stand off the head on all sides."""

import numpy as np

from splatface.models.training.synthetic.identity import Looks
from splatface.models.training.synthetic.looks.comb import ground_of, roots_on
from splatface.models.training.synthetic.looks.marks import FaceMeasurements
from splatface.models.training.synthetic.looks.numbers import smooth_noise, smoothstep
from splatface.models.training.synthetic.looks.skin import Skin
from splatface.models.typing import AnyArray

__all__ = ["coils"]


_STRANDS, _POINTS = 15000, 14
_LENGTH_M = 0.020
_COIL_M, _TURNS = 0.0022, 2.2


def coils(skin: Skin, marks: FaceMeasurements, looks: Looks, rng: np.random.Generator) -> AnyArray:
    """Strands [S, K, 3]."""
    ground = ground_of(skin)
    roots, inside = roots_on(skin, marks, looks, _STRANDS, rng)
    _, normals = ground.above(roots)
    up = smoothstep(-0.06, 0.08, -roots[:, 1])
    length = _LENGTH_M * (0.30 + 0.70 * up) * (0.25 + 0.75 * smoothstep(0.0, 0.030, inside))
    length = length * (1 + 0.10 * smooth_noise(roots, 120, 11)) * rng.uniform(0.7, 1.05, _STRANDS)
    lean = normals + rng.normal(0, 0.28, (_STRANDS, 3))
    lean /= np.linalg.norm(lean, axis=1, keepdims=True)
    first = np.cross(lean, rng.normal(size=(_STRANDS, 3)))
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(lean, first)
    s = np.linspace(0, 1, _POINTS)
    turn = 2 * np.pi * (_TURNS * s[None] + rng.uniform(0, 1, (_STRANDS, 1)))
    width = _COIL_M * smoothstep(0.0, 0.35, s)[None] * (length / _LENGTH_M)[:, None]
    around = np.cos(turn)[..., None] * first[:, None] + np.sin(turn)[..., None] * second[:, None]
    strands: AnyArray = (
        roots[:, None] + lean[:, None] * (length[:, None] * s)[..., None] + around * width[..., None]
    )
    return strands
