"""How the skin of the procedural head moves: one displacement field per coefficient, in meters at 1."""

import numpy as np

from splatface.models.training.synthetic.procedural.paint import smoothstep
from splatface.models.training.synthetic.procedural.patch import COEFFICIENT_NAMES
from splatface.models.typing import Float64Array

__all__ = ["CORNER", "JAW_SIDE_M", "MOUTH_Y", "face_motion", "jaw_motion", "seam_y", "skin_weight"]


MOUTH_Y = 0.0672  # where the lips meet in the middle
CORNER = 0.0245  # half the width of the mouth
_HINGE = np.array([0.0, 0.012, 0.008])  # jaw joint, below the ears
_JAW_RAD = 0.215  # at open = 1
JAW_SIDE_M, _LIPS_SIDE_M = 0.0018, 0.0027  # at jaw_side = 1; the lips go both ways together


def seam_y(x: Float64Array) -> Float64Array:
    """Height [n] of the line where the lips meet; its corners rise a little, which looks friendly."""
    s = np.abs(x) / CORNER
    line: Float64Array = MOUTH_Y + 0.0006 * np.exp(-((x / 0.004) ** 2)) - 0.0018 * np.minimum(s, 1.4) ** 2.4
    return line


def _column(name: str) -> int:
    return COEFFICIENT_NAMES.index(name)


def jaw_motion(points: Float64Array) -> Float64Array:
    """Displacement [n, 3] of points fixed to the jaw when it opens fully (it turns about its hinge)."""
    r = points - _HINGE
    drop: Float64Array = np.zeros_like(r)
    drop[:, 1], drop[:, 2] = -r[:, 2] * _JAW_RAD, 0.75 * r[:, 1] * _JAW_RAD
    return drop


def _below(points: Float64Array, side: Float64Array) -> Float64Array:
    """How much a point [n] belongs to the lower lip: 1 below the seam, 0 above, smooth around the corners.

    The angle about the mouth corner does it: it has a jump only along the seam, where the lips part.
    """
    out = np.abs(points[:, 0]) - CORNER
    down = points[:, 1] - seam_y(points[:, 0])
    down = np.where(side > 0, np.maximum(down, 2e-4), np.where(side < 0, np.minimum(down, -2e-4), down))
    lower = smoothstep(0.30, 0.80, 0.5 + np.arctan2(down, out) / (2 * np.pi))
    # The opening narrows towards the corners, where both lips move as the skin outside does.
    s = np.clip(np.abs(points[:, 0]) / CORNER, 0.0, 1.0)
    narrow = np.exp(-((down / 0.012) ** 2)) * (1.0 - np.sqrt(1.0 - s**3))
    outside = smoothstep(0.30, 0.80, np.array(0.5))
    share: Float64Array = lower + (outside - lower) * narrow
    return share


def _jaw_share(points: Float64Array, below: Float64Array) -> Float64Array:
    _, y, z = points.T
    deep = y - MOUTH_Y + np.maximum(z + 0.075, 0) * 0.25
    share = below * smoothstep(-0.045, 0.0, deep) * smoothstep(0.035, -0.055, z)
    held: Float64Array = share * (1 - smoothstep(0.004, 0.075, y - 0.116 + 0.20 * (z + 0.085)))
    return held


def _spread(points: Float64Array, reach: float) -> tuple[Float64Array, Float64Array]:
    """(sideways, weight) [n]: -1..1 across the mouth and fading beyond it; closeness to the mouth line."""
    x = points[:, 0] / CORNER
    across = x * np.exp(0.5 * (1 - x * x))
    close = np.exp(-(((points[:, 1] - MOUTH_Y) / reach) ** 2))
    return across, close * smoothstep(-0.03, -0.06, points[:, 2])


def _around(points: Float64Array, center: tuple[float, float], radii: tuple[float, float]) -> Float64Array:
    dx = (np.abs(points[:, 0]) - center[0]) / radii[0]
    dy = (points[:, 1] - center[1]) / radii[1]
    weight: Float64Array = np.exp(-(dx * dx + dy * dy)) * smoothstep(0.0, -0.045, points[:, 2])
    return weight


