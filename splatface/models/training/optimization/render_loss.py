# SPDX-License-Identifier: Apache-2.0
"""Render a frame, compare it with its target, and back-propagate to Gaussians, deltas and bones.

`RenderLoss` runs compiled kernels on the CPU; `TorchRenderLoss` runs the definitions (`skin_gaussians_torch`,
`draw_reference`, `weighted_image_loss`) with autograd, on a CUDA device (gsplat) or the CPU. Table, deltas
and their optimizers stay in the CPU's memory; a step on a GPU sends 2 MB each way.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splatface.models.camera import Camera
from splatface.models.head.head import DELTA_CHANNELS
from splatface.models.render.autograd import DifferentiableRenderer
from splatface.models.render.cpu import CpuRenderer, ImageGrads, rasterize_backward
from splatface.models.render.cuda import CudaRenderer
from splatface.models.render.jit import Workers
from splatface.models.render.reference import SplatTensors
from splatface.models.training.optimization.gaussian_skinning import (
    skin_backward,
    skin_gaussians,
    skin_gaussians_torch,
)
from splatface.models.training.optimization.image_loss import (
    ImageLoss,
    ImageTarget,
    add_perceptual_loss,
    make_perceptual_loss,
    mask_loss,
    silhouette_loss,
    weighted_image_loss,
)
from splatface.models.training.optimization.train_config import LossConfig
from splatface.models.typing import Float32Array

__all__ = ["DeformedGaussians", "Gradients", "RenderLoss", "TorchRenderLoss"]


@dataclass(frozen=True, slots=True, eq=False)
class DeformedGaussians:
    """Gaussians of one frame with their deltas, before skinning."""

    table: Float32Array  # [N, W] see gaussian_skinning.py
    indices: NDArray[np.int64]  # [R] Gaussians that move
    deltas: Float32Array  # [R, 14]
    dynamism: Float32Array | None = None  # [R] 0..1, where the mask loss is wanted


@dataclass(frozen=True, slots=True, eq=False)
class Gradients:
    """A loss, and its gradients."""

    loss: float
    squared_error: float
    table: Float32Array  # [N, W]
    deltas: Float32Array  # [R, 14]
    dynamism: Float32Array | None  # [R]
    pose: Float32Array  # [2, POSE]
    means2d_grad: Float32Array  # [N, 2] per px

    @property
    def finite(self) -> bool:
        """Return whether all of them are finite."""
        sums = (self.loss, self.table.sum(dtype=np.float64), self.deltas.sum(dtype=np.float64))
        others = () if self.dynamism is None else (self.dynamism.sum(dtype=np.float64),)
        return bool(np.isfinite([*sums, *others, self.pose.sum(dtype=np.float64)]).all())


class RenderLoss:
    """Renderer and loss of one camera in front of one background, on the CPU; keeps its buffers."""

    def __init__(self, camera: Camera, background: Float32Array, config: LossConfig, threads: int) -> None:
        self.camera = camera
        self.renderer = CpuRenderer(threads)
        self.workers = self.renderer.workers
        self._background = np.ascontiguousarray(background, np.float32)
        self._image_loss = ImageLoss(camera.height, camera.width, config, self.workers)
        self._perceptual_loss = make_perceptual_loss(config)

    def render(self, deformed: DeformedGaussians, pose: NDArray[np.float64]) -> Float32Array:
        """Return the image [H, W, 3] in a pose [2, POSE], see `pack_bone_poses`."""
        skinned = skin_gaussians(deformed.table, deformed.indices, deformed.deltas, pose, self.workers)
        return self.renderer.draw(skinned.splats, self.camera, self._background).image

    def loss_and_grads(
        self, deformed: DeformedGaussians, pose: NDArray[np.float64], target: ImageTarget
    ) -> Gradients:
        """Return loss and gradients of the image in a pose [2, POSE] against its target."""
        skinned = skin_gaussians(deformed.table, deformed.indices, deformed.deltas, pose, self.workers)
        extra = self._dynamism_channel(deformed)
        rendered = self.renderer.draw(skinned.splats, self.camera, self._background, extra)
        comparison = self._image_loss(rendered, target)
        loss = comparison.value
        if self._perceptual_loss:
            loss += add_perceptual_loss(
                self._perceptual_loss, rendered.image, target.image, comparison.image_grad
            )
        image_grads = ImageGrads(
            comparison.image_grad, comparison.transmittance_grad, comparison.dynamism_grad
        )
        splat_grads = rasterize_backward(
            self.renderer, (skinned.splats, self.camera), extra, rendered, image_grads
        )
        grads = skin_backward(skinned, deformed.indices, splat_grads, self.workers)
        return Gradients(
            loss=loss,
            squared_error=comparison.squared_error,
            table=grads.table,
            deltas=grads.deltas,
            dynamism=None if extra is None else splat_grads.extra[deformed.indices, 0],
            pose=grads.pose,
            means2d_grad=splat_grads.centers,
        )

    def _dynamism_channel(self, deformed: DeformedGaussians) -> Float32Array | None:
        if deformed.dynamism is None:
            return None
        extra = np.zeros((len(deformed.table), 1), np.float32)
        extra[deformed.indices, 0] = deformed.dynamism
        return extra


RenderedTensors = tuple[Tensor, Tensor, Tensor | None]
RenderFunction = Callable[[SplatTensors, Camera, Tensor], RenderedTensors]  # splats in front of a background


class TorchRenderLoss:
    """Renderer and loss of one camera in front of one background, in torch; see `RenderLoss`.

    Raises RenderError where the device or gsplat is missing.
    """

    def __init__(
        self, camera: Camera, background: Float32Array, config: LossConfig, threads: int, device: str
    ) -> None:
        self.camera, self.workers = camera, Workers(threads)
        self._config, self._device = config, torch.device(device)
        self._perceptual_loss = make_perceptual_loss(config, device)
        self._background = torch.from_numpy(np.ascontiguousarray(background, np.float32)).to(device)
        self._render = _on_cpu(threads) if self._device.type == "cpu" else _on_cuda(device)

    def render(self, deformed: DeformedGaussians, pose: NDArray[np.float64]) -> Float32Array:
        """Return the image [H, W, 3] in a pose [2, POSE], see `pack_bone_poses`."""
        with torch.no_grad():
            table, deltas = self._to_device(deformed.table), self._to_device(deformed.deltas)
            splats = self._splats(table, deformed, deltas, self._to_device(pose))
            image, _, _ = self._render(splats, self.camera, self._background)
        rendered: Float32Array = image.cpu().numpy()
        return rendered

    def loss_and_grads(
        self, deformed: DeformedGaussians, pose: NDArray[np.float64], target: ImageTarget
    ) -> Gradients:
        """Return loss and gradients of the image in a pose [2, POSE] against its target."""
        arrays: list[NDArray[Any]] = [deformed.table, deformed.deltas, pose]
        if deformed.dynamism is not None:
            arrays.append(deformed.dynamism)
        leaves = [self._to_device(array).requires_grad_() for array in arrays]
        table, deltas, bones = leaves[:3]
        splats = self._splats(table, deformed, deltas, bones, *leaves[3:])
        splats.means.retain_grad()
        image, transmittance, extra = self._render(splats, self.camera, self._background)
        loss = weighted_image_loss(image, target, self._config)
        loss = loss + silhouette_loss(transmittance, target.silhouette_trimap, self._config)
        if extra is not None:
            mask = torch.from_numpy(target.dynamic_mask).to(image) / 255
            loss = loss + self._config.mask * mask_loss(extra[..., 0], mask, self._config.mask_margin)
        truth = torch.from_numpy(target.image).to(image) / 255
        if self._perceptual_loss:
            loss = loss + self._perceptual_loss(image, truth)
        loss.backward()
        leaf_grads = [_grad_of(leaf) for leaf in leaves]
        return Gradients(
            loss=float(loss.detach()),
            squared_error=float((image.detach() - truth).square().mean()),
            table=leaf_grads[0],
            deltas=leaf_grads[1],
            dynamism=leaf_grads[3] if len(leaf_grads) > 3 else None,
            pose=leaf_grads[2],
            means2d_grad=self._means2d_grad(splats),
        )

    def _splats(
        self,
        table: Tensor,
        deformed: DeformedGaussians,
        deltas: Tensor,
        pose: Tensor,
        dynamism: Tensor | None = None,
    ) -> SplatTensors:
        indices = torch.from_numpy(deformed.indices).to(self._device)
        all_deltas = table.new_zeros(len(table), DELTA_CHANNELS).index_copy(0, indices, deltas)
        splats = skin_gaussians_torch(table, all_deltas, pose)
        if dynamism is None:
            return splats
        extra = table.new_zeros(len(table), 1).index_copy(0, indices, dynamism[:, None])
        return SplatTensors(splats.means, splats.quats, splats.scales, splats.opacities, splats.sh, extra)

    def _means2d_grad(self, splats: SplatTensors) -> Float32Array:
        """Return dL/d(centers in the image) [N, 2] per px from those of the means: u = f x / z."""
        assert splats.means.grad is not None
        camera = self.camera
        to_camera = self._to_device(camera.T_camera_world)
        depth = (splats.means.detach() @ to_camera[:3, :3].T + to_camera[:3, 3])[:, 2:]
        camera_grad = splats.means.grad @ to_camera[:3, :3].T
        focal = camera_grad.new_tensor([camera.fx, camera.fy])
        grads: Float32Array = (camera_grad[:, :2] * depth / focal).cpu().numpy()
        return grads

    def _to_device(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.array(array, np.float32)).to(self._device)


def _grad_of(leaf: Tensor) -> Float32Array:
    grads: Float32Array = (torch.zeros_like(leaf) if leaf.grad is None else leaf.grad).cpu().numpy()
    return grads


def _on_cpu(threads: int) -> RenderFunction:
    renderer = DifferentiableRenderer(threads)

    def render(splats: SplatTensors, camera: Camera, background: Tensor) -> RenderedTensors:
        rendered = renderer.draw(splats, camera, background)
        return rendered.image, rendered.transmittance, rendered.extra

    return render


def _on_cuda(device: str) -> RenderFunction:
    renderer = CudaRenderer(device)

    def render(splats: SplatTensors, camera: Camera, background: Tensor) -> RenderedTensors:
        image, transmittance, extra = renderer.draw_tensors(splats, camera, background)
        return image, transmittance, extra

    return render
