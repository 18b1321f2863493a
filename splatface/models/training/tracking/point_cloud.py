# SPDX-License-Identifier: Apache-2.0
"""Initial points of a tracked person: face from the fitted model, the rest from the labels."""

from dataclasses import dataclass, fields
from typing import Final

import cv2
import numpy as np
from scipy.spatial import Delaunay, cKDTree
from scipy.spatial.transform import Rotation

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.camera import Camera
from splatface.models.errors import TrackingError
from splatface.models.head.head import MOTION_SIZE
from splatface.models.rotations import quats_from_matrices
from splatface.models.training.dataset.body_poses import FrameReader
from splatface.models.training.dataset.types import (
    BACKGROUND,
    EYES,
    FACE,
    HAIR,
    LIPS,
    MOUTH,
    NECK,
    TORSO,
    Points,
)
from splatface.models.training.tracking.face_detection import LIPS as LIP_LANDMARKS
from splatface.models.training.tracking.face_fit import ClipFit
from splatface.models.training.tracking.face_model import IRISES, FaceModel, load_face_model
from splatface.models.typing import AnyArray, BoolArray, Float32Array, Int64Array, UInt8Array

__all__ = ["resting_row", "sample_person_point_cloud"]

_SKIN_POINTS, _EYE_POINTS, _MOUTH_POINTS, _BODY_POINTS, _NECK_POINTS = 8000, 500, 700, 8500, 440
_FACE_LANDMARKS: Final = 468
_CHIN, _FOREHEAD, _SIDES, _JAWS = 152, 10, (234, 454), (172, 397)
_OUTER_LIPS, _INNER_LIPS = LIP_LANDMARKS[:20], LIP_LANDMARKS[20:]
_EYE_CONTOURS: Final = (
    (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7),
    (263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249),
)
_OPEN, _YAW, _PITCH = 0, len(MOUTH_MODES) + 2, len(MOUTH_MODES) + 3
_EYE_RADIUS_M = 0.0118
_BEHIND_LIDS_M = 0.002  # so that closed lids lie in front of it
_BEHIND_LIPS_M, _MOUTH_DEPTH_M = 0.012, 0.008
_HEAD_DEPTH_M = 0.105  # half of the head from nose to back, without the nose
_EARS_M = 0.085  # behind the eyes: the middle of the head
_SHOULDER_M = 0.05  # of the chest in front of the neck joint
_NECK_OVERLAP_M = (
    0.02  # by which the chin may be lifted; a neck that continues higher shows behind the cheeks
)
_SKINNING_FALLOFF = 0.45  # fraction of the face's height, over which the neck goes from head to torso
_DISC_SCALE = np.array([1.0, 1.0, 0.35])  # discs: as thick as a third of their width
_DISC_SPACING = 0.75  # fraction of the spacing of points
# Labels of pixels whose color a point of a label may take.
_COLOR_LABELS: Final = {LIPS: (LIPS,), EYES: (EYES,), FACE: (FACE, LIPS, EYES), NECK: (NECK, FACE)}
_MOUTH_COLOR = (0.25, 0.12, 0.12)
_OCCLUSION_M = 0.02  # points so much deeper than the first one are not what a pixel shows
_OCCLUSION_CELL_PX = 6


@dataclass(frozen=True, slots=True, eq=False)
class PointCloud:
    """N points in the canonical frame, without colors."""

    means: AnyArray  # [N, 3] m
    normals: AnyArray  # [N, 3] unit
    spacing_m: AnyArray  # [N] to the next point
    labels: UInt8Array  # [N]
    skinning_weight: AnyArray  # [N] 0 torso bone .. 1 head bone
    modes: AnyArray  # [N, 16, 3]


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceFrame:
    """One frame of the clip with the head about at rest."""

    labels: UInt8Array  # [H, W]
    T_world_head: AnyArray  # [4, 4]
    camera: Camera

    def project(self, points_world: AnyArray) -> tuple[AnyArray, AnyArray]:
        """Project points [N, 3]: px [N, 2] and depth [N], m."""
        T, camera = self.camera.T_camera_world, self.camera
        in_camera = points_world @ T[:3, :3].T + T[:3, 3]
        px = in_camera[:, :2] / in_camera[:, 2:] * (camera.fx, camera.fy) + (camera.cx, camera.cy)
        return px, in_camera[:, 2]

    def to_world(self, points_head: AnyArray) -> AnyArray:
        """Transform canonical points [N, 3] of the head to the world."""
        points: AnyArray = points_head @ self.T_world_head[:3, :3].T + self.T_world_head[:3, 3]
        return points


