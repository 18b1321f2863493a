"""From a table of canonical Gaussians, movements and two bones to splats: the definition in plain torch.

The same as `deform_reference` of models/head/skinning.py, with gradients to all that is learned: the table,
the skin weights in it, the movements and the bones. `skin_kernels` is its fast twin.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splatface.models.head.skinning import MAX_LOG_CHANGE
from splatface.models.render.reference import SplatTensors
from splatface.models.rotations import quat_from_matrix
from splatface.models.training.optimization.packed import MEANS, OPACITY, QUATS, SKIN, sh_of

__all__ = ["POSE", "pose_rows", "skin_gaussians_torch", "twisted"]

POSE = 16  # rotation 9, translation 3, quaternion 4


def pose_rows(T_world_head: NDArray[np.float64], T_world_torso: NDArray[np.float64]) -> NDArray[np.float64]:
    """[2, POSE]: torso and head as rotation (row by row), translation and quaternion on the same side."""
    rows = [_pose_row(T_world_torso), _pose_row(T_world_head)]
    if rows[0][12:] @ rows[1][12:] < 0:
        rows[1][12:] *= -1
    return np.stack(rows)


def _pose_row(T: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([T[:3, :3].ravel(), T[:3, 3], quat_from_matrix(T[:3, :3])])


def twisted(pose: Tensor, twist: Tensor) -> Tensor:
    """Poses [2, POSE] moved by small twists [2, 6] (turn about the world's origin in rad, shift in m).

    Exact to first order, which is all a gradient at twist 0 needs.
    """
    turn, shift = twist[:, :3], twist[:, 3:]
    rotation = pose[:, :9].unflatten(1, (3, 3))
    rotation = rotation + torch.cross(turn[:, :, None].expand_as(rotation), rotation, dim=1)
    place = pose[:, 9:12] + torch.cross(turn, pose[:, 9:12], dim=1) + shift
    w, v = pose[:, 12:13], pose[:, 13:16]
    quat = torch.cat(
        [
            w - 0.5 * (turn * v).sum(1, keepdim=True),
            v + 0.5 * (turn * w + torch.cross(turn, v, dim=1)),
        ],
        dim=1,
    )
    return torch.cat([rotation.flatten(1), place, quat], dim=1)


def skin_gaussians_torch(table: Tensor, deltas: Tensor, pose: Tensor) -> SplatTensors:
    """Splats in the world.

    Args:
        table: [N, row_width] canonical Gaussians, see packed.py.
        deltas: [N, 14], see DELTA_CHANNELS.
        pose: [2, POSE] torso and head, see `pose_rows`.
    """
    changes = deltas[:, 7:11].clamp(-MAX_LOG_CHANGE, MAX_LOG_CHANGE)
    share = torch.sigmoid(table[:, SKIN])
    blended = pose[0] + share[:, None] * (pose[1] - pose[0])
    rotation, place, turn = blended[:, :9].unflatten(1, (3, 3)), blended[:, 9:12], blended[:, 12:16]
    means = (rotation @ (table[:, MEANS] + deltas[:, 0:3])[:, :, None])[:, :, 0] + place
    sh = sh_of(table)
    parts = [sh[:, :1] + deltas[:, None, 11:14]]
    if sh.shape[1] > 1:
        # g = (-a2, -a0, a1) of the coefficients in their order y, z, x is a vector and turned as one.
        g = rotation @ torch.stack([-sh[:, 3], -sh[:, 1], sh[:, 2]], dim=1)
        parts += [-g[:, 1:2], g[:, 2:3], -g[:, 0:1]]
    return SplatTensors(
        means=means,
        quats=_product(turn, table[:, QUATS] + deltas[:, 3:7]),
        scales=torch.exp(table[:, 7:10] + changes[:, :3]),
        opacities=torch.sigmoid(table[:, OPACITY] + changes[:, 3]),
        sh=torch.cat(parts, dim=1),
    )


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton product of quaternions [N, 4] wxyz."""
    aw, ax, ay, az = a.unbind(1)
    bw, bx, by, bz = b.unbind(1)
    return torch.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        dim=1,
    )
