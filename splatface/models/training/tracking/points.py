"""Where training of a tracked person's head may start: points with color, bone and movement."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.errors import TrackingError
from splatface.models.rotations import quats_from_matrices
from splatface.models.training.dataset.types import EYES, FACE, HAIR, LIPS, MOUTH, NECK, TORSO, Points
from splatface.models.training.tracking.face_model import load_face_model
from splatface.models.training.tracking.fit import Fit
from splatface.models.training.tracking.points_face import PointCloud, face_cloud, joined
from splatface.models.training.tracking.points_figure import ReferenceFrame, body_point_cloud
from splatface.models.typing import AnyArray, UInt8Array

__all__ = ["Look", "resting_row", "sample_person_point_cloud"]


Look = Callable[[int], tuple[UInt8Array, UInt8Array]]  # row -> picture [H, W, 3] RGB and labels [H, W]

_FLAT = np.array([1.0, 1.0, 0.35])  # discs: as thick as a third of their width
_DISC = 0.75  # of the spacing
_ALIKE: Final = {LIPS: (LIPS,), EYES: (EYES,), FACE: (FACE, LIPS, EYES), NECK: (NECK, FACE)}
_DARK_MOUTH = (0.25, 0.12, 0.12)
_BEHIND_M = 0.02  # of the face's points: deeper ones are not what a pixel shows


def resting_row(found: Fit, moments: Sequence[int] | NDArray[np.integer]) -> int:
    """The row (of rows at these moments of the fit) whose head and face are nearest to rest."""
    at = np.asarray(moments)
    turned = Rotation.from_matrix(found.T_world_head[at, :3, :3]).magnitude() / 0.1
    away = np.linalg.norm(found.T_world_head[at, :3, 3], axis=1) / 0.02
    busy = 3 * np.abs(found.mouth[at]).sum(1) + 6 * np.abs(found.controls[at]).sum(1)
    return int(np.argmin(turned + away + busy + 10 * (1 - found.confidence[at])))


def sample_person_point_cloud(
    found: Fit, look: Look, moments: Sequence[int] | NDArray[np.integer], seed: int = 0
) -> Points:
    """About 20,000 points of a tracked person in the canonical frame.

    Face from the fitted model, dense at mouth and eyes; hair, ears, neck and shoulders from the labels of the
    picture nearest to rest, at a plausible depth, and the neck behind the jaw. What only turned views show
    is added when a head is finished: `models.training.back`.

    Args:
        found: the clip, fitted.
        look: a row's picture and labels.
        moments: [R] which of the fit's pictures each row is.
        seed: which points.

    Raises:
        TrackingError: when there are no rows.
    """
    if not len(moments):
        raise TrackingError("points: expected pictures of the person, found none: film longer")
    rng = np.random.default_rng([seed, 0xF0])
    row = resting_row(found, moments)
    picture, labels = look(row)
    still = ReferenceFrame(labels, found.T_world_head[int(moments[row])], found.camera)
    face = face_cloud(load_face_model(), found.shape_m, rng)
    cloud = joined([face, body_point_cloud(found.shape_m, found.pivot_m, still, rng)])
    modes = cloud.modes.astype(np.float32)
    turned = _quats(cloud.normals)
    return Points(
        means=cloud.means.astype(np.float32),
        normals=cloud.normals.astype(np.float32),
        colors=_colors(cloud, picture, still).astype(np.float32),
        scales=(_DISC * cloud.spacing_m[:, None] * _FLAT).astype(np.float32),
        quats=turned,
        labels=cloud.labels,
        skin=np.clip(cloud.skin, 0, 1).astype(np.float32),
        mouth_modes=np.ascontiguousarray(modes[:, : len(MOUTH_MODES)]),
        control_modes=np.ascontiguousarray(modes[:, -len(CONTROLS) :]),
    )


def _colors(cloud: PointCloud, picture: UInt8Array, still: ReferenceFrame) -> AnyArray:
    """RGB [N, 3] 0..1: looked up where the picture shows a point's own part, else that of its like nearby."""
    posed = _posed(cloud, still)
    camera = still.camera
    seen = posed @ camera.T_camera_world[:3, :3].T + camera.T_camera_world[:3, 3]
    px = seen[:, :2] / seen[:, 2:] * (camera.fx, camera.fy) + (camera.cx, camera.cy)
    column = np.clip(np.floor(px[:, 0]), 0, camera.width - 1).astype(np.int64)
    row = np.clip(np.floor(px[:, 1]), 0, camera.height - 1).astype(np.int64)
    shown = still.labels[row, column]
    colors = picture[row, column] / 255.0
    first = _first_depth(seen[:, 2], row, column, still.labels.shape)
    fits = np.array([s in _ALIKE.get(int(p), (int(p),)) for s, p in zip(shown, cloud.labels, strict=True)])
    fits &= seen[:, 2] < first + _BEHIND_M
    colors[cloud.labels == MOUTH] = _DARK_MOUTH
    fits |= cloud.labels == MOUTH
    for label in (TORSO, NECK, HAIR, FACE, EYES, LIPS):
        _borrow(colors, cloud, cloud.labels == label, fits)
    return np.clip(colors, 0, 1)


def _borrow(colors: AnyArray, cloud: PointCloud, alike: NDArray[np.bool_], fits: NDArray[np.bool_]) -> None:
    """Give points that the picture does not show the color of the next of their label, or of any."""
    lack = alike & ~fits
    have = alike & fits if (alike & fits).any() else fits & (cloud.labels != MOUTH)
    if lack.any() and have.any():
        _, near = cKDTree(cloud.means[have, :2]).query(cloud.means[lack, :2])
        colors[lack] = colors[have][near]


def _posed(cloud: PointCloud, still: ReferenceFrame) -> AnyArray:
    head = cloud.means @ still.T_world_head[:3, :3].T + still.T_world_head[:3, 3]
    posed: AnyArray = cloud.skin[:, None] * head + (1 - cloud.skin[:, None]) * cloud.means
    return posed


def _first_depth(
    depth: AnyArray, row: NDArray[np.int64], column: NDArray[np.int64], size: tuple[int, ...]
) -> AnyArray:
    """Depth of the nearest point around each point's pixel [N], in cells of 6 px."""
    cells = (row // 6) * (size[1] // 6 + 1) + column // 6
    first = np.full(int(cells.max()) + 1, np.inf)
    np.minimum.at(first, cells, depth)
    return np.asarray(first[cells])


def _quats(normals: AnyArray) -> NDArray[np.float32]:
    """Unit quaternions [P, 4] wxyz whose third axis is the normal [P, 3]."""
    help_axis = np.where(np.abs(normals[:, :1]) < 0.9, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    first = np.cross(help_axis, normals)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    axes = np.stack([first, np.cross(normals, first), normals], axis=2)
    return quats_from_matrices(axes).astype(np.float32)
