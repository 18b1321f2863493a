# SPDX-License-Identifier: Apache-2.0
"""Microphones and loudspeakers through PortAudio (sounddevice)."""

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import soxr

from splatface.models.audio.chunks import StreamFramer
from splatface.models.audio.device_clock import CaptureClock
from splatface.models.errors import AudioError
from splatface.models.messages import SAMPLE_RATE, AudioChunk
from splatface.models.typing import Float32Array

__all__ = [
    "INPUT",
    "OUTPUT",
    "CapturedBlock",
    "DeviceDirection",
    "DeviceInfo",
    "Fill",
    "Loudspeaker",
    "Microphone",
    "TimestampedChunker",
    "choose_device",
    "find_device",
    "portaudio",
    "refresh_devices",
]

_BLOCK_S = 0.01
_QUEUE_BLOCKS = 250  # 5 s: a slower reader loses audio, and `overflows` counts it

# (number of samples, seconds until the first of them is played) -> samples [T], -1..1
Fill = Callable[[int, float], Float32Array]


@dataclass(frozen=True, slots=True)
class DeviceDirection:
    """Direction of a device: input or output."""

    device: str  # its name for users
    verb: str
    channels_key: str  # of PortAudio's device description
    default_index: int  # in PortAudio's pair of default devices

    @property
    def opening(self) -> str:
        """The `problem` of a device that has not been opened yet."""
        return f"opening the {self.device}"


INPUT = DeviceDirection("microphone", "listens", "max_input_channels", 0)
OUTPUT = DeviceDirection("loudspeaker", "plays", "max_output_channels", 1)


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """A device to open."""

    index: int
    name: str
    rate_hz: int
    channels: int  # 1 or 2


def portaudio(direction: DeviceDirection) -> ModuleType:
    """Return the module sounddevice; AudioError when PortAudio is not installed."""
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise AudioError(
            f"{direction.device}: expected PortAudio, found none ({error}): apt-get install libportaudio2"
        ) from None
    module: ModuleType = sounddevice
    return module


def find_device(direction: DeviceDirection, name: str) -> DeviceInfo:
    """Return the device that `name` selects, see `choose_device`, as PortAudio describes it now.

    Raises AudioError when PortAudio or the device is missing.
    """
    sound = portaudio(direction)
    known = enumerate(sound.query_devices())
    devices = {index: str(device["name"]) for index, device in known if device[direction.channels_key] > 0}
    index = choose_device(direction, devices, name, int(sound.default.device[direction.default_index]))
    info = sound.query_devices(index)
    channels = min(2, int(info[direction.channels_key]))
    return DeviceInfo(index, str(info["name"]), round(info["default_samplerate"]), channels)


def choose_device(direction: DeviceDirection, devices: dict[int, str], name: str, default: int) -> int:
    """Return the index of a device by its number or a part of its name (any case); `""` is the default.

    Raises AudioError, listing the devices, when none or several fit.
    """
    wanted = name.strip().lower()
    if not wanted:
        chosen = default if default in devices else min(devices, default=-1)
        if chosen < 0:
            raise AudioError(
                f"{direction.device}: expected a device that {direction.verb}, found none: plug one in"
            )
        return chosen
    if wanted.isdigit():
        matches = [int(wanted)] if int(wanted) in devices else []
    else:
        matches = [index for index, known in devices.items() if wanted in known.lower()]
        matches = [index for index in matches if devices[index].lower() == wanted] or matches
    if len(matches) == 1:
        return matches[0]
    problem = "several fit" if matches else "no such device"
    listed = "; ".join(f"{index}: {known}" for index, known in devices.items()) or "none at all"
    raise AudioError(f"{direction.device} '{name}': {problem}: choose by number or name from: {listed}")


def refresh_devices(direction: DeviceDirection) -> None:
    """Update PortAudio's list of devices, which it makes only when it starts. No stream may be open."""
    sound = portaudio(direction)
    sound._terminate()
    sound._initialize()


class Loudspeaker:
    """An open loudspeaker that requests its samples in PortAudio's thread.

    Args:
        device: number or part of the name, `""` for the default.
        latency_s: audio that the device buffers; more survives a busy processor.
        opening: called with the device's rate before the first request, and before the first one after a
            flush; returns the function that provides samples.

    Raises AudioError when PortAudio, a device or its stream is not available.
    """

    def __init__(self, device: str, latency_s: float, opening: Callable[[int], Fill]) -> None:
        sound = portaudio(OUTPUT)
        self.underflows = 0  # times that the device ran out of samples
        self.blocks = 0  # requested so far
        self.latency_s = 0.0  # from the newest request to when its first sample is played
        info = find_device(OUTPUT, device)
        self.name, self.rate_hz = info.name, info.rate_hz
        self._opening = opening
        self._fill = opening(self.rate_hz)
        try:
            self._stream = sound.OutputStream(
                device=info.index,
                channels=info.channels,
                samplerate=self.rate_hz,
                blocksize=round(self.rate_hz * _BLOCK_S),
                dtype="float32",
                latency=latency_s,
                callback=self._callback,
            )
            self._stream.start()
        except sound.PortAudioError as error:
            raise AudioError(f"loudspeaker '{self.name}': cannot be opened ({error})") from None

    @property
    def alive(self) -> bool:
        """False once PortAudio has stopped the stream."""
        return bool(self._stream.active)

    def _callback(self, out: Float32Array, frames: int, times: Any, status: Any) -> None:
        self.underflows += bool(status.output_underflow)
        latency_s = float(times.outputBufferDacTime - times.currentTime)
        if not 0.0 <= latency_s < 10.0:  # some drivers do not know
            latency_s = float(self._stream.latency)
        self.latency_s = latency_s
        out[:] = self._fill(frames, latency_s)[:, None]
        self.blocks += 1

    def flush(self) -> None:
        """Drop what the device has buffered and fill it anew, 20 ms later. May hang when its driver does."""
        self._stream.abort(ignore_errors=True)
        self._fill = self._opening(self.rate_hz)
        # A device that does not start again is no longer alive, and is opened as any that is gone.
        with contextlib.suppress(portaudio(OUTPUT).PortAudioError):
            self._stream.start()

    def close(self) -> None:
        """Close the device without playing its buffer. May hang when its driver does."""
        self._stream.abort(ignore_errors=True)
        self._stream.close(ignore_errors=True)


