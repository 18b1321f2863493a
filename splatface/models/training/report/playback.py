"""Pictures of a head for people to judge: the film's last part played again, and the head turned in space."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.camera import Camera
from splatface.models.head.deform import Deformer
from splatface.models.head.head import Head, PoseLimits
from splatface.models.head.pose import bone_poses
from splatface.models.head.splats import Splats
from splatface.models.messages import HeadControl
from splatface.models.render.render import renderer
from splatface.models.rotations import quat_from_euler
from splatface.models.training.dataset.types import TEST, VAL, Dataset
from splatface.models.typing import Float32Array, UInt8Array

__all__ = ["PosedRenderer", "shown_rows"]


_ANY_POSE = PoseLimits(
    yaw_rad=(-math.pi, math.pi), pitch_rad=(-1.5, 1.5), roll_rad=(-math.pi, math.pi), translation_m=10.0
)


def shown_rows(dataset: Dataset, most: int) -> NDArray[np.int64]:
    """The first rows of the film's last part, which nobody trained on; of VAL or of all where there is none.

    Rows whose motion is not known are left out.
    """
    frames = dataset.frames
    known = np.ones(len(frames), bool)
    for values in (frames.mouth, frames.controls, frames.T_world_head, frames.T_world_torso):
        known &= np.isfinite(values.reshape(len(frames), -1)).all(axis=1)
    for part in (TEST, VAL):
        rows = np.flatnonzero(known & (frames.split == part))
        if len(rows):
            return rows[:most]
    return np.flatnonzero(known)[:most]


class PosedRenderer:
    """A head posed by hand, also beyond the limits that it sets itself when it runs."""

    def __init__(self, head: Head, camera: Camera, background: ArrayLike) -> None:
        self.head, self.camera = head, camera
        self.background = np.asarray(background, np.float32)
        self._deform = Deformer(head)
        self._drawer = renderer("cpu")
        self._info = replace(head.info, pose_limits=_ANY_POSE)

    def render_basis_direction(self, direction: int, far: float) -> UInt8Array:
        """The picture of one direction of the basis by itself, so far from rest."""
        c = np.zeros(self.head.basis.shape[2], np.float32)
        c[direction] = far
        return self.draw(self._deform(c, bone_poses(HeadControl(), self._info)))

    def splats(
        self, motion: Float32Array | None = None, *, yaw_deg: float = 0.0, pitch_deg: float = 0.0
    ) -> Splats:
        """The Gaussians in the world; motion [16] (mouth modes, controls) is rest when left out.

        The puppet's own arrays: they hold until the next call.
        """
        modes = len(MOUTH_MODES)
        values = np.zeros(modes + len(CONTROLS), np.float32) if motion is None else motion
        turn = quat_from_euler(np.radians([yaw_deg, pitch_deg, 0.0]))
        bones = bone_poses(HeadControl(quat_world_head=turn), self._info)
        return self._deform(self.head.motion_map(values[:modes], values[modes:]), bones)

    def draw(self, splats: Splats) -> UInt8Array:
        """Their picture [H, W, 3] RGB."""
        return self._drawer.draw_uint8(splats, self.camera, self.background)

    def picture(
        self, motion: Float32Array | None = None, *, yaw_deg: float = 0.0, pitch_deg: float = 0.0
    ) -> UInt8Array:
        """The picture [H, W, 3] RGB of the head so."""
        return self.draw(self.splats(motion, yaw_deg=yaw_deg, pitch_deg=pitch_deg))
