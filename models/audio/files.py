"""Sound files of any rate and channel count, as mono 16 kHz chunks, in bounded memory."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from splatface.models.errors import AudioError

__all__ = ["SAMPLE_RATE", "chunks_of_file", "endless_chunks", "load_sound"]

SAMPLE_RATE = 16000  # Hz, of everything inside the graph
BLOCK_FRAMES = 16384

Array = NDArray[np.float32]


def chunks_of_file(path: Path, chunk_samples: int = 320) -> Iterator[Array]:
    """The file in chunks [chunk_samples], float32 -1..1, the last one filled up with silence.

    Channels are averaged, other rates are resampled (soxr, streaming). Samples that are NaN or infinite
    are read as silence.

    Raises:
        AudioError: at the first chunk, when the file is missing, is no sound or holds no samples.
    """
    rest = np.zeros(0, np.float32)
    heard = 0
    for block in _resampled(path):
        heard += len(block)
        rest = np.concatenate([rest, block])
        whole = len(rest) // chunk_samples * chunk_samples
        yield from rest[:whole].reshape(-1, chunk_samples)
        rest = rest[whole:]
    if not heard:
        raise AudioError(f"{path}: expected sound, found none: the file has no samples")
    if len(rest):
        yield np.pad(rest, (0, chunk_samples - len(rest)))


def load_sound(path: Path) -> Array:
    """The whole file, mono 16 kHz [T]. Raises AudioError like `chunks_of_file`."""
    blocks = list(_resampled(path))
    if not any(map(len, blocks)):
        raise AudioError(f"{path}: expected sound, found none: the file has no samples")
    return np.concatenate(blocks)


def endless_chunks(path: Path, loop: bool, chunk_samples: int = 320, pause_s: float = 1.0) -> Iterator[Array]:
    """The file and then silence for ever, or with `loop` the file again and again with a pause between."""
    silence = np.zeros(chunk_samples, np.float32)
    while True:
        yield from chunks_of_file(path, chunk_samples)
        yield from (silence for _ in range(round(pause_s * SAMPLE_RATE / chunk_samples)))
        while not loop:
            yield silence


def _resampled(path: Path) -> Iterator[Array]:
    try:
        with soundfile.SoundFile(path) as file:
            convert = soxr.ResampleStream(file.samplerate, SAMPLE_RATE, 1, dtype="float32")
            while True:
                block = file.read(BLOCK_FRAMES, dtype="float32", always_2d=True)
                last = len(block) < BLOCK_FRAMES
                mono = np.nan_to_num(block.mean(axis=1), nan=0.0, posinf=0.0, neginf=0.0)
                yield np.clip(convert.resample_chunk(mono, last=last), -1.0, 1.0)
                if last:
                    return
    except (soundfile.SoundFileError, OSError, ValueError) as error:
        reason = _reason(path, error)
        raise AudioError(f"{path}: expected a sound file (wav, flac, ogg, mp3), found: {reason}") from None


def _reason(path: Path, error: Exception) -> str:
    if not path.exists():
        return "no such file: check the path"
    if path.is_dir():
        return "a folder: name a file in it"
    return f"{getattr(error, 'error_string', error)}: play it with another program, or convert it to wav"