def sample_person_point_cloud(
    fit: ClipFit, read_frame: FrameReader, moments: Int64Array, seed: int = 0
) -> Points:
    """Sample about 20,000 points of a tracked person in the canonical frame.

    Face from the fitted model, dense at mouth and eyes; hair, ears, neck and shoulders from the labels of the
    frame nearest to rest, at a plausible depth, and the neck behind the jaw. Points that only turned views
    show are added when a head is finished: `models.training.optimization`.

    Args:
        fit: the fit of the clip.
        read_frame: returns a row's image and labels.
        moments: [R] index of each row in the fit's frames.
        seed: of the random points.

    Raises:
        TrackingError: when there are no rows.
    """
    if not len(moments):
        raise TrackingError("points: expected pictures of the person, found none: film longer")
    rng = np.random.default_rng([seed, 0xF0])
    row = resting_row(fit, moments)
    image, labels = read_frame(row)
    frame = ReferenceFrame(labels, fit.T_world_head[int(moments[row])], fit.camera)
    face = _face_points(load_face_model(), fit.shape_m, rng)
    cloud = _concatenate([face, _body_points(fit.shape_m, fit.pivot_m, frame, rng)])
    modes = cloud.modes.astype(np.float32)
    return Points(
        means=cloud.means.astype(np.float32),
        normals=cloud.normals.astype(np.float32),
        colors=_sample_colors(cloud, image, frame).astype(np.float32),
        scales=(_DISC_SPACING * cloud.spacing_m[:, None] * _DISC_SCALE).astype(np.float32),
        quats=_quats_from_normals(cloud.normals),
        labels=cloud.labels,
        skinning_weight=np.clip(cloud.skinning_weight, 0, 1).astype(np.float32),
        mouth_modes=np.ascontiguousarray(modes[:, : len(MOUTH_MODES)]),
        control_modes=np.ascontiguousarray(modes[:, -len(CONTROLS) :]),
    )


def resting_row(fit: ClipFit, moments: Int64Array) -> int:
    """Return the row (of rows at these moments of the fit) with head and face nearest to rest."""
    index = np.asarray(moments)
    rotation = Rotation.from_matrix(fit.T_world_head[index, :3, :3]).magnitude() / 0.1
    translation = np.linalg.norm(fit.T_world_head[index, :3, 3], axis=1) / 0.02
    motion = 3 * np.abs(fit.mouth[index]).sum(1) + 6 * np.abs(fit.controls[index]).sum(1)
    return int(np.argmin(rotation + translation + motion + 10 * (1 - fit.confidence[index])))


def _concatenate(clouds: list[PointCloud]) -> PointCloud:
    names = [field.name for field in fields(PointCloud)]
    return PointCloud(*(np.concatenate([getattr(cloud, name) for cloud in clouds]) for name in names))


def _face_points(model: FaceModel, shape_m: AnyArray, rng: np.random.Generator) -> PointCloud:
    """Sample points of the face with landmarks [478, 3] at rest."""
    eyes = [_eye_points(shape_m, eye, rng) for eye in range(2)]
    return _concatenate([_skin_points(model, shape_m, rng), *eyes, _mouth_points(model, shape_m, rng)])


def _skin_points(model: FaceModel, shape_m: AnyArray, rng: np.random.Generator) -> PointCloud:
    triangles = _triangulate(shape_m)
    corners = shape_m[triangles]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(cross, axis=1) / 2
    density = _relative_density(shape_m, corners.mean(1))
    chosen = rng.choice(len(triangles), _SKIN_POINTS, p=area * density / (area * density).sum())
    weights = rng.dirichlet(np.ones(3), _SKIN_POINTS)
    landmarks = triangles[chosen]
    normals = cross[chosen] / (2 * area[chosen, None])
    normals *= -np.sign(normals[:, 2:] + 1e-12)  # out of the face is towards -z
    means = np.einsum("nk,nkd->nd", weights, shape_m[landmarks])
    on_lips = _inside_polygon(means, shape_m[list(_OUTER_LIPS)])
    return PointCloud(
        means=means,
        normals=normals,
        spacing_m=np.sqrt((area * density).sum() / _SKIN_POINTS / density[chosen]),
        labels=np.where(on_lips, LIPS, FACE).astype(np.uint8),
        skinning_weight=np.ones(_SKIN_POINTS),
        modes=np.einsum("nk,mnkd->nmd", weights, model.motion_m[:, landmarks]),
    )


