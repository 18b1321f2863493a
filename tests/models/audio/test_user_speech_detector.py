"""Detection of a user next to a face that speaks, and the decision to interrupt the face."""

import numpy as np
import pytest

from splatface.models.audio.user_speech_detector import (
    BargeInPolicy,
    PlaybackLevelTracker,
    SpeechOnsetDetector,
    UserSpeechDetector,
    VadWindow,
)
from splatface.models.errors import AudioError
from splatface.models.messages import AudioChunk
from splatface.models.tts.speak import speak, voices

RATE, MS = 16_000, 1_000_000
START_NS = 1_700_000_000_000_000_000
DELAY_NS = 200 * MS
VOICED, SILENT = VadWindow(0.9, -25.0), VadWindow(0.01, -80.0)
FACE_ALONE = VadWindow(0.02, -60.0, -20.0)  # an echo 40 dB below what is played
needs_voice = pytest.mark.skipif(not voices(), reason="no voice is installed: apt-get install libflite1")


def push_windows(onset, window, windows):
    return [onset.push(window) for _ in range(windows)]


def test_the_user_speaks_after_a_tenth_of_a_second_and_through_pauses():
    onset = SpeechOnsetDetector()
    assert push_windows(onset, VOICED, 4) == [False, False, True, True]
    assert all(push_windows(onset, SILENT, 15))  # 480 ms
    assert not onset.push(SILENT)
    assert push_windows(onset, VOICED, 1) == [False]


def test_a_long_speech_ends_once():
    onset = SpeechOnsetDetector()
    assert all(push_windows(onset, VOICED, 100)[2:])
    after = push_windows(onset, SILENT, 100)
    assert after.index(False) == 15
    assert not any(after[15:])


@pytest.mark.parametrize("window", [VadWindow(0.4, -20.0), VadWindow(0.9, -70.0)], ids=["noise", "far away"])
def test_noise_and_distant_speech_are_no_user(window):
    onset = SpeechOnsetDetector()
    assert not any(push_windows(onset, window, 100))


def test_an_echo_is_no_user_and_its_loss_is_estimated():
    onset = SpeechOnsetDetector()
    assert np.isnan(onset.echo_loss_db)
    assert not any(push_windows(onset, FACE_ALONE, 60))
    assert onset.echo_loss_db == pytest.approx(40)
    # A little more of it, even if it sounds like a voice, is still the face.
    assert not any(push_windows(onset, VadWindow(0.9, -52.0, -20.0), 60))


@pytest.mark.parametrize("gain_db", [-30.0, -6.0, 5.0])
def test_an_echo_without_canceller_interrupts_nothing(gain_db):
    onset = SpeechOnsetDetector()
    assert not any(push_windows(onset, VadWindow(0.95, -24.0 + gain_db, -24.0), 200))
    assert onset.voiced_ms == 0.0
    # a user who is much louder is detected all the same
    assert any(push_windows(onset, VadWindow(0.95, -24.0 + gain_db + 12, -24.0), 10))


def test_a_user_chopped_by_the_canceller_counts_a_little_less():
    clear, chopped = SpeechOnsetDetector(), SpeechOnsetDetector()
    for onset in (clear, chopped):
        push_windows(onset, FACE_ALONE, 60)
    push_windows(clear, VadWindow(0.9, -25.0, -20.0), 4)
    push_windows(chopped, VadWindow(0.05, -25.0, -20.0), 4)
    assert clear.voiced_ms == 128.0
    assert chopped.voiced_ms == pytest.approx(0.67 * 128.0)


def test_knocks_are_no_user():
    onset = SpeechOnsetDetector()
    push_windows(onset, FACE_ALONE, 60)
    for _ in range(20):
        push_windows(onset, VadWindow(0.05, -15.0, -20.0), 3)  # 96 ms of a knock
        assert onset.voiced_ms < 150
        push_windows(onset, FACE_ALONE, 20)


def chunk(first_ms, level, utterance=1, length_ms=20):
    samples = np.full(length_ms * 16, 10 ** (level / 20), np.float32)
    return AudioChunk(samples, RATE, START_NS + first_ms * MS, utterance)


