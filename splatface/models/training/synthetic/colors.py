"""From painted colors to those of a picture: looked up where a place is seen, else as its like became."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatface.models.camera import Camera
from splatface.models.training.dataset.types import LABELS
from splatface.models.training.synthetic.body import Body
from splatface.models.training.synthetic.parts import PosedBody
from splatface.models.training.synthetic.preview.raster import NOTHING, fill_triangles, to_screen
from splatface.models.training.synthetic.samples import SurfaceSamples
from splatface.models.typing import AnyArray, Int64Array

__all__ = ["RenderedView", "sample_visible_colors", "seen_by"]


_TOLERANCE_M = 0.004  # below the first surface
_SRGB_POWER = 1 / 2.2


@dataclass(frozen=True, slots=True, eq=False)
class RenderedView:
    """A picture [H, W, 3] uint8 of a posed body by a camera, and its labels [H, W]."""

    posed: PosedBody
    picture: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    camera: Camera


def sample_visible_colors(body: Body, shot: RenderedView, samples: SurfaceSamples) -> AnyArray:
    """RGB [N, 3] 0..1 of samples as the picture shows them.

    A sample that is not seen gets its painted color times how its label's seen samples changed.
    """
    inside, row, column, _ = _pixels(samples.positions(shot.posed), shot.camera)
    seen = seen_by(body, shot.posed, shot.camera, samples) & inside
    seen &= shot.labels[row, column] == samples.labels
    found = shot.picture[row, column] / 255.0
    painted = np.clip(samples.colors, 1e-4, 1) ** _SRGB_POWER
    colors: AnyArray = painted.copy()
    for label in range(len(LABELS)):
        alike = samples.labels == label
        if (alike & seen).any():
            change = np.median(found[alike & seen] / painted[alike & seen], axis=0)
            colors[alike] *= change
    colors[seen] = found[seen]
    return np.clip(colors, 0, 1)


def seen_by(body: Body, posed: PosedBody, camera: Camera, samples: SurfaceSamples) -> NDArray[np.bool_]:
    """Which samples [N] of a posed body the camera sees, or would but for 4 mm of something before them."""
    inside, row, column, depth_m = _pixels(samples.positions(posed), camera)
    first_m = 1 / np.maximum(_nearness(body, posed, camera), 1e-9)
    seen: NDArray[np.bool_] = inside & (depth_m < first_m[row, column] + _TOLERANCE_M)
    return seen


def _pixels(places: AnyArray, camera: Camera) -> tuple[NDArray[np.bool_], Int64Array, Int64Array, AnyArray]:
    """Of places [N, 3]: whether in the picture, row, column and depth (m) of each."""
    screens = to_screen(places.astype(np.float32), *_view(camera))
    column, row = np.floor(screens[:, 0]).astype(np.int64), np.floor(screens[:, 1]).astype(np.int64)
    inside = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
    inside &= screens[:, 2] > 0
    depth_m = 1 / np.maximum(screens[:, 2], 1e-9)
    return inside, np.clip(row, 0, camera.height - 1), np.clip(column, 0, camera.width - 1), depth_m


def _view(camera: Camera) -> tuple[AnyArray, AnyArray]:
    lens = np.array([camera.fx, camera.fy, camera.cx, camera.cy], np.float32)
    return camera.T_camera_world.astype(np.float32), lens


def _nearness(body: Body, posed: PosedBody, camera: Camera) -> AnyArray:
    """1/depth [H, W] of the first surface at every pixel; hair is a cloud, what is in it counts as seen."""
    pose, lens = _view(camera)
    nearness = np.zeros((camera.height, camera.width), np.float32)
    owner = np.full(nearness.shape, NOTHING, np.int32)
    for name, part in body.parts.items():
        if part.faces is None:
            continue
        screens = to_screen(posed.positions[name].astype(np.float32), pose, lens)
        triangles = np.concatenate([part.faces[:, [0, 1, 2]], part.faces[:, [0, 2, 3]]])
        fill_triangles(screens, triangles.astype(np.int32), nearness, owner)
    return nearness
