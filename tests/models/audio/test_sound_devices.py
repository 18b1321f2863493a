"""Choice of a microphone and the time of its audio. A real stream runs in tests/nodes."""

import numpy as np
import pytest

from splatface.models.audio.sound_devices import INPUT, CapturedBlock, TimestampedChunker, choose_device
from splatface.models.errors import AudioError

DEVICES = {
    2: "HDA Intel PCH: ALC257 (hw:0,0)",
    5: "ReSpeaker 4 Mic Array",
    7: "default",
    8: "default monitor",
}
MS = 1_000_000


@pytest.mark.parametrize(
    ("wanted", "found"),
    [("", 7), ("  ", 7), ("5", 5), ("respeaker", 5), ("ALC257", 2), ("default", 7), ("monitor", 8)],
)
def test_a_device_is_chosen_by_number_or_name(wanted, found):
    assert choose_device(INPUT, DEVICES, wanted, default=7) == found


def test_without_a_default_the_first_device_is_chosen():
    assert choose_device(INPUT, DEVICES, "", default=-1) == 2


@pytest.mark.parametrize(
    ("wanted", "message"),
    [("webcam", "no such device"), ("3", "no such device"), ("c", "several fit"), ("-1", "no such device")],
)
def test_an_unknown_device_lists_the_known_ones(wanted, message):
    with pytest.raises(AudioError, match=message) as raised:
        choose_device(INPUT, DEVICES, wanted, default=7)
    assert all(f"{index}: {name}" in str(raised.value) for index, name in DEVICES.items())


def test_no_device_at_all():
    with pytest.raises(AudioError, match="found none: plug one in"):
        choose_device(INPUT, {}, "", default=-1)
    with pytest.raises(AudioError, match="none at all"):
        choose_device(INPUT, {}, "usb", default=-1)


def block(first, count, time_ns, lost=False):
    samples = np.arange(first, first + count, dtype=np.float32)
    return CapturedBlock(samples, first, time_ns, lost)


@pytest.mark.parametrize("chunk_ms", [5, 20, 33])
def test_blocks_become_chunks_with_their_time(chunk_ms):
    stamped = TimestampedChunker(chunk_ms)
    blocks = [block(i * 160, 160, i * 10 * MS) for i in range(100)]
    chunks = [chunk for one in blocks for chunk in stamped.push(one, utterance=4)]
    size = chunk_ms * 16
    assert len(chunks) == 16_000 // size
    for index, chunk in enumerate(chunks):
        np.testing.assert_array_equal(chunk.samples, np.arange(index * size, (index + 1) * size))
        assert chunk.start_ns == index * chunk_ms * MS
        assert (chunk.utterance, chunk.sample_rate) == (4, 16_000)


def test_lost_samples_advance_the_time():
    stamped = TimestampedChunker(20)
    before = [c for i in range(50) for c in stamped.push(block(i * 160, 160, i * 10 * MS), 0)]
    after = [
        c
        for i in range(50, 60)
        for c in stamped.push(block(i * 160, 160, i * 10 * MS + 200 * MS, i == 50), 0)
    ]
    assert before[-1].start_ns == 480 * MS
    assert after[0].start_ns == 700 * MS
