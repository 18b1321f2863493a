"""Points of a tracked person around the face: hair, ears, neck and shoulders at a plausible depth."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from splatface.models.camera import Camera
from splatface.models.head.head import MOTION_SIZE
from splatface.models.training.dataset.types import BACKGROUND, FACE, HAIR, NECK, TORSO
from splatface.models.training.tracking.points_face import PointCloud, joined
from splatface.models.typing import AnyArray

__all__ = ["ReferenceFrame", "body_point_cloud"]


_FIGURE_POINTS, _NECK_POINTS = 8500, 440
_CHIN, _FOREHEAD, _SIDES = 152, 10, (234, 454)
_JAWS = (172, 397)
_HEAD_DEPTH_M = 0.105  # half of the head from nose to back, without the nose
_EARS_M = 0.085  # behind the eyes: the middle of the head
_SHOULDER_M = 0.05  # of the chest before the neck's joint
_LIFTED_M = 0.02  # by which a chin may be lifted: a neck that went on behind the cheeks would shine through
_FALL = 0.45  # of the face's height, over which the neck goes from head to torso


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceFrame:
    """One picture of the clip, head about at rest."""

    labels: NDArray[np.uint8]  # [H, W]
    T_world_head: AnyArray  # [4, 4]
    camera: Camera


@dataclass(frozen=True, slots=True, eq=False)
class _Ellipsoid:
    center: AnyArray  # [3], head's frame
    radii: AnyArray  # [3]


def body_point_cloud(
    shape: AnyArray, pivot_m: AnyArray, still: ReferenceFrame, rng: np.random.Generator
) -> PointCloud:
    """All that the labels show but the face of landmarks [478, 3], and the neck behind the jaw."""
    px = _pixels(shape, still)
    skull = _skull(shape, px, still)
    return joined([_silhouette(shape, px, pivot_m, (still, skull), rng), _neck(shape, pivot_m, rng)])


def _pixels(points: AnyArray, still: ReferenceFrame) -> AnyArray:
    """Where canonical points [N, 3] of the head are in the picture [N, 2]."""
    T = still.camera.T_camera_world @ still.T_world_head
    seen = points @ T[:3, :3].T + T[:3, 3]
    camera = still.camera
    px: AnyArray = seen[:, :2] / seen[:, 2:] * (camera.fx, camera.fy) + (camera.cx, camera.cy)
    return px


def _skull(shape: AnyArray, px: AnyArray, still: ReferenceFrame) -> _Ellipsoid:
    """As wide as the face with its ears, as high as from the chin to the top of the hair."""
    rows = np.flatnonzero(np.isin(still.labels, (HAIR, FACE)).any(1))
    per_px = (shape[_CHIN, 1] - shape[_FOREHEAD, 1]) / (px[_CHIN, 1] - px[_FOREHEAD, 1])
    top = shape[_CHIN, 1] - (px[_CHIN, 1] - rows[0]) * per_px if len(rows) else shape[_FOREHEAD, 1] - 0.06
    top = min(top, shape[_FOREHEAD, 1] - 0.03)
    middle = (shape[_SIDES[0], 0] + shape[_SIDES[1], 0]) / 2
    half = abs(shape[_SIDES[1], 0] - shape[_SIDES[0], 0]) / 2
    height = (shape[_CHIN, 1] - top) / 2
    center = np.array([middle, (shape[_CHIN, 1] + top) / 2, _EARS_M])
    return _Ellipsoid(center, np.array([1.12 * half, 1.05 * height, _HEAD_DEPTH_M]))


def _silhouette(
    shape: AnyArray,
    px: AnyArray,
    pivot_m: AnyArray,
    scene: tuple[ReferenceFrame, _Ellipsoid],
    rng: np.random.Generator,
) -> PointCloud:
    still, skull = scene
    labels, count = still.labels, _FIGURE_POINTS
    inside = np.zeros(labels.shape, np.uint8)
    cv2.fillConvexPoly(inside, cv2.convexHull(px.astype(np.int32)), 1)
    deep = cv2.distanceTransform(inside, cv2.DIST_L2, 5)
    rows, columns = np.nonzero((labels != BACKGROUND) & (deep < 0.10 * np.ptp(px[:, 0])))
    if not len(rows):
        return _cloud(np.zeros((0, 3)), np.zeros(0, np.uint8), np.zeros(0), 0.004)
    chosen = rng.choice(len(rows), count, replace=len(rows) < count)
    at = np.stack([columns[chosen], rows[chosen]], 1) + rng.random((count, 2))
    parts = labels[rows[chosen], columns[chosen]]
    skin = _skin_weight(at, px, parts)
    means = _canonical(at, skin, (shape, px, pivot_m), still, skull)
    parts = np.where((parts >= FACE) & (deep[rows[chosen], columns[chosen]] <= 0), FACE, parts)
    spacing = float(np.sqrt(len(rows) / count)) * pivot_depth(still, pivot_m) / still.camera.fx
    return _cloud(means, np.minimum(parts, FACE).astype(np.uint8), skin, spacing)


def pivot_depth(still: ReferenceFrame, pivot_m: AnyArray) -> float:
    """Distance of the neck's joint from the camera, m."""
    T = still.camera.T_camera_world
    return float((T[:3, :3] @ pivot_m + T[:3, 3])[2])


