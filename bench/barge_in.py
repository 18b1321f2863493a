"""A face is interrupted in the middle of a word: how soon its voice and its mouth are still."""

import random
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.monitor import FRAGMENT, RATE_HZ, SinkRecording
from bench.mouth import REST, Mouth
from bench.viewer import Seen
from splatface.models.errors import SplatfaceError
from splatface.models.messages import NS_PER_S
from splatface.nodes.partner import ConversationClient

__all__ = ["Interruption", "interrupt_in_mid_word", "interruption_latency"]

AUDIBLE = 100  # of 32768: -50 dBFS
TEXT = (
    "I am going to talk for a while, about this and that, and nothing in particular, until you interrupt me."
)


@dataclass(frozen=True, slots=True)
class Interruption:
    """One `interrupt` and what was asked for next."""

    called_ns: int
    answered_ms: float
    next_say_ms: float  # from asking for the next text to its first sound being published
    watched_ns: int  # until when nothing else was said


def first_sound_ms(partner: ConversationClient) -> float:
    """Say something; how long until speech is on its way.

    Raises:
        SplatfaceError: when nothing comes in 10 s.
    """
    count, asked_s = len(partner.chunks), time.monotonic()
    partner.say(TEXT)
    if not partner.wait_for(lambda: partner.loud_since(count), 10.0):
        raise SplatfaceError(f"say: expected sound in 10 s, found none: {partner.health.get('speech')}")
    return 1e3 * (time.monotonic() - asked_s)


def interrupt_in_mid_word(partner: ConversationClient, after_s: float, watch_s: float) -> Interruption:
    """Speak, interrupt, be silent for a while."""
    say_ms = first_sound_ms(partner)
    time.sleep(after_s * random.uniform(0.7, 1.3))
    called_ns, answered_ns = partner.interrupt()
    time.sleep(watch_s)
    return Interruption(called_ns, (answered_ns - called_ns) / 1e6, say_ms, time.time_ns())


def interruption_latency(
    interruptions: list[Interruption], heard: SinkRecording, seen: Seen, mouth: Mouth
) -> dict[str, NDArray[np.float64]]:
    """ms from each call to when its last sound was heard, and to when the mouth had come to rest for good."""
    starts_ns = heard.times_ns()
    audible = np.abs(heard.samples.astype(np.int32)) > AUDIBLE
    audible_ns = _sample_times_ns(starts_ns, np.flatnonzero(audible))
    # A picture is seen until the next one comes.
    open_ns = seen.arrivals_ns[1:][mouth.opening(seen.small)[:-1] > REST]
    return {
        "silent_ms": np.array([_last_ms(audible_ns, one) for one in interruptions]),
        "mouth_at_rest_ms": np.array([_last_ms(open_ns, one) for one in interruptions]),
    }


def _sample_times_ns(starts_ns: NDArray[np.int64], index: NDArray[np.int64]) -> NDArray[np.int64]:
    out: NDArray[np.int64] = starts_ns[index // FRAGMENT] + index % FRAGMENT * NS_PER_S // RATE_HZ
    return out


def _last_ms(times_ns: NDArray[np.int64], one: Interruption) -> float:
    """The last of these moments (rising) between the call and the end of the watch, 0 when there is none."""
    last = int(np.searchsorted(times_ns, one.watched_ns)) - 1
    return max(int(times_ns[last]) - one.called_ns, 0) / 1e6 if last >= 0 else 0.0
