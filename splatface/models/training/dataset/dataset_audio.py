# SPDX-License-Identifier: Apache-2.0
"""Audio of a data set, and features of the live encoders."""

import io
import re
from pathlib import Path

import numpy as np
import safetensors.numpy
import soundfile
from safetensors import SafetensorError, safe_open

from splatface.models.audio.encoder import FEATURE_VERSION
from splatface.models.audio.offline_features import encode_recording
from splatface.models.errors import DatasetError
from splatface.models.messages import SAMPLE_RATE
from splatface.models.storage import atomic_write
from splatface.models.training.dataset.file_format import read_regular_file, sha256_of
from splatface.models.training.dataset.types import INTACT, Dataset
from splatface.models.typing import Float32Array, Int64Array

__all__ = [
    "AUDIO",
    "FEATURE_FOLDER",
    "FeatureStream",
    "load_audio",
    "load_features",
    "wav_bytes",
    "write_features",
]

FeatureStream = tuple[Float32Array, Int64Array]  # values [n, D], video times [n] of their centers, ns

AUDIO, FEATURE_FOLDER = "audio.wav", "features"
MAX_AUDIO_BYTES = 2**30  # nine hours
_PADDING_S = 1.0  # silence after the end: look-ahead and whole windows of the last frames


def load_audio(dataset: Dataset) -> Float32Array:
    """Load samples [n] f32, -1..1, mono at 16 kHz; video time 0 is the first one.

    Raises:
        DatasetError: when the file is missing, damaged, or of another kind.
    """
    content = read_regular_file(dataset.folder, AUDIO, MAX_AUDIO_BYTES)
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            found = (file.samplerate, file.channels, file.subtype)
            if found != (SAMPLE_RATE, 1, "PCM_16"):
                raise DatasetError(
                    f"{AUDIO}: expected mono PCM_16 at {SAMPLE_RATE} Hz, found {found}: import the film again"
                )
            samples = file.read(dtype="float32")
    except soundfile.SoundFileError as error:
        raise DatasetError(f"{AUDIO}: expected a wav file, found {error}: {INTACT}") from error
    return np.asarray(samples, np.float32)


def wav_bytes(samples: Float32Array) -> bytes:
    """Encode samples [n] f32 as mono PCM_16 wav at 16 kHz; DatasetError unless finite and not empty."""
    if samples.ndim != 1 or not samples.size or not np.isfinite(samples).all():
        raise DatasetError(
            f"sound: expected finite samples [n], found {list(samples.shape)} {samples.dtype} with "
            f"{int((~np.isfinite(samples)).sum())} others: mix it to mono at 16 kHz"
        )
    file = io.BytesIO()
    soundfile.write(file, np.clip(samples, -1.0, 1.0), SAMPLE_RATE, "PCM_16", format="WAV")
    return file.getvalue()


def load_features(dataset: Dataset, encoder: str) -> tuple[Float32Array, Int64Array]:
    """Load an encoder's features: values [n, D] and the video times [n] of their centers, 20 ms apart.

    Made by the live streaming code, with a second of silence after the end; stored in
    features/<encoder>.safetensors for as long as the sound does not change. Features that an import brought
    along are found there too.

    Raises:
        EncoderError: when there is no such encoder, nor features of that name.
        DatasetError: when the sound is damaged.
    """
    path = _feature_path(dataset.folder, encoder)
    digest = sha256_of(dataset.folder / AUDIO) if (dataset.folder / AUDIO).is_file() else ""
    stored = _stored_features(path, digest)
    if stored is not None:
        return stored
    frames = encode_recording(encoder, load_audio(dataset), silence_after_s=_PADDING_S)
    if not frames:
        raise DatasetError(f"{AUDIO}: expected sound that '{encoder}' hears, found none: {INTACT}")
    values = np.stack([frame.values for frame in frames]).astype(np.float32)
    centers_ns = np.array([frame.center_ns for frame in frames], np.int64)
    write_features(dataset.folder, encoder, values, centers_ns)
    return values, centers_ns


def write_features(folder: Path, encoder: str, values: Float32Array, centers_ns: Int64Array) -> None:
    """Write features [n, D] with the video times [n] of their centers beside the audio they belong to."""
    path = _feature_path(folder, encoder)
    path.parent.mkdir(exist_ok=True)
    arrays = {"values": np.ascontiguousarray(values, np.float32), "centres_ns": centers_ns.astype(np.int64)}
    notes = {"encoder": encoder, "audio_sha256": sha256_of(folder / AUDIO), "made_by": FEATURE_VERSION}
    atomic_write(path, safetensors.numpy.save(arrays, metadata=notes))


def _feature_path(folder: Path, encoder: str) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", encoder):
        raise DatasetError(
            f"encoder: expected a plain name, found {encoder[:40]!r}: letters, digits, - and _"
        )
    return folder / FEATURE_FOLDER / f"{encoder}.safetensors"


def _stored_features(path: Path, audio_sha256: str) -> tuple[Float32Array, Int64Array] | None:
    """Load the stored features of this audio; None when there are none, or they are damaged."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            notes = file.metadata() or {}
            if (notes.get("audio_sha256"), notes.get("made_by")) != (audio_sha256, FEATURE_VERSION):
                return None
            values, centers_ns = file.get_tensor("values"), file.get_tensor("centres_ns")
    except (SafetensorError, OSError, ValueError, TypeError, KeyError):
        return None
    fits = values.ndim == 2 and centers_ns.shape == (len(values),) and centers_ns.dtype == np.int64
    return (values.astype(np.float32), centers_ns) if fits and np.isfinite(values).all() else None
