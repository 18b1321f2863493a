"""Points of a tracked person's face: skin, lips, eyes and the inside of the mouth, with how they move."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.head.head import MOTION_SIZE
from splatface.models.training.dataset.types import EYES, FACE, LIPS, MOUTH
from splatface.models.training.tracking.face_model import IRISES, FaceModel
from splatface.models.training.tracking.landmarks import LIPS as LIP_LANDMARKS
from splatface.models.typing import AnyArray

__all__ = ["PointCloud", "face_cloud", "joined"]


_SKIN_POINTS, _EYE_POINTS, _MOUTH_POINTS = 8000, 500, 700
_FACE_LANDMARKS: Final = 468
_OUTER_LIPS, _INNER_LIPS = LIP_LANDMARKS[:20], LIP_LANDMARKS[20:]
_EYE_RIMS: Final = (
    (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7),
    (263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249),
)
_EYE_RADIUS_M = 0.0118
_BEHIND_LIDS_M = 0.002  # so that shut lids lie before it
_BEHIND_LIPS_M, _MOUTH_DEPTH_M = 0.012, 0.008
_OPEN, _YAW, _PITCH = 0, len(MOUTH_MODES) + 2, len(MOUTH_MODES) + 3


@dataclass(frozen=True, slots=True, eq=False)
class PointCloud:
    """N points in the canonical frame; colors come later."""

    means: AnyArray  # [N, 3] m
    normals: AnyArray  # [N, 3] unit
    spacing_m: AnyArray  # [N] to the next point
    labels: NDArray[np.uint8]  # [N]
    skin: AnyArray  # [N]
    modes: AnyArray  # [N, 16, 3]


def joined(clouds: list[PointCloud]) -> PointCloud:
    """All of them as one."""
    names = ("means", "normals", "spacing_m", "labels", "skin", "modes")
    return PointCloud(*(np.concatenate([getattr(cloud, name) for cloud in clouds]) for name in names))


def face_cloud(model: FaceModel, shape: AnyArray, rng: np.random.Generator) -> PointCloud:
    """The face of a person with landmarks [478, 3] at rest."""
    eyes = [_eye(model, shape, eye, rng) for eye in range(2)]
    return joined([_skin(model, shape, rng), *eyes, _mouth(model, shape, rng)])


def _skin(model: FaceModel, shape: AnyArray, rng: np.random.Generator) -> PointCloud:
    triangles = _triangles(shape)
    corners = shape[triangles]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(across, axis=1) / 2
    dense = _density(shape, corners.mean(1))
    chosen = rng.choice(len(triangles), _SKIN_POINTS, p=area * dense / (area * dense).sum())
    weights = rng.dirichlet(np.ones(3), _SKIN_POINTS)
    rows = triangles[chosen]
    normals = across[chosen] / (2 * area[chosen, None])
    normals *= -np.sign(normals[:, 2:] + 1e-12)  # out of the face is towards -z
    means = np.einsum("nk,nkd->nd", weights, shape[rows])
    on_lips = _within(means, shape[list(_OUTER_LIPS)])
    return PointCloud(
        means=means,
        normals=normals,
        spacing_m=np.sqrt((area * dense).sum() / _SKIN_POINTS / dense[chosen]),
        labels=np.where(on_lips, LIPS, FACE).astype(np.uint8),
        skin=np.ones(_SKIN_POINTS),
        modes=np.einsum("nk,mnkd->nmd", weights, model.motion_m[:, rows]),
    )


def _triangles(shape: AnyArray) -> NDArray[np.int64]:
    """Triangles [T, 3] between landmarks seen from the front, open at the eyes and between the lips."""
    found = Delaunay(shape[:_FACE_LANDMARKS, :2]).simplices.astype(np.int64)
    for rim in (_INNER_LIPS, *_EYE_RIMS):
        found = found[~np.isin(found, rim).all(1)]
    return np.asarray(found)


def _within(points: AnyArray, rim: AnyArray) -> NDArray[np.bool_]:
    """Which points [N, 3] lie within a rim [K, 3] seen from the front: a ray from them crosses it oddly."""
    x, y = points[:, :1], points[:, 1:2]
    start, end = rim, np.roll(rim, -1, axis=0)
    spans = (start[:, 1] > y) != (end[:, 1] > y)
    rise = np.where(start[:, 1] == end[:, 1], 1.0, end[:, 1] - start[:, 1])
    crossing = start[:, 0] + (y - start[:, 1]) / rise * (end[:, 0] - start[:, 0])
    crossed: NDArray[np.bool_] = (spans & (x < crossing)).sum(1) % 2 == 1
    return crossed


def _density(shape: AnyArray, places: AnyArray) -> AnyArray:
    """How much denser than elsewhere points stand at places [T, 3]: up to 4 at the mouth, 3 at the eyes."""
    lips = shape[list(LIP_LANDMARKS)]
    reach = float(np.ptp(lips[:, 0]))
    dense = 1 + 3 * np.exp(-(((places - lips.mean(0)) ** 2).sum(1) / (0.7 * reach) ** 2))
    for rim in _EYE_RIMS:
        away = ((places - shape[list(rim)].mean(0)) ** 2).sum(1)
        dense += 2 * np.exp(-away / (0.5 * reach) ** 2)
    return np.asarray(dense)


def _eye(model: FaceModel, shape: AnyArray, eye: int, rng: np.random.Generator) -> PointCloud:
    """The front of the eyeball, a little wider than its opening; it turns with the gaze, lids go over it."""
    center = shape[IRISES[eye], :].mean(0)
    center[2] += _EYE_RADIUS_M + _BEHIND_LIDS_M
    rim = shape[list(_EYE_RIMS[eye])]
    half = np.ptp(rim[:, :2], axis=0) / 2 + 0.002
    radius, angle = np.sqrt(rng.random(_EYE_POINTS)), rng.uniform(0, 2 * np.pi, _EYE_POINTS)
    out = np.zeros((_EYE_POINTS, 3))
    out[:, :2] = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1) * half
    out[:, :2] *= np.minimum(1, 0.95 * _EYE_RADIUS_M / np.linalg.norm(out[:, :2], axis=1))[:, None]
    out[:, 2] = -np.sqrt(_EYE_RADIUS_M**2 - (out[:, :2] ** 2).sum(1))
    middle = rim.mean(0) - center
    means = center + out + (middle[0], middle[1], 0.0)
    modes = np.zeros((_EYE_POINTS, MOTION_SIZE, 3))
    modes[:, _YAW], modes[:, _PITCH] = np.cross([0, -1.0, 0], out), np.cross([1.0, 0, 0], out)
    return PointCloud(
        means=means,
        normals=out / _EYE_RADIUS_M,
        spacing_m=np.full(_EYE_POINTS, np.sqrt(np.pi * half.prod() / _EYE_POINTS)),
        labels=np.full(_EYE_POINTS, EYES, np.uint8),
        skin=np.ones(_EYE_POINTS),
        modes=modes,
    )


def _mouth(model: FaceModel, shape: AnyArray, rng: np.random.Generator) -> PointCloud:
    """A thick plane behind the lips; its lower half goes down with the jaw."""
    inner = shape[list(_INNER_LIPS)]
    low, high = inner.min(0), inner.max(0)
    reach = 0.35 * (high[0] - low[0])
    means = np.stack(
        [
            rng.uniform(low[0], high[0], _MOUTH_POINTS),
            rng.uniform(low[1] - 0.6 * reach, high[1] + reach, _MOUTH_POINTS),
            inner[:, 2].mean() + _BEHIND_LIPS_M + rng.uniform(0, _MOUTH_DEPTH_M, _MOUTH_POINTS),
        ],
        axis=1,
    )
    modes = np.zeros((_MOUTH_POINTS, MOTION_SIZE, 3))
    lower = means[:, 1] > inner[:, 1].mean()
    modes[lower, _OPEN] = model.motion_m[_OPEN, 14]
    area = (high[0] - low[0]) * (high[1] - low[1] + 1.6 * reach)
    return _plain(means, MOUTH, 1.0, np.sqrt(area / _MOUTH_POINTS), modes)


def _plain(means: AnyArray, label: int, skin: float, spacing_m: float, modes: AnyArray) -> PointCloud:
    """Points that all face the camera."""
    count = len(means)
    return PointCloud(
        means=means,
        normals=np.tile([0.0, 0.0, -1.0], (count, 1)),
        spacing_m=np.full(count, float(spacing_m)),
        labels=np.full(count, label, np.uint8),
        skin=np.full(count, skin),
        modes=modes,
    )
