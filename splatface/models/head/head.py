# SPDX-License-Identifier: Apache-2.0
"""A head: the Gaussians of a person, how they move, and what one has to know to run them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from splatface.models.array_checks import expect, expect_range
from splatface.models.audio2motion.audio_to_mouth import (
    CONTROL_RANGES,
    CONTROLS,
    MOUTH_MODES,
    AudioToMouthNet,
    gelu,
)
from splatface.models.camera import Camera
from splatface.models.errors import HeadError
from splatface.models.typing import Float32Array

__all__ = [
    "DELTA_CHANNELS",
    "MOTION_SIZE",
    "Gaussians",
    "Head",
    "HeadInfo",
    "MotionLimits",
    "MotionMap",
    "PoseLimits",
    "Splats",
    "check_motion_map",
    "linear_map",
    "motion_map_from_tensors",
    "motion_map_tensors",
]

# One row of a head's linear basis: Δmean 3, Δquat 4, Δlog-scale 3, Δopacity logit 1, Δcolor (SH degree 0) 3.
DELTA_CHANNELS = 14


@dataclass(frozen=True, slots=True)
class Gaussians:
    """N canonical Gaussians, unconstrained (3DGS conventions: logits and logarithms)."""

    means: Float32Array  # [N, 3] m, canonical frame
    quats: Float32Array  # [N, 4] wxyz, any length > 0
    log_scales: Float32Array  # [N, 3] ln m
    opacity_logits: Float32Array  # [N]
    sh: Float32Array  # [N, (d + 1)^2, 3], color = 0.5 + sum of sh * basis

    def __len__(self) -> int:
        return len(self.means)


@dataclass(frozen=True, slots=True)
class Splats:
    """N Gaussians ready to render."""

    means: Float32Array  # [N, 3] m, world
    quats: Float32Array  # [N, 4] wxyz, any length > 0
    scales: Float32Array  # [N, 3] m, > 0
    opacities: Float32Array  # [N] 0..1
    sh: Float32Array  # [N, (d + 1)^2, 3]

    def __len__(self) -> int:
        return len(self.means)


MOTION_SIZE = len(MOUTH_MODES) + len(CONTROLS)
_LARGEST = 1e6


@dataclass(frozen=True, slots=True, eq=False)
class MotionMap:
    """The map from mouth modes and controls to the coefficients of one head.

    `map(mouth, controls)` = x @ linear + (gelu(x @ w1 + b1) - gelu(b1)) @ w2, x = [mouth, controls],
    GELU in its tanh form. It is 0 for 0: the canonical Gaussians are the face at rest. The nonlinear part
    is for lids that slide over the eyeball, and for lips that meet and press.
    """

    linear: Float32Array  # [16, K]
    w1: Float32Array  # [16, H], H may be 0
    b1: Float32Array  # [H]
    w2: Float32Array  # [H, K]

    def __call__(self, mouth: Float32Array, controls: Float32Array) -> Float32Array:
        """Return coefficients [K] for mouth modes [8] and controls [8]."""
        x = np.concatenate([mouth, controls]).astype(np.float32)
        bend = (gelu(x @ self.w1 + self.b1) - gelu(self.b1)) @ self.w2
        return np.asarray(x @ self.linear + bend, np.float32)


def linear_map(linear: Float32Array) -> MotionMap:
    """Return a purely linear map: linear [16, K]."""
    return MotionMap(
        linear=linear,
        w1=np.zeros((len(linear), 0), np.float32),
        b1=np.zeros(0, np.float32),
        w2=np.zeros((0, linear.shape[1]), np.float32),
    )


def check_motion_map(motion_map: MotionMap, coefficients: int) -> None:
    """Raise HeadError unless the map's tensors fit each other and a head of K coefficients."""
    hidden = len(motion_map.b1)
    expect("motion.linear", motion_map.linear, (MOTION_SIZE, coefficients))
    expect("motion.w1", motion_map.w1, (MOTION_SIZE, hidden))
    expect("motion.b1", motion_map.b1, (hidden,))
    expect("motion.w2", motion_map.w2, (hidden, coefficients))
    for entry in fields(motion_map):
        values = getattr(motion_map, entry.name)
        expect_range(f"motion.{entry.name}", values, -_LARGEST, _LARGEST)


def motion_map_tensors(motion_map: MotionMap) -> dict[str, Float32Array]:
    """Return the map's tensors, named `motion.<name>` as in head.safetensors."""
    return {f"motion.{entry.name}": getattr(motion_map, entry.name) for entry in fields(motion_map)}


def motion_map_from_tensors(tensors: Mapping[str, Float32Array]) -> MotionMap:
    """Build the map from named tensors; HeadError where one is missing."""
    names = [entry.name for entry in fields(MotionMap)]
    missing = [name for name in names if f"motion.{name}" not in tensors]
    if missing:
        raise HeadError(
            f"motion: expected the tensors {', '.join(names)}, found none called {', '.join(missing)}: "
            "take an intact copy of the head"
        )
    return MotionMap(**{name: tensors[f"motion.{name}"] for name in names})


Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class PoseLimits:
    """Range of poses in training, in REP 103 angles about the neck; the margin is added on both sides.

    Beyond them a head shows artifacts (streaks at ear and jaw, a double chin).
    """

    yaw_rad: tuple[float, float] = (-0.45, 0.45)  # positive to the head's left
    pitch_rad: tuple[float, float] = (-0.30, 0.30)  # positive down
    roll_rad: tuple[float, float] = (-0.30, 0.30)  # positive towards the right shoulder
    translation_m: float = 0.10  # largest shift along each axis
    margin_rad: float = 0.05


@dataclass(frozen=True, slots=True)
class MotionLimits:
    """Range of each mode and control in training; by default the full range of the motion space.

    Beyond them Gaussians were never supervised: torn lips, teeth through a closed mouth.
    """

    mouth: tuple[Range, ...] = ((-0.1, 1.0),) * len(MOUTH_MODES)  # lowest (<= 0), highest (>= 0)
    controls: tuple[Range, ...] = tuple(CONTROL_RANGES.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadInfo:
    """The description of a head, stored in head.yaml beside the tensors."""

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
    torso_follow: tuple[float, float] = (0.25, 0.5)  # fraction of the head's rotation and shift, 0..1
    fps: float = 25.0  # of the video it was trained on
    reports: Mapping[str, object] = field(default_factory=dict)  # "training", "evaluation": plain data


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Head:
    """N Gaussians of which M move with K coefficients.

    c[K] = motion_map(mouth modes predicted by a net, controls). Harmonics of degree 1 rotate with the bones.
    """

    gaussians: Gaussians  # N, canonical frame (OpenCV axes, meters)
    skinning_weight: Float32Array  # [N], 0 torso bone .. 1 head bone
    dynamic: NDArray[np.int32]  # [M], rising indices of the Gaussians that speech or eyes move
    basis: Float32Array  # [M, 14, K], see DELTA_CHANNELS
    motion_map: MotionMap  # 16 -> K
    info: HeadInfo
    nets: Mapping[str, AudioToMouthNet] = field(default_factory=dict)  # by encoder
