"""A head plays what a data set's person did: by the true motion, or by the sound alone."""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from splatface.models.dataset.hearing import features
from splatface.models.dataset.types import TEST, VAL, Dataset
from splatface.models.head.coefficients import CONTROLS, MOUTH_MODES
from splatface.models.head.deform import Deformer
from splatface.models.head.head import Head, PoseLimits
from splatface.models.head.pose import Bones, bones_of, quat_of_euler
from splatface.models.render.render import Renderer, renderer
from splatface.models.training.calibrate import heard_along
from splatface.models.values import HeadControl

__all__ = ["Playback", "shown_rows"]

Array = NDArray[np.float32]
Picture = NDArray[np.uint8]
_ANY_POSE = PoseLimits(
    yaw_rad=(-math.pi, math.pi), pitch_rad=(-1.5, 1.5), roll_rad=(-math.pi, math.pi), translation_m=10.0
)


def shown_rows(dataset: Dataset, most: int) -> NDArray[np.int64]:
    """The first rows of the film's last part, which nobody trained on; of VAL or of all where there is none.

    Rows whose motion is not known are left out.
    """
    frames = dataset.frames
    known = np.isfinite(frames.mouth).all(axis=1) & np.isfinite(frames.controls).all(axis=1)
    known &= np.isfinite(frames.T_world_head).all(axis=(1, 2))
    known &= np.isfinite(frames.T_world_torso).all(axis=(1, 2))
    for part in (TEST, VAL):
        rows = np.flatnonzero(known & (frames.split == part))
        if len(rows):
            return rows[:most]
    return np.flatnonzero(known)[:most]


class Playback:
    """Draws one head in the scene of one data set: its camera, its background, its poses."""

    def __init__(self, head: Head, dataset: Dataset, *, drawer: Renderer | None = None) -> None:
        self.head, self.dataset = head, dataset
        self._drawer = drawer or renderer("cpu")
        self._deform = Deformer(head)
        self._turning = replace(head.info, pose_limits=_ANY_POSE)

    def by_motion(self, row: int) -> Picture:
        """The picture [H, W, 3] of a row, driven by what the person did."""
        return self.with_mouth(row, self.dataset.frames.mouth[row])

    def with_mouth(self, row: int, mouth: Array) -> Picture:
        """The picture of a row with another mouth [8]."""
        frames = self.dataset.frames
        bones = Bones(frames.T_world_head[row], frames.T_world_torso[row])
        return self._draw(mouth, frames.controls[row], bones)

    def by_sound(self, rows: NDArray[np.int64], encoder: str) -> Iterator[Picture]:
        """The pictures of rows, the mouth driven by the sound, all else by what the person did."""
        for row, mouth in zip(rows, self.heard(rows, encoder), strict=True):
            yield self.with_mouth(int(row), mouth)

    def heard(self, rows: NDArray[np.int64], encoder: str) -> Array:
        """Mouth modes [n, 8] that the head's net hears at the times of rows."""
        heard = features(self.dataset, encoder)
        return heard_along(self.head.nets[encoder], heard, self.dataset.frames.time_ns[rows])

    def turned(
        self, yaw_deg: float, pitch_deg: float, mouth: Array | None = None, controls: Array | None = None
    ) -> Picture:
        """A turned head, beyond the limits that the head sets itself when it runs."""
        angles = np.radians([yaw_deg, pitch_deg, 0.0])
        bones = bones_of(HeadControl(quat_world_head=quat_of_euler(angles)), self._turning)
        still = (np.zeros(len(MOUTH_MODES), np.float32), np.zeros(len(CONTROLS), np.float32))
        return self._draw(
            still[0] if mouth is None else mouth, still[1] if controls is None else controls, bones
        )

    def _draw(self, mouth: Array, controls: Array, bones: Bones) -> Picture:
        c = self.head.motion_map(mouth, controls)
        return self._drawer.draw_uint8(self._deform(c, bones), self.dataset.camera, self.dataset.background)
