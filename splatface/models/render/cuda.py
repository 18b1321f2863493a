# SPDX-License-Identifier: Apache-2.0
"""The CUDA renderer: gsplat's `rasterization`, asked for the conventions of the reference.

gsplat 1.5.3 (Ye et al. 2024, arXiv 2409.06765) compiles its kernels at first use; torch and gsplat are
imported when the renderer is made, so that nothing else needs them.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from splatface.models.camera import Camera
from splatface.models.errors import RenderError
from splatface.models.head.head import Splats
from splatface.models.render.conventions import LOW_PASS_PX2, NEAR_M
from splatface.models.render.render import RenderOutput, as_background, check_extra, check_splats

if TYPE_CHECKING:
    from splatface.models.render.reference import SplatTensors

__all__ = ["CudaRenderer"]


class CudaRenderer:
    """Renders on one CUDA device. Raises RenderError where torch, gsplat or the device are missing."""

    def __init__(self, device: str = "cuda", *, supersample: int = 1) -> None:
        try:
            import torch
            from gsplat import rasterization
        except ImportError as error:
            raise RenderError(
                f"cuda: expected torch and gsplat, found {error}: pip install torch gsplat, "
                "or take backend cpu"
            ) from error
        if not torch.cuda.is_available():
            raise RenderError("cuda: expected a CUDA device, found none: take backend cpu")
        self.supersample = supersample
        self._torch, self._rasterization, self._device = torch, rasterization, torch.device(device)

    def draw(
        self, splats: Splats, camera: Camera, background: ArrayLike, extra: NDArray[np.float32] | None = None
    ) -> RenderOutput:
        """Render as `CpuRenderer.draw`; the image is in host memory when this returns."""
        check_splats(splats)
        background_tensor = self._to_device(as_background(background, camera))
        values = None if extra is None else self._to_device(check_extra(extra, len(splats)))
        names = ("means", "quats", "scales", "opacities", "sh")
        tensors = {name: self._to_device(getattr(splats, name)) for name in names}
        with self._torch.no_grad():
            color, transmittance, extra_image = self._draw(tensors, values, camera)
            image = color + transmittance[..., None] * background_tensor
        return RenderOutput(
            image.cpu().numpy(),
            transmittance.cpu().numpy(),
            None if extra_image is None else extra_image.cpu().numpy(),
        )

    def draw_uint8(self, splats: Splats, camera: Camera, background: ArrayLike) -> NDArray[np.uint8]:
        """Return the image as uint8 [H, W, 3]."""
        return self.draw(splats, camera, background).as_uint8()

    def draw_tensors(self, splats: "SplatTensors", camera: Camera, background: Any) -> tuple[Any, Any, Any]:
        """Return differentiable image [H, W, 3], transmittance [H, W] and extra [H, W, C] or None.

        splats are float32 on the device, background is a color [3] or an image [H, W, 3] there.
        """
        names = ("means", "quats", "scales", "opacities", "sh")
        tensors = {name: getattr(splats, name) for name in names}
        color, transmittance, extra_image = self._draw(tensors, splats.extra, camera)
        return color + transmittance[..., None] * background, transmittance, extra_image

    def _draw(self, tensors: dict[str, Any], extra: Any, camera: Camera) -> tuple[Any, Any, Any]:
        """Return colors on black, transmittance, extra channels; supersampled ones averaged."""
        torch = self._torch
        degree = int(tensors["sh"].shape[1] ** 0.5) - 1
        color, opacity = self._rasterize(tensors, tensors["sh"], degree, camera)
        # gsplat takes either harmonics or plain channels; the plain ones are a second pass.
        extra_image = None if extra is None else self._rasterize(tensors, extra, None, camera)[0]
        transmittance = 1 - opacity[..., 0]
        if self.supersample == 1:
            return color, transmittance, extra_image
        pool = torch.nn.functional.avg_pool2d

        def mean(plane: Any) -> Any:
            return pool(plane.permute(2, 0, 1)[None], self.supersample)[0].permute(1, 2, 0)

        return (
            mean(color),
            mean(opacity.neg() + 1)[..., 0],
            None if extra_image is None else mean(extra_image),
        )

    def _rasterize(
        self, tensors: dict[str, Any], values: Any, degree: int | None, camera: Camera
    ) -> tuple[Any, Any]:
        """Call gsplat for one camera: composited values [H, W, X] and opacity [H, W, 1]."""
        step = self.supersample
        pose = np.asarray(camera.T_camera_world, np.float32)
        intrinsics = (
            np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1 / step]], np.float32)
            * step
        )
        composited, opacity, _ = self._rasterization(
            means=tensors["means"],
            quats=tensors["quats"],
            scales=tensors["scales"],
            opacities=tensors["opacities"],
            colors=values,
            viewmats=self._to_device(pose)[None],
            Ks=self._to_device(intrinsics)[None],
            width=camera.width * step,
            height=camera.height * step,
            near_plane=NEAR_M,
            eps2d=LOW_PASS_PX2,
            sh_degree=degree,
            packed=False,  # one camera that sees nearly all: the packed form only adds an index
        )
        return composited[0], opacity[0]

    def _to_device(self, array: NDArray[np.float32]) -> Any:
        return self._torch.from_numpy(np.ascontiguousarray(array)).to(self._device)
