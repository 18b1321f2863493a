"""A microphone that may be unplugged: it is opened again until it comes back."""

from collections.abc import Callable

from splatface.models.audio.kept_device import ReconnectingDevice, first_problem
from splatface.models.audio.microphone import Block, Microphone
from splatface.models.audio.sound_devices import INPUT

__all__ = ["OPENING", "ReconnectingMicrophone"]

OPENING = first_problem(INPUT)


class ReconnectingMicrophone(ReconnectingDevice[Microphone]):
    """A microphone as `KeptDevice` keeps it; the arguments are those of `Microphone`."""

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