def _triangulate(shape_m: AnyArray) -> Int64Array:
    """Triangulate the landmarks in the frontal view: [T, 3], open at the eyes and between the lips."""
    triangles = Delaunay(shape_m[:_FACE_LANDMARKS, :2]).simplices.astype(np.int64)
    for contour in (_INNER_LIPS, *_EYE_CONTOURS):
        triangles = triangles[~np.isin(triangles, contour).all(1)]
    return np.asarray(triangles)


def _inside_polygon(points: AnyArray, polygon: AnyArray) -> BoolArray:
    """Return the points [N, 3] inside a polygon [K, 3] in the frontal view (even-odd rule)."""
    x, y = points[:, :1], points[:, 1:2]
    start, end = polygon, np.roll(polygon, -1, axis=0)
    spans = (start[:, 1] > y) != (end[:, 1] > y)
    rise = np.where(start[:, 1] == end[:, 1], 1.0, end[:, 1] - start[:, 1])
    crossing = start[:, 0] + (y - start[:, 1]) / rise * (end[:, 0] - start[:, 0])
    inside: BoolArray = (spans & (x < crossing)).sum(1) % 2 == 1
    return inside


def _relative_density(shape_m: AnyArray, positions: AnyArray) -> AnyArray:
    """Compute the relative point density at positions [T, 3]: 1, up to 4 at the mouth and 3 at the eyes."""
    lips = shape_m[list(LIP_LANDMARKS)]
    width = float(np.ptp(lips[:, 0]))
    density = 1 + 3 * np.exp(-(((positions - lips.mean(0)) ** 2).sum(1) / (0.7 * width) ** 2))
    for contour in _EYE_CONTOURS:
        squared = ((positions - shape_m[list(contour)].mean(0)) ** 2).sum(1)
        density += 2 * np.exp(-squared / (0.5 * width) ** 2)
    return np.asarray(density)


def _eye_points(shape_m: AnyArray, eye: int, rng: np.random.Generator) -> PointCloud:
    """Sample the front of the eyeball, a little wider than its opening; it rotates with the gaze."""
    center = shape_m[IRISES[eye], :].mean(0)
    center[2] += _EYE_RADIUS_M + _BEHIND_LIDS_M
    contour = shape_m[list(_EYE_CONTOURS[eye])]
    half = np.ptp(contour[:, :2], axis=0) / 2 + 0.002
    radius, angle = np.sqrt(rng.random(_EYE_POINTS)), rng.uniform(0, 2 * np.pi, _EYE_POINTS)
    offset = np.zeros((_EYE_POINTS, 3))
    offset[:, :2] = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1) * half
    offset[:, :2] *= np.minimum(1, 0.95 * _EYE_RADIUS_M / np.linalg.norm(offset[:, :2], axis=1))[:, None]
    offset[:, 2] = -np.sqrt(_EYE_RADIUS_M**2 - (offset[:, :2] ** 2).sum(1))
    opening = contour.mean(0) - center
    modes = np.zeros((_EYE_POINTS, MOTION_SIZE, 3))
    modes[:, _YAW], modes[:, _PITCH] = np.cross([0, -1.0, 0], offset), np.cross([1.0, 0, 0], offset)
    return PointCloud(
        means=center + offset + (opening[0], opening[1], 0.0),
        normals=offset / _EYE_RADIUS_M,
        spacing_m=np.full(_EYE_POINTS, np.sqrt(np.pi * half.prod() / _EYE_POINTS)),
        labels=np.full(_EYE_POINTS, EYES, np.uint8),
        skinning_weight=np.ones(_EYE_POINTS),
        modes=modes,
    )


