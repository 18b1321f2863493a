"""Sound that comes late is estimate to be late, and nothing else is."""

from dataclasses import replace

import numpy as np
import pytest

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.errors import SplatfaceError
from splatface.models.training.speech_corpus.coarticulation import modes_from_phones
from splatface.models.training.speech_corpus.sentences import SENTENCES
from splatface.models.training.tracking.av_sync import (
    Loudness,
    SpeechEvidence,
    advance_audio,
    analyze_speech,
    estimate_av_offset,
    mouth_shape_from_landmarks,
)

pytestmark = pytest.mark.slow

RATE = 16_000
OPEN, WIDE, ROUND = (MOUTH_MODES.index(mode) for mode in ("open", "wide", "round"))


@pytest.fixture(scope="module")
def speech():
    """Sound of some sentences, and the lips that say them: open and wide, with a tremble."""
    flite = pytest.importorskip("splatface.models.training.speech_corpus.corpus_voices")
    start, phones, pieces = 0.0, [], []
    for text in SENTENCES["en"][:3]:
        try:
            said = flite.synthesize_flite(text, "slt")
        except (OSError, SplatfaceError):
            pytest.skip("flite speaks the sentences")
        phones += [replace(p, start_s=p.start_s + start, end_s=p.end_s + start) for p in said.phones]
        pieces += [said.samples, np.zeros(RATE // 4, np.float32)]
        start += (len(said.samples) + RATE // 4) / RATE
    time_s = np.arange(0.0, start, 0.04)
    modes = modes_from_phones(phones, time_s)
    mouth = np.stack([modes[:, OPEN], modes[:, WIDE] - modes[:, ROUND]], axis=1)
    return np.concatenate(pieces), mouth + np.random.default_rng(0).normal(0, 0.03, mouth.shape), time_s


@pytest.mark.parametrize("late_ms", [-160.0, -80.0, 0.0, 80.0, 160.0])
def test_an_offset_is_found_to_20_ms(speech, late_ms):
    sound, mouth, time_s = speech
    estimate = estimate_av_offset(analyze_speech(advance_audio(sound, -late_ms)), mouth, time_s)
    assert estimate.reliable
    assert estimate.audio_delay_ms == pytest.approx(late_ms, abs=20)
    corrected = estimate_av_offset(
        analyze_speech(advance_audio(advance_audio(sound, -late_ms), estimate.audio_delay_ms)), mouth, time_s
    )
    assert abs(corrected.audio_delay_ms) < 15
    assert corrected.correlation_at_zero > estimate.correlation - 0.05


def test_lips_that_are_lost_for_a_while_are_not_missed(speech):
    sound, mouth, time_s = speech
    holes = mouth.copy()
    holes[20:40], holes[90:92] = np.nan, np.nan
    estimate = estimate_av_offset(analyze_speech(advance_audio(sound, -80)), holes, time_s)
    assert estimate.audio_delay_ms == pytest.approx(80, abs=20)


@pytest.mark.parametrize("kind", ["noise", "silence", "other speech"])
def test_what_does_not_fit_the_lips_has_no_clear_peak(speech, kind):
    sound, mouth, time_s = speech
    rng = np.random.default_rng(2)
    if kind == "noise":
        sound = rng.normal(0, 0.05, len(sound)).astype(np.float32)
    elif kind == "silence":
        sound = np.zeros_like(sound)
    else:
        mouth = mouth[::-1]  # as if somebody else spoke
    estimate = estimate_av_offset(analyze_speech(sound), mouth, time_s)
    assert not estimate.reliable
    assert estimate.audio_delay_ms == 0


def test_farther_than_200_ms_is_not_mended(speech):
    sound, mouth, time_s = speech
    assert (
        abs(estimate_av_offset(analyze_speech(advance_audio(sound, -330)), mouth, time_s).audio_delay_ms)
        <= 205
    )


def test_too_little_to_see_or_hear_says_nothing():
    nothing = SpeechEvidence(Loudness(-100.0, -100.0, 0.0), np.zeros((0, 2)), np.zeros(0))
    assert not estimate_av_offset(
        nothing, np.random.default_rng(0).normal(size=(200, 2)), np.arange(200) / 25
    ).reliable


def test_moving_sound_keeps_its_length():
    sound = np.arange(RATE, dtype=np.float32)
    assert advance_audio(sound, 100.0)[:5].tolist() == [1600, 1601, 1602, 1603, 1604]
    assert advance_audio(sound, 100.0)[-1600:].max() == 0
    assert advance_audio(sound, -100.0)[1600:1603].tolist() == [0, 1, 2]
    assert len(advance_audio(sound, 5000.0)) == RATE
    np.testing.assert_array_equal(advance_audio(sound, 0.0), sound)


def test_speech_is_told_from_silence(speech):
    loudness = analyze_speech(speech[0]).loudness
    assert loudness.loudest_dbfs > -45
    quiet = analyze_speech(np.zeros(4 * RATE, np.float32)).loudness
    assert quiet.loudest_dbfs == -100
    assert quiet.speech == 0


def test_a_gap_between_lips_is_an_opening():
    face = np.zeros((2, 478, 3))
    face[:, 10, 1], face[:, 2, 1] = 0, 100
    face[:, 61, 0], face[:, 291, 0] = -20, 30
    for lower in (87, 14, 317):
        face[1, lower, 1] = 12
    assert mouth_shape_from_landmarks(face) == pytest.approx(np.array([[0, 0.5], [0.12, 0.5]]))
