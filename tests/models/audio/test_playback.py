"""Sound at its moment, on devices whose clocks are off: known answers from simulated sound cards."""

import numpy as np
import pytest

from splatface.models.audio.device_clock import ClockDriftCompensator, PlaybackClock
from splatface.models.audio.playback import JitterBuffer, Playback, SincResampler
from splatface.models.messages import AudioChunk

START_NS = 1_800_000_000_000_000_007
MS = 1_000_000
DELAY_NS = 200 * MS


def chunks(sound, utterance=0, start_ns=START_NS):
    """Chunks of 20 ms of a function of time (s)."""
    index = 0
    while True:
        times = (index * 320 + np.arange(320)) / 16_000
        yield AudioChunk(sound(times).astype(np.float32), 16_000, start_ns + index * 20 * MS, utterance)
        index += 1


class Card:
    """A sound card: its clock is off, what it says about time is noisy and now and then very wrong."""

    def __init__(self, rate_hz=48_000, ppm=0.0, noise_ms=0.3, seed=0):
        self.rate_hz, self.true_hz = rate_hz, rate_hz * (1 + ppm * 1e-6)
        self.noise_ms, self.random = noise_ms, np.random.default_rng(seed)
        self.asked = 0

    def play(self, playback, source, seconds, begin_ns=START_NS):
        """Play for a while; when each sample is heard (s after the start) and what is heard."""
        heard, sound = [], []
        count = self.rate_hz // 100
        for _ in range(round(seconds * 100)):
            at_s = self.asked / self.true_hz
            now_ns = begin_ns + round((at_s - 0.03) * 1e9)  # it is asked 30 ms before
            while source and source[0].start_ns <= now_ns + 100 * MS:
                playback.push(source.pop(0))
            said_ms = self.random.normal(0, self.noise_ms) + (40 if self.random.random() < 0.01 else 0)
            out = playback.fill(count, begin_ns + round(at_s * 1e9) + round(said_ms * MS))
            heard.append((self.asked + np.arange(count)) / self.true_hz)
            sound.append(out)
            self.asked += count
        return np.concatenate(heard), np.concatenate(sound)


def playback_at(rate_hz):
    playback = Playback(DELAY_NS)
    playback.restart(rate_hz)
    return playback


def taken(generator, seconds):
    return [next(generator) for _ in range(round(seconds * 50))]


@pytest.mark.parametrize(
    ("rate_hz", "ppm"), [(48_000, 200.0), (48_000, -200.0), (44_100, 50.0), (16_000, 0.0), (96_000, -80.0)]
)
def test_audio_is_on_time_on_a_device_whose_clock_drifts(rate_hz, ppm):
    # A ramp says by its height to which moment it belongs.
    playback = playback_at(rate_hz)
    card = Card(rate_hz, ppm)
    heard_s, sound = card.play(playback, taken(chunks(lambda t: (t + 1) / 200), 26), 25)
    late_s = heard_s - DELAY_NS / 1e9 - (200 * sound.astype(np.float64) - 1)
    settled = heard_s > 1.0
    assert np.abs(late_s[settled]).max() < 1e-3
    assert np.abs(late_s[heard_s > 15]).mean() < 4e-4
    assert playback.drift_ppm == pytest.approx(-ppm, abs=60)
    assert (playback.underruns, playback.jumps, playback.flushes) == (0, 0, 0)
    # Smooth: the pace never changes by what one could hear.
    pace = np.diff(sound[settled].astype(np.float64)[::480]) * 200 / np.diff(heard_s[settled][::480])
    assert np.abs(pace - 1).max() < 0.006


@pytest.mark.parametrize("frequency", [100.0, 1000.0, 4000.0])
def test_a_tone_is_not_distorted(frequency):
    playback = playback_at(48_000)
    card = Card(48_000, 100.0, noise_ms=0.1)
    source = taken(chunks(lambda t: 0.5 * np.sin(2 * np.pi * frequency * t)), 13)
    _, sound = card.play(playback, source, 12)
    piece = sound[-48_000:].astype(np.float64) * np.hanning(48_000)
    power = np.abs(np.fft.rfft(piece)) ** 2
    peak = int(np.argmax(power))
    assert peak == pytest.approx(frequency, abs=1.5)
    near = slice(max(peak - 15, 0), peak + 16)  # what is left of the card's jitter lies close to the tone
    assert 10 * np.log10(power[near].sum() / (power.sum() - power[near].sum())) > 60


