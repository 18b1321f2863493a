# SPDX-License-Identifier: Apache-2.0
"""SyncNet (Chung and Zisserman 2016) with a user's weights: lip sync confidence and distance."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import dct
from torch import Tensor, nn
from torch.nn import functional as F

from splatface.models.audio.mel_filterbank import htk_filters
from splatface.models.errors import MetricError
from splatface.models.messages import SAMPLE_RATE
from splatface.models.training.dataset.dataset_audio import load_audio
from splatface.models.training.evaluation.image_metrics import load_weights
from splatface.models.typing import Float64Array, UInt8Array

if TYPE_CHECKING:
    from splatface.models.training.evaluation.evaluate_frames import Truth

__all__ = [
    "CEPSTRA",
    "FACE_PX",
    "SYNC_STEP_NS",
    "FaceCrops",
    "SyncNet",
    "SyncScore",
    "face_boxes",
    "face_crop",
    "mfcc",
]

CEPSTRA = 13
_FRAME, _HOP, _FFT, _BANDS = 400, 160, 512, 26  # 25 ms every 10 ms
_PREEMPHASIS, _LIFTER = 0.97, 22


def mfcc(samples: NDArray[np.float32]) -> Float64Array:
    """Return SyncNet's cepstra [n, 13], 100 a second, of samples [T] at 16 kHz, -1..1."""
    samples_16bit = np.asarray(samples, np.float64) * 32768  # the levels of 16-bit sound
    emphasized = np.concatenate([samples_16bit[:1], samples_16bit[1:] - _PREEMPHASIS * samples_16bit[:-1]])
    count = 1 + max(0, -(-(len(emphasized) - _FRAME) // _HOP))
    padded = np.pad(emphasized, (0, max(0, (count - 1) * _HOP + _FRAME - len(emphasized))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP][:count]
    power = np.square(np.abs(np.fft.rfft(frames, _FFT))) / _FFT
    tiny = np.finfo(np.float64).eps
    bands = np.log(np.maximum(power @ htk_filters(_BANDS, _FFT).T, tiny))
    lifter = 1 + _LIFTER / 2 * np.sin(np.pi * np.arange(CEPSTRA) / _LIFTER)
    cepstra: Float64Array = dct(bands, type=2, axis=1, norm="ortho")[:, :CEPSTRA] * lifter
    cepstra[:, 0] = np.log(np.maximum(power.sum(axis=1), tiny))
    return cepstra


FACE_PX, SYNC_STEP_NS = 224, 40_000_000  # the network sees 25 images a second
_PICTURES, _CEPSTRA = 5, 20  # in a window of 0.2 s
_LARGEST_SHIFT = 15  # images
_CROP, _GRAY = 0.40, 110  # how much is cropped around a detected face, and what lies outside of the image
_SMOOTH = 13  # images over which a face's position is the median
_BATCH = 8


@dataclass(frozen=True, slots=True)
class SyncScore:
    """The two metrics of the papers, and the offset at which lips and audio fit best."""

    confidence: float  # LSE-C, more is better: median over shifts - least distance
    distance: float  # LSE-D, less is better: the least mean distance over all shifts
    offset_ms: float  # of sound against lips at the least distance


class SyncNet(nn.Module):
    """The network as its authors publish it.

    Args:
        file: their `syncnet_v2.model`.

    Raises:
        MetricError: when the file is missing or of another network.
    """

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.netcnnaud = _stack(2, _SOUND_LAYERS)
        self.netcnnlip = _stack(3, _LIP_LAYERS)
        self.netfcaud, self.netfclip = _top(), _top()
        try:
            self.load_state_dict(load_weights(file))
        except RuntimeError as error:
            reason = str(error).strip().split("\n")[-1].strip()[:120]
            raise MetricError(
                f"{file}: expected SyncNet's weights, found others ({reason}): give syncnet_v2.model"
            ) from error
        self.eval()

    def score(self, faces: UInt8Array, samples: NDArray[np.float32]) -> SyncScore:
        """Compare faces [F, 224, 224, 3] RGB, 25 a second, with the audio [T] at 16 kHz from the first on.

        Raises:
            MetricError: when they are shorter than six images.
        """
        count = min(len(faces), len(samples) // 640) - _PICTURES
        if count < 1:
            raise MetricError(
                f"syncnet: expected {_PICTURES + 1} pictures with their sound or more, found {len(faces)} "
                f"and {len(samples) / SAMPLE_RATE:.2f} s: measure a longer film"
            )
        with torch.no_grad():
            lips = torch.cat(list(self.lip_embeddings(faces, count)))
            audio_embeddings = torch.cat(list(self.audio_embeddings(samples, count)))
            padded = F.pad(audio_embeddings, (0, 0, _LARGEST_SHIFT, _LARGEST_SHIFT))
            shifts = [padded[k : k + count] for k in range(2 * _LARGEST_SHIFT + 1)]
            distances = torch.stack([F.pairwise_distance(lips, shift).mean() for shift in shifts])
        least = int(distances.argmin())
        return SyncScore(
            confidence=float(distances.median() - distances[least]),
            distance=float(distances[least]),
            offset_ms=(_LARGEST_SHIFT - least) * SYNC_STEP_NS / 1e6,
        )

    def lip_embeddings(self, faces: UInt8Array, count: int) -> Iterator[Tensor]:
        """Yield embeddings [B, 1024] of each window of five faces."""
        bgr = np.ascontiguousarray(faces[..., ::-1].transpose(3, 0, 1, 2))
        for first in range(0, count, _BATCH):
            windows = [bgr[:, k : k + _PICTURES] for k in range(first, min(first + _BATCH, count))]
            batch = torch.from_numpy(np.stack(windows)).float()
            yield self.netfclip(self.netcnnlip(batch).flatten(1))

    def audio_embeddings(self, samples: NDArray[np.float32], count: int) -> Iterator[Tensor]:
        """Yield embeddings [B, 1024] of the audio of each window of five frames."""
        cepstra = mfcc(samples).T.astype(np.float32)  # [13, n]
        assert len(cepstra) == CEPSTRA
        for first in range(0, count, _BATCH):
            starts = range(4 * first, 4 * min(first + _BATCH, count), 4)
            batch = torch.from_numpy(np.stack([cepstra[None, :, k : k + _CEPSTRA] for k in starts]))
            yield self.netfcaud(self.netcnnaud(batch).flatten(1))


def face_boxes(landmarks: Float64Array) -> Float64Array:
    """Return center x, y and half the longer side [F, 3] px of faces at landmarks [F, 478, 3], smoothed.

    NaN where no face was found for a while.
    """
    indices = landmarks[:, :468, :2]
    low, high = indices.min(axis=1), indices.max(axis=1)
    boxes = np.concatenate([(low + high) / 2, (high - low).max(axis=1, keepdims=True) / 2], axis=1)
    half_window = _SMOOTH // 2
    padded = np.pad(boxes, ((half_window, half_window), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, _SMOOTH, axis=0)
    with np.errstate(invalid="ignore"):
        known = np.isfinite(windows).any(axis=2)
        steady: Float64Array = np.nanmedian(np.where(known[..., None], windows, 0.0), axis=2)
    return np.where(known, steady, np.nan)


def face_crop(image: UInt8Array, box: Float64Array) -> UInt8Array:
    """Return the face [224, 224, 3] of an image [H, W, 3] at a box [3] of `face_boxes`, with its neck."""
    x, y, half = box.tolist()
    side = 2 * half * (1 + _CROP)
    scale = FACE_PX / side
    transform = np.array([[scale, 0, -scale * (x - side / 2)], [0, scale, -scale * (y - half)]])
    gray = (_GRAY, _GRAY, _GRAY)
    crop = cv2.warpAffine(image, transform, (FACE_PX, FACE_PX), flags=cv2.INTER_LINEAR, borderValue=gray)
    return np.asarray(crop, np.uint8)


# (channels, kernel, stride, padding) of a convolution, or (kernel, stride, padding) of a pooling after it.
_SOUND_LAYERS: tuple[tuple[object, ...], ...] = (
    (64, 3, 1, 1),
    (1, 1, 0),
    (192, 3, 1, 1),
    (3, (1, 2), 0),
    (384, 3, 1, 1),
    (256, 3, 1, 1),
    (256, 3, 1, 1),
    (3, 2, 0),
    (512, (5, 4), 1, 0),
)
_HALF, _ONE = (1, 2, 2), (0, 1, 1)
_LIP_LAYERS: tuple[tuple[object, ...], ...] = (
    (96, (5, 7, 7), _HALF, 0),
    ((1, 3, 3), _HALF, 0),
    (256, (1, 5, 5), _HALF, _ONE),
    ((1, 3, 3), _HALF, _ONE),
    (256, (1, 3, 3), 1, _ONE),
    (256, (1, 3, 3), 1, _ONE),
    (256, (1, 3, 3), 1, _ONE),
    ((1, 3, 3), _HALF, 0),
    (512, (1, 6, 6), 1, 0),
)


def _stack(dimensions: int, layers: tuple[tuple[object, ...], ...]) -> nn.Sequential:
    convolve = {2: nn.Conv2d, 3: nn.Conv3d}[dimensions]
    normalise = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dimensions]
    pool = {2: nn.MaxPool2d, 3: nn.MaxPool3d}[dimensions]
    parts: list[nn.Module] = []
    width = {2: 1, 3: 3}[dimensions]
    for layer in layers:
        if len(layer) == 3:
            parts.append(pool(*layer))
            continue
        channels, shape = cast(int, layer[0]), layer[1:]
        parts += [convolve(width, channels, *shape), normalise(channels), nn.ReLU()]
        width = channels
    return nn.Sequential(*parts)


def _top() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 1024))


_FEWEST = 6  # images


class FaceCrops:
    """Face crops of the longest stretch that has 25 frames a second, with its audio.

    Where the face is, the true video says: the rendered head is in the same position.
    """

    def __init__(self, truth: "Truth") -> None:
        self._truth = truth
        self._boxes = None if truth.landmarks is None else face_boxes(truth.landmarks)
        self._indices = [] if self._boxes is None else _longest_even_run(truth, self._boxes)
        self._wanted_indices = frozenset(self._indices)
        self._crops: dict[int, NDArray[np.uint8]] = {}

    @property
    def long_enough(self) -> bool:
        """True where there are enough frames for a score."""
        return len(self._indices) >= _FEWEST

    def add(self, frame: int, rendered: NDArray[np.uint8]) -> None:
        """Add the crop of the rendered image [H, W, 3] of a frame if it is needed."""
        if self._boxes is not None and frame in self._wanted_indices:
            self._crops[frame] = face_crop(rendered, self._boxes[frame])

    def crops_and_audio(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return crops [F, 224, 224, 3] and the audio [T] at 16 kHz."""
        start_ns = int(self._truth.dataset.frames.time_ns[self._truth.frame_indices[self._indices[0]]])
        first = round(start_ns * SAMPLE_RATE / 1e9)
        samples = load_audio(self._truth.dataset)[first : first + len(self._indices) * SAMPLE_RATE // 25]
        return np.stack([self._crops[frame] for frame in self._indices]), samples


def _longest_even_run(truth: "Truth", boxes: NDArray[np.float64]) -> list[int]:
    """Return the longest run of frames whose times lie 40 ms apart, each within half of that."""
    time_ns = truth.dataset.frames.time_ns[truth.frame_indices]
    if len(time_ns) < _FEWEST:
        return []
    wanted = np.arange(time_ns[0], time_ns[-1] + 1, SYNC_STEP_NS)
    after = np.clip(np.searchsorted(time_ns, wanted), 1, len(time_ns) - 1)
    before = after - 1
    nearest = np.where(wanted - time_ns[before] <= time_ns[after] - wanted, before, after)
    usable = np.abs(time_ns[nearest] - wanted) < SYNC_STEP_NS // 2
    usable &= np.isfinite(boxes[nearest]).all(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], usable, [False]]).astype(np.int8)))
    if not len(edges):
        return []
    starts, ends = edges[::2], edges[1::2]
    longest = int(np.argmax(ends - starts))
    indices: list[int] = nearest[starts[longest] : ends[longest]].tolist()
    return indices
