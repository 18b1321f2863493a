"""How coefficients and bones move Gaussians: the plain float64 definition that `deform` must agree with."""

import numpy as np
from numpy.typing import NDArray

from splatface.models.head.head import Head
from splatface.models.head.pose import Bones
from splatface.models.head.splats import DELTA_CHANNELS, Splats
from splatface.models.rotations import blend_quats, multiply_quats, quat_from_matrix
from splatface.models.typing import AnyArray

__all__ = ["MAX_LOG_CHANGE", "deform_reference", "rotate_sh1"]


# A Gaussian may grow or shrink e^8-fold and its opacity odds change as much: far beyond any face, and
# it keeps a coefficient gone wild from overflowing float32.
MAX_LOG_CHANGE = 8.0


def deform_reference(head: Head, c: NDArray[np.floating], bones: Bones) -> Splats:
    """Canonical Gaussians + basis @ c on the dynamic rows, activated and skinned, in float64.

    Args:
        head: N Gaussians, M of them dynamic.
        c: [K] coefficients.
        bones: where head and torso stand.

    Harmonics of degree 1 turn with the bones. Camera and light stand still and the head turns, so
    this slope of color over the direction of view is what shades a turned cheek; those of degree 2
    and 3 keep the world's axes.
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
    """Blend both bones' transforms by `skin` [N]: places [N, 3] linearly, turns [N, 4] as quaternions."""
    w = skin.astype(np.float64)[:, None]
    head, torso = bones.T_world_head, bones.T_world_torso
    by_head = means @ head[:3, :3].T + head[:3, 3]
    by_torso = means @ torso[:3, :3].T + torso[:3, 3]
    turn = blend_quats(quat_from_matrix(torso[:3, :3]), quat_from_matrix(head[:3, :3]), w)
    return (1 - w) * by_torso + w * by_head, multiply_quats(turn, quats)


def rotate_sh1(sh1: AnyArray, skin: NDArray[np.float32], bones: Bones) -> AnyArray:
    """Harmonics of degree 1 [N, 3 or 0, 3] (order y, z, x) turned by both bones, blended as places are."""
    if not sh1.shape[1]:
        return sh1
    # Color = C (-y a0 + z a1 - x a2) = C d.g with g = (-a2, -a0, a1): a vector, turned as one.
    g = np.stack([-sh1[:, 2], -sh1[:, 0], sh1[:, 1]], axis=1)
    w = skin.astype(np.float64)[:, None, None]
    turn = (1 - w) * bones.T_world_torso[:3, :3] + w * bones.T_world_head[:3, :3]
    g = turn @ g
    return np.stack([-g[:, 1], g[:, 2], -g[:, 0]], axis=1)
