# SPDX-License-Identifier: Apache-2.0
"""Table of canonical Gaussians, and linear blend skinning of it with gradients.

`skin_gaussians_torch` is the definition in plain torch: the same as `deform_reference` of models/head, with
gradients to the table, its skinning weights, the deltas and the bones. `skin_gaussians` and `skin_backward`
do the same in compiled loops over rows on a few threads.
"""

import math
from dataclasses import dataclass

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splatface.models.head.deformation import MAX_LOG_CHANGE
from splatface.models.head.head import DELTA_CHANNELS, Splats
from splatface.models.render.cpu import SplatGrads
from splatface.models.render.jit import Workers
from splatface.models.render.reference import SplatTensors
from splatface.models.rotations import quat_from_matrix
from splatface.models.training.fields.field import GaussianTensors
from splatface.models.typing import Float32Array

__all__ = [
    "DEPTH",
    "LOG_SCALES",
    "MEANS",
    "OPACITY",
    "POSE",
    "QUATS",
    "SH_DC",
    "SH_REST",
    "SKIN",
    "SkinningCache",
    "SkinningGrads",
    "apply_small_twist",
    "chunk_bounds",
    "logit",
    "pack",
    "pack_bone_poses",
    "row_width",
    "sh_of",
    "skin_backward",
    "skin_gaussians",
    "skin_gaussians_torch",
    "skin_logits",
    "unpack",
]

# Columns of the table. The first eleven are those of DELTA_CHANNELS; harmonics follow by coefficient.
MEANS = slice(0, 3)
DEPTH = 2
QUATS = slice(3, 7)
LOG_SCALES = slice(7, 10)
OPACITY = 10
SKIN = 11  # logit
SH_DC = slice(12, 15)  # SH degree 0
SH_REST = 15  # SH degree 1 and above, from here to the end
_HARMONICS = 12


def row_width(sh_degree: int) -> int:
    """Return the number of columns of a table with harmonics up to this degree."""
    return _HARMONICS + 3 * (sh_degree + 1) ** 2


def pack(gaussians: GaussianTensors, logits: Tensor) -> Tensor:
    """Return the table [N, row_width] of N Gaussians and their skinning logits [N]; keeps the graph."""
    g = gaussians
    columns = [g.means, g.quats, g.log_scales, g.opacity_logits[:, None], logits[:, None]]
    return torch.cat([*columns, g.sh.flatten(1)], dim=1)


def unpack(table: Tensor) -> GaussianTensors:
    """Return the Gaussians of a table as views of it; their skinning logits are table[:, SKIN]."""
    return GaussianTensors(
        means=table[:, MEANS],
        quats=table[:, QUATS],
        log_scales=table[:, LOG_SCALES],
        opacity_logits=table[:, OPACITY],
        sh=sh_of(table),
    )


def sh_of(table: Tensor) -> Tensor:
    """Return the harmonics [N, (d + 1)^2, 3] of a table."""
    return table[:, _HARMONICS:].unflatten(1, (-1, 3))


def skin_logits(weights: Float32Array) -> Float32Array:
    """Return logits [N] of skinning weights [N], 0..1, clipped so that training can still change them."""
    return logit(np.clip(weights, 0.005, 0.995))


def logit(fraction: float | Float32Array) -> Float32Array:
    """Return log(p / (1 - p)) of fractions p in (0, 1)."""
    value: Float32Array = np.log(np.asarray(fraction) / (1 - np.asarray(fraction))).astype(np.float32)
    return value


POSE = 16  # rotation 9, translation 3, quaternion 4


