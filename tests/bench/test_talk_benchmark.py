"""What a bench makes of a conversation: known answers from sounds and images that were made up."""

import functools

import numpy as np
import pytest

from bench.av_sync import (
    Delays,
    MouthDetector,
    TimeSeries,
    cross_correlation_lag_ms,
    drift_ms_per_minute,
    image_delays,
    measure_sync,
    sound_delays,
    sync_offsets,
)
from bench.clients import ReceivedImages
from bench.null_sink import FRAGMENT, RATE_HZ, SinkRecording
from bench.talk_benchmark import Interruption, format_table, interruption_latency
from splatface.models.messages import NS_PER_S, AudioChunk

START_NS = 1_800_000_000_000_000_007
MS = 1_000_000
SECONDS = 12


@functools.cache
def speech(seconds, rate_hz):
    """Noise with syllables, the same at every rate: a sum of tones."""
    random = np.random.default_rng(3)
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    tones = random.uniform(80, 2000, 60)
    sound = sum(np.sin(2 * np.pi * tone * times + tone) for tone in tones) / 60
    return (
        0.5 * sound * np.clip(np.sin(2 * np.pi * 2.3 * times) + 0.3 * np.sin(2 * np.pi * 0.7 * times), 0, 1)
    )


def published(seconds=SECONDS):
    sound = speech(seconds, 16_000).astype(np.float32)
    return [
        AudioChunk(sound[k * 320 : (k + 1) * 320], 16_000, START_NS + k * 20 * MS, 1)
        for k in range(seconds * 50)
    ]


