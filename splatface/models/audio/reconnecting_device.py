"""A microphone or loudspeaker that is opened again when it was unplugged."""

import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from splatface.models.audio.sound_devices import (
    INPUT,
    OUTPUT,
    Block,
    DeviceDirection,
    Fill,
    Loudspeaker,
    Microphone,
    refresh_devices,
)
from splatface.models.errors import AudioError

__all__ = ["ReconnectingDevice", "ReconnectingLoudspeaker", "ReconnectingMicrophone"]

RETRY_S = 1.0
LOOK_S = 0.25  # how often a stream is looked at
FIRST_LOOKS = 24  # PulseAudio's first block comes after up to 2 s; 6 s is no answer
STALLED_LOOKS = 6  # 1.5 s without a block: the device or its server is gone


class _Device(Protocol):
    name: str
    blocks: int  # that went through so far

    @property
    def alive(self) -> bool: ...

    def close(self) -> None: ...


D = TypeVar("D", bound=_Device)


class ReconnectingDevice(Generic[D]):
    """Opens a device in a thread of its own, watches it, and opens it again when it is gone.

    A driver that hangs while closing hangs that thread only. `problem` says what is wrong, or nothing.

    Args:
        side: whether it listens or plays.
        open_device: opens it; AudioError when that cannot be.
        sure_after: looks at which sound must have gone through before it counts as working.
    """

    def __init__(self, side: DeviceDirection, open_device: Callable[[], D], *, sure_after: int) -> None:
        self._side, self._open_device, self._sure_after = side, open_device, sure_after
        self._open: D | None = None
        self._ending = threading.Event()
        self._waking = threading.Event()
        self.problem = side.opening
        self.name = ""
        self.opened = 0  # times it was opened
        self._thread = threading.Thread(target=self._keep, name=side.device, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; wait at most 3 s for a driver that hangs."""
        self._ending.set()
        self._wake()
        self._thread.join(3.0)

    def _wake(self) -> None:
        """Have `_on_wake` called in the device's thread, once for all calls that come before it."""
        self._waking.set()

    def _on_wake(self, device: D) -> None:
        """What is to be done to an open device besides watching it."""

    def _keep(self) -> None:
        while not self._ending.is_set():
            try:
                device = self._open_device()
            except AudioError as error:
                self.problem = str(error)
            else:
                self._use(device)
            if not self._ending.wait(RETRY_S):
                self._refresh()

    def _use(self, device: D) -> None:
        self.name = device.name
        self.opened += 1
        self._waking.clear()
        self._open = device
        self._watch(device)
        self._open = None
        self._on_lost(device)
        if not self._ending.is_set():
            what = self._side.device
            self.problem = f"{what} '{device.name}' is gone: plug it in, it is opened when it is back"
        device.close()

    def _on_lost(self, device: D) -> None:
        """What is to be kept of a device before it is closed."""

    def _watch(self, device: D) -> None:
        seen, moved, idle, patience = 0, 0, 0, FIRST_LOOKS
        while not self._ending.is_set() and device.alive and idle < patience:
            if self._waking.wait(LOOK_S):
                self._waking.clear()
                self._on_wake(device)
                continue
            if device.blocks == seen:
                idle += 1
                continue
            seen, moved, idle = device.blocks, moved + 1, 0
            if moved >= self._sure_after:
                patience, self.problem = STALLED_LOOKS, ""

    def _refresh(self) -> None:
        try:
            refresh_devices(self._side)
        except AudioError as error:
            self.problem = str(error)


# PulseAudio asks for a buffer's worth at once and again only when it plays.
_SURE_AFTER = 2


class ReconnectingLoudspeaker(ReconnectingDevice[Loudspeaker]):
    """A loudspeaker as `ReconnectingDevice` keeps it; the arguments are those of `Loudspeaker`."""

    def __init__(self, device: str, latency_s: float, opening: Callable[[int], Fill]) -> None:
        self._underflows = 0  # of those that are gone
        super().__init__(OUTPUT, lambda: Loudspeaker(device, latency_s, opening), sure_after=_SURE_AFTER)

    @property
    def underflows(self) -> int:
        """Times that a device ran dry."""
        speaker = self._open
        return self._underflows + (speaker.underflows if speaker else 0)

    @property
    def ahead_ms(self) -> float:
        """From being asked for a sample to its being heard."""
        speaker = self._open
        return 1e3 * speaker.ahead_s if speaker else 0.0

    def flush(self) -> None:
        """Let the device fall silent: what it holds is thrown away in its thread, soon."""
        self._wake()

    def _on_wake(self, device: Loudspeaker) -> None:
        device.flush()

    def _on_lost(self, device: Loudspeaker) -> None:
        self._underflows += device.underflows


class ReconnectingMicrophone(ReconnectingDevice[Microphone]):
    """A microphone as `ReconnectingDevice` keeps it; the arguments are those of `Microphone`."""

    def __init__(self, device: str, now_ns: Callable[[], int], wake: Callable[[], None]) -> None:
        super().__init__(INPUT, lambda: Microphone(device, now_ns, wake), sure_after=1)

    @property
    def overflows(self) -> int:
        """Blocks lost since the device was opened."""
        microphone = self._open
        return microphone.overflows if microphone else 0

    def read(self) -> list[Block]:
        """What the open microphone heard since the last call; nothing when there is none."""
        microphone = self._open
        return microphone.read() if microphone else []