def _mouth_points(model: FaceModel, shape_m: AnyArray, rng: np.random.Generator) -> PointCloud:
    """Sample a thick plane behind the lips; its lower half goes down with the jaw."""
    inner = shape_m[list(_INNER_LIPS)]
    low, high = inner.min(0), inner.max(0)
    margin = 0.35 * (high[0] - low[0])
    means = np.stack(
        [
            rng.uniform(low[0], high[0], _MOUTH_POINTS),
            rng.uniform(low[1] - 0.6 * margin, high[1] + margin, _MOUTH_POINTS),
            inner[:, 2].mean() + _BEHIND_LIPS_M + rng.uniform(0, _MOUTH_DEPTH_M, _MOUTH_POINTS),
        ],
        axis=1,
    )
    modes = np.zeros((_MOUTH_POINTS, MOTION_SIZE, 3))
    lower = means[:, 1] > inner[:, 1].mean()
    modes[lower, _OPEN] = model.motion_m[_OPEN, 14]
    area = (high[0] - low[0]) * (high[1] - low[1] + 1.6 * margin)
    spacing_m = float(np.sqrt(area / _MOUTH_POINTS))
    labels = np.full(_MOUTH_POINTS, MOUTH, np.uint8)
    return _frontal_points(means, labels, np.ones(_MOUTH_POINTS), spacing_m, modes)


