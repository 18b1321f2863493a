# SPDX-License-Identifier: Apache-2.0
"""The definition: plain torch, float64, differentiable by autograd, no tiles, no early stop. Slow.

EWA splatting (Zwicker et al. 2001) with the conventions of 3D Gaussian Splatting (Kerbl et al. 2023) as
gsplat 1.5 has them; every other backend is tested against this file.
"""

from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from splatface.models.camera import Camera
from splatface.models.head.head import Splats
from splatface.models.render.conventions import (
    ALPHA_MAX,
    ALPHA_MIN,
    FRUSTUM_MARGIN,
    LOW_PASS_PX2,
    NEAR_M,
    SH_0,
    SH_1,
    SH_2,
    SH_3,
)
from splatface.models.render.render import RenderOutput, as_background, check_extra, check_splats

__all__ = [
    "Projected",
    "ReferenceRenderer",
    "SplatTensors",
    "draw_reference",
    "project_reference",
]

_STRIP_PAIRS = 4_000_000  # Gaussians x pixels handled at once if all touched the strip: bounds the memory


@dataclass(frozen=True, slots=True)
class SplatTensors:
    """`Splats` as tensors of one dtype; extra channels are composited on a background of 0."""

    means: Tensor  # [N, 3] m
    quats: Tensor  # [N, 4] wxyz, any length > 0
    scales: Tensor  # [N, 3] m
    opacities: Tensor  # [N] 0..1
    sh: Tensor  # [N, (d + 1)^2, 3]
    extra: Tensor | None = None  # [N, C]


@dataclass(frozen=True, slots=True)
class Projected:
    """Ellipses in the image."""

    centers: Tensor  # [N, 2] px
    covariances: Tensor  # [N, 2, 2] px^2, low-pass included
    depths: Tensor  # [N] m


def _rotations(quats: Tensor) -> Tensor:
    """Return rotations [N, 3, 3] of quaternions [N, 4] wxyz of any length."""
    w, x, y, z = (quats / quats.norm(dim=1, keepdim=True)).unbind(1)
    entries = [
        1 - 2 * (y * y + z * z),
        2 * (x * y - w * z),
        2 * (x * z + w * y),
        2 * (x * y + w * z),
        1 - 2 * (x * x + z * z),
        2 * (y * z - w * x),
        2 * (x * z - w * y),
        2 * (y * z + w * x),
        1 - 2 * (x * x + y * y),
    ]
    return torch.stack(entries, 1).view(-1, 3, 3)


def project_reference(splats: SplatTensors, camera: Camera) -> Projected:
    """Compute centers, 2-D covariances and depths of all Gaussians."""
    pose = torch.as_tensor(np.asarray(camera.T_camera_world), dtype=splats.means.dtype)
    points = splats.means @ pose[:3, :3].T + pose[:3, 3]
    z = points[:, 2].clamp(min=NEAR_M)  # the nearer ones are not rendered: any finite value does
    x_z, y_z = points[:, 0] / z, points[:, 1] / z
    margin_x = FRUSTUM_MARGIN * 0.5 * camera.width / camera.fx
    margin_y = FRUSTUM_MARGIN * 0.5 * camera.height / camera.fy
    x_clamped = x_z.clamp(
        -camera.cx / camera.fx - margin_x, (camera.width - camera.cx) / camera.fx + margin_x
    )
    y_clamped = y_z.clamp(
        -camera.cy / camera.fy - margin_y, (camera.height - camera.cy) / camera.fy + margin_y
    )
    zeros = torch.zeros_like(z)
    jacobian = torch.stack(
        [camera.fx / z, zeros, -camera.fx * x_clamped / z, zeros, camera.fy / z, -camera.fy * y_clamped / z],
        1,
    ).view(-1, 2, 3)
    to_image = jacobian @ pose[:3, :3] @ (_rotations(splats.quats) * splats.scales[:, None, :])
    covariances = to_image @ to_image.transpose(1, 2)
    covariances = covariances + LOW_PASS_PX2 * torch.eye(2, dtype=covariances.dtype)
    centers = torch.stack([camera.fx * x_z + camera.cx, camera.fy * y_z + camera.cy], 1)
    return Projected(centers, covariances, points[:, 2])


def _colors(splats: SplatTensors, camera: Camera) -> Tensor:
    """Return colors [N, 3] >= 0: 0.5 + the spherical harmonics in the direction camera -> Gaussian."""
    pose = torch.as_tensor(np.asarray(camera.T_camera_world), dtype=splats.means.dtype)
    directions = splats.means + pose[:3, :3].T @ pose[:3, 3]
    x, y, z = (directions / directions.norm(dim=1, keepdim=True)).unbind(1)
    xx, yy, zz = x * x, y * y, z * z
    basis = [
        torch.full_like(x, SH_0),
        -SH_1 * y,
        SH_1 * z,
        -SH_1 * x,
        SH_2[0] * x * y,
        SH_2[1] * y * z,
        SH_2[2] * (2 * zz - xx - yy),
        SH_2[3] * x * z,
        SH_2[4] * (xx - yy),
        SH_3[0] * y * (3 * xx - yy),
        SH_3[1] * x * y * z,
        SH_3[2] * y * (4 * zz - xx - yy),
        SH_3[3] * z * (2 * zz - 3 * xx - 3 * yy),
        SH_3[4] * x * (4 * zz - xx - yy),
        SH_3[5] * z * (xx - yy),
        SH_3[6] * x * (xx - 3 * yy),
    ]
    weights = torch.stack(basis[: splats.sh.shape[1]], 1)
    return (0.5 + torch.einsum("nk,nkc->nc", weights, splats.sh)).clamp(min=0)