def test_the_face_is_audible_when_played_and_not_after_an_interruption():
    face = PlaybackLevelTracker()
    for first in range(0, 400, 20):
        face.push(chunk(first, -20), DELAY_NS, START_NS + first * MS)

    def level(at_ms, newest=False):
        return face.level_dbfs(START_NS + at_ms * MS, START_NS + (at_ms + 1) * MS, newest=newest)

    assert level(199) == -100
    assert level(200) == pytest.approx(-20, abs=0.1)
    assert level(599) == pytest.approx(-20, abs=0.1)
    assert level(600) == -100
    # A new utterance comes at 400 ms: what would be played later is gone.
    face.push(chunk(400, -90, utterance=2), DELAY_NS, START_NS + 400 * MS)
    assert level(399) == pytest.approx(-20, abs=0.1)
    assert level(399, newest=True) == -100
    assert level(430) == -100
    face.push(chunk(420, -10, utterance=1), DELAY_NS, START_NS + 410 * MS)  # late
    assert face.utterance == 2
    assert level(625) == -100
    # Its sender was started again, from a lower number.
    face.push(chunk(2000, -10, utterance=1), DELAY_NS, START_NS + 2000 * MS)
    assert face.utterance == 1


def conversation(detector, microphone, face, ends=None):
    """Return (ms, user speaking, interrupt) after every 20 ms of a microphone and a face at once."""
    barge_in, out = BargeInPolicy(), []
    ends = ends if ends is not None else len(face)
    for first in range(0, len(microphone) - 319, 320):
        now_ns = START_NS + first * 62_500
        ahead = first + 4800  # the face is known 300 ms before it is played
        utterance = 1 + (first >= ends)
        samples = face[ahead : ahead + 320] if ahead < ends else np.zeros(320, np.float32)
        start_ns = now_ns + 300 * MS - DELAY_NS
        detector.playback.push(AudioChunk(samples, RATE, start_ns, utterance), DELAY_NS, now_ns)
        detector.push(AudioChunk(microphone[first : first + 320], RATE, now_ns))
        out.append((first / 16 + 20, detector.onset.speaking, barge_in.should_interrupt(detector, 200.0)))
    return out


def synthesize(text, voice):
    return np.concatenate([part.samples for part in speak(text, voice)])


@needs_voice
def test_a_user_is_detected_with_and_without_a_face():
    question = synthesize(
        "Excuse me, I would like to ask you something about the way to the station.", "flite/rms"
    )
    begin = int(np.argmax(np.abs(question) > 0.02))
    noise = np.random.default_rng(1).normal(0, 1e-3, len(question) + 5 * RATE).astype(np.float32)
    microphone = noise.copy()
    microphone[3 * RATE : 3 * RATE + len(question)] += question
    started_ms = 3000 + begin / 16

    alone = conversation(UserSpeechDetector(), microphone, np.zeros(len(microphone), np.float32))
    onset = next(ms for ms, speaking, _ in alone if speaking)
    assert 0 < onset - started_ms < 400
    assert not alone[-1][1]
    assert not any(due for _, _, due in alone)  # nothing to interrupt

    face = synthesize(
        "This is a long story about a king, his daughters, and the gray coat of a stranger. " * 3, ""
    )
    face = np.resize(face, len(microphone))
    over = conversation(UserSpeechDetector(), microphone, face)
    due = [ms for ms, _, due in over if due]
    assert 0 < due[0] - started_ms < 700
    assert np.all(np.diff(due) >= 1000)  # asked again, if the face did not fall silent

    fell_silent = conversation(UserSpeechDetector(), microphone, face, ends=round(due[0] * 16))
    assert [ms for ms, _, due in fell_silent if due] == due[:1]


def test_nan_and_other_rates_have_no_lasting_effect():
    detector = UserSpeechDetector()
    bad = np.full(320, np.nan, np.float32)
    for block in range(50):
        detector.push(AudioChunk(bad, RATE, START_NS + block * 20 * MS))
    assert detector.nonfinite_samples == 50 * 320
    assert detector.level_dbfs == -100
    with pytest.raises(AudioError, match="expected mono samples"):
        detector.push(AudioChunk(np.zeros(320, np.float32), 48_000, START_NS))
    if voices():
        question = synthesize("Can you hear me now?", "")
        for first in range(0, len(question) - 319, 320):
            detector.push(AudioChunk(question[first : first + 320], RATE, START_NS + first * 62_500))
        assert detector.onset.voiced_ms > 200


def test_chunk_sizes_change_nothing():
    noise = np.random.default_rng(2).normal(0, 0.1, RATE).astype(np.float32)
    times = []
    for size in (320, 77):
        detector = UserSpeechDetector()
        for first in range(0, len(noise), size):
            detector.push(AudioChunk(noise[first : first + size], RATE, START_NS + first * 62_500))
        times.append((detector.time_ns, detector.level_dbfs, detector.onset.voiced_ms))
    assert times[0] == times[1]
    assert times[0][0] == START_NS + 31 * 32 * MS