def recorded(late_ms, drift_ppm=0.0, seconds=SECONDS):
    """Recording of the sink from a second before the first stamp."""
    rate_hz = RATE_HZ * (1 - drift_ppm * 1e-6)
    count = (seconds + 2) * RATE_HZ // FRAGMENT * FRAGMENT
    times = (np.arange(count) / rate_hz - 1 - late_ms / 1e3) * RATE_HZ
    sound = np.interp(times, np.arange(seconds * RATE_HZ), speech(seconds, RATE_HZ), left=0, right=0)
    fragments = np.arange(count // FRAGMENT) * FRAGMENT
    random = np.random.default_rng(1)
    arrivals_ns = START_NS - NS_PER_S + fragments * NS_PER_S // RATE_HZ + FRAGMENT * NS_PER_S // RATE_HZ // 2
    wake_up_ns = np.where(random.random(len(fragments)) < 0.1, 8 * MS, 0)
    samples = np.round(32767 * sound).astype(np.int16)
    return SinkRecording(samples, arrivals_ns + wake_up_ns)


def received(late_ms, seconds=SECONDS, closed_from_ns=None):
    """Images of a mouth that opens with the voice; the rest of the image is noise."""
    random = np.random.default_rng(2)
    stamps_ns = START_NS + np.arange(seconds * 25) * 40 * MS
    open_at = np.abs(speech(seconds, 16_000)).reshape(-1, 640).mean(axis=1)
    open_at = open_at / open_at.max()
    arrivals_ns = stamps_ns + round(late_ms * MS)
    if closed_from_ns is not None:
        open_at = np.where(arrivals_ns >= closed_from_ns, 0.0, np.maximum(open_at, 0.5))
    images = np.full((len(stamps_ns), 48, 48), 100.0)
    images[:, 30:36, 20:28] += 80 * open_at[:, None, None]
    images += random.normal(0, 0.5, images.shape)
    return ReceivedImages(stamps_ns, arrivals_ns, images.astype(np.uint8))


def mouth():
    resting = np.full((20, 48, 48), 100, np.uint8)
    return MouthDetector(resting, received(0).small)


@pytest.mark.parametrize("late_ms", [150.0, 200.0, 231.7])
def test_sound_is_found_at_its_delay(late_ms):
    sound = sound_delays(published(), recorded(late_ms), 200.0)
    assert len(sound.delay_ms) > SECONDS * 0.9
    assert np.abs(sound.delay_ms - late_ms).max() < 0.3


def test_silence_is_not_found():
    silence = SinkRecording(
        np.zeros(SECONDS * RATE_HZ, np.int16), recorded(200.0).arrivals_ns[: SECONDS * 200]
    )
    assert len(sound_delays(published(), silence, 200.0).delay_ms) == 0


def test_offset_between_images_and_sound():
    offset = sync_offsets(
        image_delays(received(210.0)), sound_delays(published(), recorded(200.0, drift_ppm=50.0), 200.0)
    )
    assert len(offset.delay_ms) > 25 * SECONDS * 0.9
    # 50 ppm too fast: the voice runs ahead of the mouth.
    assert np.median(offset.delay_ms) == pytest.approx(10.0 + 0.05 * SECONDS / 2, abs=0.3)
    assert offset.delay_ms[-1] > offset.delay_ms[0] + 0.3


def test_drift_is_a_slope_that_single_images_do_not_change():
    random = np.random.default_rng(0)
    seconds = np.arange(0, 300, 0.04)
    late_ms = 200 + 3.0 * seconds / 60 + np.where(random.random(len(seconds)) < 0.05, 40, 0)
    stamps_ns = START_NS + np.round(seconds * 1e9).astype(np.int64)
    assert drift_ms_per_minute(Delays(stamps_ns, late_ms)) == pytest.approx(3.0, abs=0.02)


def test_of_a_picture_drawn_again_the_last_counts():
    first = received(200.0, seconds=1)
    stamps_ns = np.concatenate([first.stamps_ns, first.stamps_ns[-2:]])
    arrivals_ns = np.concatenate([first.arrivals_ns, first.arrivals_ns[-1] + np.array([5, 45]) * MS])
    small = np.concatenate([first.small, first.small[-2:]])
    late = image_delays(ReceivedImages(stamps_ns, arrivals_ns, small))
    assert len(late.stamps_ns) == 25
    assert late.delay_ms[-2:] == pytest.approx([245.0, 245.0])


def test_the_mouth_is_seen_to_follow_the_voice():
    result = measure_sync(published(), recorded(200.0), received(260.0), mouth(), 200.0)
    assert result["offset_ms"]["median"] == pytest.approx(60.0, abs=0.5)
    lips = result["lips_after_voice_ms"]
    assert lips["live"] - lips["by_stamps"] == pytest.approx(60.0, abs=10.0)
    assert result["pictures"] > 25 * SECONDS * 0.9


def test_what_cannot_be_measured_is_none():
    nothing = SinkRecording(np.zeros(RATE_HZ, np.int16), np.arange(200) * 5 * MS + START_NS)
    result = measure_sync(published(3), nothing, received(200.0, 3), mouth(), 200.0)
    assert result["offset_ms"] == {"p5": None, "median": None, "p95": None}
    assert result["drift_ms_per_minute"] is None
    assert np.isnan(
        cross_correlation_lag_ms(TimeSeries(np.arange(3), np.zeros(3)), TimeSeries(np.arange(3), np.zeros(3)))
    )


def test_stillness_is_when_the_last_sound_and_the_last_open_mouth_are_over():
    called_ns = START_NS + 9_874 * MS  # in the middle of a syllable that is heard 200 ms later
    sound = recorded(200.0)
    times_ns = sound.times_ns()[:, None] + np.arange(FRAGMENT) * NS_PER_S // RATE_HZ
    sound.samples[times_ns.ravel() > called_ns + 30 * MS] = 0
    images = received(210.0, closed_from_ns=called_ns + 55 * MS)
    still = interruption_latency(
        [Interruption(called_ns, 1.0, 100.0, called_ns + NS_PER_S)], sound, images, mouth()
    )
    assert still["silent_ms"] == pytest.approx([30.0], abs=5.0)
    assert 55 <= still["mouth_at_rest_ms"][0] <= 95  # the next picture of the grid
    nobody = Interruption(START_NS - 3 * NS_PER_S, 1.0, 100.0, START_NS - 2 * NS_PER_S)
    assert interruption_latency([nobody], sound, images, mouth())["silent_ms"] == [0.0]


def test_table_has_a_row_per_figure():
    marks = {"p5": 1.0, "median": 2.0, "p95": 3.0, "max": None}
    result = {
        **measure_sync(published(3), recorded(200.0, seconds=3), received(205.0, 3), mouth(), 200.0),
        "ready_s": 4.0,
        "speaker": {"underruns": 0, "device_underflows": 1, "jumps": 2, "drift_ppm": 3.0},
        "barge_in": {"count": 5, "silent_ms": marks, "mouth_at_rest_ms": marks},
        "in_a_row": {
            "count": 1000,
            "open_goals": 0,
            "next_say_ms": marks,
            "nodes": {"tts": {"memory_mb": [150.0, 151.0], "threads": [16, 16], "files": [24, 24]}},
        },
    }
    text = format_table(result)
    for part in ("image after its sound", "barge-in: silent", "1000 interruptions", "150.0 -> 151.0"):
        assert part in text