def _skin_weight(at: AnyArray, px: AnyArray, parts: NDArray[np.uint8]) -> AnyArray:
    """1 above the jaw, smoothly 0 over half a face below it; the torso's label is torso."""
    tall = px[_CHIN, 1] - px[_FOREHEAD, 1]
    middle, half = px[list(_SIDES), 0].mean(), np.ptp(px[list(_SIDES), 0]) / 2
    jaw = px[_CHIN, 1] - 0.22 * tall * np.clip(np.abs(at[:, 0] - middle) / half, 0, 1) ** 2
    share = np.clip(1 - (at[:, 1] - jaw) / (_FALL * tall), 0, 1)
    weight = share * share * (3 - 2 * share)
    weight = np.where(parts == HAIR, np.maximum(weight, 0.8), weight)
    return np.asarray(np.where(parts == TORSO, 0.0, weight))


def _canonical(
    at: AnyArray,
    skin: AnyArray,
    body: tuple[AnyArray, AnyArray, AnyArray],
    still: ReferenceFrame,
    skull: _Ellipsoid,
) -> AnyArray:
    """Canonical places [N, 3] of pixels [N, 2]: on the skull, the neck or the chest."""
    shape, px, pivot_m = body
    camera = still.camera
    rays = np.c_[(at - (camera.cx, camera.cy)) / (camera.fx, camera.fy), np.ones(len(at))]
    on_head = _on_skull(rays, still, skull)
    on_head = _near_face(on_head, (at, px, shape), still)
    T_world_camera = np.linalg.inv(camera.T_camera_world)
    directions = rays @ T_world_camera[:3, :3].T
    eye = T_world_camera[:3, 3]
    chest = pivot_m[2] - _SHOULDER_M * np.clip((at[:, 1] - px[_CHIN, 1]) / np.ptp(px[:, 1]), 0, 1)
    on_chest = eye + directions * ((chest - eye[2]) / directions[:, 2])[:, None]
    means: AnyArray = skin[:, None] * on_head + (1 - skin[:, None]) * on_chest
    return means


def _on_skull(rays: AnyArray, still: ReferenceFrame, skull: _Ellipsoid) -> AnyArray:
    """Where rays [N, 3] of the camera first meet the ellipsoid, or pass it nearest, in the head's frame."""
    T_head_camera = np.linalg.inv(still.camera.T_camera_world @ still.T_world_head)
    way = rays @ T_head_camera[:3, :3].T / skull.radii
    start = (T_head_camera[:3, 3] - skull.center) / skull.radii
    a, b, c = (way**2).sum(1), way @ start, start @ start - 1
    reach = (-b - np.sqrt(np.maximum(b * b - a * c, 0))) / a
    met: AnyArray = (start + way * reach[:, None]) * skull.radii + skull.center
    return met


def _near_face(
    points: AnyArray, where: tuple[AnyArray, AnyArray, AnyArray], still: ReferenceFrame
) -> AnyArray:
    """Points [N, 3] brought to the depth of the face's outline where they are beside it, behind it within."""
    at, px, shape = where
    hull = cv2.convexHull(px.astype(np.float32), returnPoints=False).ravel()
    away = np.linalg.norm(at[:, None] - px[hull], axis=2)
    nearest = away.argmin(1)
    tall = np.ptp(px[:, 1])
    blend = np.exp(-((away.min(1) / (0.16 * tall)) ** 2))
    depth = shape[hull[nearest], 2] + 0.006
    eye = np.linalg.inv(still.camera.T_camera_world @ still.T_world_head)[:3, 3]
    wanted = blend * depth + (1 - blend) * np.maximum(points[:, 2], depth)
    # Along its ray, so that it stays in its pixel.
    stretch = (wanted - eye[2]) / (points[:, 2] - eye[2])
    moved: AnyArray = eye + (points - eye) * stretch[:, None]
    return moved


def _neck(shape: AnyArray, pivot_m: AnyArray, rng: np.random.Generator) -> PointCloud:
    """The neck goes on upwards behind the jaw: no hole when the chin lifts."""
    chin, left, right = shape[_CHIN], shape[_JAWS[0]], shape[_JAWS[1]]
    angle = rng.uniform(-1.2, 1.2, _NECK_POINTS)
    half = 0.42 * abs(right[0] - left[0])
    y = rng.uniform(chin[1] - _LIFTED_M, chin[1] + 0.05, _NECK_POINTS)
    z = np.maximum(pivot_m[2], chin[2] + 0.035) + 0.05 - 0.055 * np.cos(angle)
    means = np.stack([chin[0] + half * np.sin(angle), y, z], 1)
    share = np.clip((chin[1] + 0.05 - y) / 0.095, 0, 1)
    return _cloud(means, np.full(_NECK_POINTS, NECK, np.uint8), 0.15 + 0.7 * share, 0.004)


def _cloud(means: AnyArray, labels: NDArray[np.uint8], skin: AnyArray, spacing_m: float) -> PointCloud:
    count = len(means)
    return PointCloud(
        means=means,
        normals=np.tile([0.0, 0.0, -1.0], (count, 1)),
        spacing_m=np.full(count, spacing_m),
        labels=labels,
        skin=np.asarray(skin, np.float64),
        modes=np.zeros((count, MOTION_SIZE, 3)),
    )
