# SPDX-License-Identifier: Apache-2.0
"""Measurements of a face at rest, its regions, and array functions for painting."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter, map_coordinates

from splatface.models.training.synthetic.rig import Rig
from splatface.models.typing import AnyArray

__all__ = [
    "FaceMeasurements",
    "coordinates",
    "gaussian_bump",
    "lerp",
    "measure_face",
    "region_mask",
    "smooth_noise",
    "smoothstep",
]


def coordinates(points: AnyArray) -> tuple[AnyArray, AnyArray, AnyArray]:
    """Return canonical points [..., 3] as (across, back, up): image right, into the scene, upwards."""
    return points[..., 0], points[..., 2], -points[..., 1]


def smoothstep(start: float, end: float, values: AnyArray) -> AnyArray:
    """Return 0 at `start`, 1 at `end` (which may lie below), smooth between."""
    t = np.clip((values - start) / (end - start), 0.0, 1.0)
    step: AnyArray = t * t * (3 - 2 * t)
    return step


def lerp(colors: AnyArray, other: ArrayLike, amount: AnyArray) -> AnyArray:
    """Blend colors [N, 3] to others by amounts [N]."""
    mixed: AnyArray = colors * (1 - amount[:, None]) + np.asarray(other) * amount[:, None]
    return mixed


def gaussian_bump(points: AnyArray, center: ArrayLike, width: float, depth: float = 0.6) -> AnyArray:
    """Return a Gaussian bell [N] about a canonical point; distances in depth count `depth` times."""
    away = (points - np.asarray(center)) * np.array([1.0, 1.0, depth]) / width
    bell: AnyArray = np.exp(-(away**2).sum(-1))
    return bell


def smooth_noise(points: AnyArray, frequency: float, seed: int) -> AnyArray:
    """Return noise [N] of about unit variance that varies over 1/frequency meters: a sum of plane waves."""
    rng = np.random.default_rng(seed)
    waves = rng.normal(size=(3, 24)) * frequency
    total: AnyArray = np.sin(points @ waves + rng.uniform(0, 2 * np.pi, 24)).sum(1) / np.sqrt(24)
    return total


_BLUR_PX = 2048  # the pictures' own size, in which blur is measured


@dataclass(frozen=True, eq=False)
class FaceMeasurements:
    """Points [3] and lengths of one face at rest, canonical frame, meters."""

    eyes: tuple[AnyArray, AnyArray]  # centers, picture's right eye of the rig ("l", the person's left) first
    eye_radius: float
    mouth: AnyArray  # middle of the lips
    nose: AnyArray  # tip
    ear: AnyArray  # middle of the ear at the picture's right
    crown_up: float  # height of the head's top above the eyes
    half_width: float  # of the head at the temples


def region_mask(rig: Rig, name: str, uv: AnyArray, blur: float = 2.0) -> AnyArray:
    """Return how much [N] 0..1 texture coordinates [N, 2] lie in a region; `blur` in texture pixels."""
    picture = rig.masks[name].astype(np.float32) / 255
    size = picture.shape[0]
    soft = gaussian_filter(picture, blur * size / _BLUR_PX)
    at = np.stack([(1 - uv[:, 1]) * size - 0.5, uv[:, 0] * size - 0.5])
    found: AnyArray = map_coordinates(soft, at, order=1, mode="nearest")
    return found


def measure_face(rig: Rig) -> FaceMeasurements:
    """Measure a face at rest."""
    body = rig.vertices("body")
    points, uv = rig.rest[body], rig.uv[body]
    spheres = [_sphere(rig.rest[rig.vertices(f"helper-{side}-eye")]) for side in "lr"]
    ears = region_mask(rig, "ears", uv, 4) > 0.5
    front = np.abs(points[:, 0]) < 0.01
    near_nose = front & (points[:, 1] > 0.0) & (points[:, 1] < 0.06)
    temples = (np.abs(points[:, 1] + 0.03) < 0.015) & (np.abs(points[:, 2] - 0.06) < 0.05)
    return FaceMeasurements(
        eyes=(spheres[0][0], spheres[1][0]),
        eye_radius=spheres[0][1],
        mouth=points[region_mask(rig, "lips", uv) > 0.6].mean(0),
        nose=points[near_nose][np.argmin(points[near_nose][:, 2])],
        ear=points[ears & (points[:, 0] > 0)].mean(0),
        crown_up=float(-points[:, 1].min()),
        half_width=float(np.abs(points[temples, 0]).max()),
    )


def _sphere(points: AnyArray) -> tuple[AnyArray, float]:
    """Return least-squares center [3] and radius of points on a sphere."""
    system = np.c_[2 * points, np.ones(len(points))]
    answer = np.linalg.lstsq(system, (points**2).sum(1), rcond=None)[0]
    return answer[:3], float(np.sqrt(answer[3] + answer[:3] @ answer[:3]))
