"""A synthetic head and shoulders for benchmarks and tests: no likeness, the statistics of a trained head.

Surfaces of flat anisotropic Gaussians (head, nose, neck, shoulders), 70 % of them on the camera's side,
30 % of them twice as large (the closing layer a trained head has), sizes log-normal.
"""

import numpy as np

from splatface.models.camera import Camera
from splatface.models.head.head import Splats
from splatface.models.render.conventions import SH_0
from splatface.models.typing import Float64Array

__all__ = ["bench_camera", "bench_splats"]


_PARTS: tuple[
    tuple[tuple[float, float, float], tuple[float, float, float], float, tuple[float, float, float]], ...
] = (
    ((0.0, -0.035, 0.0), (0.075, 0.096, 0.085), 0.58, (0.80, 0.60, 0.50)),
    ((0.0, -0.006, -0.080), (0.012, 0.022, 0.019), 0.02, (0.82, 0.58, 0.48)),
    ((0.0, 0.075, 0.006), (0.036, 0.048, 0.036), 0.08, (0.78, 0.58, 0.50)),
    ((0.0, 0.145, 0.018), (0.145, 0.066, 0.054), 0.32, (0.15, 0.25, 0.45)),
)
_FRONT = 0.7
# Chosen so that the median radius (3 sigma, low-pass included) is 6 px at 512 px and 20,000 Gaussians,
# as in heads trained on 512 px clips; it shrinks with the root of the count.
_SCALE_M = 0.00082


def bench_camera(width: int, height: int) -> Camera:
    """Head and shoulders, whole, 0.48 m away."""
    return Camera(512, 512, 742.0, 742.0, 256.0, 256.0, _pose()).scaled_to(width, height)


def bench_splats(count: int, *, sh_degree: int = 0, seed: int = 0) -> Splats:
    """`count` Gaussians in world coordinates (the camera of `bench_camera` looks along +z)."""
    generator = np.random.default_rng(seed)
    shares = [int(count * part[2]) for part in _PARTS[:-1]]
    shares.append(count - sum(shares))
    surfaces = [_surface(generator, n, part) for n, part in zip(shares, _PARTS, strict=True)]
    means, normals, colors = (np.concatenate(arrays) for arrays in zip(*surfaces, strict=True))
    scales = np.exp(generator.normal(size=(count, 3)) * 0.55) * _SCALE_M * np.sqrt(20_000 / count)
    scales[:, 2] *= 0.3
    scales[generator.random(count) < 0.3] *= 2.0
    sh = np.zeros((count, (sh_degree + 1) ** 2, 3))
    sh[:, 0] = (np.clip(colors + generator.normal(size=(count, 3)) * 0.04, 0, 1) - 0.5) / SH_0
    sh[:, 1:] = generator.normal(size=(count, sh.shape[1] - 1, 3)) * 0.06
    opacities = np.clip(generator.beta(4, 1.2, size=count), 0.3, 1.0) * 0.7 + 0.3
    arrays = (means, _facing(generator, normals), scales, opacities, sh)
    return Splats(*(np.ascontiguousarray(array, np.float32) for array in arrays))


def _pose() -> Float64Array:
    pose = np.eye(4)
    pose[2, 3] = 0.48
    return pose


def _surface(
    generator: np.random.Generator,
    count: int,
    part: tuple[tuple[float, float, float], tuple[float, float, float], float, tuple[float, float, float]],
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Points on an ellipsoid, their normals, their colors."""
    center, radii, _, color = part
    sphere = generator.normal(size=(count, 3))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    turned = generator.random(count) < 2 * (_FRONT - 0.5)
    sphere[turned, 2] = -np.abs(sphere[turned, 2])
    normals = sphere / np.array(radii)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    points = sphere * np.array(radii) + normals * generator.normal(size=(count, 1)) * 0.001
    return points + np.array(center), normals, _painted(points, np.tile(color, (count, 1)), radii[2] > 0.08)


def _painted(points: Float64Array, colors: Float64Array, is_head: bool) -> Float64Array:
    """Hair, eyes and lips on the head; the other parts stay plain."""
    if not is_head:
        return colors
    x, y, front = points[:, 0], points[:, 1], points[:, 2] < 0
    colors[(y < -0.036) | (points[:, 2] > 0.018)] = (0.18, 0.11, 0.07)
    for side in (-0.027, 0.027):
        from_eye = np.hypot(x - side, y + 0.010)
        colors[(from_eye < 0.012) & front] = (0.95, 0.95, 0.95)
        colors[(from_eye < 0.006) & front] = (0.10, 0.20, 0.35)
    colors[(np.hypot(x / 0.027, (y - 0.050) / 0.009) < 1) & front] = (0.65, 0.20, 0.22)
    return colors


def _facing(generator: np.random.Generator, normals: Float64Array) -> Float64Array:
    """Quaternions [N, 4] whose z axis is the normal, turned about it by any angle."""
    # The shortest turn from z to n is (1 + n_z, z x n), up to length; at n = -z any axis across will do.
    shortest = np.stack([1 + normals[:, 2], -normals[:, 1], normals[:, 0], np.zeros(len(normals))], 1)
    shortest[shortest[:, 0] < 1e-6] = (0.0, 1.0, 0.0, 0.0)
    shortest /= np.linalg.norm(shortest, axis=1, keepdims=True)
    half = generator.uniform(0, np.pi, len(normals))
    c, s = np.cos(half), np.sin(half)
    w, x, y, z = shortest.T
    return np.stack([w * c - z * s, x * c + y * s, y * c - x * s, z * c + w * s], 1)
