# SPDX-License-Identifier: Apache-2.0
"""Audio files as mono float32 at 16 kHz: wav, flac, ogg, mp3 and whatever else libsndfile reads."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

from splatface.models.audio.chunks import StreamFramer
from splatface.models.errors import AudioError
from splatface.models.messages import SAMPLE_RATE
from splatface.models.typing import Float32Array

__all__ = ["MIN_HZ", "check_sound", "chunks_of_file", "endless_chunks", "read_sound"]

MIN_HZ, MAX_HZ = 1_000, 768_000
BLOCK_VALUES = 1 << 18  # samples of all channels in memory at a time: 1 MiB
PAUSE_S = 1.0  # silence between two rounds of a loop


def _open(path: Path) -> soundfile.SoundFile:
    if not path.exists():
        raise AudioError(f"{path}: expected a sound file, found nothing there: check the path")
    if not path.is_file():
        raise AudioError(f"{path}: expected a sound file, found something else: name a file")
    try:
        sound = soundfile.SoundFile(str(path))
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        reason = str(error).removeprefix(f"Error opening {str(path)!r}: ").rstrip(".")
        raise AudioError(
            f"{path}: expected a sound file, found one that cannot be read ({reason}): "
            "convert it, e.g. ffmpeg -i FILE out.wav"
        ) from None
    if sound.frames <= 0 or not MIN_HZ <= sound.samplerate <= MAX_HZ:
        found = "no samples" if sound.frames <= 0 else f"{sound.samplerate} Hz"
        sound.close()
        raise AudioError(
            f"{path}: expected sound at {MIN_HZ} to {MAX_HZ} Hz, found {found}: choose another file"
        )
    return sound


def _mono_blocks(sound: soundfile.SoundFile, path: Path) -> Iterator[Float32Array]:
    frames = max(1, BLOCK_VALUES // sound.channels)
    frames_read = 0
    while True:
        try:
            block = sound.read(frames, dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            at_s = frames_read / sound.samplerate
            raise AudioError(f"{path}: damaged after {at_s:.2f} s ({error}): make the file again") from None
        if len(block) == 0:
            return
        mono = block.mean(axis=1, dtype=np.float32)
        if not np.isfinite(mono).all():
            at_s = (frames_read + int(np.argmin(np.isfinite(mono)))) / sound.samplerate
            raise AudioError(
                f"{path}: expected numbers, found NaN or infinity at {at_s:.3f} s: make the file again"
            )
        frames_read += len(block)
        yield mono


def _blocks_16k(path: Path) -> Iterator[Float32Array]:
    with _open(path) as sound:
        blocks = _mono_blocks(sound, path)
        if sound.samplerate == SAMPLE_RATE:
            yield from blocks
            return
        resampler = soxr.ResampleStream(sound.samplerate, SAMPLE_RATE, 1, dtype="float32")
        for block in blocks:
            yield resampler.resample_chunk(block)
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def check_sound(path: str | Path) -> float:
    """Return the duration in seconds of a file, after a check of its beginning (at most 1 MiB of samples).

    Raises AudioError when the file is missing, unreadable, empty, or holds NaN or infinity there.
    """
    with _open(Path(path)) as sound:
        if next(_mono_blocks(sound, Path(path)), None) is None:
            raise AudioError(f"{path}: expected sound, found a header without samples: make the file again")
        return float(sound.frames / sound.samplerate)


def read_sound(path: str | Path) -> Float32Array:
    """Read a whole file as mono samples [T] at 16 kHz, channels averaged, resampled by soxr.

    Raises AudioError when the file is missing, unreadable, damaged, empty, or holds NaN or infinity (they are
    never replaced: a file can be made again).
    """
    blocks = list(_blocks_16k(Path(path)))
    samples = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    if len(samples) == 0:
        raise AudioError(f"{path}: expected sound, found no samples: choose another file")
    return samples


def chunks_of_file(path: str | Path, chunk_ms: int = 20) -> Iterator[Float32Array]:
    """Yield a file in chunks [chunk_ms * 16] at 16 kHz, the last one padded with zeros; bounded memory.

    Together the chunks are `read_sound(path)`. Raises AudioError as that does, for damage when it is
    reached.
    """
    size = chunk_ms * SAMPLE_RATE // 1000
    chunks = StreamFramer(size, size)
    total = 0
    for block in _blocks_16k(Path(path)):
        total += len(block)
        for _, chunk in chunks.push(block):
            yield chunk
    if total % size:
        for _, chunk in chunks.push(np.zeros(size - total % size, np.float32)):
            yield chunk


def endless_chunks(path: str | Path, chunk_ms: int = 20, loop: bool = False) -> Iterator[Float32Array]:
    """Yield a file as an endless stream of chunks [chunk_ms * 16]: once, then silence; or in a loop.

    The rounds of a loop are a second of silence apart. Raises AudioError as `chunks_of_file`.
    """
    silence = np.zeros(chunk_ms * SAMPLE_RATE // 1000, np.float32)
    yield from chunks_of_file(path, chunk_ms)
    while loop:
        for _ in range(round(PAUSE_S * 1000 / chunk_ms)):
            yield silence
        yield from chunks_of_file(path, chunk_ms)
    while True:
        yield silence
