import pytest

from splatface.models.frame_scheduler import FrameGrid, LiveScheduler, LockstepScheduler, PresentationQueue
from splatface.models.messages import NS_PER_S

MS = 1_000_000


@pytest.mark.parametrize("fps", [24.0, 25.0, 29.97, 60.0, 120.0])
def test_first_and_last_are_inverse_to_time(fps):
    grid = FrameGrid(fps)
    for index in [0, 1, 7, 43_200_000]:
        moment = grid.time_ns(index)
        assert grid.first_at(moment) == index == grid.last_at(moment)
        assert grid.first_at(moment + 1) == index + 1
        assert grid.last_at(moment - 1) == index - 1


@pytest.mark.parametrize("step_ms", [1, 7, 20, 333])
def test_step_pace_draws_every_moment_once_whatever_the_chunks(step_ms):
    pace = LockstepScheduler(FrameGrid(25.0))
    pace.begin(0)
    times = [t for now in range(0, 2000 + step_ms, step_ms) for t in pace.due(min(now, 2000) * MS)]
    assert times == [k * 40 * MS for k in range(51)]


def test_live_pace_follows_the_stream():
    pace = LiveScheduler(FrameGrid(50.0), patience_ns=250 * MS, backlog_ns=60 * MS)
    pace.begin(0)
    times = [t for now in range(0, 1000, 5) for t in pace.due((now - 50) * MS, now * MS)]
    assert times == [k * 20 * MS for k in range(48)]
    assert pace.dropped == 0


def test_live_pace_lives_on_without_sound():
    pace = LiveScheduler(FrameGrid(25.0), patience_ns=250 * MS, backlog_ns=60 * MS)
    pace.begin(0)
    times = [t for now in range(0, 1001, 10) for t in pace.due(None, now * MS)]
    assert times == [k * 40 * MS for k in range(19)]


def test_live_pace_drops_what_is_late_and_counts_it():
    pace = LiveScheduler(FrameGrid(50.0), patience_ns=250 * MS, backlog_ns=60 * MS)
    pace.begin(0)
    pace.due(0, 50 * MS)
    late = pace.due(500 * MS, 550 * MS)  # half a second of stall
    assert late == [440 * MS, 460 * MS, 480 * MS, 500 * MS]
    assert pace.dropped == 21


def test_live_pace_survives_jumps_of_the_clock():
    pace = LiveScheduler(FrameGrid(25.0), patience_ns=0, backlog_ns=60 * MS)
    pace.begin(1000 * NS_PER_S)
    assert pace.due(None, 5 * NS_PER_S) == []
    assert pace.due(None, 5 * NS_PER_S + 40 * MS) != []
    assert len(pace.due(None, 90_000 * NS_PER_S)) == 1
    assert pace.dropped == 0


def test_live_pace_gives_again_what_an_interruption_made_untrue():
    pace = LiveScheduler(FrameGrid(25.0), patience_ns=250 * MS, backlog_ns=60 * MS)
    assert pace.redraw_times(0) == []
    pace.begin(0)
    for now in range(0, 1001, 10):
        pace.due(now * MS, now * MS)
    assert pace.redraw_times(810 * MS) == [840 * MS, 880 * MS, 920 * MS, 960 * MS, 1000 * MS]
    assert pace.redraw_times(1001 * MS) == []
    assert len(pace.redraw_times(-(10**18))) == 600
    assert pace.due(1040 * MS, 1040 * MS) == [1040 * MS]


def test_a_picture_waits_for_its_moment():
    waiting = PresentationQueue[str](200 * MS)
    assert waiting.wait_ns(0) is None
    waiting.push(0, "first")
    waiting.push(40 * MS, "second")
    assert waiting.due(199 * MS) is None
    assert waiting.wait_ns(199 * MS) == MS
    assert waiting.due(200 * MS) == "first"
    assert waiting.due(201 * MS) is None
    assert waiting.due(240 * MS) == "second"
    assert waiting.skipped == 0
    waiting.push(80 * MS, "third")
    waiting.push(120 * MS, "fourth")
    assert waiting.due(500 * MS) == "fourth"
    assert waiting.skipped == 1


def test_a_picture_drawn_again_takes_back_what_waits():
    waiting = PresentationQueue[str](200 * MS)
    for k in range(5):
        waiting.push(k * 40 * MS, f"old {k}")
    assert waiting.due(205 * MS) == "old 0"
    for k in range(1, 5):
        waiting.push(k * 40 * MS, f"new {k}")
    assert [waiting.due((200 + k * 40) * MS) for k in range(1, 5)] == [f"new {k}" for k in range(1, 5)]


def test_a_picture_from_another_time_is_shown_at_once():
    waiting = PresentationQueue[str](0)
    waiting.push(1000 * NS_PER_S, "of a clock that was set")
    assert waiting.due(5 * NS_PER_S) == "of a clock that was set"
    waiting.push(1, "of an old recording")
    assert waiting.due(5 * NS_PER_S) == "of an old recording"


def test_what_waits_is_bounded():
    waiting = PresentationQueue[int](10**18)
    for k in range(10_000):
        waiting.push(k, k)
    assert waiting.due(10**18 + 10**9) == 9999
    assert waiting.skipped == 599
