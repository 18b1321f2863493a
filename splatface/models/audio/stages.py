"""Which stages clean a microphone's sound: named by the user, left out when not installed."""

from dataclasses import dataclass

from splatface.models.audio.cleaning import AudioFilter
from splatface.models.audio.echo import EchoCanceller
from splatface.models.audio.far_end import FarEnd
from splatface.models.audio.speex import Speex
from splatface.models.audio.webrtc import Webrtc
from splatface.models.errors import AudioError

__all__ = ["ECHO", "NOISE", "ChainSelection", "choose_stages"]

ECHO = ("none", "webrtc")  # "off" is False in YAML
NOISE = ("none", "speex", "webrtc")


@dataclass(frozen=True, slots=True)
class ChainSelection:
    """The stages in their order, and what is wrong with those that are left out."""

    stages: tuple[AudioFilter, ...] = ()
    echo: EchoCanceller | None = None  # the one of them that needs the far end
    problem: str = ""


def choose_stages(echo: str, noise: str, far_end: FarEnd) -> ChainSelection:
    """The stages called `echo` (one of ECHO) and `noise` (one of NOISE).

    One that is not installed is left out: a microphone that can be heard is better than none.
    """
    stages: list[AudioFilter] = []
    problems = []
    canceller = None
    try:
        if echo == "webrtc":
            canceller = EchoCanceller(far_end, noise=noise == "webrtc")
            stages.append(canceller)
    except AudioError as error:
        problems.append(str(error))
    try:
        if noise == "webrtc" and echo == "none":
            stages.append(Webrtc(echo=False, noise=True))
        if noise == "speex":
            stages.append(Speex())
    except AudioError as error:
        problems.append(str(error))
    problem = "; ".join(problems) + " (sound goes through unchanged)" if problems else ""
    return ChainSelection(tuple(stages), canceller, problem)
