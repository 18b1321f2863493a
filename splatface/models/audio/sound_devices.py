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
from numpy.typing import NDArray

from splatface.models.audio.chunks import StreamFramer
from splatface.models.audio.device_clock import SampleClock
from splatface.models.errors import AudioError
from splatface.models.messages import SAMPLE_RATE, AudioChunk

__all__ = [
    "INPUT",
    "OUTPUT",
    "Block",
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


@dataclass(frozen=True, slots=True)
class DeviceDirection:
    """Sound that comes in, or goes out."""

    device: str  # what a user calls such a device
    does: str
    channels: str  # where PortAudio says how many it has
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


def portaudio(side: DeviceDirection) -> ModuleType:
    """The module sounddevice; AudioError when PortAudio is not installed."""
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise AudioError(
            f"{side.device}: expected PortAudio, found none ({error}): apt-get install libportaudio2"
        ) from None
    module: ModuleType = sounddevice
    return module


def find_device(side: DeviceDirection, wanted: str) -> DeviceInfo:
    """The device that `wanted` names, see `choose_device`, as PortAudio sees it now.

    Raises AudioError when PortAudio or the device is missing.
    """
    sound = portaudio(side)
    known = enumerate(sound.query_devices())
    devices = {index: str(device["name"]) for index, device in known if device[side.channels] > 0}
    index = choose_device(side, devices, wanted, int(sound.default.device[side.default_index]))
    info = sound.query_devices(index)
    channels = min(2, int(info[side.channels]))
    return DeviceInfo(index, str(info["name"]), round(info["default_samplerate"]), channels)


def choose_device(side: DeviceDirection, devices: dict[int, str], wanted: str, default: int) -> int:
    """The device named by a number or by a part of its name (case does not matter); `""` is the default.

    Raises AudioError, listing what there is, when none or several fit.
    """
    name = wanted.strip().lower()
    if not name:
        chosen = default if default in devices else min(devices, default=-1)
        if chosen < 0:
            raise AudioError(f"{side.device}: expected a device that {side.does}, found none: plug one in")
        return chosen
    if name.isdigit():
        fits = [int(name)] if int(name) in devices else []
    else:
        fits = [index for index, known in devices.items() if name in known.lower()]
        fits = [index for index in fits if devices[index].lower() == name] or fits
    if len(fits) == 1:
        return fits[0]
    problem = "several fit" if fits else "no such device"
    listed = "; ".join(f"{index}: {known}" for index, known in devices.items()) or "none at all"
    raise AudioError(f"{side.device} '{wanted}': {problem}: choose by number or name from: {listed}")


def refresh_devices(side: DeviceDirection) -> None:
    """Let PortAudio look again: it lists the devices of its start for ever. No stream may be open."""
    sound = portaudio(side)
    sound._terminate()
    sound._initialize()


BLOCK_S = 0.01

# (samples asked for, seconds until the first of them is heard) -> samples [T], -1..1
Fill = Callable[[int, float], NDArray[np.float32]]


class Loudspeaker:
    """An open loudspeaker that asks for its samples in PortAudio's thread.

    Args:
        device: number or part of the name, `""` for the default.
        latency_s: sound the device holds; more survives a busy processor.
        opening: called with the device's rate before it asks for the first time, and for the first time
            after a flush; gives what fills it.

    Raises AudioError when PortAudio, a device or its stream cannot be had.
    """

    def __init__(self, device: str, latency_s: float, opening: Callable[[int], Fill]) -> None:
        sound = portaudio(OUTPUT)
        self.underflows = 0  # times that the device ran dry
        self.blocks = 0  # asked for so far
        self.ahead_s = 0.0  # from being asked to being heard, lately
        found = find_device(OUTPUT, device)
        self.name, self.rate_hz = found.name, found.rate_hz
        self._opening = opening
        self._fill = opening(self.rate_hz)
        try:
            self._stream = sound.OutputStream(
                device=found.index,
                channels=found.channels,
                samplerate=self.rate_hz,
                blocksize=round(self.rate_hz * BLOCK_S),
                dtype="float32",
                latency=latency_s,
                callback=self._called,
            )
            self._stream.start()
        except sound.PortAudioError as error:
            raise AudioError(f"loudspeaker '{self.name}': cannot be opened ({error})") from None

    @property
    def alive(self) -> bool:
        """False once PortAudio has given the stream up."""
        return bool(self._stream.active)

    def _called(self, out: NDArray[np.float32], frames: int, times: Any, status: Any) -> None:
        self.underflows += bool(status.output_underflow)
        ahead_s = float(times.outputBufferDacTime - times.currentTime)
        if not 0.0 <= ahead_s < 10.0:  # some drivers do not know
            ahead_s = float(self._stream.latency)
        self.ahead_s = ahead_s
        out[:] = self._fill(frames, ahead_s)[:, None]
        self.blocks += 1

    def flush(self) -> None:
        """Throw away what the device holds and fill it anew, 20 ms later. May hang when its driver does."""
        self._stream.abort(ignore_errors=True)
        self._fill = self._opening(self.rate_hz)
        # A device that does not start again is no longer alive, and is opened as any that is gone.
        with contextlib.suppress(portaudio(OUTPUT).PortAudioError):
            self._stream.start()

    def close(self) -> None:
        """Give the device back, what it still holds unheard. May hang when its driver does."""
        self._stream.abort(ignore_errors=True)
        self._stream.close(ignore_errors=True)


QUEUE_BLOCKS = 250  # 5 s: who reads more seldom loses sound, and the count of it rises


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


class TimestampedChunker:
    """Chunks of `chunk_ms` from the blocks of one microphone since it was opened."""

    def __init__(self, chunk_ms: int) -> None:
        size = chunk_ms * SAMPLE_RATE // 1000
        self._pieces = StreamFramer(size, size)
        self._clock = SampleClock(SAMPLE_RATE)

    def push(self, block: Block, utterance: int) -> list[AudioChunk]:
        """The chunks that `block` completes."""
        if block.lost:
            self._clock.lost()
        self._clock.measure(block.first_sample_index, block.time_ns)
        chunks = []
        for end, piece in self._pieces.push(block.samples):
            start_ns = self._clock.time_ns(end - len(piece))
            chunks.append(AudioChunk(piece, SAMPLE_RATE, start_ns, utterance))
        return chunks