def _frontal_points(
    means: AnyArray,
    labels: UInt8Array,
    skinning_weight: AnyArray,
    spacing_m: float,
    modes: AnyArray | None = None,
) -> PointCloud:
    """Return points whose normals all point to the camera, without motion unless modes are given."""
    count = len(means)
    return PointCloud(
        means=means,
        normals=np.tile([0.0, 0.0, -1.0], (count, 1)),
        spacing_m=np.full(count, spacing_m),
        labels=labels,
        skinning_weight=np.asarray(skinning_weight, np.float64),
        modes=np.zeros((count, MOTION_SIZE, 3)) if modes is None else modes,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Ellipsoid:
    center: AnyArray  # [3], head's frame
    radii: AnyArray  # [3]


@dataclass(frozen=True, slots=True, eq=False)
class _Body:
    """The person in the reference frame."""

    frame: ReferenceFrame
    shape_m: AnyArray  # [478, 3] landmarks at rest
    px: AnyArray  # [478, 2] landmarks in the frame
    pivot_m: AnyArray  # [3] neck joint


def _body_points(
    shape_m: AnyArray, pivot_m: AnyArray, frame: ReferenceFrame, rng: np.random.Generator
) -> PointCloud:
    """Sample everything in the labels but the face of landmarks [478, 3], and the neck behind the jaw."""
    px, _ = frame.project(frame.to_world(shape_m))
    body = _Body(frame, shape_m, px, pivot_m)
    return _concatenate([_silhouette_points(body, rng), _neck_points(body, rng)])


def _silhouette_points(body: _Body, rng: np.random.Generator) -> PointCloud:
    labels, px, camera = body.frame.labels, body.px, body.frame.camera
    face = np.zeros(labels.shape, np.uint8)
    cv2.fillConvexPoly(face, cv2.convexHull(px.astype(np.int32)), 1)
    depth_px = cv2.distanceTransform(face, cv2.DIST_L2, 5)
    rows, columns = np.nonzero((labels != BACKGROUND) & (depth_px < 0.10 * np.ptp(px[:, 0])))
    if not len(rows):
        return _frontal_points(np.zeros((0, 3)), np.zeros(0, np.uint8), np.zeros(0), 0.004)
    chosen = rng.choice(len(rows), _BODY_POINTS, replace=len(rows) < _BODY_POINTS)
    pixels = np.stack([columns[chosen], rows[chosen]], 1) + rng.random((_BODY_POINTS, 2))
    parts = labels[rows[chosen], columns[chosen]]
    weight = _skinning_weight(pixels, px, parts)
    means = _unproject(pixels, weight, body)
    parts = np.where((parts >= FACE) & (depth_px[rows[chosen], columns[chosen]] <= 0), FACE, parts)
    T = camera.T_camera_world
    pivot_depth_m = float((T[:3, :3] @ body.pivot_m + T[:3, 3])[2])
    spacing_m = float(np.sqrt(len(rows) / _BODY_POINTS)) * pivot_depth_m / camera.fx
    return _frontal_points(means, np.minimum(parts, FACE).astype(np.uint8), weight, spacing_m)


def _skinning_weight(pixels: AnyArray, px: AnyArray, parts: UInt8Array) -> AnyArray:
    """Compute weights: 1 above the jaw, smoothly 0 over half a face below it; torso labels are torso."""
    height = px[_CHIN, 1] - px[_FOREHEAD, 1]
    center, half = px[list(_SIDES), 0].mean(), np.ptp(px[list(_SIDES), 0]) / 2
    jaw = px[_CHIN, 1] - 0.22 * height * np.clip(np.abs(pixels[:, 0] - center) / half, 0, 1) ** 2
    x = np.clip(1 - (pixels[:, 1] - jaw) / (_SKINNING_FALLOFF * height), 0, 1)
    weight = x * x * (3 - 2 * x)
    weight = np.where(parts == HAIR, np.maximum(weight, 0.8), weight)
    return np.asarray(np.where(parts == TORSO, 0.0, weight))


def _unproject(pixels: AnyArray, skinning_weight: AnyArray, body: _Body) -> AnyArray:
    """Place pixels [N, 2] on the skull, the neck or the chest: canonical points [N, 3]."""
    camera, px = body.frame.camera, body.px
    rays = np.c_[(pixels - (camera.cx, camera.cy)) / (camera.fx, camera.fy), np.ones(len(pixels))]
    on_head = _intersect_ellipsoid(rays, body.frame, _skull(body))
    on_head = _blend_to_face(on_head, pixels, body)
    T_world_camera = np.linalg.inv(camera.T_camera_world)
    directions = rays @ T_world_camera[:3, :3].T
    eye = T_world_camera[:3, 3]
    below = np.clip((pixels[:, 1] - px[_CHIN, 1]) / np.ptp(px[:, 1]), 0, 1)
    chest_z = body.pivot_m[2] - _SHOULDER_M * below
    on_chest = eye + directions * ((chest_z - eye[2]) / directions[:, 2])[:, None]
    weight = skinning_weight[:, None]
    means: AnyArray = weight * on_head + (1 - weight) * on_chest
    return means


def _skull(body: _Body) -> _Ellipsoid:
    """Fit an ellipsoid as wide as the face with its ears, as high as from the chin to the top of the hair."""
    shape, px = body.shape_m, body.px
    rows = np.flatnonzero(np.isin(body.frame.labels, (HAIR, FACE)).any(1))
    m_per_px = (shape[_CHIN, 1] - shape[_FOREHEAD, 1]) / (px[_CHIN, 1] - px[_FOREHEAD, 1])
    top = shape[_CHIN, 1] - (px[_CHIN, 1] - rows[0]) * m_per_px if len(rows) else shape[_FOREHEAD, 1] - 0.06
    top = min(top, shape[_FOREHEAD, 1] - 0.03)
    center_x = (shape[_SIDES[0], 0] + shape[_SIDES[1], 0]) / 2
    half_width = abs(shape[_SIDES[1], 0] - shape[_SIDES[0], 0]) / 2
    half_height = (shape[_CHIN, 1] - top) / 2
    center = np.array([center_x, (shape[_CHIN, 1] + top) / 2, _EARS_M])
    return _Ellipsoid(center, np.array([1.12 * half_width, 1.05 * half_height, _HEAD_DEPTH_M]))


def _intersect_ellipsoid(rays: AnyArray, frame: ReferenceFrame, ellipsoid: _Ellipsoid) -> AnyArray:
    """Intersect the camera's rays [N, 3], or find the nearest point, in the head's frame."""
    T_head_camera = np.linalg.inv(frame.camera.T_camera_world @ frame.T_world_head)
    direction = rays @ T_head_camera[:3, :3].T / ellipsoid.radii
    start = (T_head_camera[:3, 3] - ellipsoid.center) / ellipsoid.radii
    a, b, c = (direction**2).sum(1), direction @ start, start @ start - 1
    distance = (-b - np.sqrt(np.maximum(b * b - a * c, 0))) / a
    points: AnyArray = (start + direction * distance[:, None]) * ellipsoid.radii + ellipsoid.center
    return points


def _blend_to_face(points: AnyArray, pixels: AnyArray, body: _Body) -> AnyArray:
    """Move points [N, 3] to the depth of the face's outline beside it, and behind it inside."""
    px = body.px
    hull = cv2.convexHull(px.astype(np.float32), returnPoints=False).ravel()
    distance_px = np.linalg.norm(pixels[:, None] - px[hull], axis=2)
    nearest = distance_px.argmin(1)
    blend = np.exp(-((distance_px.min(1) / (0.16 * np.ptp(px[:, 1]))) ** 2))
    depth = body.shape_m[hull[nearest], 2] + 0.006
    eye = np.linalg.inv(body.frame.camera.T_camera_world @ body.frame.T_world_head)[:3, 3]
    target = blend * depth + (1 - blend) * np.maximum(points[:, 2], depth)
    # Along its ray, so that it stays in its pixel.
    scale = (target - eye[2]) / (points[:, 2] - eye[2])
    blended: AnyArray = eye + (points - eye) * scale[:, None]
    return blended


def _neck_points(body: _Body, rng: np.random.Generator) -> PointCloud:
    """Continue the neck upwards behind the jaw, so that there is no hole when the chin lifts."""
    shape = body.shape_m
    chin, left, right = shape[_CHIN], shape[_JAWS[0]], shape[_JAWS[1]]
    angle = rng.uniform(-1.2, 1.2, _NECK_POINTS)
    radius = 0.42 * abs(right[0] - left[0])
    y = rng.uniform(chin[1] - _NECK_OVERLAP_M, chin[1] + 0.05, _NECK_POINTS)
    z = np.maximum(body.pivot_m[2], chin[2] + 0.035) + 0.05 - 0.055 * np.cos(angle)
    means = np.stack([chin[0] + radius * np.sin(angle), y, z], 1)
    weight = 0.15 + 0.7 * np.clip((chin[1] + 0.05 - y) / 0.095, 0, 1)
    return _frontal_points(means, np.full(_NECK_POINTS, NECK, np.uint8), weight, 0.004)


def _sample_colors(cloud: PointCloud, image: UInt8Array, frame: ReferenceFrame) -> AnyArray:
    """Sample RGB [N, 3] 0..1 where the image shows a point's own part, else of the nearest such point."""
    weight = cloud.skinning_weight[:, None]
    posed = weight * frame.to_world(cloud.means) + (1 - weight) * cloud.means
    px, depth = frame.project(posed)
    column = np.clip(np.floor(px[:, 0]), 0, frame.camera.width - 1).astype(np.int64)
    row = np.clip(np.floor(px[:, 1]), 0, frame.camera.height - 1).astype(np.int64)
    pixel_labels = frame.labels[row, column]
    colors = image[row, column] / 255.0
    pairs = zip(pixel_labels, cloud.labels, strict=True)
    visible = np.array([pixel in _COLOR_LABELS.get(int(label), (int(label),)) for pixel, label in pairs])
    visible &= depth < _first_depth(depth, row, column, frame.labels.shape) + _OCCLUSION_M
    colors[cloud.labels == MOUTH] = _MOUTH_COLOR
    visible |= cloud.labels == MOUTH
    for label in (TORSO, NECK, HAIR, FACE, EYES, LIPS):
        _copy_nearest_color(colors, cloud, cloud.labels == label, visible)
    return np.clip(colors, 0, 1)


def _copy_nearest_color(colors: AnyArray, cloud: PointCloud, members: BoolArray, visible: BoolArray) -> None:
    """Give invisible points the color of the nearest visible one of their label, or of any."""
    missing = members & ~visible
    known = members & visible if (members & visible).any() else visible & (cloud.labels != MOUTH)
    if missing.any() and known.any():
        _, nearest = cKDTree(cloud.means[known, :2]).query(cloud.means[missing, :2])
        colors[missing] = colors[known][nearest]


def _first_depth(depth: AnyArray, row: Int64Array, column: Int64Array, size: tuple[int, ...]) -> AnyArray:
    """Compute the depth of the nearest point around each point's pixel [N], in cells of some pixels."""
    cell = _OCCLUSION_CELL_PX
    cells = (row // cell) * (size[1] // cell + 1) + column // cell
    first = np.full(int(cells.max()) + 1, np.inf)
    np.minimum.at(first, cells, depth)
    return np.asarray(first[cells])


def _quats_from_normals(normals: AnyArray) -> Float32Array:
    """Compute unit quaternions [P, 4] wxyz whose third axis is the normal [P, 3]."""
    helper = np.where(np.abs(normals[:, :1]) < 0.9, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    first = np.cross(helper, normals)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    axes = np.stack([first, np.cross(normals, first), normals], axis=2)
    return quats_from_matrices(axes).astype(np.float32)
