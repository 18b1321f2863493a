"""From painted colours to those of a picture: looked up where a place is seen, else as its like became."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatface.models.actor.body import Body
from splatface.models.actor.parts import PosedBody
from splatface.models.actor.preview.raster import NOTHING, fill_triangles, mark_strands, to_screen
from splatface.models.actor.samples import SurfaceSamples
from splatface.models.camera import Camera
from splatface.models.dataset.types import LABELS

__all__ = ["Shot", "colours_seen"]

Array = NDArray[Any]

_TOLERANCE_M = 0.004  # below the first surface; hair is a cloud
_SRGB_POWER = 1 / 2.2


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """A picture [H, W, 3] uint8 of a posed body by a camera, and its labels [H, W]."""

    posed: PosedBody
    picture: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    camera: Camera


def colours_seen(body: Body, shot: Shot, samples: SurfaceSamples) -> Array:
    """RGB [N, 3] 0..1 of samples as the picture shows them.

    A sample that is not seen gets its painted colour times how its label's seen samples changed.
    """
    places = samples.positions(shot.posed).astype(np.float32)
    pose, lens = _view(shot.camera)
    screens = to_screen(places, pose, lens)
    height, width, _ = shot.picture.shape
    column = np.clip(screens[:, 0].astype(np.int64), 0, width - 1)
    row = np.clip(screens[:, 1].astype(np.int64), 0, height - 1)
    inside = (column == np.floor(screens[:, 0])) & (row == np.floor(screens[:, 1]))
    first_m = 1 / np.maximum(_nearness(body, shot), 1e-9)[row, column]
    near = 1 / np.maximum(screens[:, 2], 1e-9) < first_m + _TOLERANCE_M
    seen = inside & near & (shot.labels[row, column] == samples.labels)
    found = shot.picture[row, column] / 255.0
    painted = np.clip(samples.colours, 1e-4, 1) ** _SRGB_POWER
    colours: Array = painted.copy()
    for label in range(len(LABELS)):
        alike = samples.labels == label
        if (alike & seen).any():
            change = np.median(found[alike & seen] / painted[alike & seen], axis=0)
            colours[alike] *= change
    colours[seen] = found[seen]
    return np.clip(colours, 0, 1)


def _view(camera: Camera) -> tuple[Array, Array]:
    lens = np.array([camera.fx, camera.fy, camera.cx, camera.cy], np.float32)
    return camera.T_camera_world.astype(np.float32), lens


def _nearness(body: Body, shot: Shot) -> Array:
    """1/depth [H, W] of the first thing at every pixel."""
    pose, lens = _view(shot.camera)
    height, width, _ = shot.picture.shape
    nearness = np.zeros((height, width), np.float32)
    owner = np.full((height, width), NOTHING, np.int32)
    for name, part in body.parts.items():
        places = shot.posed.positions[name].reshape(-1, 3).astype(np.float32)
        screens = to_screen(places, pose, lens)
        if part.faces is None:
            mark_strands(screens, part.positions.shape[1], nearness)
            continue
        triangles = np.concatenate([part.faces[:, [0, 1, 2]], part.faces[:, [0, 2, 3]]])
        fill_triangles(screens, triangles.astype(np.int32), nearness, owner)
    return nearness