def test_a_new_utterance_ends_the_old_one_between_two_samples():
    playback, card = playback_at(48_000), Card(noise_ms=0.0)
    old = taken(chunks(lambda t: np.full_like(t, 0.5)), 3)
    _, before = card.play(playback, old, 1)
    assert before[-1] == pytest.approx(0.5, abs=0.01)
    now_ns = START_NS + 970 * MS
    playback.push(next(chunks(np.zeros_like, utterance=1, start_ns=now_ns)))
    for chunk in old[:20]:  # what was on its way
        playback.push(chunk)
    _, after = card.play(playback, [], 1)
    # A click's worth of decay, no sample of the sound.
    assert np.abs(np.diff(np.concatenate([before[-1:], after]))).max() < 0.5 / 40
    assert np.abs(after[48 * 8 :]).max() < 1e-3
    assert playback.flushes == 1
    assert playback.utterance == 1
    later = taken(chunks(lambda t: np.full_like(t, 0.3), utterance=1, start_ns=START_NS + 2000 * MS), 1)
    _, again = card.play(playback, later, 1)
    assert again[-1] == pytest.approx(0.3, abs=0.01)


def test_a_device_that_drops_its_buffer_continues_on_time():
    playback, card = playback_at(48_000), Card(ppm=200.0)
    source = taken(chunks(lambda t: (t + 1) / 200), 23)
    card.play(playback, source, 20)
    drift_ppm = playback.drift_ppm
    playback.restart(48_000)
    # It asks for its buffer at once: what was filled before is never heard.
    again = Card(ppm=200.0)
    begin_ns = START_NS + 20_050 * MS
    heard_s, sound = again.play(playback, source, 2, begin_ns)
    late_s = heard_s + 20.05 - DELAY_NS / 1e9 - (200 * sound.astype(np.float64) - 1)
    assert np.abs(late_s[480:]).max() < 1e-3  # a seam's worth after the first sample
    assert playback.drift_ppm == pytest.approx(drift_ppm, abs=30)  # what was learned of its clock stays
    assert playback.jumps == 0


