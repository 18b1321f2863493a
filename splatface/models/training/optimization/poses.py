"""The poses of all pictures and the lens: as they were tracked, and as refinement left them."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from splatface.models.camera import Camera
from splatface.models.training.dataset.types import Dataset
from splatface.models.training.optimization.skin import pose_rows
from splatface.models.typing import Float64Array

__all__ = ["INTRINSICS_DOF", "POSE_DOF", "Poses", "apply_twist", "twist_between"]


POSE_DOF = 12  # of a picture: turn (rotation vector, rad, about the world's origin), shift (m); torso, head
# Log of the change of focal lengths and camera distance together (a dolly zoom: the size in the picture
# stays, for size alone is as well the Gaussians'), and the principal point's shift in px.
INTRINSICS_DOF = 3


class Poses:
    """Torso and head of every row, [2, F, 4, 4], torso first, and the lens they were seen through."""

    def __init__(self, dataset: Dataset) -> None:
        frames = dataset.frames
        self.time_s: Float64Array = frames.time_ns / 1e9
        self.tracked = np.stack([frames.T_world_torso, frames.T_world_head]).astype(np.float64)
        self.T: Float64Array = self.tracked.copy()
        self.lens: Float64Array = np.zeros(INTRINSICS_DOF)
        self.rounds: list[dict[str, float]] = []  # what each refinement found, see refine_poses.py
        self._camera = dataset.camera

    @property
    def camera(self) -> Camera:
        """The data set's camera with the refined lens."""
        return self.with_intrinsics(self.lens)

    def with_intrinsics(self, lens: Float64Array) -> Camera:
        """The data set's camera with a lens [LENS]."""
        own, zoom = self._camera, float(np.exp(lens[0]))
        cx, cy = own.cx + float(lens[1]), own.cy + float(lens[2])
        T = own.T_camera_world.copy()
        T[2, 3] *= zoom
        return replace(own, fx=own.fx * zoom, fy=own.fy * zoom, cx=cx, cy=cy, T_camera_world=T)

    def at(self, row: int) -> Float64Array:
        """Both bones in a row, refined, [2, POSE]; see `pose_rows`."""
        return pose_rows(self.T[1, row], self.T[0, row])

    def changes(self, rows: NDArray[np.int64]) -> Float64Array:
        """How far refinement moved rows [n], [n, FREEDOMS]."""
        return twist_between(self.tracked[:, rows], self.T[:, rows])


def twist_between(before: Float64Array, after: Float64Array) -> Float64Array:
    """The twists [n, FREEDOMS] that turn poses [2, n, 4, 4] into others; `moved` undoes it."""
    change = after @ np.linalg.inv(before)
    turns = [Rotation.from_matrix(bone[:, :3, :3]).as_rotvec() for bone in change]
    return np.concatenate([turns[0], change[0, :, :3, 3], turns[1], change[1, :, :3, 3]], axis=1)


def apply_twist(T: Float64Array, twists: Float64Array) -> Float64Array:
    """Poses [2, n, 4, 4] after twists [n, FREEDOMS]: a turn about the world's origin, then a shift."""
    change = np.tile(np.eye(4), (2, len(twists), 1, 1))
    for bone in (0, 1):
        own = twists[:, 6 * bone : 6 * bone + 6]
        change[bone, :, :3, :3] = Rotation.from_rotvec(own[:, :3]).as_matrix()
        change[bone, :, :3, 3] = own[:, 3:]
    found: Float64Array = change @ T
    return found
