"""The hairline: where on the head hair grows."""

import numpy as np

from splatface.models.training.synthetic.identity import Looks
from splatface.models.training.synthetic.looks.marks import FaceMeasurements
from splatface.models.training.synthetic.looks.numbers import coordinates, smooth_noise
from splatface.models.typing import AnyArray

__all__ = ["around_head", "scalp_distance"]


# the head: 0 forehead, 67 in front of the ear (sideburn), 84 above it, 180 nape.
_ANGLES_DEG = (0, 18, 32, 42, 50, 56, 60, 64, 67, 70, 84, 96, 102, 112, 130, 180)
_HEIGHTS = (
    0.0680, 0.0695, 0.0665, 0.0570, 0.0400, 0.0200, 0.0020, -0.0180, -0.0180,
    0.0060, 0.0140, 0.0100, -0.0050, -0.0350, -0.0560, -0.0680,
)  # fmt: skip
_CROWN = 0.114
_AXIS_BACK = 0.085  # m, depth of the head's own axis behind the eyes


def around_head(points: AnyArray) -> AnyArray:
    """Angle [N] rad about the head's upright axis: 0 at the forehead, pi at the nape, both sides alike."""
    across, back, _ = coordinates(points)
    angle: AnyArray = np.arctan2(np.abs(across), _AXIS_BACK - back)
    return angle


def scalp_distance(points: AnyArray, marks: FaceMeasurements, looks: Looks) -> AnyArray:
    """About how far [N] m points lie inside the hairline; negative on bare skin."""
    _, _, up = coordinates(points)
    line = np.interp(np.degrees(around_head(points)), _ANGLES_DEG, _HEIGHTS)
    wave = 0.0016 * smooth_noise(points, 110, 3) + 0.0008 * smooth_noise(points, 350, 7)
    distance: AnyArray = up * _CROWN / marks.crown_up - line + wave + looks.hairline_lower_m
    return distance
