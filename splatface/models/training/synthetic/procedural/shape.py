"""The body of the procedural head as a signed distance, and points on it.

Smoothly joined ellipsoids and capsules (Quilez, "Smooth minimum" and "Distance functions", iquilezles.org).
Distances are in meters, negative inside; points are [n, 3] in the canonical frame (x right, y down, z in).
"""

from collections.abc import Callable

import numpy as np

from splatface.models.training.synthetic.procedural.person import Person
from splatface.models.typing import Float64Array

__all__ = [
    "Field",
    "body_distance",
    "front_of",
    "hair_free_distance",
    "hit_rays",
    "normals_of",
    "skull_distance",
    "trunk_distance",
]


Field = Callable[[Float64Array], Float64Array]


def _ellipsoid(p: Float64Array, center: tuple[float, ...], radii: tuple[float, ...]) -> Float64Array:
    q = (p - np.asarray(center)) / np.asarray(radii)
    k0 = np.sqrt(np.einsum("ij,ij->i", q, q)) + 1e-9
    q /= np.asarray(radii)
    k1 = np.sqrt(np.einsum("ij,ij->i", q, q)) + 1e-9
    distance: Float64Array = k0 * (k0 - 1.0) / k1
    return distance


def _capsule(
    p: Float64Array, a: tuple[float, ...], b: tuple[float, ...], radius_a: float, radius_b: float
) -> Float64Array:
    start, axis = np.asarray(a), np.asarray(b) - np.asarray(a)
    h = np.clip((p - start) @ axis / (axis @ axis), 0.0, 1.0)
    q = p - start - h[:, None] * axis
    distance: Float64Array = np.sqrt(np.einsum("ij,ij->i", q, q)) - (radius_a + (radius_b - radius_a) * h)
    return distance


def _join(a: Float64Array, b: Float64Array, k: float) -> Float64Array:
    h = np.maximum(k - np.abs(a - b), 0.0) / k
    joined: Float64Array = np.minimum(a, b) - h * h * (k / 4)
    return joined


def _carve(a: Float64Array, b: Float64Array, k: float) -> Float64Array:
    return -_join(-a, b, k)


def skull_distance(points: Float64Array, person: Person) -> Float64Array:
    """Head without ears, neck and hair; the lips and lids are laid on it as patches of their own."""
    p = points.copy()
    p[:, 0] = np.abs(p[:, 0]) / person.face_width
    jaw = person.jaw_width
    d = _ellipsoid(p, (0, -0.034, 0.012), (0.0745, 0.090, 0.093))  # cranium
    d = _join(d, _ellipsoid(p, (0, 0.022, -0.026), (0.061, 0.084, 0.061)), 0.030)  # middle of the face
    d = _join(d, _ellipsoid(p, (0, 0.066, -0.030), (0.049 * jaw, 0.046, 0.053)), 0.022)
    d = _join(d, _capsule(p, (0.049 * jaw, 0.054, 0.0), (0.016 * jaw, 0.100, -0.064), 0.012, 0.014), 0.028)
    d = _join(d, _ellipsoid(p, (0, 0.102, -0.071), (0.019, 0.0145, 0.0165)), 0.020)  # chin
    d = _join(d, _ellipsoid(p, (0.040, 0.023, -0.060), (0.022, 0.018, 0.020)), 0.022)  # cheekbone
    d = _join(d, _capsule(p, (0.010, -0.026, -0.081), (0.046, -0.029, -0.064), 0.009, 0.008), 0.018)  # brow
    d = _join(d, _ellipsoid(p, (0, 0.067, -0.064), (0.031, 0.026, 0.027)), 0.020)  # around the mouth
    d = _carve(d, _ellipsoid(p, (0.0335, -0.003, -0.098), (0.017, 0.013, 0.014)), 0.014)  # eye sockets
    return _join(d, _nose(p, person.nose_size), 0.010)


def _nose(p: Float64Array, size: float) -> Float64Array:
    tip = 0.1055 + 0.010 * size
    d = _capsule(p, (0, -0.024, -0.083), (0, 0.026, -tip + 0.008), 0.0060, 0.0082 * size)  # bridge
    d = _join(d, _ellipsoid(p, (0, 0.0335, -tip + 0.004), (0.0105 * size, 0.0095, 0.0100)), 0.008)
    d = _join(d, _ellipsoid(p, (0.0118 * size, 0.0375, -0.0965), (0.0068, 0.0075, 0.0095)), 0.006)  # wings
    return _join(d, _capsule(p, (0, 0.040, -0.104), (0, 0.046, -0.092), 0.0045, 0.0045), 0.006)


