"""Colors of the procedural head: what the skin is made of, and light baked into it."""

import numpy as np

from splatface.models.training.synthetic.procedural.person import Person
from splatface.models.training.synthetic.procedural.shape import Field
from splatface.models.typing import Float64Array

__all__ = ["blob", "lit", "occlusion", "skin_albedo", "smoothstep"]


def _direction(x: float, y: float, z: float) -> Float64Array:
    v = np.array([x, y, z])
    unit: Float64Array = v / np.linalg.norm(v)
    return unit


_KEY = _direction(-0.50, -0.62, -0.72)  # towards the light: a window up on the left of the picture
_FILL = _direction(0.80, -0.10, -0.70)
_RIM = _direction(0.75, -0.35, 0.45)
_WRAP = np.array([0.42, 0.30, 0.26])  # red light travels furthest under skin and softens its shadow edge


def smoothstep(low: float, high: float, x: Float64Array) -> Float64Array:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    smooth: Float64Array = t * t * (3 - 2 * t)
    return smooth


def blob(points: Float64Array, center: tuple[float, float], radii: tuple[float, float]) -> Float64Array:
    """A soft spot on the front of the face [n], 1 in its middle; mirrored to both sides."""
    dx = (np.abs(points[:, 0]) - center[0]) / radii[0]
    dy = (points[:, 1] - center[1]) / radii[1]
    spot: Float64Array = np.exp(-(dx * dx + dy * dy)) * (points[:, 2] < 0)
    return spot


def _mix(color: Float64Array, other: Float64Array, amount: Float64Array) -> Float64Array:
    mixed: Float64Array = color + (other - color) * amount[:, None]
    return mixed


def skin_albedo(points: Float64Array, person: Person) -> Float64Array:
    """RGB [n, 3] of bare skin: blush, warm nose and ears, cooler jaw, dark nostrils."""
    base = np.asarray(person.skin)
    red = base * np.array([1.02, 0.76, 0.74])
    color = np.broadcast_to(base, (len(points), 3)).copy()
    color = _mix(color, red, 0.60 * blob(points, (0.041, 0.027), (0.021, 0.017)))
    color = _mix(color, red, 0.50 * blob(points, (0.0, 0.034), (0.014, 0.010)))
    color = _mix(color, red, 0.28 * blob(points, (0.0, 0.104), (0.020, 0.012)))
    color = _mix(color, red, 0.45 * smoothstep(0.071, 0.082, np.abs(points[:, 0])) * (points[:, 1] < 0.05))
    color = _mix(color, base * 1.045, blob(points, (0.0, -0.050), (0.035, 0.025)))
    color = _mix(
        color, base * np.array([0.90, 0.87, 0.90]), 0.6 * blob(points, (0.031, 0.013), (0.014, 0.005))
    )
    below = smoothstep(0.095, 0.135, points[:, 1])
    return _mix(color, base * np.array([0.95, 0.92, 0.90]), below)


def occlusion(field: Field, points: Float64Array, normals: Float64Array) -> Float64Array:
    """Ambient openness [n], 1 in the open, towards 0 in corners (Quilez's five taps along the normal)."""
    closed = np.zeros(len(points))
    for step, weight in ((0.003, 0.9), (0.008, 0.75), (0.016, 0.6), (0.030, 0.45)):
        closed += weight * np.maximum(step - field(points + step * normals), 0.0) / step
    openness: Float64Array = np.clip(1.0 - 0.55 * closed, 0.12, 1.0)
    return openness


def _shadow(field: Field, points: Float64Array, normals: Float64Array) -> Float64Array:
    """Soft shadow of the key light [n], 1 lit .. 0 dark."""
    lit_share = np.ones(len(points))
    start = points + 0.004 * normals
    for step in (0.006, 0.012, 0.020, 0.032, 0.048, 0.068):
        lit_share = np.minimum(lit_share, 0.5 + 2.6 * field(start + step * _KEY) / step)
    return smoothstep(0.0, 1.0, lit_share)


def lit(
    albedo: Float64Array, points: Float64Array, normals: Float64Array, field: Field, *, gloss: float = 0.10
) -> Float64Array:
    """Bake key, fill, sky and rim light into albedo [n, 3]; `field` throws the shadows."""
    openness = occlusion(field, points, normals)
    key = np.clip((normals @ _KEY)[:, None] + _WRAP, 0, None) / (1 + _WRAP)
    shadow = _shadow(field, points, normals)[:, None] ** np.array([0.7, 1.0, 1.1])
    fill = np.clip(normals @ _FILL * 0.7 + 0.3, 0, None)[:, None]
    sky = (0.5 - 0.5 * normals[:, 1])[:, None]
    rim = np.clip(normals @ _RIM, 0, None)[:, None] ** 2 * np.clip(1.2 + normals[:, 2:], 0, 1)
    ambient = openness[:, None] ** np.array([0.8, 1.0, 1.05])
    light = (
        0.62 * key * (0.45 + 0.55 * shadow) * np.array([1.04, 1.0, 0.94])
        + ambient * (0.20 * fill * np.array([0.92, 0.98, 1.06]) + (0.26 + 0.20 * sky))
        + 0.22 * rim * np.array([1.0, 1.0, 1.04])
    )
    half = _KEY + np.array([0.0, 0.0, -1.0])
    shine = np.clip(normals @ (half / np.linalg.norm(half)), 0, None) ** 22 * shadow[:, 1] * openness
    color: Float64Array = np.clip(albedo * light * 1.04 + gloss * shine[:, None], 0.0, 1.0)
    return color
