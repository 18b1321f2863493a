"""Filters of the microphone: what they remove, what they preserve, and the time of the audio."""

import importlib.util
import sys

import numpy as np
import pytest

from splatface.models.audio.chunks import from_pcm, to_pcm
from splatface.models.audio.processing_chain import BLOCK_SAMPLES, FarEnd, ProcessingChain, choose_filters
from splatface.models.errors import AudioError
from splatface.models.messages import AudioChunk

RATE, MS = 16_000, 1_000_000
START_NS = 1_700_000_000_000_000_000
DELAY_MS = 200
installed = importlib.util.find_spec
webrtc = pytest.mark.skipif(not installed("livekit"), reason="pip install splatface[microphone]")
FILTERS = [
    pytest.param("none", "none", 0, id="none"),
    pytest.param("none", "webrtc", 96, marks=webrtc, id="noise"),
    pytest.param("webrtc", "none", 128, marks=webrtc, id="echo"),
    pytest.param("webrtc", "webrtc", 224, marks=webrtc, id="echo-and-noise"),
]


def syllables(seconds, seed=0):
    """Return audio like speech to a filter: harmonics of a voice, 4 syllables a second, pauses between."""
    rng = np.random.default_rng(seed)
    times = np.arange(round(seconds * RATE)) / RATE
    pitch = 130 + 30 * np.sin(2 * np.pi * 0.7 * times + rng.uniform(0, 6))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    voice = sum(np.sin(n * phase + rng.uniform(0, 6)) / n for n in range(1, 30))
    loudness = np.maximum(np.sin(2 * np.pi * 4 * times + rng.uniform(0, 6)), 0) ** 0.7
    return (0.08 * voice * loudness + 0.01 * rng.normal(0, 1, len(times)) * loudness).astype(np.float32)


def hiss(count, dbfs, seed=1):
    return (10 ** (dbfs / 20) * np.random.default_rng(seed).normal(0, 1, count)).astype(np.float32)


def chunked(samples, sizes, utterance=0):
    first = index = 0
    while first < len(samples):
        piece = samples[first : first + sizes[index % len(sizes)]]
        yield AudioChunk(piece, RATE, START_NS + first * 62_500, utterance)
        first, index = first + len(piece), index + 1


def db(samples):
    return 10 * np.log10(np.mean(np.square(samples, dtype=np.float64)) + 1e-12)


class Room:
    """A microphone with the loudspeaker 35 ms late, through a small room, and a user."""

    def __init__(self, echo, noise):
        self.far_end = FarEnd(DELAY_MS * MS)
        self.chosen = choose_filters(echo, noise, self.far_end)
        assert not self.chosen.problem
        self.chain = ProcessingChain(self.chosen.filters, 320)

    def echo_of(self, played):
        rng = np.random.default_rng(3)
        clap = np.zeros(2400)
        clap[400:] = 0.05 * rng.normal(0, 1, 2000) * np.exp(-np.arange(2000) / 400)
        clap[560] = 0.5
        return np.convolve(played, clap)[: len(played)].astype(np.float32)

    def clean(self, captured, played, cut_at=None):
        """Return the output; from `cut_at` on the played audio is of an utterance that replaced the first."""
        out = []
        to_play = list(chunked(played, [320]))
        for chunk in chunked(captured, [320]):
            # published 100 ms before its stamp, which is DELAY_MS before it is played
            until_ns = chunk.start_ns + (100 + DELAY_MS) * MS
            while to_play and to_play[0].start_ns <= until_ns:
                spoken = to_play.pop(0)
                stamp_ns = spoken.start_ns - DELAY_MS * MS
                old = cut_at is None or chunk.start_ns < START_NS + cut_at * 62_500
                self.far_end.push(AudioChunk(spoken.samples, RATE, stamp_ns, 0 if old else 1))
            out += self.chain.push(chunk)
        return np.concatenate([chunk.samples for chunk in out])[self.chain.delay_samples :]


