"""Where things are on a face at rest, and which region a point of the skin belongs to."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from splatface.models.training.synthetic.rig import Rig
from splatface.models.typing import AnyArray

__all__ = ["FaceMeasurements", "marks_of", "mask"]


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


def mask(rig: Rig, name: str, uv: AnyArray, blur: float = 2.0) -> AnyArray:
    """How much [N] 0..1 texture coordinates [N, 2] lie in a region; `blur` in texture pixels."""
    picture = rig.masks[name].astype(np.float32) / 255
    size = picture.shape[0]
    soft = gaussian_filter(picture, blur * size / _BLUR_PX)
    at = np.stack([(1 - uv[:, 1]) * size - 0.5, uv[:, 0] * size - 0.5])
    found: AnyArray = map_coordinates(soft, at, order=1, mode="nearest")
    return found


def marks_of(rig: Rig) -> FaceMeasurements:
    """Measure a face at rest."""
    body = rig.vertices("body")
    points, uv = rig.rest[body], rig.uv[body]
    spheres = [_sphere(rig.rest[rig.vertices(f"helper-{side}-eye")]) for side in "lr"]
    ears = mask(rig, "ears", uv, 4) > 0.5
    front = np.abs(points[:, 0]) < 0.01
    near_nose = front & (points[:, 1] > 0.0) & (points[:, 1] < 0.06)
    temples = (np.abs(points[:, 1] + 0.03) < 0.015) & (np.abs(points[:, 2] - 0.06) < 0.05)
    return FaceMeasurements(
        eyes=(spheres[0][0], spheres[1][0]),
        eye_radius=spheres[0][1],
        mouth=points[mask(rig, "lips", uv) > 0.6].mean(0),
        nose=points[near_nose][np.argmin(points[near_nose][:, 2])],
        ear=points[ears & (points[:, 0] > 0)].mean(0),
        crown_up=float(-points[:, 1].min()),
        half_width=float(np.abs(points[temples, 0]).max()),
    )


def _sphere(points: AnyArray) -> tuple[AnyArray, float]:
    """Least-squares center [3] and radius of points on a sphere."""
    system = np.c_[2 * points, np.ones(len(points))]
    answer = np.linalg.lstsq(system, (points**2).sum(1), rcond=None)[0]
    return answer[:3], float(np.sqrt(answer[3] + answer[:3] @ answer[:3]))
