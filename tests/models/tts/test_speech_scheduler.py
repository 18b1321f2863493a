"""Scheduler of speech, with time passed in."""

import numpy as np
import pytest

from splatface.models.messages import NS_PER_S
from splatface.models.tts.speech_queue import SpeechScheduler

MS = 1_000_000
START_NS = 1_700_000_000_000_000_000


class CountingQueue:
    """Queue whose samples are the number of the chunk."""

    def __init__(self):
        self.start_times_ns = []

    def take(self, count, start_ns):
        self.start_times_ns.append(start_ns)
        return np.full(count, len(self.start_times_ns), np.float32)


@pytest.fixture
def scheduler():
    out = SpeechScheduler(CountingQueue(), chunk_ms=20, lead_ms=100)
    out.start(START_NS)
    return out


def test_chunks_are_published_the_lead_time_before_they_are_heard(scheduler):
    chunks = list(scheduler.due(START_NS))
    assert [c.start_ns - START_NS for c in chunks] == [k * 20 * MS for k in range(6)]
    assert scheduler.queue.start_times_ns == [c.start_ns for c in chunks]
    assert {len(c.samples) for c in chunks} == {320}
    assert list(scheduler.due(START_NS + 10 * MS)) == []
    (next_chunk,) = scheduler.due(START_NS + 20 * MS)
    assert next_chunk.start_ns == chunks[-1].end_ns


def test_interruption_raises_the_utterance_and_replaces_what_was_ahead(scheduler):
    ahead = list(scheduler.due(START_NS))
    now_ns = START_NS + 30 * MS
    scheduler.interrupt(now_ns)
    chunks = list(scheduler.due(now_ns))
    assert chunks[0].start_ns == now_ns < ahead[-1].start_ns
    assert {c.utterance for c in chunks} == {ahead[0].utterance + 1}
    assert len(chunks) == 6


@pytest.mark.parametrize("jump_s", [2.0, -2.0, 3600.0])
def test_clock_jump_is_reported_until_it_is_followed(scheduler, jump_s):
    list(scheduler.due(START_NS))
    end_ns = START_NS + 120 * MS
    assert scheduler.clock_jump_s(START_NS + 20 * MS) == 0.0
    now_ns = end_ns + round(jump_s * NS_PER_S)
    assert scheduler.clock_jump_s(now_ns) == pytest.approx(jump_s)
    scheduler.interrupt(now_ns)
    assert scheduler.clock_jump_s(now_ns) == 0.0
    assert next(scheduler.due(now_ns)).start_ns == now_ns


def test_utterance_numbers_rise_over_restarts(scheduler):
    first = scheduler.utterance
    scheduler.interrupt(START_NS)
    scheduler.start(START_NS + MS)
    assert scheduler.utterance == first + 2
    later = SpeechScheduler(CountingQueue(), 20, 100)
    later.start(START_NS + 60 * NS_PER_S)
    assert later.utterance > scheduler.utterance
