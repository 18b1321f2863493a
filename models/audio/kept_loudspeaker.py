"""A loudspeaker that may be unplugged: it is opened again until it comes back."""

import threading
from collections.abc import Callable

from splatface.models.audio.loudspeaker import Fill, Loudspeaker
from splatface.models.audio.microphone import refresh_devices
from splatface.models.errors import AudioError

__all__ = ["OPENING", "KeptLoudspeaker"]

OPENING = "opening the loudspeaker"
RETRY_S = 1.0
LOOK_S = 0.25  # how often a stream is looked at
FIRST_LOOKS = 24  # PulseAudio asks for the second time after up to 2 s; 6 s is no answer
STALLED_LOOKS = 6  # 1.5 s without being asked: the device or its server is gone


class KeptLoudspeaker:
    """Opens the loudspeaker in a thread of its own, watches it, and opens it again when it is gone.

    A driver that hangs while closing hangs that thread only. `problem` says what is wrong, or nothing.
    """

    def __init__(self, device: str, latency_s: float, opening: Callable[[int], Fill]) -> None:
        self._device, self._latency_s, self._opening = device, latency_s, opening
        self._open: Loudspeaker | None = None
        self._ending = threading.Event()
        self._underflows = 0  # of those that are gone
        self.problem = OPENING
        self.name = ""
        self.opened = 0  # times it was opened
        self._thread = threading.Thread(target=self._keep, name="loudspeaker", daemon=True)
        self._thread.start()

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

    def close(self) -> None:
        """End the thread; wait at most 3 s for a driver that hangs."""
        self._ending.set()
        self._thread.join(3.0)

    def _keep(self) -> None:
        while not self._ending.is_set():
            try:
                speaker = Loudspeaker(self._device, self._latency_s, self._opening)
            except AudioError as error:
                self.problem = str(error)
            else:
                self._use(speaker)
            if not self._ending.wait(RETRY_S):
                self._refresh()

    def _use(self, speaker: Loudspeaker) -> None:
        self.name = speaker.name
        self.opened += 1
        self._open = speaker
        self._watch(speaker)
        self._open = None
        self._underflows += speaker.underflows
        if not self._ending.is_set():
            self.problem = f"loudspeaker '{speaker.name}' is gone: plug it in, it is opened when it is back"
        speaker.close()

    def _watch(self, speaker: Loudspeaker) -> None:
        seen, idle, patience = 0, 0, FIRST_LOOKS
        while not self._ending.wait(LOOK_S) and speaker.alive and idle < patience:
            if speaker.blocks == seen:
                idle += 1
                continue
            # PulseAudio asks for a buffer's worth at once and again only when it plays.
            if seen and speaker.blocks > seen:
                patience, self.problem = STALLED_LOOKS, ""
            seen, idle = speaker.blocks, 0

    def _refresh(self) -> None:
        try:
            refresh_devices()
        except AudioError as error:
            self.problem = str(error)
