# SPDX-License-Identifier: Apache-2.0
"""A filmed mouth: one tracked clip with its audio and mouth modes, to train on or to evaluate with."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.errors import TrackingError
from splatface.models.storage import atomic_write
from splatface.models.training.dataset.dataset_audio import load_audio
from splatface.models.training.dataset.dataset_io import load_dataset
from splatface.models.training.dataset.types import Dataset
from splatface.models.training.speech_corpus.phonemes import Phone
from splatface.models.training.tracking.av_sync import mouth_shape_from_landmarks
from splatface.models.training.tracking.extract_frames import MouthTrack
from splatface.models.typing import Float32Array, Float64Array

__all__ = [
    "FilmedMouth",
    "amplitude_gain",
    "filmed_mouth_from_dataset",
    "filmed_mouth_from_track",
    "load_filmed_mouth",
    "save_filmed_mouth",
]

_MIN_FRAMES = 25
_OPEN = MOUTH_MODES.index("open")
_AMPLITUDE_GAIN_RANGE = (0.6, 1.7)
_ARRAYS = ("samples", "times_s", "modes", "gap")


@dataclass(frozen=True, slots=True, eq=False)
class FilmedMouth:
    """The mouth of one speaker in a video, in the frames in which it is visible."""

    name: str
    speaker: str  # same for all clips of a person, which are held out together
    license: str  # of the clip: an SPDX name, or in words
    samples: Float32Array  # [T] mono 16 kHz
    times_s: Float64Array  # [F] rising
    modes: Float64Array  # [F, 8] MOUTH_MODES
    gap: Float64Array  # [F] inner-lip gap over the height from forehead to nose, from landmarks
    phones: tuple[Phone, ...] = ()  # empty where the words are unknown

    @property
    def step_s(self) -> float:
        """Median time between two frames."""
        return float(np.median(np.diff(self.times_s)))

    def with_phones(self, phones: Sequence[Phone]) -> "FilmedMouth":
        """Return the same clip with its phones."""
        return replace(self, phones=tuple(phones))


def filmed_mouth_from_track(track: MouthTrack, *, name: str, speaker: str, license: str) -> FilmedMouth:
    """Keep the frames of a tracked video in which the mouth is visible.

    Raises:
        TrackingError: there are fewer than 25.
    """
    known = np.isfinite(track.modes).all(axis=1) & np.isfinite(track.gap)
    return _checked(
        FilmedMouth(
            name, speaker, license, track.samples, track.times_s[known], track.modes[known], track.gap[known]
        )
    )


def filmed_mouth_from_dataset(dataset: Dataset) -> FilmedMouth:
    """Read the mouth of a tracked data set.

    Raises:
        TrackingError: it has no mediapipe landmarks, or the mouth is visible in fewer than 25 frames.
        DatasetError: its audio is missing or damaged.
    """
    if dataset.landmark_scheme != "mediapipe478":
        raise TrackingError(
            f"{dataset.folder}: expected landmarks of mediapipe (478), found '{dataset.landmark_scheme}': "
            "give a data set that `splatface track` made"
        )
    frames = dataset.frames
    modes = frames.mouth.astype(np.float64)
    gap = mouth_shape_from_landmarks(frames.landmarks_px.astype(np.float64))[:, 0]
    known = np.isfinite(modes).all(axis=1) & np.isfinite(gap)
    times_s = frames.time_ns[known] / 1e9
    return _checked(
        FilmedMouth(
            dataset.folder.resolve().name,
            dataset.name,
            dataset.license,
            load_audio(dataset),
            times_s,
            modes[known],
            gap[known],
        )
    )


def save_filmed_mouth(path: Path, film: FilmedMouth) -> None:
    """Write a clip as .npz: audio and numbers, no images."""
    content = io.BytesIO()
    pcm16 = np.round(np.clip(film.samples, -1, 1) * 32767).astype(np.int16)
    np.savez(
        content,
        samples=pcm16,
        person=film.speaker,
        license=film.license,
        ipa=np.array([phone.ipa for phone in film.phones], np.str_),
        phone_times=np.array([(p.start_s, p.end_s, p.stress) for p in film.phones]).reshape(-1, 3),
        **{name: getattr(film, name) for name in ("times_s", "modes", "gap")},
    )
    atomic_write(path, content.getvalue())


def load_filmed_mouth(path: Path) -> FilmedMouth:
    """Read a clip that `save_filmed_mouth` wrote, or the folder of a tracked data set.

    Raises:
        TrackingError: it is neither, or damaged.
        DatasetError: it is a data set that cannot be read.
    """
    if path.is_dir():
        return filmed_mouth_from_dataset(load_dataset(path))
    try:
        with np.load(path) as file:
            arrays = {name: file[name] for name in _ARRAYS}
            speaker, license = str(file["person"]), str(file["license"])
            labels = zip(file["ipa"].tolist(), file["phone_times"].tolist(), strict=True)
            phones = tuple(Phone(ipa, *times) for ipa, times in labels)
    except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
        raise TrackingError(
            f"{path}: expected a tracked clip, found none or a damaged one ({error}): "
            "make it with `splatface hear films`"
        ) from error
    samples = arrays.pop("samples").astype(np.float32) / np.float32(32767)
    return _checked(FilmedMouth(path.stem, speaker, license, samples, **arrays, phones=phones))


def amplitude_gain(clip: FilmedMouth, common_std: float) -> float:
    """Compute the gain that scales a clip's `open` to a common standard deviation, within limits."""
    return float(np.clip(common_std / max(float(clip.modes[:, _OPEN].std()), 1e-6), *_AMPLITUDE_GAIN_RANGE))


def _checked(film: FilmedMouth) -> FilmedMouth:
    consistent = (
        film.modes.shape == (len(film.times_s), len(MOUTH_MODES)) and film.gap.shape == film.times_s.shape
    )
    if not consistent or len(film.times_s) < _MIN_FRAMES or (np.diff(film.times_s) <= 0).any():
        raise TrackingError(
            f"{film.name}: expected at least {_MIN_FRAMES} frames that show a mouth, found "
            f"{len(film.times_s)}: give a video in which one face is seen from the front"
        )
    return film