def face_motion(points: Float64Array, side: Float64Array | float = 0.0) -> Float64Array:
    """Displacement [n, 3, K] of skin and lips; `side` forces a point to the upper (-1) or lower (+1) lip."""
    field = np.zeros((len(points), 3, len(COEFFICIENT_NAMES)))
    side = np.broadcast_to(np.asarray(side, float), len(points))
    below = _below(points, side)
    jaw = _jaw_share(points, below)
    field[:, :, _column("open")] = jaw_motion(points) * jaw[:, None]
    lips = _around(points, (0.0, MOUTH_Y), (0.030, 0.024))
    field[:, 0, _column("jaw_side")] = JAW_SIDE_M * np.maximum(jaw, lips) + _LIPS_SIDE_M * lips
    _lip_modes(field, points, below)
    _smile(field, points, below)
    _brows(field, points)
    return field


def _lip_modes(field: Float64Array, points: Float64Array, below: Float64Array) -> None:
    across, close = _spread(points, 0.024)
    x = points[:, 0]
    upper, lower = 1 - below, below
    middle = np.exp(-((x / 0.0185) ** 4))  # flat across the lips: an O, not a diamond
    flank = np.minimum(np.abs(x) / CORNER, 1.3)
    front = _around(points, (0.0, MOUTH_Y), (0.026, 0.017))
    to_seam = np.clip(seam_y(x) - points[:, 1], -0.009, 0.009)
    lips = _around(points, (0.0, MOUTH_Y), (0.030, 0.011))

    wide = field[:, :, _column("wide")]
    wide[:, 0] = 0.0075 * across * close
    wide[:, 1] = (-0.0008 * flank + 0.10 * to_seam / 0.5) * close
    wide[:, 2] = (0.0045 * flank**2 + 0.0010) * close

    rounded = field[:, :, _column("round")]
    rounded[:, 0] = -0.0105 * across * close
    rounded[:, 1] = front * middle * (0.0042 * lower - 0.0026 * upper)
    rounded[:, 2] = -0.0062 * front - 0.0015 * close * flank

    press = field[:, :, _column("press")]
    press[:, 0] = 0.0016 * across * close
    press[:, 1] = 0.42 * to_seam * lips - 0.0006 * lower * lips
    press[:, 2] = 0.0020 * lips

    raised = field[:, :, _column("upper_lip")]
    raised[:, 1] = -0.0058 * upper * _around(points, (0.0, MOUTH_Y - 0.004), (0.022, 0.016))
    raised[:, 2] = -0.0008 * upper * front

    dropped = field[:, :, _column("lower_lip")]
    dropped[:, 1] = 0.0078 * lower * _around(points, (0.0, MOUTH_Y + 0.006), (0.022, 0.019))
    dropped[:, 2] = -0.0010 * lower * front

    funnel = field[:, :, _column("funnel")]
    funnel[:, 0] = -0.0062 * across * close
    funnel[:, 1] = front * middle * (0.0050 * lower - 0.0044 * upper)
    funnel[:, 2] = -0.0072 * front


def _smile(field: Float64Array, points: Float64Array, below: Float64Array) -> None:
    across, close = _spread(points, 0.022)
    flank = np.minimum(np.abs(points[:, 0]) / CORNER, 1.25)
    corner = _around(points, (CORNER, MOUTH_Y), (0.017, 0.019))
    cheek = _around(points, (0.040, 0.030), (0.022, 0.019))
    smile = field[:, :, _column("smile")]
    smile[:, 0] = 0.0068 * across * close + np.sign(points[:, 0]) * 0.0012 * cheek
    smile[:, 1] = -0.0075 * corner - 0.0036 * cheek + 0.0010 * close * (1 - flank) * below
    smile[:, 2] = 0.0050 * flank**2 * close - 0.0026 * cheek


def _brows(field: Float64Array, points: Float64Array) -> None:
    brow = _around(points, (0.031, -0.033), (0.026, 0.014))
    forehead = _around(points, (0.0, -0.048), (0.055, 0.020))
    inner = _around(points, (0.014, -0.028), (0.014, 0.013))
    up = field[:, :, _column("brow_up")]
    up[:, 1] = -0.0062 * np.maximum(brow, 0.55 * forehead)
    up[:, 2] = 0.0010 * brow
    down = field[:, :, _column("brow_down")]
    down[:, 1] = 0.0036 * brow + 0.0018 * inner
    down[:, 0] = -np.sign(points[:, 0]) * 0.0026 * inner
    down[:, 2] = -0.0010 * brow


def skin_weight(points: Float64Array) -> Float64Array:
    """Share of the head bone [n]: 1 on the head, falling smoothly to 0 down the neck."""
    start = 0.116 - 0.45 * np.maximum(points[:, 2] + 0.02, 0.0)  # the nape hangs on the head from higher up
    share: Float64Array = 1 - smoothstep(0.0, 0.080, points[:, 1] - start)
    return share
