# SPDX-License-Identifier: Apache-2.0
"""A head is checked once, whole, when it is saved and when it is loaded."""

import math
import re

import numpy as np

from splatface.models.array_checks import expect, expect_range
from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES, check_net
from splatface.models.errors import HeadError
from splatface.models.head.head import DELTA_CHANNELS, Gaussians, Head, HeadInfo, check_motion_map

__all__ = ["MAX_COEFFICIENTS", "MAX_GAUSSIANS", "check_gaussians", "check_head", "check_info"]

MAX_GAUSSIANS = 4_000_000
MAX_COEFFICIENTS = 256
MAX_SIDE_PX = 16384
SH_SIZES = (1, 4, 9, 16)  # degrees 0..3
FINITE = 1e6
FARTHEST = 10.0
_NAME = re.compile(r"\w[\w .-]{0,63}")


def check_head(head: Head) -> None:
    """Raise HeadError unless all parts of the head are sound and fit each other."""
    check_info(head.info)
    check_gaussians(head.gaussians)
    count, coefficients = len(head.gaussians), len(head.info.coefficient_names)
    moving = len(head.dynamic)
    expect("skin", head.skinning_weight, (count,))
    expect_range("skin", head.skinning_weight, 0, 1)
    expect("dynamic", head.dynamic, (None,), np.int32)
    expect_range("dynamic", head.dynamic, 0, count - 1)
    if (np.diff(head.dynamic) <= 0).any():
        raise HeadError(
            "dynamic: expected rising indices, each Gaussian once, found them out of order or twice: "
            "sort them (and the rows of the basis) and save the head again"
        )
    expect("basis", head.basis, (moving, DELTA_CHANNELS, coefficients))
    expect_range("basis", head.basis, -FINITE, FINITE)
    check_motion_map(head.motion_map, coefficients)
    _check_nets(head)


def check_gaussians(g: Gaussians) -> None:
    """Raise HeadError unless there are 1..MAX_GAUSSIANS sound Gaussians."""
    count = len(g)
    if not 1 <= count <= MAX_GAUSSIANS:
        raise HeadError(
            f"means: expected 1..{MAX_GAUSSIANS} Gaussians, found {count}: "
            "train with fewer or take another head"
        )
    expect("means", g.means, (count, 3))
    expect("quats", g.quats, (count, 4))
    expect("log_scales", g.log_scales, (count, 3))
    expect("opacity_logits", g.opacity_logits, (count,))
    expect("sh", g.sh, (count, None, 3))
    if g.sh.shape[1] not in SH_SIZES:
        raise HeadError(
            f"sh: expected 1, 4, 9 or 16 colors a Gaussian (degrees 0..3), found {g.sh.shape[1]}: "
            "export the head with at most degree 3"
        )
    expect_range("means", g.means, -FINITE, FINITE)
    expect_range("quats", g.quats, -FINITE, FINITE)
    expect_range("length of quats", np.linalg.norm(g.quats.astype(np.float64), axis=1), 1e-9, np.inf)
    expect_range("log_scales", g.log_scales, -60, 20)
    expect_range("sh", g.sh, -FINITE, FINITE)


def check_info(info: HeadInfo) -> None:
    """Raise HeadError unless a head's description is complete; without consent nobody is shown."""
    if not _NAME.fullmatch(info.name):
        raise HeadError(
            f"name: expected 1..64 letters, digits, spaces, dots or dashes, "
            f"found {info.name[:80]!r}: rename it"
        )
    if not info.person.strip():
        raise HeadError("person: expected who is shown (or that nobody is), found nothing: write it down")
    if not info.consent.strip():
        raise HeadError(
            "consent: expected a statement who agreed to be shown (or that the person does not exist), "
            "found none: ask the person, write it down, then save the head"
        )
    if not info.license.strip():
        raise HeadError("license: expected a license, found none: say how the head may be used")
    _check_camera(info)
    _check_pose(info)
    _check_motion(info)
    _within("background", info.background, 0.0, 1.0, 3)
    _within("fps", (info.fps,), 1.0, 1000.0, 1)
    names = info.coefficient_names
    if not names or len(set(names)) != len(names):
        raise HeadError(
            f"coefficients: expected different names, found {', '.join(names)[:200] or 'none'}: "
            "train the head again"
        )
    if len(names) > MAX_COEFFICIENTS:
        raise HeadError(
            f"coefficients: expected at most {MAX_COEFFICIENTS}, found {len(names)}: bake to a smaller basis"
        )


def _check_camera(info: HeadInfo) -> None:
    camera = info.camera
    _within("camera.width, height", (camera.width, camera.height), 1, MAX_SIDE_PX, 2)
    _within("camera.fx, fy", (camera.fx, camera.fy), 1e-3, FINITE, 2)
    _within("camera.cx, cy", (camera.cx, camera.cy), -FINITE, FINITE, 2)
    expect("camera.T_camera_world", camera.T_camera_world, (4, 4), np.float64)
    rotation = camera.T_camera_world[:3, :3]
    rigid = np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3) and np.linalg.det(rotation) > 0
    if not rigid or not np.allclose(camera.T_camera_world[3], (0, 0, 0, 1)):
        raise HeadError(
            "camera.T_camera_world: expected a rigid transform, found a matrix that scales, mirrors or "
            "projects: correct it in head.yaml"
        )


def _check_pose(info: HeadInfo) -> None:
    limits = info.pose_limits
    for name in ("yaw_rad", "pitch_rad", "roll_rad"):
        low, high = _within(f"pose_limits.{name}", getattr(limits, name), -math.pi, math.pi, 2)
        if low > high:
            raise HeadError(
                f"pose_limits.{name}: expected lowest, then highest, found {low}, {high}: "
                "swap them in head.yaml"
            )
    _within("pose_limits.translation_m", (limits.translation_m,), 0.0, 100.0, 1)
    _within("pose_limits.margin_rad", (limits.margin_rad,), 0.0, math.pi, 1)
    _within("pivot_m", info.pivot_m, -FINITE, FINITE, 3)
    _within("torso_follow", info.torso_follow, 0.0, 1.0, 2)


def _check_motion(info: HeadInfo) -> None:
    limits = info.motion_limits
    for name, ranges, count in (
        ("mouth", limits.mouth, len(MOUTH_MODES)),
        ("controls", limits.controls, len(CONTROLS)),
    ):
        _within(f"motion_limits.{name}", tuple(low for low, _ in ranges), -FARTHEST, 0.0, count)
        _within(f"motion_limits.{name}", tuple(high for _, high in ranges), 0.0, FARTHEST, count)


def _within(name: str, values: tuple[float, ...], low: float, high: float, count: int) -> tuple[float, ...]:
    if len(values) != count or not all(low <= value <= high for value in values):
        raise HeadError(
            f"{name}: expected {count} number(s) in {low:g}..{high:g}, found {values!r:.200}: "
            "correct it in head.yaml"
        )
    return values


def _check_nets(head: Head) -> None:
    for encoder, net in head.nets.items():
        if encoder != net.encoder or not re.fullmatch(r"\w{1,32}", encoder):
            raise HeadError(
                f"nets: expected the net of encoder {encoder!r:.40}, found one of {net.encoder!r:.40}: "
                "name it as its encoder (letters, digits, _)"
            )
        check_net(net)
        if not 1 <= net.outputs <= len(MOUTH_MODES):
            raise HeadError(
                f"net.{encoder}: expected 1..{len(MOUTH_MODES)} outputs, the mouth modes, found "
                f"{net.outputs}: train it for this head"
            )
