# SPDX-License-Identifier: Apache-2.0
"""The CPU renderer as a differentiable torch function."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from splatface.models.camera import Camera
from splatface.models.errors import RenderError
from splatface.models.head.head import Splats
from splatface.models.render.cpu import CpuRenderer, ImageGrads, rasterize_backward
from splatface.models.render.reference import SplatTensors
from splatface.models.render.render import RenderOutput

__all__ = ["DifferentiableRenderer", "TorchRenderOutput"]


@dataclass(frozen=True, slots=True)
class TorchRenderOutput:
    """A rendered image as tensors with gradients."""

    image: Tensor  # [H, W, 3]
    transmittance: Tensor  # [H, W]
    extra: Tensor | None  # [H, W, C]


class DifferentiableRenderer:
    """Renders tensors on `threads` cores; gradients flow to every splat tensor and to the background.

    Several images may be rendered before their backward passes run.
    """

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads
        self.idle: list[CpuRenderer] = []

    def draw(self, splats: SplatTensors, camera: Camera, background: Tensor) -> TorchRenderOutput:
        """Render float32 CPU tensors; background is a color [3] or an image [H, W, 3]."""
        for field in fields(splats):
            tensor = getattr(splats, field.name)
            if tensor is not None and (tensor.dtype != torch.float32 or tensor.device.type != "cpu"):
                raise RenderError(
                    f"splats.{field.name}: expected float32 on the CPU, found {tensor.dtype} on "
                    f"{tensor.device}: use .float().cpu(), or the cuda backend"
                )
        arguments = [getattr(splats, field.name) for field in fields(splats)]
        color, transmittance, extra_image = _Render.apply(self, camera, *arguments)
        image = torch.addcmul(color, transmittance[..., None], background)
        return TorchRenderOutput(image, transmittance, None if splats.extra is None else extra_image)


class _Lease:
    """A renderer whose buffers hold one rendered image, returned when its graph is freed."""

    def __init__(self, owner: DifferentiableRenderer) -> None:
        self.owner = owner
        self.renderer = owner.idle.pop() if owner.idle else CpuRenderer(owner.threads)

    def __del__(self) -> None:
        self.owner.idle.append(self.renderer)


class _Render(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, owner: DifferentiableRenderer, camera: Camera, *tensors: Tensor | None) -> Any:
        arrays: list[Any] = [None if t is None else np.ascontiguousarray(t.detach().numpy()) for t in tensors]
        splats, extra = Splats(*arrays[:5]), arrays[5]
        lease = _Lease(owner)
        rendered = lease.renderer.draw(splats, camera, (0.0, 0.0, 0.0), extra)
        ctx.lease, ctx.scene, ctx.extra, ctx.rendered = lease, (splats, camera), extra, rendered
        extra_image = np.empty((0, 0, 0), np.float32) if rendered.extra is None else rendered.extra
        return tuple(map(torch.from_numpy, (rendered.image, rendered.transmittance, extra_image)))

    @staticmethod
    def backward(ctx: Any, *output_grads: Tensor) -> Any:
        image, transmittance, extra_image = (np.ascontiguousarray(grad.numpy()) for grad in output_grads)
        rendered: RenderOutput = ctx.rendered
        image_grads = ImageGrads(image, transmittance, None if rendered.extra is None else extra_image)
        splat_grads = rasterize_backward(ctx.lease.renderer, ctx.scene, ctx.extra, rendered, image_grads)
        arrays = (
            splat_grads.means,
            splat_grads.quats,
            splat_grads.scales,
            splat_grads.opacities,
            splat_grads.sh,
        )
        extra = None if ctx.extra is None else torch.from_numpy(splat_grads.extra)
        return None, None, *map(torch.from_numpy, arrays), extra