def ear_distance(points: Float64Array, person: Person) -> Float64Array:
    """Both ears."""
    p = points.copy()
    p[:, 0] = np.abs(p[:, 0])
    out, back = np.array([0.93, 0.0, 0.37]), np.array([-0.34, 0.18, 0.92])  # an ear leans out and back
    back -= out * (out @ back)
    back /= np.linalg.norm(back)
    axes = np.stack([out, np.cross(back, out), back])
    q = (p - np.array([0.0765 * person.face_width, 0.010, 0.012])) @ axes.T
    d = _ellipsoid(q, (0, 0, 0.002), (0.0065, 0.031, 0.0185))
    d = _join(d, _ellipsoid(q, (0, 0.021, -0.004), (0.006, 0.012, 0.010)), 0.006)
    d = _carve(d, _ellipsoid(q, (0.010, -0.001, -0.001), (0.009, 0.020, 0.0105)), 0.004)  # bowl
    return _join(d, _ellipsoid(q, (0.001, 0.003, -0.012), (0.006, 0.007, 0.006)), 0.004)


def neck_distance(points: Float64Array) -> Float64Array:
    """The column of the neck with its two long muscles."""
    p = points.copy()
    p[:, 0] = np.abs(p[:, 0])
    d = _capsule(p, (0, 0.03, 0.028), (0, 0.22, 0.046), 0.049, 0.054)
    d = _join(d, _capsule(p, (0.046, 0.06, 0.024), (0.012, 0.196, -0.008), 0.010, 0.008), 0.020)
    return _join(d, _capsule(p, (0, 0.120, -0.016), (0, 0.150, -0.010), 0.009, 0.008), 0.018)


def torso_distance(points: Float64Array) -> Float64Array:
    """Shoulders and the top of the chest."""
    p = points.copy()
    p[:, 0] = np.abs(p[:, 0])
    d = _capsule(p, (0.0, 0.236, 0.042), (0.142, 0.250, 0.052), 0.050, 0.046)
    d = _join(d, _ellipsoid(p, (0.148, 0.270, 0.052), (0.050, 0.060, 0.052)), 0.03)
    d = _join(d, _ellipsoid(p, (0.0, 0.340, 0.050), (0.168, 0.130, 0.090)), 0.04)
    return _join(d, _capsule(p, (0.02, 0.150, 0.058), (0.13, 0.232, 0.056), 0.022, 0.030), 0.05)  # trapezius


def trunk_distance(points: Float64Array) -> Float64Array:
    """Neck and torso in one."""
    return _join(neck_distance(points), torso_distance(points), 0.045)


def hair_free_distance(points: Float64Array, person: Person) -> Float64Array:
    """Head with ears, without neck and torso."""
    return _join(skull_distance(points, person), ear_distance(points, person), 0.007)


def body_distance(points: Float64Array, person: Person) -> Float64Array:
    """Everything with skin, and the torso under the shirt."""
    return _join(hair_free_distance(points, person), trunk_distance(points), 0.018)


def normals_of(field: Field, points: Float64Array, step: float = 4e-4) -> Float64Array:
    """Outward unit normals [n, 3] of a distance field by four taps on a tetrahedron."""
    taps = np.array([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], float)
    stacked = np.concatenate([points + step * tap for tap in taps])
    values = field(stacked).reshape(4, -1)
    normals = values.T @ taps
    unit: Float64Array = normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12)
    return unit


def hit_rays(field: Field, origins: Float64Array, directions: Float64Array, reach: float) -> Float64Array:
    """Last crossing from inside to outside along rays [n, 3], found by halving 0..reach.

    Meant for rays that leave the body once (a star-shaped part seen from its middle).
    """
    low, high = np.zeros(len(directions)), np.full(len(directions), reach)
    for _ in range(15):
        middle = (low + high) / 2
        inside = field(origins + directions * middle[:, None]) < 0
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    hits: Float64Array = origins + directions * ((low + high) / 2)[:, None]
    return hits


def front_of(field: Field, xy: Float64Array, back_z: float = -0.02, reach: float = 0.12) -> Float64Array:
    """Points [n, 3] of the surface straight in front of (x, y) [n, 2]."""
    origins = np.column_stack([xy, np.full(len(xy), back_z)])
    return hit_rays(field, origins, np.broadcast_to(np.array([0.0, 0.0, -1.0]), origins.shape), reach)