@pytest.mark.parametrize(("echo", "noise", "delay"), FILTERS)
def test_timestamps_are_corrected_for_the_delay_of_the_filters(echo, noise, delay):
    chosen = choose_filters(echo, noise, FarEnd(0))
    chain = ProcessingChain(chosen.filters, 320)
    sound = syllables(6) + hiss(6 * RATE, -80)
    chunks = [out for chunk in chunked(sound, [320]) for out in chain.push(chunk)]
    assert chain.delay_samples == delay
    clean = np.concatenate([chunk.samples for chunk in chunks])
    size = 2 * len(clean)
    product = np.fft.rfft(clean, size) * np.conj(np.fft.rfft(sound[: len(clean)], size))
    product[np.fft.rfftfreq(size, 1 / RATE) < 1000] = 0  # a high-pass filter turns the phase of what is low
    assert abs(int(np.argmax(np.fft.irfft(product / (np.abs(product) + 1e-9))[:1000])) - delay) <= 2
    assert chunks[0].start_ns == START_NS - delay * 62_500
    assert not np.diff(np.diff([chunk.start_ns for chunk in chunks])).any()
    assert abs(db(clean[RATE:]) - db(sound[RATE:])) < 2.5


@pytest.mark.parametrize(("echo", "noise", "delay"), FILTERS)
@pytest.mark.parametrize("sizes", [[7], [160, 33, 512], [4000]])
def test_chunk_sizes_change_nothing(echo, noise, delay, sizes):
    sound = syllables(1) + hiss(RATE, -50)
    outs = []
    for cut in ([320], sizes):
        chain = ProcessingChain(choose_filters(echo, noise, FarEnd(0)).filters, 240)
        outs.append([out for chunk in chunked(sound, cut, utterance=5) for out in chain.push(chunk)])
    for one, other in zip(*outs, strict=True):
        np.testing.assert_array_equal(one.samples, other.samples)
        assert (one.start_ns, one.utterance, len(one.samples)) == (other.start_ns, 5, 240)


def test_a_gap_advances_the_timestamps_and_nonfinite_samples_are_silence():
    chain = ProcessingChain((), 320)
    sound = syllables(1)
    sound[100], sound[200] = np.nan, np.inf
    out = chain.push(AudioChunk(sound[:800], RATE, 0, 0))
    later = chain.push(AudioChunk(sound[800:1760], RATE, 500 * MS, 1))
    assert chain.nonfinite_samples == 2
    assert [chunk.start_ns for chunk in out] == [0, 20 * MS]
    assert [chunk.start_ns for chunk in later] == [490 * MS, 510 * MS, 530 * MS]  # begun before the gap
    clean = np.concatenate([chunk.samples for chunk in out + later])
    np.testing.assert_array_equal(clean, np.nan_to_num(sound[:1600], posinf=0.0))


@pytest.mark.parametrize(
    ("samples", "rate"), [(np.zeros(320), 44_100), (np.zeros((160, 2)), RATE)], ids=["rate", "stereo"]
)
def test_audio_of_another_format_is_refused(samples, rate):
    with pytest.raises(AudioError, match=r"expected mono samples \[T\] at 16000 Hz, found"):
        ProcessingChain((), 320).push(AudioChunk(samples.astype(np.float32), rate, 0))


@pytest.mark.parametrize(("echo", "noise"), [("webrtc", "none"), ("none", "webrtc")])
def test_a_filter_that_is_not_installed_is_omitted_and_named(echo, noise, monkeypatch):
    monkeypatch.setitem(sys.modules, "livekit.rtc", None)
    chosen = choose_filters(echo, noise, FarEnd(0))
    assert chosen.filters == ()
    assert chosen.echo is None
    assert "found none: pip install splatface[microphone] (sound goes through unchanged)" in chosen.problem
    assert chosen.problem.startswith("echo: expected livekit" if echo == "webrtc" else "noise: expected ")


def test_samples_survive_sixteen_bits():
    samples = np.array([0, 0.5, -1, 1, 2, -3, 1 / 32768], np.float32)
    np.testing.assert_array_equal(
        from_pcm(to_pcm(samples)), np.array([0, 0.5, -1, 32767 / 32768, 32767 / 32768, -1, 1 / 32768], "f")
    )


