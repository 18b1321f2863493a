"""A microphone through PortAudio, mono 16 kHz; who opens it says what time it is."""

import queue
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray
from splatface.models.audio.files import SAMPLE_RATE
from splatface.models.errors import AudioError

__all__ = ["Block", "Microphone", "SampleClock"]

BLOCK_S = 0.02
WAITING_BLOCKS = 100  # two seconds; more means that nobody reads

Array = NDArray[np.float32]


@dataclass(slots=True)
class SampleClock:
    """Turns counts of samples into time, from blocks that arrive late by varying amounts.

    A block cannot arrive before it was heard, so the earliest arrival is nearest to the truth; since the
    device's rate is not quite what it says, the line is let rise slowly (50 ppm) until an arrival holds it.
    """

    rate_hz: int
    rise: float = 5e-5
    _origin_ns: float | None = None
    _latest_ns: float = 0.0

    def origin_ns(self, count: int, arrival_ns: int) -> int:
        """When the first sample was heard, given that `count` samples had arrived at `arrival_ns`."""
        origin_ns = arrival_ns - count * 1e9 / self.rate_hz
        if self._origin_ns is None or origin_ns < self._origin_ns:
            self._origin_ns = origin_ns
        else:
            self._origin_ns += min(self.rise * (arrival_ns - self._latest_ns), origin_ns - self._origin_ns)
        self._latest_ns = arrival_ns
        return round(self._origin_ns)


@dataclass(frozen=True, slots=True)
class Block:
    """Sound at 16 kHz; the resampler holds some back, so times go by the device's own count."""

    samples: Array  # [T]
    device_samples: int  # of the device's rate, from the first to the end of this block
    arrival_ns: int


class Microphone:
    """An open input stream. `read` gives what came since the last call.

    Raises:
        AudioError: at opening, when PortAudio or the device is missing.
    """

    def __init__(self, device: str, now_ns: Callable[[], int]) -> None:
        sounddevice = _sounddevice()
        index = _index_of(device, sounddevice)
        try:
            about = sounddevice.query_devices(index, "input")
            self.rate_hz = round(about["default_samplerate"])
            self._queue: queue.Queue[tuple[Array, int]] = queue.Queue(maxsize=WAITING_BLOCKS)
            self._convert = soxr.ResampleStream(self.rate_hz, SAMPLE_RATE, 1, dtype="float32", quality="MQ")
            self.name = str(about["name"])
            self.overflows = 0
            self._count = 0
            self._now_ns = now_ns
            self._stream = sounddevice.InputStream(
                device=index,
                channels=1,
                samplerate=self.rate_hz,
                blocksize=round(BLOCK_S * self.rate_hz),
                dtype="float32",
                callback=self._heard,
            )
            self._stream.start()
        except (sounddevice.PortAudioError, ValueError) as error:
            raise AudioError(
                f"microphone {device!r}: expected a device to listen to, found: {error}: "
                "see `splatface doctor` for what is plugged in"
            ) from None

    def read(self) -> list[Block]:
        """What came since the last call."""
        blocks: list[Block] = []
        while True:
            try:
                samples, arrival_ns = self._queue.get_nowait()
            except queue.Empty:
                return blocks
            samples = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
            self._count += len(samples)
            blocks.append(Block(self._convert.resample_chunk(samples), self._count, arrival_ns))

    def close(self) -> None:
        """Give the device back."""
        self._stream.abort(ignore_errors=True)
        self._stream.close(ignore_errors=True)

    def _heard(self, data: Array, frames: int, time: Any, status: Any) -> None:
        # Runs in PortAudio's thread: no waiting, no work.
        if status.input_overflow:
            self.overflows += 1
        try:
            self._queue.put_nowait((data[:, 0].copy(), self._now_ns()))
        except queue.Full:
            self.overflows += 1


def _sounddevice() -> Any:
    try:
        import sounddevice
    except OSError:
        raise AudioError(
            "microphone: expected PortAudio, found no library: sudo apt-get install libportaudio2"
        ) from None
    # PortAudio lists devices once; a microphone plugged in later is seen after starting it anew.
    sounddevice._terminate()
    sounddevice._initialize()
    return sounddevice


def _index_of(device: str, sounddevice: Any) -> int | None:
    """Index of a device by number or part of its name, None for the default one."""
    inputs = {i: d["name"] for i, d in enumerate(sounddevice.query_devices()) if d["max_input_channels"] > 0}
    if device in ("", "default"):
        if not inputs:
            raise AudioError("microphone: expected an input device, found none: plug one in")
        return None
    for index, name in inputs.items():
        if device == str(index) or device.lower() in name.lower():
            return index
    known = "; ".join(f"{index} {name}" for index, name in inputs.items()) or "no input at all"
    raise AudioError(
        f"microphone: expected one called {device!r}, found {known}: choose one by name or index"
    )