def draw_reference(splats: SplatTensors, camera: Camera, background: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Render image [H, W, 3], transmittance [H, W] and extra channels [H, W, C] (C = 0 without any).

    background is [1, 1, 3] or [H, W, 3]. Gradients flow to every tensor of `splats`.
    """
    projected = project_reference(splats, camera)
    colors = _colors(splats, camera)
    if splats.extra is not None:
        colors = torch.cat([colors, splats.extra], 1)
    visible_indices = torch.nonzero((projected.depths > NEAR_M) & (splats.opacities > ALPHA_MIN))[:, 0]
    order = visible_indices[torch.argsort(projected.depths[visible_indices].detach(), stable=True)]
    step = max(4, _STRIP_PAIRS // (max(len(order), 1) * camera.width))
    edges = [*range(0, camera.height, step), camera.height]
    strips = [
        _draw_rows(projected, splats.opacities, colors, order, rows, camera.width) for rows in pairwise(edges)
    ]
    values = torch.cat([strip[0] for strip in strips])
    transmittance = torch.cat([strip[1] for strip in strips])
    image = values[..., :3] + transmittance[..., None] * background
    return image, transmittance, values[..., 3:]


def _draw_rows(
    projected: Projected, opacities: Tensor, colors: Tensor, order: Tensor, rows: tuple[int, int], width: int
) -> tuple[Tensor, Tensor]:
    """Composite pixel rows rows[0]..rows[1]: values [R, W, C] without background, transmittance [R, W]."""
    reach = (
        torch.sqrt(2 * torch.log(opacities[order] / ALPHA_MIN) * projected.covariances[order, 1, 1]).detach()
        + 1
    )
    y = projected.centers[order, 1].detach()
    visible = order[(y + reach > rows[0]) & (y - reach < rows[1])]
    dtype = colors.dtype
    dx = torch.arange(width, dtype=dtype) + 0.5 - projected.centers[visible, 0, None, None]
    dy = (torch.arange(*rows, dtype=dtype) + 0.5)[:, None] - projected.centers[visible, 1, None, None]
    conic = torch.linalg.inv(projected.covariances[visible])[:, :, :, None, None]
    power = 0.5 * (conic[:, 0, 0] * dx * dx + conic[:, 1, 1] * dy * dy) + conic[:, 0, 1] * dx * dy
    alpha = opacities[visible, None, None] * torch.exp(-power)
    alpha = torch.where(alpha < ALPHA_MIN, torch.zeros_like(alpha), alpha).clamp(max=ALPHA_MAX)
    ones = alpha.new_ones(1, rows[1] - rows[0], width)
    transmittances = torch.cumprod(torch.cat([ones, 1 - alpha]), 0)
    return torch.einsum("nrw,nc->rwc", alpha * transmittances[:-1], colors[visible]), transmittances[-1]


class ReferenceRenderer:
    """Renders by the definition, in float64; seconds per image."""

    def __init__(self, *, supersample: int = 1) -> None:
        self.supersample = supersample

    def draw(
        self,
        splats: Splats,
        camera: Camera,
        background: ArrayLike,
        extra: NDArray[np.float32] | None = None,
    ) -> RenderOutput:
        """Render the image, its transmittance and, with `extra` [N, C], the extra channels."""
        check_splats(splats)
        values = check_extra(extra, len(splats))
        arrays = {f.name: torch.from_numpy(getattr(splats, f.name)).double() for f in fields(splats)}
        tensors = SplatTensors(**arrays, extra=torch.from_numpy(values).double())
        fine = camera.scaled_to(camera.width * self.supersample, camera.height * self.supersample)
        with torch.no_grad():
            planes = draw_reference(tensors, fine, torch.zeros(1, 1, 3, dtype=torch.float64))
        color, transmittance, extra_image = (self._averaged(plane.numpy()) for plane in planes)
        image = color + transmittance[..., None] * as_background(background, camera)
        return RenderOutput(
            image.astype(np.float32),
            transmittance.astype(np.float32),
            None if extra is None else extra_image.astype(np.float32),
        )

    def draw_uint8(self, splats: Splats, camera: Camera, background: ArrayLike) -> NDArray[np.uint8]:
        """Return the image as uint8 [H, W, 3]."""
        return self.draw(splats, camera, background).as_uint8()

    def _averaged(self, plane: NDArray[np.float64]) -> NDArray[np.float64]:
        step = self.supersample
        height, width = plane.shape[0] // step, plane.shape[1] // step
        averaged: NDArray[np.float64] = plane.reshape(height, step, width, step, *plane.shape[2:]).mean(
            axis=(1, 3)
        )
        return averaged
