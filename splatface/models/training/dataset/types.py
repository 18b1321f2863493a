"""What a data set holds: one row per picture, the whole film's motion, and points to start from."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splatface.models.camera import Camera
from splatface.models.typing import AnyArray

__all__ = [
    "BACKGROUND",
    "EYES",
    "FACE",
    "HAIR",
    "LABELS",
    "LIPS",
    "MOUTH",
    "NECK",
    "TEST",
    "TORSO",
    "TRAIN",
    "VAL",
    "Dataset",
    "FrameTable",
    "MotionTrack",
    "Points",
]


LABELS = ("background", "torso", "neck", "hair", "face", "eyes", "lips", "mouth")
BACKGROUND, TORSO, NECK, HAIR, FACE, EYES, LIPS, MOUTH = range(len(LABELS))

# To which part of the film a picture belongs; the last part in time is never trained on.
TRAIN, VAL, TEST = 0, 1, 2


@dataclass(frozen=True, slots=True, eq=False)
class FrameTable:
    """F pictures, rising in time. What is unknown is NaN."""

    time_ns: NDArray[np.int64]  # [F] film time; 0 = first sample of the sound
    split: NDArray[np.uint8]  # [F] TRAIN, VAL or TEST
    T_world_head: AnyArray  # [F, 4, 4] f64; identity = the pose of the canonical Gaussians
    T_world_torso: AnyArray  # [F, 4, 4] f64
    mouth: AnyArray  # [F, 8] f32, MOUTH_MODES, about 0..1
    controls: AnyArray  # [F, 8] f32, CONTROLS: 0..1, jaw_side -1..1, gaze in radians
    landmarks_px: AnyArray  # [F, L, 2] f32, see Dataset.landmark_scheme

    def __len__(self) -> int:
        return len(self.time_ns)


@dataclass(frozen=True, slots=True, eq=False)
class MotionTrack:
    """T moments of the whole film at its rate, also where no picture was kept."""

    time_ns: NDArray[np.int64]  # [T] rising
    mouth: AnyArray  # [T, 8] f32
    controls: AnyArray  # [T, 8] f32
    T_world_head: AnyArray  # [T, 4, 4] f64
    T_world_torso: AnyArray  # [T, 4, 4] f64


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """P points of the person in the canonical frame, where training may start."""

    means: AnyArray  # [P, 3] f32 m
    normals: AnyArray  # [P, 3] f32 unit, out of the surface
    colors: AnyArray  # [P, 3] f32 RGB 0..1
    scales: AnyArray  # [P, 3] f32 m, along the axes of `quats`
    quats: AnyArray  # [P, 4] f32 wxyz
    labels: NDArray[np.uint8]  # [P] LABELS
    skin: AnyArray  # [P] f32, 0 torso bone .. 1 head bone
    mouth_modes: AnyArray  # [P, 8, 3] f32 m per unit of each mouth mode
    control_modes: AnyArray  # [P, 8, 3] f32 m per unit of each control (radian for gaze)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Dataset:
    """One person's data set, opened. Pictures, labels, sound and features stay on disk until asked for."""

    folder: Path
    name: str
    source: str  # "actor", "video" or "import"
    license: str
    consent: str
    camera: Camera
    fps: float
    background: AnyArray  # [3] f32 0..1 or [H, W, 3] f32 0..1
    pivot_m: AnyArray  # [3] f64 neck joint, canonical frame
    landmark_scheme: str  # "ibug68", "mediapipe478" or "none"
    frames: FrameTable
    motion: MotionTrack

    @property
    def has_full_geometry(self) -> bool:
        """Whether its points lie all around the person: an actor's do, a film's only where it looked."""
        return self.source == "actor"
