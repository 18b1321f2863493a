import numpy as np
import pytest

from splatface.models.training.speech_corpus.augmentation import wsola_stretch
from splatface.models.training.speech_corpus.phonemes import LabeledSpeech, Phone


def tone_speech(hz=220.0):
    t = np.arange(16000) / 16000
    sound = 0.5 * np.sin(2 * np.pi * hz * t) * (t > 0.5)
    return LabeledSpeech(sound.astype(np.float32), (Phone("a", 0.5, 1.0),), "test/tone", "en")


@pytest.mark.parametrize("factor", [0.7, 1.0, 1.4])
def test_stretching_changes_time_and_keeps_pitch(factor):
    there = wsola_stretch(tone_speech(), factor)
    assert len(there.samples) == pytest.approx(16000 * factor, abs=300)
    (phone,) = there.phones
    assert (phone.start_s, phone.end_s) == pytest.approx((0.5 * factor, factor))
    spectrum = np.abs(np.fft.rfft(there.samples * np.hanning(len(there.samples))))
    assert np.argmax(spectrum) * 16000 / len(there.samples) == pytest.approx(220, abs=4)
    begins = np.flatnonzero(np.abs(there.samples) > 0.1)[0] / 16000
    assert begins == pytest.approx(phone.start_s, abs=0.03)


def test_stretching_keeps_loudness():
    there = wsola_stretch(tone_speech(), 1.3).samples
    assert np.abs(there[14000:18000]).max() == pytest.approx(0.5, abs=0.03)


def test_very_short_speech_is_unchanged():
    short = LabeledSpeech(np.ones(100, np.float32), (), "test/short", "en")
    assert wsola_stretch(short, 1.5) is short
