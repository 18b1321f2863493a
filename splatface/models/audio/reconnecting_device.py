# SPDX-License-Identifier: Apache-2.0
"""A microphone or loudspeaker that is opened again when it was unplugged."""

import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from splatface.models.audio.sound_devices import (
    INPUT,
    OUTPUT,
    CapturedBlock,
    DeviceDirection,
    Fill,
    Loudspeaker,
    Microphone,
    refresh_devices,
)
from splatface.models.errors import AudioError

__all__ = ["ReconnectingDevice", "ReconnectingLoudspeaker", "ReconnectingMicrophone"]

_RETRY_S = 1.0
_POLL_S = 0.25
_OPENING_POLLS = 24  # PulseAudio's first block comes after up to 2 s; 6 s is no answer
_STALLED_POLLS = 6  # 1.5 s without a block: the device or its server is gone


class _Device(Protocol):
    name: str
    blocks: int  # processed so far

    @property
    def alive(self) -> bool: ...

    def close(self) -> None: ...


D = TypeVar("D", bound=_Device)


class ReconnectingDevice(Generic[D]):
    """Device that is opened in a thread of its own, watched, and opened again when it is gone.

    A driver that hangs while closing hangs that thread only. `problem` describes what is wrong, or is empty.

    Args:
        direction: input or output.
        open_device: opens it; AudioError when that fails.
        min_active_polls: polls with new blocks until the device counts as working.
    """

    def __init__(
        self, direction: DeviceDirection, open_device: Callable[[], D], *, min_active_polls: int
    ) -> None:
        self._direction, self._open_device, self._min_active_polls = direction, open_device, min_active_polls
        self._device: D | None = None
        self._closing = threading.Event()
        self._wake_event = threading.Event()
        self.problem = direction.opening
        self.name = ""
        self.opened = 0  # times it was opened
        self._thread = threading.Thread(target=self._run, name=direction.device, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; wait at most 3 s for a driver that hangs."""
        self._closing.set()
        self._wake()
        self._thread.join(3.0)

    def _wake(self) -> None:
        """Have `_on_wake` called in the device's thread, once for all calls that come before it."""
        self._wake_event.set()

    def _on_wake(self, device: D) -> None:
        """Handle `_wake` for an open device."""

    def _on_lost(self, device: D) -> None:
        """Save what is needed of a device before it is closed."""

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                device = self._open_device()
            except AudioError as error:
                self.problem = str(error)
            else:
                self._use(device)
            if not self._closing.wait(_RETRY_S):
                self._refresh()

    def _use(self, device: D) -> None:
        self.name = device.name
        self.opened += 1
        self._wake_event.clear()
        self._device = device
        self._watch(device)
        self._device = None
        self._on_lost(device)
        if not self._closing.is_set():
            kind = self._direction.device
            self.problem = f"{kind} '{device.name}' is gone: plug it in, it is opened when it is back"
        device.close()

    def _watch(self, device: D) -> None:
        blocks, active_polls, idle_polls, max_idle_polls = 0, 0, 0, _OPENING_POLLS
        while not self._closing.is_set() and device.alive and idle_polls < max_idle_polls:
            if self._wake_event.wait(_POLL_S):
                self._wake_event.clear()
                self._on_wake(device)
                continue
            if device.blocks == blocks:
                idle_polls += 1
                continue
            blocks, active_polls, idle_polls = device.blocks, active_polls + 1, 0
            if active_polls >= self._min_active_polls:
                max_idle_polls, self.problem = _STALLED_POLLS, ""

    def _refresh(self) -> None:
        try:
            refresh_devices(self._direction)
        except AudioError as error:
            self.problem = str(error)


class ReconnectingMicrophone(ReconnectingDevice[Microphone]):
    """Microphone that is opened again; the arguments are those of `Microphone`."""

    def __init__(self, device: str, now_ns: Callable[[], int], wake: Callable[[], None]) -> None:
        super().__init__(INPUT, lambda: Microphone(device, now_ns, wake), min_active_polls=1)

    @property
    def overflows(self) -> int:
        """Number of blocks lost since the device was opened."""
        microphone = self._device
        return microphone.overflows if microphone else 0

    def read(self) -> list[CapturedBlock]:
        """Return the blocks captured since the last call; none when no microphone is open."""
        microphone = self._device
        return microphone.read() if microphone else []


class ReconnectingLoudspeaker(ReconnectingDevice[Loudspeaker]):
    """Loudspeaker that is opened again; the arguments are those of `Loudspeaker`."""

    def __init__(self, device: str, latency_s: float, opening: Callable[[int], Fill]) -> None:
        self._past_underflows = 0  # of devices that are gone
        # PulseAudio requests a buffer's worth at once and again only when it plays.
        super().__init__(OUTPUT, lambda: Loudspeaker(device, latency_s, opening), min_active_polls=2)

    @property
    def underflows(self) -> int:
        """Number of times that a device ran out of samples."""
        loudspeaker = self._device
        return self._past_underflows + (loudspeaker.underflows if loudspeaker else 0)

    @property
    def latency_ms(self) -> float:
        """Time from the request for a sample to its being played."""
        loudspeaker = self._device
        return 1e3 * loudspeaker.latency_s if loudspeaker else 0.0

    def flush(self) -> None:
        """Have the device drop its buffer, soon, in its thread."""
        self._wake()

    def _on_wake(self, device: Loudspeaker) -> None:
        device.flush()

    def _on_lost(self, device: Loudspeaker) -> None:
        self._past_underflows += device.underflows
