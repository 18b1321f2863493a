"""A microphone that may be unplugged: it is opened again until it comes back."""

import threading
from collections.abc import Callable

from splatface.models.audio.microphone import Block, Microphone, refresh_devices
from splatface.models.errors import AudioError

__all__ = ["OPENING", "KeptMicrophone"]

OPENING = "opening the microphone"
RETRY_S = 1.0
LOOK_S = 0.25  # how often a stream is looked at
FIRST_LOOKS = 24  # PulseAudio's first block comes after up to 2 s; 6 s is no answer
STALLED_LOOKS = 6  # 1.5 s without a block: the device or its server is gone


class KeptMicrophone:
    """Opens the microphone in a thread of its own, watches it, and opens it again when it is gone.

    A driver that hangs while closing hangs that thread only. `problem` says what is wrong, or nothing.
    """

    def __init__(self, device: str, now_ns: Callable[[], int], wake: Callable[[], None]) -> None:
        self._device, self._now_ns, self._wake = device, now_ns, wake
        self._open: Microphone | None = None
        self._blocks = 0
        self._ending = threading.Event()
        self.problem = OPENING
        self.name = ""
        self.opened = 0  # times it was opened
        self._thread = threading.Thread(target=self._keep, name="microphone", daemon=True)
        self._thread.start()

    @property
    def overflows(self) -> int:
        """Blocks lost since the device was opened."""
        microphone = self._open
        return microphone.overflows if microphone else 0

    def read(self) -> list[Block]:
        """What the open microphone heard since the last call; nothing when there is none."""
        microphone = self._open
        return microphone.read() if microphone else []

    def close(self) -> None:
        """End the thread; wait at most 3 s for a driver that hangs."""
        self._ending.set()
        self._thread.join(3.0)

    def _keep(self) -> None:
        while not self._ending.is_set():
            try:
                microphone = Microphone(self._device, self._now_ns, self._heard)
            except AudioError as error:
                self.problem = str(error)
            else:
                self._use(microphone)
            if not self._ending.wait(RETRY_S):
                self._refresh()

    def _use(self, microphone: Microphone) -> None:
        self.name = microphone.name
        self.opened += 1
        self._open = microphone
        self._watch(microphone)
        self._open = None
        if not self._ending.is_set():
            self.problem = f"microphone '{microphone.name}' is gone: plug it in, it is opened when it is back"
        microphone.close()

    def _watch(self, microphone: Microphone) -> None:
        seen, idle, patience = self._blocks, 0, FIRST_LOOKS
        while not self._ending.wait(LOOK_S) and microphone.alive and idle < patience:
            if self._blocks != seen:
                seen, idle, patience = self._blocks, 0, STALLED_LOOKS
                self.problem = ""
            else:
                idle += 1

    def _heard(self) -> None:
        self._blocks += 1
        self._wake()

    def _refresh(self) -> None:
        try:
            refresh_devices()
        except AudioError as error:
            self.problem = str(error)