def test_late_audio_is_counted_and_is_on_time_again():
    playback, card = playback_at(48_000), Card(noise_ms=0.0)
    source = taken(chunks(lambda t: np.sin(2 * np.pi * 50 * t)), 4)
    card.play(playback, source[:50], 1.5)  # then nothing for 0.3 s
    assert playback.underruns == 0
    heard_s, sound = card.play(playback, source[50:], 1.5)
    assert playback.underruns > 5
    expected = np.sin(2 * np.pi * 50 * (heard_s - 0.2))
    assert np.abs(sound - expected)[-48_000 // 2 :].max() < 0.02
    assert np.isfinite(sound).all()


def test_without_sound_there_is_silence():
    playback, card = playback_at(48_000), Card()
    _, sound = card.play(playback, [], 0.2)
    assert not sound.any()
    card.play(playback, taken(chunks(lambda t: np.full_like(t, 0.5)), 0.5), 1.5)
    _, sound = card.play(playback, [], 1)
    assert np.abs(sound).max() < 1e-6
    assert playback.underruns == 0


# the parts


def chunk(start_ms, value, utterance=0, count=320, rate=16_000):
    return AudioChunk(np.full(count, value, np.float32), rate, START_NS + start_ms * MS, utterance)


def test_the_buffer_numbers_samples_through_pauses():
    buffer = JitterBuffer()
    assert buffer.index_at(START_NS) is None
    buffer.push(chunk(0, 1.0))
    buffer.push(chunk(21, 2.0))  # a jittering stamp leaves no hole
    buffer.push(chunk(81, 3.0))  # a pause of 40 ms does
    np.testing.assert_array_equal(buffer.read(300, 1000), [1.0] * 20 + [2.0] * 320 + [0.0] * 640 + [3.0] * 20)
    assert buffer.index_at(START_NS + 10 * MS) == 160
    assert buffer.index_at(START_NS + 21 * MS) == 320  # by the stamp of its own chunk
    assert buffer.index_at(START_NS + 91 * MS) == 1280 + 160


def test_the_buffer_drops_old_utterances():
    buffer = JitterBuffer()
    for at in range(0, 200, 20):
        buffer.push(chunk(at, 1.0, utterance=5))
    buffer.push(chunk(40, 2.0, utterance=6))
    assert buffer.flushes == 1
    assert not buffer.read(0, 3200).any()
    assert (buffer.read(3200, 320) == 2.0).all()
    assert buffer.index_at(START_NS + 40 * MS) == 3200
    buffer.push(chunk(20, 9.0, utterance=5))
    assert buffer.late == 1
    assert not (buffer.read(0, 9999) == 9.0).any()
    buffer.push(chunk(1500, 3.0, utterance=1))  # a sender that was started again
    assert buffer.utterance == 1
    buffer.push(chunk(0, 4.0, utterance=1))  # a recording that begins again
    assert buffer.flushes == 3
    assert buffer.index_at(START_NS) is not None


def test_the_buffer_is_bounded_and_survives_nonfinite_samples():
    buffer = JitterBuffer()
    for at in range(0, 60_000, 20):
        buffer.push(chunk(at, 1.0))
    assert np.count_nonzero(buffer.read(0, 60 * 16_000)) <= 10 * 16_000 + 320
    buffer.push(chunk(60_000, 1.0, rate=44_100))
    buffer.push(chunk(60_000, 1.0, count=0))
    buffer.push(chunk(60_000, np.nan))
    assert buffer.refused == 1
    assert np.isfinite(buffer.read(59 * 16_000, 40_000)).all()


def test_the_clock_follows_a_line_and_jumps_when_a_server_learns_its_delay():
    clock = PlaybackClock(48_000)
    with pytest.raises(ValueError, match="no measurement"):
        clock.time_ns(0)
    random = np.random.default_rng(0)
    for block in range(200):
        wrong_ns = 1300 * MS if block < 5 else 0
        clock.measure(block * 480, START_NS + block * 10 * MS - wrong_ns + round(random.normal(0, 0.2 * MS)))
    assert abs(clock.time_ns(200 * 480) - START_NS - 2000 * MS) < 0.1 * MS


def test_the_drift_compensator_jumps_when_it_is_far_off_or_in_silence():
    compensator = ClockDriftCompensator(1 / 3, 48_000)
    assert compensator.next(1000.0, 480, False) == (1000.0, pytest.approx(1 / 3), True)
    position, step, jumped = compensator.next(1160.0 + 16.0, 480, False)  # 1 ms late
    assert (position, jumped) == (pytest.approx(1160.0), False)
    assert 1 / 3 < step < 1 / 3 * 1.0041
    assert compensator.next(2000.0, 480, False)[::2] == (2000.0, True)
    assert compensator.next(2160.0 + 100.0, 480, True)[::2] == (2260.0, False)
    assert compensator.jumps == 1


def test_the_resampler_is_exact_on_the_grid_and_between():
    resampler = SincResampler(1 / 3)
    for position in (40.0, 40.3, 123_456_789.7):
        first, size = resampler.input_range(position, 1 / 3, 500)
        samples = np.cos(0.6 * (first + np.arange(size) - np.floor(position))).astype(np.float32)
        expected = np.cos(0.6 * (position - np.floor(position) + np.arange(500) / 3))
        np.testing.assert_allclose(resampler.resample(samples, position, 1 / 3, 500), expected, atol=2e-3)
    # Down to a telephone's rate nothing folds back.
    down = SincResampler(2.0)
    first, size = down.input_range(0.0, 2.0, 400)
    tone = np.sin(2 * np.pi * 6000 / 16_000 * np.arange(size)).astype(np.float32)
    assert np.abs(down.resample(tone, 0.0, 2.0, 400)[50:]).max() < 0.01