def test_an_unknown_filter_is_refused_with_the_choices():
    with pytest.raises(AudioError, match="noise: expected one of none, webrtc, found 'speex'"):
        choose_filters("none", "speex", FarEnd(0))


@webrtc
def test_steady_noise_is_removed_and_a_voice_preserved():
    chain = ProcessingChain(choose_filters("none", "webrtc", FarEnd(0)).filters, 320)
    sound = hiss(8 * RATE, -45)
    sound[5 * RATE :] += syllables(3)
    clean = np.concatenate([c.samples for chunk in chunked(sound, [320]) for c in chain.push(chunk)])
    assert db(sound[3 * RATE : 5 * RATE]) - db(clean[3 * RATE : 5 * RATE]) > 10
    assert abs(db(sound[5 * RATE :]) - db(clean[5 * RATE :])) < 3


@webrtc
@pytest.mark.parametrize("noise", ["none", "webrtc"])
def test_the_echo_is_removed_and_the_users_voice_preserved(noise):
    room = Room("webrtc", noise)
    played, user = syllables(12), syllables(12, seed=8)
    user[: 8 * RATE] = 0
    played[10 * RATE :] = 0
    captured = room.echo_of(played) + user + hiss(12 * RATE, -70)
    clean = room.clean(captured, played)
    assert db(captured[3 * RATE : 8 * RATE]) - db(clean[3 * RATE : 8 * RATE]) > 25
    both = slice(round(8.5 * RATE), 10 * RATE)
    assert db(clean[both]) > db(clean[3 * RATE : 8 * RATE]) + 20  # a user is captured over the echo
    alone = slice(round(10.5 * RATE), len(clean))
    assert abs(db(clean[alone]) - db(user[alone])) < 2


@webrtc
def test_erle_is_known_once_there_was_echo():
    room = Room("webrtc", "none")
    played = syllables(6)
    assert np.isnan(room.chosen.echo.erle_db)
    room.clean(room.echo_of(played) + hiss(6 * RATE, -70), played)
    assert room.chosen.echo.erle_db > 15


@webrtc
def test_canceled_audio_is_no_echo():
    """After an interruption the canceller knows what is played: the new utterance is removed as well."""
    room = Room("webrtc", "none")
    cut, again = 5 * RATE, 6 * RATE
    spoken, replaced = syllables(10), syllables(10, seed=4)
    # The speaker holds 40 ms; what else was sent is flushed, and silence is what replaces it.
    played = np.where(np.arange(len(spoken)) < cut + 640, spoken, np.float32(0.0))
    played[again:] = replaced[again:]
    sent = np.where(np.arange(len(spoken)) < cut + (100 + DELAY_MS) * 16, spoken, np.float32(0.0))
    sent[again:] = replaced[again:]
    captured = room.echo_of(played) + hiss(10 * RATE, -70)
    clean = room.clean(captured, sent, cut_at=cut)
    assert db(clean[cut + RATE // 4 : again]) < -55
    assert db(captured[again + RATE :]) - db(clean[again + RATE :]) > 20


def test_the_far_end_is_the_played_audio_at_its_time():
    far_end = FarEnd(DELAY_MS * MS)
    sound = syllables(2)
    for chunk in chunked(sound, [320]):
        far_end.push(chunk)  # captured from START_NS + 200 ms on
    out = [far_end.take(START_NS + block * 10 * MS) for block in range(180)]
    taken = np.concatenate(out)
    # 20 ms early, as a canceller needs it
    np.testing.assert_allclose(taken[180 * 16 + 3200 :], sound[3200 : len(taken) - 180 * 16], atol=2e-2)
    assert not taken[: 160 * 16].any()


def test_the_far_end_may_come_late_or_not_at_all():
    far_end = FarEnd(0)
    assert not np.concatenate([far_end.take(START_NS + n * 10 * MS) for n in range(50)]).any()
    far_end.push(AudioChunk(np.ones(320, np.float32), 44_100, START_NS))
    assert far_end.refused == 1
    far_end.delay_ns = 1_000 * MS
    assert len(far_end.take(START_NS)) == BLOCK_SAMPLES
