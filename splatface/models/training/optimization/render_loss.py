"""x"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splatface.models.camera import Camera
from splatface.models.head.head import DELTA_CHANNELS, Splats
from splatface.models.render.autograd import DifferentiableRenderer
from splatface.models.render.cpu import CpuRenderer, ImageGrads, SplatGrads, rasterize_backward
from splatface.models.render.cuda import CudaRenderer
from splatface.models.render.jit import Workers
from splatface.models.render.reference import SplatTensors
from splatface.models.render.render import RenderOutput
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
    picture_loss,
    silhouette_loss,
)
from splatface.models.training.optimization.train_config import LossConfig
from splatface.models.typing import Float32Array

__all__ = ["DeformedGaussians", "Gradients", "RenderLoss", "TorchRenderLoss"]


@dataclass(frozen=True, slots=True, eq=False)
class DeformedGaussians:
    """What is drawn in one picture, before the bones."""

    table: Float32Array  # [N, W] see packed.py
    rows: NDArray[np.int64]  # [R] Gaussians that move
    deltas: Float32Array  # [R, 14]
    dynamism: Float32Array | None = None  # [R] 0..1, where the mask's loss is asked for


@dataclass(frozen=True, slots=True, eq=False)
class Gradients:
    """A loss, and dL/d of what was drawn."""

    loss: float
    squared_error: float
    table: Float32Array  # [N, W]
    deltas: Float32Array  # [R, 14]
    dynamism: Float32Array | None  # [R]
    pose: Float32Array  # [2, POSE]
    means2d_grad: Float32Array  # [N, 2] per px

    @property
    def finite(self) -> bool:
        """Whether a step may follow them."""
        sums = (self.loss, self.table.sum(dtype=np.float64), self.deltas.sum(dtype=np.float64))
        others = () if self.dynamism is None else (self.dynamism.sum(dtype=np.float64),)
        return bool(np.isfinite([*sums, *others, self.pose.sum(dtype=np.float64)]).all())


class RenderLoss:
    """Draws and compares pictures of one camera before one background; keeps its buffers."""

    def __init__(self, camera: Camera, background: Float32Array, config: LossConfig, threads: int) -> None:
        self.camera = camera
        self.renderer = CpuRenderer(threads)
        self.workers = self.renderer.workers
        self._background = np.ascontiguousarray(background, np.float32)
        self._compare = ImageLoss(camera.height, camera.width, config, self.workers)
        self._opinion = make_perceptual_loss(config)

    def draw(self, deformed: DeformedGaussians, pose: NDArray[np.float64]) -> Float32Array:
        """The picture [H, W, 3] in a pose [2, POSE], see `pose_rows`."""
        moved = skin_gaussians(deformed.table, deformed.rows, deformed.deltas, pose, self.workers)
        return self.renderer.draw(moved.splats, self.camera, self._background).image

    def loss_and_grads(
        self, deformed: DeformedGaussians, pose: NDArray[np.float64], target: ImageTarget
    ) -> Gradients:
        """Compare the picture in a pose [2, POSE] with its target, and go back to what it is made of."""
        moved = skin_gaussians(deformed.table, deformed.rows, deformed.deltas, pose, self.workers)
        extra = self._extra(deformed)
        drawn = self.renderer.draw(moved.splats, self.camera, self._background, extra)
        found = self._compare(drawn, target)
        loss = found.value
        if self._opinion:
            loss += add_perceptual_loss(self._opinion, drawn.image, target.picture, found.grads)
        above = ImageGrads(found.grads, found.transmittance_grad, found.dynamism_grad)
        below = self._back(moved.splats, extra, drawn, above)
        grads = skin_backward(moved, deformed.rows, below, self.workers)
        return Gradients(
            loss=loss,
            squared_error=found.squared_error,
            table=grads.table,
            deltas=grads.deltas,
            dynamism=None if extra is None else below.extra[deformed.rows, 0],
            pose=grads.pose,
            means2d_grad=below.centers,
        )

    def _extra(self, deformed: DeformedGaussians) -> Float32Array | None:
        if deformed.dynamism is None:
            return None
        extra = np.zeros((len(deformed.table), 1), np.float32)
        extra[deformed.rows, 0] = deformed.dynamism
        return extra

    def _back(
        self, splats: Splats, extra: Float32Array | None, drawn: RenderOutput, above: ImageGrads
    ) -> SplatGrads:
        return rasterize_backward(self.renderer, (splats, self.camera), extra, drawn, above)


Drawn = tuple[Tensor, Tensor, Tensor | None]
Draw = Callable[[SplatTensors, Camera, Tensor], Drawn]  # splats before a background


class TorchRenderLoss:
    """Draws and compares pictures of one camera before one background, see `Easel`.

    Raises RenderError where the device or gsplat is missing.
    """

    def __init__(
        self, camera: Camera, background: Float32Array, config: LossConfig, threads: int, device: str
    ) -> None:
        self.camera, self.workers = camera, Workers(threads)
        self._config, self._device = config, torch.device(device)
        self._opinion = make_perceptual_loss(config, device)
        self._background = torch.from_numpy(np.ascontiguousarray(background, np.float32)).to(device)
        self._draw = _on_cpu(threads) if self._device.type == "cpu" else _on_cuda(device)

    def draw(self, deformed: DeformedGaussians, pose: NDArray[np.float64]) -> Float32Array:
        """The picture [H, W, 3] in a pose [2, POSE], see `pose_rows`."""
        with torch.no_grad():
            table, deltas = self._up(deformed.table), self._up(deformed.deltas)
            splats = self._splats(table, deformed, deltas, self._up(pose))
            image, _, _ = self._draw(splats, self.camera, self._background)
        drawn: Float32Array = image.cpu().numpy()
        return drawn

    def loss_and_grads(
        self, deformed: DeformedGaussians, pose: NDArray[np.float64], target: ImageTarget
    ) -> Gradients:
        """Compare the picture in a pose [2, POSE] with its target, and go back to what it is made of."""
        arrays: list[NDArray[Any]] = [deformed.table, deformed.deltas, pose]
        if deformed.dynamism is not None:
            arrays.append(deformed.dynamism)
        leaves = [self._up(array).requires_grad_() for array in arrays]
        table, deltas, bones = leaves[:3]
        splats = self._splats(table, deformed, deltas, bones, *leaves[3:])
        splats.means.retain_grad()
        image, through, extra = self._draw(splats, self.camera, self._background)
        loss = picture_loss(image, target, self._config)
        loss = loss + silhouette_loss(through, target.silhouette_trimap, self._config)
        if extra is not None:
            moving = torch.from_numpy(target.dynamic_mask).to(image) / 255
            loss = loss + self._config.mask * mask_loss(extra[..., 0], moving, self._config.mask_margin)
        truth = torch.from_numpy(target.picture).to(image) / 255
        if self._opinion:
            loss = loss + self._opinion(image, truth)
        loss.backward()
        found = [_grad_of(leaf) for leaf in leaves]
        return Gradients(
            loss=float(loss.detach()),
            squared_error=float((image.detach() - truth).square().mean()),
            table=found[0],
            deltas=found[1],
            dynamism=found[3] if len(found) > 3 else None,
            pose=found[2],
            means2d_grad=self._centers(splats),
        )

    def _splats(
        self,
        table: Tensor,
        deformed: DeformedGaussians,
        deltas: Tensor,
        pose: Tensor,
        dynamism: Tensor | None = None,
    ) -> SplatTensors:
        rows = torch.from_numpy(deformed.rows).to(self._device)
        every = table.new_zeros(len(table), DELTA_CHANNELS).index_copy(0, rows, deltas)
        made = skin_gaussians_torch(table, every, pose)
        if dynamism is None:
            return made
        extra = table.new_zeros(len(table), 1).index_copy(0, rows, dynamism[:, None])
        return SplatTensors(made.means, made.quats, made.scales, made.opacities, made.sh, extra)

    def _centers(self, splats: SplatTensors) -> Float32Array:
        """Slopes in the picture [N, 2] per px, from those of the places: u = f x / z."""
        assert splats.means.grad is not None
        camera = self.camera
        to_camera = self._up(camera.T_camera_world)
        depth = (splats.means.detach() @ to_camera[:3, :3].T + to_camera[:3, 3])[:, 2:]
        across = splats.means.grad @ to_camera[:3, :3].T
        lens = across.new_tensor([camera.fx, camera.fy])
        grads: Float32Array = (across[:, :2] * depth / lens).cpu().numpy()
        return grads

    def _up(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.array(array, np.float32)).to(self._device)


def _grad_of(leaf: Tensor) -> Float32Array:
    grads: Float32Array = (torch.zeros_like(leaf) if leaf.grad is None else leaf.grad).cpu().numpy()
    return grads


def _on_cpu(threads: int) -> Draw:
    renderer = DifferentiableRenderer(threads)

    def draw(splats: SplatTensors, camera: Camera, background: Tensor) -> Drawn:
        drawn = renderer.draw(splats, camera, background)
        return drawn.image, drawn.transmittance, drawn.extra

    return draw


def _on_cuda(device: str) -> Draw:
    renderer = CudaRenderer(device)

    def draw(splats: SplatTensors, camera: Camera, background: Tensor) -> Drawn:
        image, through, extra = renderer.draw_tensors(splats, camera, background)
        return image, through, extra

    return draw