def pack_bone_poses(
    T_world_head: NDArray[np.float64], T_world_torso: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return torso and head as rotation (row by row), translation and quaternion [2, POSE].

    Both quaternions lie in the same hemisphere.
    """
    rows = [_pack_pose(T_world_torso), _pack_pose(T_world_head)]
    if rows[0][12:] @ rows[1][12:] < 0:
        rows[1][12:] *= -1
    return np.stack(rows)


def _pack_pose(T: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([T[:3, :3].ravel(), T[:3, 3], quat_from_matrix(T[:3, :3])])


def apply_small_twist(pose: Tensor, twist: Tensor) -> Tensor:
    """Return poses [2, POSE] after small twists [2, 6]: rotation about the origin in rad, translation in m.

    Exact to first order, which is all a gradient at twist 0 needs.
    """
    angular, linear = twist[:, :3], twist[:, 3:]
    rotation = pose[:, :9].unflatten(1, (3, 3))
    rotation = rotation + torch.cross(angular[:, :, None].expand_as(rotation), rotation, dim=1)
    translation = pose[:, 9:12] + torch.cross(angular, pose[:, 9:12], dim=1) + linear
    w, v = pose[:, 12:13], pose[:, 13:16]
    quat = torch.cat(
        [
            w - 0.5 * (angular * v).sum(1, keepdim=True),
            v + 0.5 * (angular * w + torch.cross(angular, v, dim=1)),
        ],
        dim=1,
    )
    return torch.cat([rotation.flatten(1), translation, quat], dim=1)


def skin_gaussians_torch(table: Tensor, deltas: Tensor, pose: Tensor) -> SplatTensors:
    """Return splats in the world frame.

    Args:
        table: [N, row_width] canonical Gaussians.
        deltas: [N, 14], see DELTA_CHANNELS.
        pose: [2, POSE] torso and head, see `pack_bone_poses`.
    """
    changes = deltas[:, 7:11].clamp(-MAX_LOG_CHANGE, MAX_LOG_CHANGE)
    weight = torch.sigmoid(table[:, SKIN])
    blended = pose[0] + weight[:, None] * (pose[1] - pose[0])
    rotation, translation, quat = blended[:, :9].unflatten(1, (3, 3)), blended[:, 9:12], blended[:, 12:16]
    means = (rotation @ (table[:, MEANS] + deltas[:, 0:3])[:, :, None])[:, :, 0] + translation
    sh = sh_of(table)
    parts = [sh[:, :1] + deltas[:, None, 11:14]]
    if sh.shape[1] > 1:
        # g = (-a2, -a0, a1) of the coefficients in their order y, z, x is a vector and is rotated as one.
        g = rotation @ torch.stack([-sh[:, 3], -sh[:, 1], sh[:, 2]], dim=1)
        parts += [-g[:, 1:2], g[:, 2:3], -g[:, 0:1]]
    return SplatTensors(
        means=means,
        quats=_product(quat, table[:, QUATS] + deltas[:, 3:7]),
        scales=torch.exp(table[:, 7:10] + changes[:, :3]),
        opacities=torch.sigmoid(table[:, OPACITY] + changes[:, 3]),
        sh=torch.cat(parts, dim=1),
    )


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Return the Hamilton product of quaternions [N, 4] wxyz."""
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


f4 = np.float32
_OPTIONS = {"cache": True, "nogil": True, "fastmath": True, "error_model": "numpy", "boundscheck": False}
_LIMIT = f4(MAX_LOG_CHANGE)


@dataclass(frozen=True, slots=True, eq=False)
class SkinningCache:
    """Splats of one frame with what the backward pass needs."""

    local: Float32Array  # [N, row_width] the table with its deltas
    clamped: NDArray[np.uint8]  # [N, 4] log-scales and opacity whose delta reached its limit
    pose: Float32Array  # [2, POSE]
    splats: Splats


@dataclass(frozen=True, slots=True, eq=False)
class SkinningGrads:
    """dL/d of table, deltas and bones."""

    table: Float32Array  # [N, row_width]
    deltas: Float32Array  # [R, 14] in the order of `indices`
    pose: Float32Array  # [2, POSE]


def skin_gaussians(
    table: Float32Array,
    indices: NDArray[np.int64],
    deltas: Float32Array,
    pose: NDArray[np.float64],
    workers: Workers,
) -> SkinningCache:
    """Return splats of a table [N, row_width] whose Gaussians `indices` [R] move by deltas [R, 14]."""
    count, width = table.shape
    local, clamped = table.copy(), np.zeros((count, 4), np.uint8)
    _add_deltas(local, indices, deltas, clamped)
    splats = (
        np.empty((count, 3), f4),
        np.empty((count, 4), f4),
        np.empty((count, 3), f4),
        np.empty(count, f4),
        np.empty((count, (width - 12) // 3, 3), f4),
    )
    bones = np.ascontiguousarray(pose, f4)
    workers.run(lambda k: _skin_rows(*chunk_bounds(count, k, workers), local, bones, splats))
    return SkinningCache(local=local, clamped=clamped, pose=bones, splats=Splats(*splats))


def skin_backward(
    cache: SkinningCache, indices: NDArray[np.int64], grads: SplatGrads, workers: Workers
) -> SkinningGrads:
    """Return gradients of table, deltas and bones from those of the splats."""
    count = len(cache.local)
    table_grad = np.empty_like(cache.local)
    bone_grads = np.zeros((workers.threads, 2, POSE), f4)
    splat_grads = (grads.means, grads.quats, grads.scales, grads.opacities, grads.sh)
    activated = (cache.splats.scales, cache.splats.opacities)

    def run_chunk(k: int) -> None:
        first, last = chunk_bounds(count, k, workers)
        _skin_rows_backward(
            first, last, cache.local, cache.pose, activated, splat_grads, table_grad, bone_grads[k]
        )

    workers.run(run_chunk)
    deltas = np.empty((len(indices), DELTA_CHANNELS), f4)
    _deltas_grad(table_grad, indices, cache.clamped, deltas)
    return SkinningGrads(table=table_grad, deltas=deltas, pose=bone_grads.sum(axis=0))


def chunk_bounds(count: int, k: int, workers: Workers) -> tuple[int, int]:
    """Return first and last + 1 of the k-th of `workers.threads` equal chunks of `count` items."""
    return k * count // workers.threads, (k + 1) * count // workers.threads


@numba.njit(**_OPTIONS)
def _add_deltas(local, indices, deltas, clamped):  # type: ignore[no-untyped-def]
    for r in range(len(indices)):
        row, d = local[indices[r]], deltas[r]
        for j in range(7):
            row[j] += d[j]
        for j in range(7, 11):
            change = min(max(d[j], -_LIMIT), _LIMIT)
            clamped[indices[r], j - 7] = change != d[j]
            row[j] += change
        for j in range(3):
            row[12 + j] += d[11 + j]


@numba.njit(**_OPTIONS)
def _deltas_grad(table_grad, indices, clamped, deltas):  # type: ignore[no-untyped-def]
    for r in range(len(indices)):
        row, d = table_grad[indices[r]], deltas[r]
        for j in range(7):
            d[j] = row[j]
        for j in range(7, 11):
            d[j] = f4(0) if clamped[indices[r], j - 7] else row[j]
        for j in range(3):
            d[11 + j] = row[12 + j]


@numba.njit(**_OPTIONS)
def _skin_rows(first, last, local, pose, splats):  # type: ignore[no-untyped-def]
    means, quats, scales, opacities, sh = splats
    b = np.empty(16, np.float32)
    for i in range(first, last):
        row = local[i]
        w = f4(1) / (f4(1) + math.exp(-row[11]))
        for j in range(16):
            b[j] = pose[0, j] + w * (pose[1, j] - pose[0, j])
        x, y, z = row[0], row[1], row[2]
        means[i, 0] = b[0] * x + b[1] * y + b[2] * z + b[9]
        means[i, 1] = b[3] * x + b[4] * y + b[5] * z + b[10]
        means[i, 2] = b[6] * x + b[7] * y + b[8] * z + b[11]
        pw, px, py, pz = row[3], row[4], row[5], row[6]
        quats[i, 0] = b[12] * pw - b[13] * px - b[14] * py - b[15] * pz
        quats[i, 1] = b[12] * px + b[13] * pw + b[14] * pz - b[15] * py
        quats[i, 2] = b[12] * py - b[13] * pz + b[14] * pw + b[15] * px
        quats[i, 3] = b[12] * pz + b[13] * py - b[14] * px + b[15] * pw
        for j in range(3):
            scales[i, j] = math.exp(row[7 + j])
            sh[i, 0, j] = row[12 + j]
        opacities[i] = f4(1) / (f4(1) + math.exp(-row[10]))
        if sh.shape[1] > 1:
            for j in range(3):
                gx, gy, gz = -row[21 + j], -row[15 + j], row[18 + j]
                sh[i, 1, j] = -(b[3] * gx + b[4] * gy + b[5] * gz)
                sh[i, 2, j] = b[6] * gx + b[7] * gy + b[8] * gz
                sh[i, 3, j] = -(b[0] * gx + b[1] * gy + b[2] * gz)


@numba.njit(**_OPTIONS)
def _skin_rows_backward(first, last, local, pose, activated, splat_grads, table_grad, bone_grads):  # type: ignore[no-untyped-def]
    scales, opacities = activated
    g_means, g_quats, g_scales, g_opacities, g_sh = splat_grads
    b, g = np.empty(16, np.float32), np.empty(16, np.float32)
    for i in range(first, last):
        row, out = local[i], table_grad[i]
        w = f4(1) / (f4(1) + math.exp(-row[11]))
        for j in range(16):
            b[j] = pose[0, j] + w * (pose[1, j] - pose[0, j])
        m0, m1, m2 = g_means[i, 0], g_means[i, 1], g_means[i, 2]
        for j in range(3):
            out[j] = b[j] * m0 + b[3 + j] * m1 + b[6 + j] * m2
            g[j], g[3 + j], g[6 + j] = m0 * row[j], m1 * row[j], m2 * row[j]
        g[9], g[10], g[11] = m0, m1, m2
        q0, q1, q2, q3 = g_quats[i, 0], g_quats[i, 1], g_quats[i, 2], g_quats[i, 3]
        out[3] = b[12] * q0 + b[13] * q1 + b[14] * q2 + b[15] * q3
        out[4] = -b[13] * q0 + b[12] * q1 + b[15] * q2 - b[14] * q3
        out[5] = -b[14] * q0 - b[15] * q1 + b[12] * q2 + b[13] * q3
        out[6] = -b[15] * q0 + b[14] * q1 - b[13] * q2 + b[12] * q3
        pw, px, py, pz = row[3], row[4], row[5], row[6]
        g[12] = pw * q0 + px * q1 + py * q2 + pz * q3
        g[13] = -px * q0 + pw * q1 - pz * q2 + py * q3
        g[14] = -py * q0 + pz * q1 + pw * q2 - px * q3
        g[15] = -pz * q0 - py * q1 + px * q2 + pw * q3
        for j in range(3):
            out[7 + j] = g_scales[i, j] * scales[i, j]
            out[12 + j] = g_sh[i, 0, j]
        out[10] = g_opacities[i] * opacities[i] * (f4(1) - opacities[i])
        if g_sh.shape[1] > 1:
            for j in range(3):
                s0, s1, s2 = -g_sh[i, 3, j], -g_sh[i, 1, j], g_sh[i, 2, j]
                v0, v1, v2 = -row[21 + j], -row[15 + j], row[18 + j]
                out[21 + j] = -(b[0] * s0 + b[3] * s1 + b[6] * s2)
                out[15 + j] = -(b[1] * s0 + b[4] * s1 + b[7] * s2)
                out[18 + j] = b[2] * s0 + b[5] * s1 + b[8] * s2
                g[0] += s0 * v0
                g[1] += s0 * v1
                g[2] += s0 * v2
                g[3] += s1 * v0
                g[4] += s1 * v1
                g[5] += s1 * v2
                g[6] += s2 * v0
                g[7] += s2 * v1
                g[8] += s2 * v2
        weight_grad = f4(0)
        for j in range(16):
            weight_grad += g[j] * (pose[1, j] - pose[0, j])
            bone_grads[0, j] += (f4(1) - w) * g[j]
            bone_grads[1, j] += w * g[j]
        out[11] = weight_grad * w * (f4(1) - w)
