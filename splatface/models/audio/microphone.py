"""A microphone through PortAudio."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from splatface.models.audio.sound_devices import INPUT, find_device, portaudio
from splatface.models.errors import AudioError
from splatface.models.messages import SAMPLE_RATE

__all__ = ["Block", "Microphone"]

QUEUE_BLOCKS = 250  # 5 s: who reads more seldom loses sound, and the count of it rises
BLOCK_S = 0.01


@dataclass(frozen=True, slots=True)
class Block:
    """Sound as it left the device, brought to 16 kHz."""

    samples: NDArray[np.float32]  # [T], mono, 16 kHz; the resampler gives them a little later
    first_sample_index: int  # sound of the device before this block since it was opened, in samples at 16 kHz
    time_ns: int  # when the block's sound began, had it come without delay, by the clock given to Microphone
    lost: bool  # sound is missing right before this block


@dataclass(frozen=True, slots=True)
class _Raw:
    samples: NDArray[np.float32]
    time_ns: int
    lost: bool


class Microphone:
    """An open microphone. Its callback only queues; `read` does the work in the reader's thread.

    Args:
        device: number or part of the name, `""` for the default.
        now_ns: the caller's clock; asked in PortAudio's thread when a block comes.
        wake: called in PortAudio's thread after a block was queued.

    Raises AudioError when PortAudio, a device or its stream cannot be had.
    """

    def __init__(self, device: str, now_ns: Callable[[], int], wake: Callable[[], None]) -> None:
        sound = portaudio(INPUT)
        self._now_ns, self._wake = now_ns, wake
        self._queue: deque[_Raw] = deque()
        self._lock = threading.Lock()
        self._dropped = False
        self._device_samples = 0
        self.overflows = 0  # blocks or device buffers lost
        self.blocks = 0  # that came so far
        found = find_device(INPUT, device)
        self.name, self.rate_hz = found.name, found.rate_hz
        self._resampler = soxr.ResampleStream(self.rate_hz, SAMPLE_RATE, 1, dtype="float32")
        try:
            self._stream = sound.InputStream(
                device=found.index,
                channels=found.channels,
                samplerate=self.rate_hz,
                blocksize=round(self.rate_hz * BLOCK_S),
                dtype="float32",
                latency="low",
                callback=self._called,
            )
            self._stream.start()
        except sound.PortAudioError as error:
            raise AudioError(f"microphone '{self.name}': cannot be opened ({error})") from None

    @property
    def alive(self) -> bool:
        """False once PortAudio has given the stream up."""
        return bool(self._stream.active)

    def _called(self, sound: NDArray[np.float32], frames: int, times: Any, status: Any) -> None:
        # By arrival: through PulseAudio, PortAudio's own times are wrong by 0.6 s in the first second.
        time_ns = self._now_ns() - round(frames / self.rate_hz * 1e9)
        lost = bool(status.input_overflow)
        with self._lock:
            if len(self._queue) >= QUEUE_BLOCKS:
                self._queue.popleft()
                self._dropped = True
                self.overflows += 1
            self.overflows += lost
            self._queue.append(_Raw(sound.mean(axis=1), time_ns, lost))
        self.blocks += 1
        self._wake()

    def read(self) -> list[Block]:
        """Everything that came since the last call, in order. Never waits."""
        with self._lock:
            waiting, self._queue = self._queue, deque()
            dropped, self._dropped = self._dropped, False
        blocks = []
        for raw in waiting:
            samples = self._resampler.resample_chunk(np.ascontiguousarray(raw.samples, np.float32))
            heard = round(self._device_samples * SAMPLE_RATE / self.rate_hz)
            blocks.append(Block(samples, heard, raw.time_ns, raw.lost or dropped))
            self._device_samples += len(raw.samples)
            dropped = False
        return blocks

    def close(self) -> None:
        """Give the device back. May hang when its driver does: call it where that does no harm."""
        self._stream.abort(ignore_errors=True)
        self._stream.close(ignore_errors=True)
