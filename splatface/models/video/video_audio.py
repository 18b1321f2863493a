# SPDX-License-Identifier: Apache-2.0
"""Audio of a video: blocks of a sound file or of a spoken text, for the file and for the encoder."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from splatface.models.audio.audio_file import check_sound
from splatface.models.errors import AudioError
from splatface.models.messages import SAMPLE_RATE
from splatface.models.tts.speak import speak
from splatface.models.typing import Float32Array

__all__ = [
    "VIDEO_HZ",
    "AudioBlock",
    "Sound",
    "audio_from_file",
    "audio_from_text",
    "resample_for_video_and_encoder",
]


VIDEO_HZ = 48_000
BLOCK_VALUES = 1 << 15  # samples of all channels in memory at a time
PAUSE_S = 0.4  # before and after a spoken text, the mouth closed


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """A stream of audio that is read once."""

    rate_hz: int
    channels: int  # 1 or 2
    blocks: Iterator[
        tuple[Float32Array, float]
    ]  # ([T, channels], how much of the whole has come by its end 0..1)


@dataclass(frozen=True, slots=True, eq=False)
class AudioBlock:
    """A stretch of audio for the video file and for the encoder, both without gaps from time 0."""

    video_samples: Float32Array  # [T, channels] at VIDEO_HZ
    encoder_samples: Float32Array  # [T'] at HEARD_HZ, mono
    fraction: float  # how much of the whole has come, 0..1


def audio_from_file(path: Path) -> Sound:
    """Open an audio file at its own rate; more than two channels are averaged.

    Raises:
        AudioError: when the file is missing, unreadable or empty; later, when it is damaged further on.
    """
    check_sound(path)
    file = soundfile.SoundFile(str(path))
    return Sound(file.samplerate, file.channels if file.channels <= 2 else 1, _read(file, path))


def _read(file: soundfile.SoundFile, path: Path) -> Iterator[tuple[Float32Array, float]]:
    frames_read = 0
    with file:
        while True:
            try:
                block = file.read(max(1, BLOCK_VALUES // file.channels), dtype="float32", always_2d=True)
            except soundfile.SoundFileError as error:
                at_s = frames_read / file.samplerate
                raise AudioError(
                    f"{path}: damaged after {at_s:.2f} s ({error}): make the file again"
                ) from None
            if not len(block):
                return
            if not np.isfinite(block).all():
                at_s = (frames_read + int(np.argmin(np.isfinite(block).all(axis=1)))) / file.samplerate
                raise AudioError(
                    f"{path}: expected numbers, found NaN or infinity at {at_s:.3f} s: make the file again"
                )
            frames_read += len(block)
            mixed = block if file.channels <= 2 else block.mean(axis=1, keepdims=True)
            yield mixed, min(frames_read / max(file.frames, 1), 1.0)


def audio_from_text(text: str, voice: str = "", rate: float = 1.0) -> Sound:
    """Speak a text sentence by sentence, with a short pause at both ends.

    Raises:
        SpeechError: as `speech.speak.speak`, at once for what is asked, later when an engine fails.
    """
    sentences = speak(text, voice, rate)

    def blocks() -> Iterator[tuple[Float32Array, float]]:
        pause = np.zeros((round(PAUSE_S * SAMPLE_RATE), 1), np.float32)
        yield pause, 0.0
        for sentence in sentences:
            yield sentence.samples[:, None], min(sentence.end / max(len(text), 1), 1.0)
        yield pause, 1.0

    return Sound(SAMPLE_RATE, 1, blocks())


class _Resampler:
    """A stream at another rate; sample n belongs to time n / rate, whatever the filter's delay."""

    def __init__(self, from_hz: int, to_hz: int, channels: int) -> None:
        same = from_hz == to_hz
        self._stream = None if same else soxr.ResampleStream(from_hz, to_hz, channels, dtype="float32")

    def push(self, samples: Float32Array, last: bool) -> Float32Array:
        if self._stream is None:
            return samples
        out: Float32Array = self._stream.resample_chunk(np.ascontiguousarray(samples), last=last)
        return out


def resample_for_video_and_encoder(sound: Sound) -> Iterator[AudioBlock]:
    """Yield the audio at the video's rate and at the encoder's, block by block."""
    video_samples = _Resampler(sound.rate_hz, VIDEO_HZ, sound.channels)
    encoder_samples = _Resampler(sound.rate_hz, SAMPLE_RATE, 1)
    for samples, fraction in sound.blocks:
        mono = samples.mean(axis=1, dtype=np.float32)
        yield AudioBlock(video_samples.push(samples, False), encoder_samples.push(mono, False), fraction)
    nothing = np.zeros((0, sound.channels), np.float32)
    yield AudioBlock(video_samples.push(nothing, True), encoder_samples.push(nothing[:, 0], True), 1.0)
