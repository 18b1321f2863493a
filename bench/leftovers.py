"""Interrupted a thousand times in a row: what each process holds before and after."""

import random
import time
from typing import Any

import numpy as np

from bench.barge_in import first_sound_ms
from bench.offsets import marks
from bench.processes_seen import Holding, holdings_below
from splatface.nodes.partner import ConversationClient

__all__ = ["interrupt_many"]

SETTLE_S = (
    8.0  # results of goals that nobody asked for are forgotten, threads that were told to end have ended
)
TRIAL = 25  # interruptions before the first look: what is made once is made


def interrupt_many(partner: ConversationClient, pid: int, count: int) -> dict[str, Any]:
    """Interrupt `count` times, each as soon as speech is on its way or a little later.

    Args:
        partner: who talks to the face.
        pid: of the launch file's process.
        count: how often.

    Raises SplatfaceError when a text finds no voice.
    """
    _interrupt(partner, min(TRIAL, count))
    before = _settled(partner, pid)
    say_ms = _interrupt(partner, count)
    after = _settled(partner, pid)
    return {
        "count": count,
        "next_say_ms": {**marks(np.array(say_ms)), "max": round(max(say_ms), 2)},
        "open_goals": partner.open_goals,
        "refused": partner.refused,
        "nodes": {
            name: {
                what: [getattr(before[name], what), getattr(after[name], what)]
                for what in Holding.__dataclass_fields__
            }
            for name in sorted(before.keys() & after.keys())
        },
    }


def _interrupt(partner: ConversationClient, count: int) -> list[float]:
    say_ms = []
    for _ in range(count):
        partner.chunks.clear()
        say_ms.append(first_sound_ms(partner))
        time.sleep(random.choice((0.0, 0.05, 0.2)))
        partner.interrupt()
    return say_ms


def _settled(partner: ConversationClient, pid: int) -> dict[str, Holding]:
    partner.wait_for(lambda: partner.open_goals == 0, SETTLE_S)
    time.sleep(SETTLE_S)
    return holdings_below(pid)
