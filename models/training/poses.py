"""The poses of all pictures, and how they are refined: tracking is right to a pixel, training to less."""

import numpy as np
import torch
from numpy.typing import NDArray

from splatface.models.dataset.types import Dataset
from splatface.models.head.pose import quat_of_euler, rotation_of_quat
from splatface.models.training.adam import Moments, no_moments, step_array
from splatface.models.training.skin import pose_rows, twisted

__all__ = ["Poses"]

_STEADY = 0.02  # of a refinement that is taken back at each look, so that poses do not wander together


class Poses:
    """Torso and head of every row, [2, F, 4, 4], torso first."""

    def __init__(self, dataset: Dataset) -> None:
        frames = dataset.frames
        self.T = np.stack([frames.T_world_torso, frames.T_world_head]).astype(np.float64)
        self.twists = np.zeros((len(frames), 12), np.float32)
        self.moments = no_moments(self.twists)
        self.looks = np.zeros(len(frames), np.int64)

    def at(self, row: int) -> NDArray[np.float64]:
        """Both bones in a row, refined, [2, POSE]; see `pose_rows`."""
        torso, head = (self._moved(bone, row) for bone in (0, 1))
        return pose_rows(head, torso)

    def refined(self, bone: int) -> NDArray[np.float64]:
        """[F, 4, 4] of the torso (0) or the head (1)."""
        return np.stack([self._moved(bone, row) for row in range(len(self.twists))])

    def learn(self, row: int, slopes: NDArray[np.float32], rate: float) -> None:
        """Twist the bones of a row down the slopes [2, POSE] of its poses."""
        twist = torch.zeros(2, 6, dtype=torch.float64, requires_grad=True)
        pose = torch.from_numpy(self.at(row))
        (twisted(pose, twist) * torch.from_numpy(slopes.astype(np.float64))).sum().backward()
        assert twist.grad is not None
        pull = twist.grad.numpy().ravel().astype(np.float32)
        self.looks[row] += 1
        own = Moments(self.moments.first[row], self.moments.second[row])
        step_array(self.twists[row], pull, own, rate, int(self.looks[row]))
        self.twists[row] *= np.float32(1 - _STEADY * min(rate / 1e-3, 1.0))

    def _moved(self, bone: int, row: int) -> NDArray[np.float64]:
        twist = self.twists[row, 6 * bone : 6 * bone + 6]
        tracked: NDArray[np.float64] = self.T[bone, row]
        if not twist.any():
            return tracked
        T = np.eye(4)
        x, y, z = twist[:3].astype(np.float64)
        T[:3, :3] = rotation_of_quat(quat_of_euler(np.array([z, y, x])))
        T[:3, 3] = twist[3:]
        moved: NDArray[np.float64] = T @ tracked
        return moved
