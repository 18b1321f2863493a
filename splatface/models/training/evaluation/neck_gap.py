# SPDX-License-Identifier: Apache-2.0
"""Gap at the neck when the head turns: background visible between head and shoulders."""

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.head.controls import bone_poses
from splatface.models.head.deformation import Deformer
from splatface.models.head.head import Head, PoseLimits
from splatface.models.messages import HeadControl
from splatface.models.render.cpu import CpuRenderer
from splatface.models.rotations import quat_from_euler

__all__ = ["POSES_DEG", "NeckGap", "worst_neck_gap"]

POSES_DEG = tuple((yaw, pitch) for yaw in (-20, 0, 20) for pitch in (-15, 0, 15))
_ANY_POSE = PoseLimits(
    yaw_rad=(-math.pi, math.pi), pitch_rad=(-1.5, 1.5), roll_rad=(-math.pi, math.pi), translation_m=10.0
)
_SIDE_PX = 512
_BETWEEN = (0.1, 0.9)  # skin weights of what stretches between the bones
_OPAQUE = 0.5  # of a pixel that is covered
_SLIT_PX = 41  # the widest gap that counts as one


@dataclass(frozen=True, slots=True)
class NeckGap:
    """The largest gap over POSES_DEG."""

    gap_px: int  # pixels of 512 x 512 at which the background shows through the neck
    yaw_deg: int
    pitch_deg: int


def worst_neck_gap(head: Head, threads: int = 1) -> NeckGap:
    """Rotate a resting head by 20 degrees and nod it by 15, and look for gaps at the neck.

    A pixel is a gap when it is mostly background, lies among the Gaussians that stretch between the two
    bones, and is enclosed by the person within 41 px.
    """
    camera = head.info.camera.scaled_to(_SIDE_PX, _SIDE_PX)
    info = replace(head.info, pose_limits=_ANY_POSE)
    deform, renderer = Deformer(head), CpuRenderer(threads)
    c = head.motion_map(np.zeros(len(MOUTH_MODES), np.float32), np.zeros(len(CONTROLS), np.float32))
    stretching = (head.skinning_weight > _BETWEEN[0]) & (head.skinning_weight < _BETWEEN[1])
    stretching &= head.gaussians.opacity_logits > 0
    gaps = []
    for yaw, pitch in POSES_DEG:
        rotation = quat_from_euler(np.radians([yaw, pitch, 0.0]))
        splats = deform(c, bone_poses(HeadControl(quat_world_head=rotation), info))
        transmittance = renderer.draw(splats, camera, (0.0, 0.0, 0.0)).transmittance
        neck = _neck(camera.project(splats.means[stretching].astype(np.float64)))
        gaps.append(NeckGap(int((_gaps(transmittance) & neck).sum()), yaw, pitch))
    return max(gaps, key=lambda gap: gap.gap_px)


def _gaps(transmittance: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the mask [H, W] of background enclosed by opaque pixels."""
    covered = (transmittance < _OPAQUE).astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_SLIT_PX, _SLIT_PX))
    closed = np.asarray(cv2.morphologyEx(covered, cv2.MORPH_CLOSE, kernel))
    # Beside the neck the background is reached from the rim of the image: that is a neck's outline, no gap.
    _, components = cv2.connectedComponents((1 - covered).astype(np.uint8))
    border_components = np.unique(np.concatenate([components[0], components[:, 0], components[:, -1]]))
    enclosed: NDArray[np.bool_] = (closed > covered) & ~np.isin(components, border_components)
    return enclosed


def _neck(centers_px: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return the mask [H, W] of the convex hull of centers [N, 2] px."""
    inside = np.zeros((_SIDE_PX, _SIDE_PX), np.uint8)
    corners = np.clip(centers_px, -_SIDE_PX, 2 * _SIDE_PX).round().astype(np.int32)
    if len(corners) > 2:
        cv2.fillConvexPoly(inside, cv2.convexHull(corners), 1)
    return inside.astype(bool)
