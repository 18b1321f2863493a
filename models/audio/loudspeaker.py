"""A loudspeaker through PortAudio."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import AudioError

__all__ = ["Fill", "Loudspeaker", "choose_output", "output_devices"]

BLOCK_S = 0.01

# (samples asked for, seconds until the first of them is heard) -> samples [T], -1..1
Fill = Callable[[int, float], NDArray[np.float32]]


def _sounddevice() -> ModuleType:
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise AudioError(
            f"loudspeaker: expected PortAudio, found none ({error}): apt-get install libportaudio2"
        ) from None
    module: ModuleType = sounddevice
    return module


def output_devices() -> dict[int, str]:
    """Number and name of every device that can play, as PortAudio sees them now.

    Raises AudioError when PortAudio is not installed.
    """
    found = enumerate(_sounddevice().query_devices())
    return {index: str(device["name"]) for index, device in found if device["max_output_channels"] > 0}


def choose_output(devices: dict[int, str], wanted: str, default: int) -> int:
    """The device named by a number or by a part of its name (case does not matter); `""` is the default.

    Raises AudioError, listing what there is, when none or several fit.
    """
    name = wanted.strip().lower()
    if not name:
        chosen = default if default in devices else min(devices, default=-1)
        if chosen < 0:
            raise AudioError("loudspeaker: expected a device that plays, found none: plug one in")
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
    raise AudioError(f"loudspeaker '{wanted}': {problem}: choose by number or name from: {listed}")


class Loudspeaker:
    """An open loudspeaker that asks for its samples in PortAudio's thread.

    Args:
        device: number or part of the name, `""` for the default.
        latency_s: sound the device holds; less is quicker to fall silent, more survives a busy processor.
        opening: called with the device's rate before it asks for the first time; gives what fills it.

    Raises AudioError when PortAudio, a device or its stream cannot be had.
    """

    def __init__(self, device: str, latency_s: float, opening: Callable[[int], Fill]) -> None:
        portaudio = _sounddevice()
        self.underflows = 0  # times that the device ran dry
        self.blocks = 0  # asked for so far
        self.ahead_s = 0.0  # from being asked to being heard, lately
        index = choose_output(output_devices(), device, int(portaudio.default.device[1]))
        info = portaudio.query_devices(index)
        self.name, self.rate_hz = str(info["name"]), round(info["default_samplerate"])
        self._fill = opening(self.rate_hz)
        try:
            self._stream = portaudio.OutputStream(
                device=index,
                channels=min(2, int(info["max_output_channels"])),
                samplerate=self.rate_hz,
                blocksize=round(self.rate_hz * BLOCK_S),
                dtype="float32",
                latency=latency_s,
                callback=self._called,
            )
            self._stream.start()
        except portaudio.PortAudioError as error:
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

    def close(self) -> None:
        """Give the device back, what it still holds unheard. May hang when its driver does."""
        self._stream.abort(ignore_errors=True)
        self._stream.close(ignore_errors=True)
