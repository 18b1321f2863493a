# SPDX-License-Identifier: Apache-2.0
"""Deform and skin the Gaussians of a head: the float64 definition and the compiled form."""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from splatface.models.head.controls import Bones
from splatface.models.head.head import DELTA_CHANNELS, Head, Splats
from splatface.models.rotations import blend_quats, multiply_quats, quat_from_matrix
from splatface.models.typing import AnyArray, Float32Array

__all__ = ["MAX_LOG_CHANGE", "Deformer", "deform_reference", "rotate_sh1"]

# A Gaussian may grow or shrink e^8-fold and its opacity odds change as much: far beyond any face, and
# it keeps a coefficient gone wild from overflowing float32.
MAX_LOG_CHANGE = 8.0


def deform_reference(head: Head, c: NDArray[np.floating], bones: Bones) -> Splats:
    """Return canonical Gaussians + basis @ c on the dynamic rows, activated and skinned, in float64.

    Args:
        head: N Gaussians, M of them dynamic.
        c: [K] coefficients.
        bones: poses of head and torso.

    Harmonics of degree 1 rotate with the bones. Camera and light are fixed while the head rotates, so
    the change of color over the viewing direction shades a rotated cheek; degrees 2 and 3 keep the world's
    axes.
    """
    g = head.gaussians
    delta: AnyArray = np.zeros((len(g), DELTA_CHANNELS))
    delta[head.dynamic] = head.basis.astype(np.float64) @ np.asarray(c, np.float64)
    delta[:, 7:11] = np.clip(delta[:, 7:11], -MAX_LOG_CHANGE, MAX_LOG_CHANGE)
    sh: AnyArray = g.sh.astype(np.float64)
    sh[:, 0] += delta[:, 11:14]
    sh[:, 1:4] = rotate_sh1(sh[:, 1:4], head.skinning_weight, bones)
    means, quats = _skin(g.means + delta[:, 0:3], g.quats + delta[:, 3:7], head.skinning_weight, bones)
    opacities: AnyArray = 1 / (1 + np.exp(-(g.opacity_logits + delta[:, 10])))
    return Splats(
        means=means,
        quats=quats,
        scales=np.exp(g.log_scales + delta[:, 7:10]),
        opacities=opacities,
        sh=sh,
    )


def _skin(
    means: AnyArray, quats: AnyArray, skin: NDArray[np.float32], bones: Bones
) -> tuple[AnyArray, AnyArray]:
    """Blend both bones' transforms by `skin` [N]: positions [N, 3] linearly, rotations as quaternions."""
    w = skin.astype(np.float64)[:, None]
    head, torso = bones.T_world_head, bones.T_world_torso
    by_head = means @ head[:3, :3].T + head[:3, 3]
    by_torso = means @ torso[:3, :3].T + torso[:3, 3]
    rotation = blend_quats(quat_from_matrix(torso[:3, :3]), quat_from_matrix(head[:3, :3]), w)
    return (1 - w) * by_torso + w * by_head, multiply_quats(rotation, quats)


def rotate_sh1(sh1: AnyArray, skin: NDArray[np.float32], bones: Bones) -> AnyArray:
    """Rotate harmonics of degree 1 [N, 3 or 0, 3] (order y, z, x) by both bones, blended as positions are."""
    if not sh1.shape[1]:
        return sh1
    # Color = C (-y a0 + z a1 - x a2) = C d.g with g = (-a2, -a0, a1): a vector, turned as one.
    g = np.stack([-sh1[:, 2], -sh1[:, 0], sh1[:, 1]], axis=1)
    w = skin.astype(np.float64)[:, None, None]
    rotation = (1 - w) * bones.T_world_torso[:3, :3] + w * bones.T_world_head[:3, :3]
    g = rotation @ g
    return np.stack([-g[:, 1], g[:, 2], -g[:, 0]], axis=1)