@dataclass(frozen=True, slots=True)
class CapturedBlock:
    """Audio of a microphone, resampled to 16 kHz."""

    samples: Float32Array  # [T], mono, 16 kHz; the resampler delays them a little
    first_sample_index: int  # samples of the device before this block since it was opened, at 16 kHz
    time_ns: int  # of the block's first sample, had it come without delay, by the clock given to Microphone
    lost: bool  # samples are missing right before this block


@dataclass(frozen=True, slots=True)
class _DeviceBlock:
    samples: Float32Array  # [T], mono, at the device's rate
    time_ns: int
    lost: bool


class Microphone:
    """An open microphone. Its callback only queues; `read` does the work in the reader's thread.

    Args:
        device: number or part of the name, `""` for the default.
        now_ns: the caller's clock; called in PortAudio's thread when a block arrives.
        wake: called in PortAudio's thread after a block was queued.

    Raises AudioError when PortAudio, a device or its stream is not available.
    """

    def __init__(self, device: str, now_ns: Callable[[], int], wake: Callable[[], None]) -> None:
        sound = portaudio(INPUT)
        self._now_ns, self._wake = now_ns, wake
        self._queue: deque[_DeviceBlock] = deque()
        self._lock = threading.Lock()
        self._dropped = False
        self._device_samples = 0
        self.overflows = 0  # blocks or device buffers lost
        self.blocks = 0  # received so far
        info = find_device(INPUT, device)
        self.name, self.rate_hz = info.name, info.rate_hz
        self._resampler = soxr.ResampleStream(self.rate_hz, SAMPLE_RATE, 1, dtype="float32")
        try:
            self._stream = sound.InputStream(
                device=info.index,
                channels=info.channels,
                samplerate=self.rate_hz,
                blocksize=round(self.rate_hz * _BLOCK_S),
                dtype="float32",
                latency="low",
                callback=self._callback,
            )
            self._stream.start()
        except sound.PortAudioError as error:
            raise AudioError(f"microphone '{self.name}': cannot be opened ({error})") from None

    @property
    def alive(self) -> bool:
        """False once PortAudio has stopped the stream."""
        return bool(self._stream.active)

    def _callback(self, samples: Float32Array, frames: int, times: Any, status: Any) -> None:
        # By arrival: through PulseAudio, PortAudio's own times are wrong by 0.6 s in the first second.
        time_ns = self._now_ns() - round(frames / self.rate_hz * 1e9)
        lost = bool(status.input_overflow)
        with self._lock:
            if len(self._queue) >= _QUEUE_BLOCKS:
                self._queue.popleft()
                self._dropped = True
                self.overflows += 1
            self.overflows += lost
            self._queue.append(_DeviceBlock(samples.mean(axis=1), time_ns, lost))
        self.blocks += 1
        self._wake()

    def read(self) -> list[CapturedBlock]:
        """Return the blocks that arrived since the last call, in order. Never waits."""
        with self._lock:
            queued, self._queue = self._queue, deque()
            dropped, self._dropped = self._dropped, False
        blocks = []
        for block in queued:
            samples = self._resampler.resample_chunk(np.ascontiguousarray(block.samples, np.float32))
            first_sample_index = round(self._device_samples * SAMPLE_RATE / self.rate_hz)
            blocks.append(CapturedBlock(samples, first_sample_index, block.time_ns, block.lost or dropped))
            self._device_samples += len(block.samples)
            dropped = False
        return blocks

    def close(self) -> None:
        """Close the device. May hang when its driver does: call it where that does no harm."""
        self._stream.abort(ignore_errors=True)
        self._stream.close(ignore_errors=True)


class TimestampedChunker:
    """Chunks of `chunk_ms` from the blocks of one microphone since it was opened."""

    def __init__(self, chunk_ms: int) -> None:
        size = chunk_ms * SAMPLE_RATE // 1000
        self._chunks = StreamFramer(size, size)
        self._clock = CaptureClock(SAMPLE_RATE)

    def push(self, block: CapturedBlock, utterance: int) -> list[AudioChunk]:
        """Return the chunks that `block` completes."""
        if block.lost:
            self._clock.reset()
        self._clock.measure(block.first_sample_index, block.time_ns)
        chunks = []
        for end, samples in self._chunks.push(block.samples):
            start_ns = self._clock.time_ns(end - len(samples))
            chunks.append(AudioChunk(samples, SAMPLE_RATE, start_ns, utterance))
        return chunks
