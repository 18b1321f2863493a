"""A microphone through PortAudio, the only door to sounddevice."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from splatface.models.errors import AudioError

__all__ = ["Block", "Microphone", "choose_device", "input_devices", "refresh_devices"]

SAMPLE_RATE = 16_000
QUEUE_BLOCKS = 250  # 5 s: who reads more seldom loses sound, and the count of it rises
BLOCK_S = 0.01


@dataclass(frozen=True, slots=True)
class Block:
    """Sound as it left the device, brought to 16 kHz."""

    samples: NDArray[np.float32]  # [T], mono, 16 kHz; the resampler gives them a little later
    heard: int  # sound of the device before this block since it was opened, in samples at 16 kHz
    time_ns: int  # when the block's sound began, had it come without delay, by the clock given to Microphone
    lost: bool  # sound is missing right before this block


@dataclass(frozen=True, slots=True)
class _Raw:
    samples: NDArray[np.float32]
    time_ns: int
    lost: bool


def _sounddevice() -> ModuleType:
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise AudioError(
            f"microphone: expected PortAudio, found none ({error}): apt-get install libportaudio2"
        ) from None
    module: ModuleType = sounddevice
    return module


def input_devices() -> dict[int, str]:
    """Number and name of every device that can listen, as PortAudio sees them now.

    Raises AudioError when PortAudio is not installed.
    """
    found = enumerate(_sounddevice().query_devices())
    return {index: str(device["name"]) for index, device in found if device["max_input_channels"] > 0}


def choose_device(devices: dict[int, str], wanted: str, default: int) -> int:
    """The device named by a number or by a part of its name (case does not matter); `""` is the default.

    Raises AudioError, listing what there is, when none or several fit.
    """
    listed = "; ".join(f"{index}: {name}" for index, name in devices.items()) or "none at all"
    if wanted.strip() == "":
        chosen = default if default in devices else min(devices, default=-1)
        if chosen < 0:
            raise AudioError("microphone: expected a device that listens, found none: plug one in")
        return chosen
    if wanted.strip().isdigit():
        fits = [int(wanted)] if int(wanted) in devices else []
    else:
        fits = [index for index, name in devices.items() if wanted.strip().lower() in name.lower()]
        fits = [index for index in fits if devices[index].lower() == wanted.strip().lower()] or fits
    if len(fits) == 1:
        return fits[0]
    problem = "several fit" if fits else "no such device"
    raise AudioError(f"microphone '{wanted}': {problem}: choose by number or name from: {listed}")


class Microphone:
    """An open microphone. Its callback only queues; `read` does the work in the reader's thread.

    Args:
        device: number or part of the name, `""` for the default.
        now_ns: the caller's clock; asked in PortAudio's thread when a block comes.
        wake: called in PortAudio's thread after a block was queued.

    Raises AudioError when PortAudio, a device or its stream cannot be had.
    """

    def __init__(self, device: str, now_ns: Callable[[], int], wake: Callable[[], None]) -> None:
        portaudio = _sounddevice()
        self._now_ns, self._wake = now_ns, wake
        self._queue: deque[_Raw] = deque()
        self._lock = threading.Lock()
        self._dropped = False
        self._device_samples = 0
        self.overflows = 0  # blocks or device buffers lost
        index = choose_device(input_devices(), device, int(portaudio.default.device[0]))
        info = portaudio.query_devices(index)
        self.name, self.rate_hz = str(info["name"]), round(info["default_samplerate"])
        self._resampler = soxr.ResampleStream(self.rate_hz, SAMPLE_RATE, 1, dtype="float32")
        try:
            self._stream = portaudio.InputStream(
                device=index,
                channels=min(2, int(info["max_input_channels"])),
                samplerate=self.rate_hz,
                blocksize=round(self.rate_hz * BLOCK_S),
                dtype="float32",
                latency="low",
                callback=self._called,
            )
            self._stream.start()
        except portaudio.PortAudioError as error:
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


def refresh_devices() -> None:
    """Let PortAudio look again: it lists the devices of its start for ever. No microphone may be open."""
    portaudio = _sounddevice()
    portaudio._terminate()
    portaudio._initialize()
