"""What no picture of a film showed takes the colour of what lies beside it, for when the head turns."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from splatface.models.camera import Camera
from splatface.models.head.splats import Gaussians, Splats
from splatface.models.render.cpu import CpuRenderer
from splatface.models.render.gradients import PictureSlopes, draw_backward

__all__ = ["coloured", "shown_share"]

Array = NDArray[np.float32]
# Shares of its area that must have shown, for its colour and for its shading to be believed in full.
_KNOWN, _SHADED = 0.1, 0.3
_NEIGHBOURS = 12
_NEAR_M = 0.002  # neighbours nearer than this count alike


def shown_share(splats: Splats, camera: Camera, renderer: CpuRenderer) -> Array:
    """How much of each splat [N] a picture shows, of all it would cover if nothing were before it.

    What a pixel's colour owes to a splat is the slope of a channel that the splat alone carries; summed over
    the picture it is the area that shows. Up to 1; thin splats seen from their edge come out too low.
    """
    extra = np.zeros((len(splats), 1), np.float32)
    drawn = renderer.draw(splats, camera, np.zeros(3, np.float32), extra)
    height, width = drawn.image.shape[:2]
    slopes = PictureSlopes(
        np.zeros((height, width, 3), np.float32),
        np.zeros((height, width), np.float32),
        np.ones((height, width, 1), np.float32),
    )
    shows_px = draw_backward(renderer, (splats, camera), extra, drawn, slopes).extra[:, 0]
    to_camera = np.asarray(camera.T_camera_world, np.float64)
    depth = np.maximum(splats.means @ to_camera[2, :3] + to_camera[2, 3], 1e-3)
    across, along = np.sort(splats.scales, axis=1)[:, 1:].T
    covers_px = 2 * np.pi * across * along * (camera.fx / depth) ** 2 * splats.opacities
    share: Array = (shows_px / np.maximum(covers_px, 1e-3)).astype(np.float32)
    return share


def coloured(gaussians: Gaussians, shown: Array) -> Gaussians:
    """Gaussians whose colours are believed by how much of them showed [N], at most, in any picture.

    The optimiser's steps do not grow smaller with the slope: what shows by a hundredth is driven to any
    colour, by what is before it. Such a one takes the mean of its believed neighbours, alike from all sides.
    """
    trust = np.clip(shown.astype(np.float64) / _KNOWN, 0.0, 1.0)
    shading = np.clip(shown.astype(np.float64) / _SHADED, 0.0, 1.0)
    known = np.flatnonzero(trust >= 1.0)
    doubted = np.flatnonzero(trust < 1.0)
    if len(known) < _NEIGHBOURS or not len(doubted):
        return gaussians
    apart, near = cKDTree(gaussians.means[known]).query(gaussians.means[doubted], k=_NEIGHBOURS)
    weight = 1.0 / (apart + _NEAR_M) ** 2
    weight /= weight.sum(axis=1, keepdims=True)
    sh = gaussians.sh.astype(np.float64)
    around = np.einsum("dk,dkc->dc", weight, sh[known[near], 0])
    own = trust[doubted, None]
    sh[doubted, 0] = own * sh[doubted, 0] + (1.0 - own) * around
    sh[:, 1:] *= shading[:, None, None]
    return replace(gaussians, sh=sh.astype(np.float32))
