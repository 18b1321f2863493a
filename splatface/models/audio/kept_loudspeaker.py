"""A loudspeaker that may be unplugged: it is opened again until it comes back."""

from collections.abc import Callable

from splatface.models.audio.kept_device import ReconnectingDevice, first_problem
from splatface.models.audio.loudspeaker import Fill, Loudspeaker
from splatface.models.audio.sound_devices import OUTPUT

__all__ = ["OPENING", "ReconnectingLoudspeaker"]

OPENING = first_problem(OUTPUT)
# PulseAudio asks for a buffer's worth at once and again only when it plays.
_SURE_AFTER = 2


class ReconnectingLoudspeaker(ReconnectingDevice[Loudspeaker]):
    """A loudspeaker as `KeptDevice` keeps it; the arguments are those of `Loudspeaker`."""

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

    def _woken_up(self, device: Loudspeaker) -> None:
        device.flush()

    def _gone(self, device: Loudspeaker) -> None:
        self._underflows += device.underflows
