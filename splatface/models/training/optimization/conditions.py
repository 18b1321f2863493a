"""What a person does in a picture, as fields ask for it."""

from copy import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splatface.models.audio2motion.mouth_inference import resample_window
from splatface.models.errors import TrainingError
from splatface.models.rotations import rep103_angles
from splatface.models.training.dataset.dataset_audio import features
from splatface.models.training.dataset.types import Dataset
from splatface.models.training.fields.config import ConditioningConfig
from splatface.models.training.fields.field import Condition

__all__ = ["Conditions", "pose_of"]


def pose_of(T_world_head: NDArray[np.float64], pivot_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """Yaw, pitch, roll (rad, REP 103) and shift x, y, z (m, canonical axes) [6] of a head about its pivot."""
    rotation = T_world_head[:3, :3]
    angles = rep103_angles(rotation)
    return np.concatenate([angles, T_world_head[:3, 3] - pivot_m + rotation @ pivot_m])


class Conditions:
    """The condition of every row of a data set."""

    def __init__(self, dataset: Dataset, listening: ConditioningConfig, encoder: str) -> None:
        """Raises TrainingError where a field driven by sound is not told by which encoder."""
        self._dataset, self._listening = dataset, listening
        self._heard: tuple[NDArray[np.float32], NDArray[np.int64]] | None = None
        if listening.drive == "sound":
            if not encoder:
                raise TrainingError(
                    "config encoder: expected the encoder whose features drive the field, found none: "
                    "set encoder (logmel, fsmn, whisper), or listening.drive to motion"
                )
            self._heard = features(dataset, encoder)

    def __call__(self, row: int) -> Condition:
        """What happens in a row; float32 on the CPU."""
        frames = self._dataset.frames
        pose = pose_of(frames.T_world_head[row], self._dataset.pivot_m)
        return Condition(
            mouth=torch.from_numpy(frames.mouth[row].astype(np.float32)),
            controls=torch.from_numpy(frames.controls[row].astype(np.float32)),
            pose=torch.from_numpy(pose.astype(np.float32)),
            audio=None if self._heard is None else self._windows(int(frames.time_ns[row])),
        )

    def of(self, dataset: Dataset) -> "Conditions":
        """The same sound with the motion and poses of another reading of the data set."""
        other = copy(self)
        other._dataset = dataset
        return other

    @property
    def feature_dim(self) -> int:
        """D of the features that drive the field; 0 where motion does."""
        return 0 if self._heard is None else int(self._heard[0].shape[1])

    def _windows(self, time_ns: int) -> Tensor:
        """[S, W, D] windows 20 ms apart, newest last, sampled as a running head does."""
        assert self._heard is not None
        how = self._listening
        newest_ns = time_ns + round(how.lookahead_ms * 1e6)
        frames = resample_window(*self._heard, newest_ns, how.frames + how.windows - 1)
        return torch.from_numpy(frames).unfold(0, how.frames, 1).transpose(1, 2).contiguous()