BLOCK = 64  # rows that stay in the first-level cache together and fill vector registers
f4 = np.float32
_OPTIONS = {"cache": True, "fastmath": True, "error_model": "numpy", "nogil": True}


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Gaussians of one kind, a structure of arrays in blocks of 64."""

    index: NDArray[np.int32]  # [B * 64] where each row stands in the head; the last block repeats real rows
    base: Float32Array  # [B, 14, 64] mean 3, quat 4, scale 3, exp(-opacity logit) 1, SH degree 0 3
    skin: Float32Array  # [B, 64]
    sh1_vectors: Float32Array  # [B or 0, 9, 64] harmonics of degree 1 as vectors: x, y, z of red, green, blue


@dataclass(frozen=True, slots=True, eq=False)
class _Tiles:
    """A basis without its empty parts. A tile is 64 rows of one channel and one coefficient.

    Tiles come in fours: one at a time, reading and writing the running sum costs six times as much.
    """

    values: Float32Array  # [G, 4, 64], zeros where a group is not full
    coefficient: NDArray[np.int32]  # [G, 4]
    first: NDArray[
        np.int32
    ]  # [B * 14 + 1] groups of block b, channel j: first[14 b + j]..first[14 b + j + 1]


class Deformer:
    """Deforms one head's Gaussians frame after frame, without allocating.

    The `Splats` it returns are its own arrays: they hold until the next call.
    """

    def __init__(self, head: Head) -> None:
        g = head.gaussians
        order = _sort_by_sparsity(head.basis)
        static = np.setdiff1d(np.arange(len(g)), head.dynamic).astype(np.int32)
        self._dynamic = _make_rows(head, head.dynamic[order])
        self._static = _make_rows(head, static)
        self._tiles = _tiles(head.basis[order])
        self._splats = Splats(
            means=g.means.copy(),
            quats=g.quats.copy(),
            scales=np.exp(g.log_scales),
            opacities=(1 / (1 + np.exp(-g.opacity_logits.astype(np.float64)))).astype(np.float32),
            sh=g.sh.copy(),
        )

    def __call__(self, c: Float32Array, bones: Bones) -> Splats:
        """Return the splats in the world for coefficients [K] and bones; see `deform_reference`."""
        out, tiles = self._splats, self._tiles
        weights = np.ascontiguousarray(c, np.float32)
        pose = _pose_vector(bones)
        d, s = self._dynamic, self._static
        _deform_dynamic(
            (tiles.values, tiles.coefficient, tiles.first),
            (d.index, d.base, d.skin, d.sh1_vectors),
            weights,
            pose,
            (out.means, out.quats, out.scales, out.opacities, out.sh),
        )
        _pose_static((s.index, s.base, s.skin, s.sh1_vectors), pose, (out.means, out.quats, out.sh))
        return out


def _sort_by_sparsity(basis: Float32Array) -> NDArray[np.intp]:
    """Order rows by the coefficients that move them: eyes and mouth fall into different blocks."""
    affected = np.abs(basis).max(axis=1, initial=0.0) > 0  # [M, K]
    return np.lexsort(affected.T) if affected.size else np.arange(len(basis))


def _make_rows(head: Head, index: NDArray[np.int32]) -> _Rows:
    g, blocks = head.gaussians, -(-len(index) // BLOCK)
    filled = np.resize(index, blocks * BLOCK).astype(np.int32) if blocks else np.zeros(0, np.int32)
    odds = np.exp(-np.clip(g.opacity_logits[filled], -60, 60))
    columns = [
        g.means[filled],
        g.quats[filled],
        np.exp(g.log_scales[filled]),
        odds[:, None],
        g.sh[filled, 0],
    ]
    base = np.concatenate(columns, axis=1, dtype=np.float32)
    return _Rows(
        index=filled,
        base=np.ascontiguousarray(base.reshape(blocks, BLOCK, DELTA_CHANNELS).transpose(0, 2, 1)),
        skin=head.skinning_weight[filled].reshape(blocks, BLOCK),
        sh1_vectors=_sh1_vectors(g.sh[filled, 1:4]),
    )


def _sh1_vectors(sh1: Float32Array) -> Float32Array:
    """Return degree-1 coefficients [B * 64, 3, 3] (order y, z, x; renderer's signs) as vectors in blocks."""
    if not sh1.shape[1]:
        return np.zeros((0, 9, BLOCK), np.float32)
    vectors = np.stack([-sh1[:, 2], -sh1[:, 0], sh1[:, 1]], axis=1)  # [n, xyz, rgb]
    lines = vectors.transpose(0, 2, 1).reshape(-1, BLOCK, 9)
    return np.ascontiguousarray(lines.transpose(0, 2, 1))


def _tiles(basis: Float32Array) -> _Tiles:
    rows, _, count = basis.shape
    blocks = -(-rows // BLOCK)
    padded = np.resize(basis, (blocks * BLOCK, DELTA_CHANNELS, count)) if rows else basis
    by_block = padded.reshape(blocks, BLOCK, DELTA_CHANNELS, count).transpose(0, 2, 3, 1)
    tiles = by_block.reshape(blocks * DELTA_CHANNELS, count, BLOCK)
    line, coefficient = np.nonzero(np.abs(tiles).max(axis=2, initial=0.0) > 0)
    # The n-th full tile of a line goes to its group n // 4, position n % 4.
    per_line = np.bincount(line, minlength=len(tiles))
    groups = -(-per_line // 4)
    first = np.concatenate([[0], np.cumsum(groups)])
    nth = np.arange(len(line)) - np.repeat(np.cumsum(per_line) - per_line, per_line)
    at = (first[line] + nth // 4, nth % 4)
    values = np.zeros((first[-1], 4, BLOCK), np.float32)
    numbers = np.zeros((first[-1], 4), np.int32)
    values[at], numbers[at] = tiles[line, coefficient], coefficient
    return _Tiles(values=values, coefficient=numbers, first=first.astype(np.int32))


def _pose_vector(bones: Bones) -> Float32Array:
    """Return [32]: the torso's R, t and quaternion, then the differences of the head's."""
    torso, head = bones.T_world_torso, bones.T_world_head
    q_torso, q_head = quat_from_matrix(torso[:3, :3]), quat_from_matrix(head[:3, :3])
    if q_torso @ q_head < 0:
        q_head = -q_head
    first = np.concatenate([torso[:3, :3].ravel(), torso[:3, 3], q_torso])
    second = np.concatenate([head[:3, :3].ravel(), head[:3, 3], q_head])
    return np.concatenate([first, second - first]).astype(np.float32)


@numba.njit(inline="always", **_OPTIONS)
def _exp(x):  # type: ignore[no-untyped-def]
    """Return e^x for |x| <= 8 as (e^(x/32))^32: only products, eight at a time (error < 2e-5)."""
    y = min(max(x, f4(-MAX_LOG_CHANGE)), f4(MAX_LOG_CHANGE)) * f4(1 / 32)
    p = f4(1) + y * (f4(1) + y * (f4(1 / 2) + y * (f4(1 / 6) + y * (f4(1 / 24) + y * f4(1 / 120)))))
    p = p * p
    p = p * p
    p = p * p
    p = p * p
    return p * p


@numba.njit(inline="always", **_OPTIONS)
def _skin_block(local, skin, pose, posed):  # type: ignore[no-untyped-def]
    """Blend and apply both bones to a block: local [>= 7, 64] -> posed [7, 64]."""
    for i in range(BLOCK):
        w = skin[i]
        x, y, z = local[0, i], local[1, i], local[2, i]
        posed[0, i] = (
            (pose[0] + w * pose[16]) * x
            + (pose[1] + w * pose[17]) * y
            + (pose[2] + w * pose[18]) * z
            + (pose[9] + w * pose[25])
        )
        posed[1, i] = (
            (pose[3] + w * pose[19]) * x
            + (pose[4] + w * pose[20]) * y
            + (pose[5] + w * pose[21]) * z
            + (pose[10] + w * pose[26])
        )
        posed[2, i] = (
            (pose[6] + w * pose[22]) * x
            + (pose[7] + w * pose[23]) * y
            + (pose[8] + w * pose[24]) * z
            + (pose[11] + w * pose[27])
        )
        # The blended quaternion is not brought to unit length: splats may have any length.
        aw, ax = pose[12] + w * pose[28], pose[13] + w * pose[29]
        ay, az = pose[14] + w * pose[30], pose[15] + w * pose[31]
        bw, bx, by, bz = local[3, i], local[4, i], local[5, i], local[6, i]
        posed[3, i] = aw * bw - ax * bx - ay * by - az * bz
        posed[4, i] = aw * bx + ax * bw + ay * bz - az * by
        posed[5, i] = aw * by - ax * bz + ay * bw + az * bx
        posed[6, i] = aw * bz + ax * by - ay * bx + az * bw


@numba.njit(inline="always", **_OPTIONS)
def _rotate_sh1(sh1_vectors, skin, index, pose, rotated, sh):  # type: ignore[no-untyped-def]
    """Blend and apply both bones' rotations to a block of degree-1 harmonics."""
    for color in range(3):
        at = 3 * color
        for i in range(BLOCK):
            w = skin[i]
            x, y, z = sh1_vectors[at, i], sh1_vectors[at + 1, i], sh1_vectors[at + 2, i]
            rotated[0, i] = (
                (pose[0] + w * pose[16]) * x + (pose[1] + w * pose[17]) * y + (pose[2] + w * pose[18]) * z
            )
            rotated[1, i] = (
                (pose[3] + w * pose[19]) * x + (pose[4] + w * pose[20]) * y + (pose[5] + w * pose[21]) * z
            )
            rotated[2, i] = (
                (pose[6] + w * pose[22]) * x + (pose[7] + w * pose[23]) * y + (pose[8] + w * pose[24]) * z
            )
        for i in range(BLOCK):
            row = index[i]
            sh[row, 1, color] = -rotated[1, i]
            sh[row, 2, color] = rotated[2, i]
            sh[row, 3, color] = -rotated[0, i]


@numba.njit(inline="always", **_OPTIONS)
def _scatter_pose(posed, index, means, quats):  # type: ignore[no-untyped-def]
    for i in range(BLOCK):
        row = index[i]
        for j in range(3):
            means[row, j] = posed[j, i]
        for j in range(4):
            quats[row, j] = posed[3 + j, i]


@numba.njit(**_OPTIONS)
def _pose_static(rows, pose, out):  # type: ignore[no-untyped-def]
    index, base, skin, sh1_vectors = rows
    means, quats, sh = out
    posed = np.empty((7, BLOCK), np.float32)
    for b in range(len(base)):
        at = index[b * BLOCK : (b + 1) * BLOCK]
        _skin_block(base[b], skin[b], pose, posed)
        _scatter_pose(posed, at, means, quats)
        if len(sh1_vectors):
            _rotate_sh1(sh1_vectors[b], skin[b], at, pose, posed, sh)


@numba.njit(**_OPTIONS)
def _deform_dynamic(tiles, rows, c, pose, out):  # type: ignore[no-untyped-def]
    values, coefficient, first = tiles
    index, base, skin, sh1_vectors = rows
    means, quats, scales, opacities, sh = out
    posed = np.empty((7, BLOCK), np.float32)
    local = np.empty((14, BLOCK), np.float32)
    for b in range(len(base)):
        for j in range(14):
            line = local[j]
            line[:] = f4(0)
            for g in range(first[14 * b + j], first[14 * b + j + 1]):
                k, tile = coefficient[g], values[g]
                c0, c1, c2, c3 = c[k[0]], c[k[1]], c[k[2]], c[k[3]]
                if c0 != f4(0) or c1 != f4(0) or c2 != f4(0) or c3 != f4(0):
                    for i in range(BLOCK):
                        line[i] += c0 * tile[0, i] + c1 * tile[1, i] + c2 * tile[2, i] + c3 * tile[3, i]
        for j in range(7):
            for i in range(BLOCK):
                local[j, i] += base[b, j, i]
        for j in range(7, 10):
            for i in range(BLOCK):
                local[j, i] = base[b, j, i] * _exp(local[j, i])
        for i in range(BLOCK):
            local[10, i] = f4(1) / (f4(1) + base[b, 10, i] * _exp(-local[10, i]))
        for j in range(11, 14):
            for i in range(BLOCK):
                local[j, i] += base[b, j, i]
        _skin_block(local, skin[b], pose, posed)
        at = index[b * BLOCK : (b + 1) * BLOCK]
        _scatter_pose(posed, at, means, quats)
        if len(sh1_vectors):
            _rotate_sh1(sh1_vectors[b], skin[b], at, pose, posed, sh)
        for i in range(BLOCK):
            row = at[i]
            for j in range(3):
                scales[row, j] = local[7 + j, i]
                sh[row, 0, j] = local[11 + j, i]
            opacities[row] = local[10, i]
