"""How much a picture is missed, and which way its poses and the lens should change."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from splatface.models.camera import Camera
from splatface.models.training.optimization.losses import Target
from splatface.models.training.optimization.packed import LOG_SCALES
from splatface.models.training.optimization.poses import INTRINSICS_DOF, POSE_DOF
from splatface.models.training.optimization.pull import DeformedGaussians, Gradients, RenderLoss
from splatface.models.training.optimization.skin import twisted
from splatface.models.training.optimization.skin_kernels import skin_gaussians
from splatface.models.training.optimization.torch_easel import TorchRenderLoss
from splatface.models.typing import Float64Array

__all__ = ["PoseGradient", "loss_and_pose_grad"]


@dataclass(frozen=True, slots=True, eq=False)
class PoseGradient:
    """A picture's loss and its slopes."""

    loss: float
    slopes: Float64Array  # [FREEDOMS + LENS]

    @property
    def finite(self) -> bool:
        """Whether a step may follow it."""
        return bool(np.isfinite(self.loss) and np.isfinite(self.slopes).all())


def loss_and_pose_grad(
    easel: RenderLoss | TorchRenderLoss, moves: DeformedGaussians, pose: Float64Array, target: Target
) -> PoseGradient:
    """The loss of a picture in a pose [2, POSE], with its slopes at twist 0 and at the easel's lens.

    Mouth and eyes count as they do in training: poses fitted without them lost 1.1 dB in the mouth, whose
    motion was tracked together with the pose.
    """
    slopes = easel.loss_and_grads(moves, pose, target)
    twist = torch.zeros(2, 6, dtype=torch.float64, requires_grad=True)
    above = torch.from_numpy(slopes.pose.astype(np.float64))
    (twisted(torch.from_numpy(pose), twist) * above).sum().backward()
    assert twist.grad is not None
    found = np.empty(POSE_DOF + INTRINSICS_DOF)
    found[:POSE_DOF] = twist.grad.numpy().ravel()
    means = skin_gaussians(moves.table, moves.rows, moves.deltas, pose, easel.workers).splats.means
    found[POSE_DOF:] = _lens_slopes(slopes, means, easel.camera)
    # A camera farther away is a person farther away.
    farther = found[3:6] + found[9:12]
    found[POSE_DOF] += easel.camera.T_camera_world[2, 3] * (easel.camera.T_camera_world[2, :3] @ farther)
    return PoseGradient(slopes.loss, found)


def _lens_slopes(slopes: Gradients, means: NDArray[np.float32], camera: Camera) -> Float64Array:
    """A longer lens moves every center away from the principal point and makes every ellipse larger."""
    seen = means @ camera.T_camera_world[:3, :3].T + camera.T_camera_world[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        away = seen[:, :2] / seen[:, 2:] * (camera.fx, camera.fy)
    pull = slopes.means2d_grad.astype(np.float64)
    apart = np.where(pull != 0, pull * away, 0.0).sum()
    grown = slopes.table[:, LOG_SCALES].sum(dtype=np.float64)
    return np.array([apart + grown, *pull.sum(axis=0)])
