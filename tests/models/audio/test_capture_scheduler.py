"""Schedulers of captured audio, with time passed in."""

import numpy as np
import pytest
import soundfile

from splatface.models.audio.capture_scheduler import FileScheduler, MicrophoneScheduler
from splatface.models.audio.sound_devices import CapturedBlock
from splatface.models.errors import AudioError

MS = 1_000_000
START_NS = 1_700_000_000_000_000_000


@pytest.fixture
def sound_file(tmp_path):
    """A file of 100 ms of increasing samples."""
    path = tmp_path / "ramp.wav"
    soundfile.write(path, np.linspace(0.1, 0.9, 1600), 16_000, subtype="FLOAT")
    return path


def make_scheduler(path, loop=False):
    scheduler = FileScheduler(str(path), 20, loop)
    scheduler.start(START_NS)
    return scheduler


def test_file_chunks_are_due_when_their_last_sample_is_and_follow_each_other(sound_file):
    scheduler = make_scheduler(sound_file)
    assert list(scheduler.due(START_NS + 18 * MS, 1, True)) == []
    chunks = list(scheduler.due(START_NS + 120 * MS, 1, True))
    assert [c.start_ns - START_NS for c in chunks] == [k * 20 * MS for k in range(6)]
    assert {c.utterance for c in chunks} == {1}
    np.testing.assert_allclose(
        np.concatenate([c.samples for c in chunks])[:1600], np.linspace(0.1, 0.9, 1600), atol=1e-6
    )
    assert not chunks[5].samples.any()


def test_file_starts_with_the_first_subscriber_or_after_five_seconds(sound_file):
    scheduler = make_scheduler(sound_file)
    waiting = list(scheduler.due(START_NS + 1000 * MS, 1, False))
    assert len(waiting) == 50
    assert not any(c.samples.any() for c in waiting)
    (first,) = scheduler.due(START_NS + 1020 * MS, 1, True)
    assert first.samples.any()
    alone = make_scheduler(sound_file)
    chunks = list(alone.due(START_NS + 5100 * MS, 1, False))
    assert [bool(c.samples.any()) for c in chunks] == [False] * 250 + [True] * 5


@pytest.mark.parametrize(("loop", "sound_again"), [(False, False), (True, True)])
def test_interrupted_file_is_silent_and_only_a_loop_starts_again(sound_file, loop, sound_again):
    scheduler = make_scheduler(sound_file, loop)
    list(scheduler.due(START_NS + 20 * MS, 1, True))
    scheduler.interrupt()
    chunks = list(scheduler.due(START_NS + 1120 * MS, 2, True))
    assert not any(c.samples.any() for c in chunks[:50])
    assert any(c.samples.any() for c in chunks[50:]) == sound_again


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0])
def test_file_continues_at_a_clock_that_jumped(sound_file, jump_s):
    scheduler = make_scheduler(sound_file)
    list(scheduler.due(START_NS + 20 * MS, 1, True))
    assert scheduler.follow_clock(START_NS + 40 * MS) == 0.0
    now_ns = START_NS + 20 * MS + round(jump_s * 1e9)
    assert scheduler.follow_clock(now_ns) == pytest.approx(jump_s)
    (chunk,) = scheduler.due(now_ns, 1, True)
    assert chunk.end_ns == now_ns


def test_damaged_file_raises_after_its_good_chunks(tmp_path):
    samples = np.zeros(8 * 16_000 * 20)
    samples[-1] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, 16_000, subtype="FLOAT")
    scheduler = make_scheduler(tmp_path / "nan.wav")
    with pytest.raises(AudioError, match="NaN"):
        list(scheduler.due(START_NS + 200_000 * MS, 1, True))


def microphone_block(index, time_ns):
    return CapturedBlock(np.full(320, 0.5, np.float32), index * 320, time_ns, lost=False)


def test_silence_replaces_a_microphone_that_delivers_nothing():
    scheduler = MicrophoneScheduler(20)
    scheduler.start(START_NS)
    silence = scheduler.silence_due(START_NS + 1000 * MS, 1)
    assert silence
    assert not any(c.samples.any() for c in silence)
    starts = [c.start_ns for c in silence]
    assert set(np.diff(starts)) == {20 * MS}
    assert abs(silence[-1].end_ns - (START_NS + 1000 * MS)) <= 20 * MS


def test_captured_chunks_end_the_silence_and_never_overlap_it():
    scheduler = MicrophoneScheduler(20)
    scheduler.start(START_NS)
    silence = scheduler.silence_due(START_NS + 1000 * MS, 1)
    captured = []
    for k in range(20):
        time_ns = START_NS + (900 + 20 * k) * MS
        captured += scheduler.push(microphone_block(k, time_ns), 1, time_ns + 20 * MS)
    assert captured
    assert all(c.start_ns > silence[-1].end_ns - 10 * MS for c in captured)
    assert scheduler.silence_due(START_NS + 1320 * MS, 1) == []


def test_microphone_follows_a_clock_that_is_set_back():
    scheduler = MicrophoneScheduler(20)
    scheduler.start(START_NS)
    scheduler.silence_due(START_NS + 1000 * MS, 1)
    earlier_ns = START_NS - 3600 * 1000 * MS
    silence = scheduler.silence_due(earlier_ns, 1)
    assert silence
    assert all(c.end_ns <= earlier_ns + MS for c in silence)
