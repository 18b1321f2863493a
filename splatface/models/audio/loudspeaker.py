"""A loudspeaker through PortAudio."""

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio.sound_devices import OUTPUT, find_device, portaudio
from splatface.models.errors import AudioError

__all__ = ["Fill", "Loudspeaker"]

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
