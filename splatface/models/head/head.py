"""A head: the Gaussians of a person, how they move, and what one has to know to run them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio2motion.audio_to_mouth import CONTROL_RANGES, MOUTH_MODES, AudioToMouthNet
from splatface.models.camera import Camera
from splatface.models.head.motion_map import MotionMap
from splatface.models.head.splats import Gaussians
from splatface.models.typing import Float32Array

__all__ = ["Head", "HeadInfo", "MotionLimits", "PoseLimits"]


Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class PoseLimits:
    """Poses seen in training, in REP 103 angles about the neck; the margin is added on both sides.

    Beyond them a head shows what no picture ever taught it (streaks at ear and jaw, a double chin).
    """

    yaw_rad: tuple[float, float] = (-0.45, 0.45)  # positive to the head's left
    pitch_rad: tuple[float, float] = (-0.30, 0.30)  # positive down
    roll_rad: tuple[float, float] = (-0.30, 0.30)  # positive towards the right shoulder
    translation_m: float = 0.10  # largest shift along each axis
    margin_rad: float = 0.05


@dataclass(frozen=True, slots=True)
class MotionLimits:
    """How far each mode and control went in training; without a word of it, the motion space's own range.

    Beyond them Gaussians go where no picture ever taught them to: torn lips, teeth through a closed mouth.
    """

    mouth: tuple[Range, ...] = ((-0.1, 1.0),) * len(MOUTH_MODES)  # lowest (<= 0), highest (>= 0)
    controls: tuple[Range, ...] = tuple(CONTROL_RANGES.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadInfo:
    """What stands in head.yaml beside the tensors."""

    name: str
    person: str  # who is shown; never empty
    license: str
    consent: str  # who agreed to be shown, or that nobody is; never empty
    camera: Camera  # the view the head was trained in
    coefficient_names: tuple[str, ...]  # [K], all different
    background: tuple[float, float, float] = (1.0, 1.0, 1.0)  # RGB 0..1
    pivot_m: tuple[float, float, float] = (0.0, 0.0, 0.0)  # neck joint, canonical frame
    pose_limits: PoseLimits = field(default_factory=PoseLimits)
    motion_limits: MotionLimits = field(default_factory=MotionLimits)
    torso_follow: tuple[float, float] = (0.25, 0.5)  # share of the head's rotation and shift, 0..1
    fps: float = 25.0  # of the film it was trained on
    reports: Mapping[str, object] = field(default_factory=dict)  # "training", "evaluation": plain data


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Head:
    """N Gaussians of which M move with K coefficients.

    c[K] = motion_map(mouth modes that a net hears, controls). Harmonics of degree 1 turn with the bones.
    """

    gaussians: Gaussians  # N, canonical frame (OpenCV axes, meters)
    skinning_weight: Float32Array  # [N], 0 torso bone .. 1 head bone
    dynamic: NDArray[np.int32]  # [M], rising indices of the Gaussians that speech or eyes move
    basis: Float32Array  # [M, 14, K], see DELTA_CHANNELS
    motion_map: MotionMap  # 16 -> K
    info: HeadInfo
    nets: Mapping[str, AudioToMouthNet] = field(default_factory=dict)  # by encoder
