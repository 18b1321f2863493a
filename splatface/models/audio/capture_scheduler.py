# SPDX-License-Identifier: Apache-2.0
"""Schedulers of captured audio: a sound file in real time, a microphone with its gaps filled."""

from collections.abc import Iterator

import numpy as np

from splatface.models.audio.audio_file import endless_chunks
from splatface.models.audio.sound_devices import CapturedBlock, TimestampedChunker
from splatface.models.messages import NS_PER_S, SAMPLE_RATE, AudioChunk
from splatface.models.typing import Float32Array

__all__ = ["FileScheduler", "MicrophoneScheduler"]

_EARLY_NS = 1_000_000  # a timer may fire this much too early: without a tolerance a chunk waits a period more
_MAX_DELAY_NS = NS_PER_S  # further from the clock than this, the clock was set or the computer suspended
_MAX_WAIT_MS = 5000  # a file starts with the first subscriber, or after this time
_MICROPHONE_TIMEOUT_NS = 300_000_000  # silence replaces a microphone that delivers nothing for this long


class FileScheduler:
    """Chunks of a sound file in real time: each is due when the time of its last sample has come.

    Each chunk starts where the previous one ended, to the nanosecond, so a long file has no drift. The file
    starts with the first subscriber, so that its first word is not lost.

    Args:
        path: sound file, any rate.
        chunk_ms: length of a chunk, ms.
        loop: repeat the file, with a second of silence between.
    """

    def __init__(self, path: str, chunk_ms: int, loop: bool) -> None:
        self._path, self._chunk_ms, self._loop = path, chunk_ms, loop
        self._chunk_ns = chunk_ms * NS_PER_S // 1000
        self._silence: Float32Array = np.zeros(chunk_ms * SAMPLE_RATE // 1000, np.float32)
        self._pieces = self._wait_for_subscriber()
        self._has_subscriber = False
        self._end_ns = 0  # end of the last chunk

    def start(self, now_ns: int) -> None:
        """Start from the beginning of the file."""
        self._end_ns = now_ns
        self._has_subscriber = False
        self._pieces = self._wait_for_subscriber()

    def interrupt(self) -> None:
        """Be silent: a second before a loop starts again, or until `start`."""
        self._pieces = self._after_interrupt()

    def follow_clock(self, now_ns: int) -> float:
        """Continue at `now_ns` if the clock jumped; return the jump in seconds, 0 if there was none."""
        jump_ns = now_ns - self._end_ns
        if abs(jump_ns) <= _MAX_DELAY_NS + self._chunk_ns:
            return 0.0
        self._end_ns = now_ns - self._chunk_ns
        return jump_ns / NS_PER_S

    def due(self, now_ns: int, utterance: int, has_subscriber: bool) -> Iterator[AudioChunk]:
        """Yield every chunk whose last sample's time has come.

        Raises:
            AudioError: the file cannot be read further.
        """
        self._has_subscriber = self._has_subscriber or has_subscriber
        while self._end_ns + self._chunk_ns <= now_ns + _EARLY_NS:
            chunk = AudioChunk(next(self._pieces), SAMPLE_RATE, self._end_ns, utterance)
            self._end_ns += self._chunk_ns
            yield chunk

    def _wait_for_subscriber(self) -> Iterator[Float32Array]:
        for _ in range(_MAX_WAIT_MS // self._chunk_ms):
            if self._has_subscriber:
                break
            yield self._silence
        yield from endless_chunks(self._path, self._chunk_ms, self._loop)

    def _after_interrupt(self) -> Iterator[Float32Array]:
        for _ in range(1000 // self._chunk_ms):
            yield self._silence
        if self._loop:
            yield from endless_chunks(self._path, self._chunk_ms, self._loop)
        while True:
            yield self._silence


class MicrophoneScheduler:
    """Chunks of a microphone, and silence while it delivers nothing.

    Args:
        chunk_ms: length of a chunk, ms.
    """

    def __init__(self, chunk_ms: int) -> None:
        self._chunk_ms = chunk_ms
        self._chunk_ns = chunk_ms * NS_PER_S // 1000
        self._silence: Float32Array = np.zeros(chunk_ms * SAMPLE_RATE // 1000, np.float32)
        self._chunker = TimestampedChunker(chunk_ms)
        self._end_ns = 0  # end of the last chunk
        self._last_capture_ns = 0  # when the microphone last delivered a chunk

    def start(self, now_ns: int) -> None:
        """Start at `now_ns`."""
        self._end_ns = now_ns

    def restart_device(self) -> None:
        """Forget the timing of the last device: another one was opened."""
        self._chunker = TimestampedChunker(self._chunk_ms)

    def push(self, block: CapturedBlock, utterance: int, now_ns: int) -> list[AudioChunk]:
        """Return the chunks that `block` completes, except where silence was published already."""
        self._follow_clock(now_ns)
        chunks = []
        for chunk in self._chunker.push(block, utterance):
            self._last_capture_ns = now_ns
            if chunk.start_ns > self._end_ns - self._chunk_ns // 2:
                self._end_ns = chunk.start_ns + self._chunk_ns
                chunks.append(chunk)
        return chunks

    def silence_due(self, now_ns: int, utterance: int) -> list[AudioChunk]:
        """Return chunks of silence for the time in which the microphone delivered nothing."""
        self._follow_clock(now_ns)
        if now_ns - self._last_capture_ns < _MICROPHONE_TIMEOUT_NS:
            return []
        self._end_ns = max(self._end_ns, now_ns - _MICROPHONE_TIMEOUT_NS - 2 * self._chunk_ns)
        chunks = []
        while self._end_ns + self._chunk_ns <= now_ns + _EARLY_NS:
            chunks.append(AudioChunk(self._silence, SAMPLE_RATE, self._end_ns, utterance))
            self._end_ns += self._chunk_ns
        return chunks

    def _follow_clock(self, now_ns: int) -> None:
        if self._end_ns > now_ns + _MAX_DELAY_NS:  # the clock was set back: the last chunk is in the future
            self._end_ns = self._last_capture_ns = 0
