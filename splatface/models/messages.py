# SPDX-License-Identifier: Apache-2.0
"""The frozen values that flow between the folders, one per arrow."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["NS_PER_S", "SAMPLE_RATE", "AudioChunk", "AudioFrame", "Frame", "HeadControl", "next_utterance"]

NS_PER_S = 1_000_000_000
SAMPLE_RATE = 16_000  # Hz, of all sound between the folders


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """Mono audio as captured or read from a file."""

    samples: NDArray[np.float32]  # [T], -1..1
    sample_rate: int  # Hz
    start_ns: int  # ROS time of samples[0]
    utterance: int = 0  # rises at every interruption

    @property
    def end_ns(self) -> int:
        """Time of the sample after the last, ROS time."""
        return self.start_ns + round(len(self.samples) * NS_PER_S / self.sample_rate)


def next_utterance(last: int, now_ns: int) -> int:
    """Return the utterance number of a new audio source: above `last` and those of an earlier process.

    Receivers drop what belongs to a lower number, so a restarted node must not begin at 0.
    """
    return max(last + 1, now_ns // NS_PER_S % 2**31)


@dataclass(frozen=True, slots=True)
class AudioFrame:
    """Features of one frame of audio."""

    values: NDArray[np.float32]  # [D]
    encoder: str
    center_ns: int  # middle of the frame, ROS time
    voice_probability: float = 0.0  # 0..1
    level_dbfs: float = -100.0  # RMS of the frame
    utterance: int = 0


def _identity_quat() -> NDArray[np.float64]:
    return np.array([1.0, 0.0, 0.0, 0.0])


def _zero_translation() -> NDArray[np.float64]:
    return np.zeros(3)


@dataclass(frozen=True, slots=True)
class HeadControl:
    """Head pose, and the motion of the face besides speaking.

    Axes follow ROS REP 103: x forward out of the face, y to the head's left, z up.
    """

    time_ns: int = 0
    quat_world_head: NDArray[np.float64] = field(default_factory=_identity_quat)  # [4] wxyz
    translation_m: NDArray[np.float64] = field(default_factory=_zero_translation)  # [3]
    blink_left: float = 0.0  # 0 open .. 1 closed
    blink_right: float = 0.0
    gaze_yaw_rad: float = 0.0  # positive to the head's left
    gaze_pitch_rad: float = 0.0  # positive down (rotation about +y)
    expression: tuple[tuple[str, float], ...] = ()  # (name, weight 0..1)


@dataclass(frozen=True, slots=True)
class Frame:
    """One image and its time."""

    image: NDArray[np.uint8]  # [H, W, 3] RGB
    time_ns: int
    utterance: int = 0
    index: int = 0  # counts rendered images
