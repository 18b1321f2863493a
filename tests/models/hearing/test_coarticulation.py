import numpy as np
import pytest

from splatface.models.head.coefficients import MOUTH_MODES
from splatface.models.hearing.coarticulation import mode_track
from splatface.models.hearing.phonemes import REST, VISEMES, Phone, viseme_of

OPEN, WIDE, ROUND, PRESS, UPPER = (
    MOUTH_MODES.index(name) for name in ("open", "wide", "round", "press", "upper_lip")
)
TIMES = np.arange(-0.5, 2.5, 0.01)


def at(track, time_s):
    return track[np.argmin(np.abs(TIMES - time_s))]


def said(*sounds, each_s=0.12, start_s=0.5):
    return [Phone(ipa, start_s + i * each_s, start_s + (i + 1) * each_s) for i, ipa in enumerate(sounds)]


def test_no_speech_is_rest():
    assert np.abs(mode_track([], TIMES)).max() == 0


def test_no_times_no_modes():
    assert mode_track(said("a"), np.zeros(0)).shape == (0, len(MOUTH_MODES))


def test_far_from_speech_the_mouth_is_shut():
    track = mode_track(said("h", "a", "l", "o"), TIMES)
    assert np.abs(at(track, 0.1)).max() < 0.02
    assert np.abs(at(track, 1.5)).max() < 0.02


@pytest.mark.parametrize("closure", ["p", "b", "m"])
def test_lips_meet_between_open_vowels(closure):
    track = mode_track(said("a", closure, "a"), TIMES)
    middle = at(track, 0.5 + 0.17)
    assert middle[PRESS] > 0.95
    assert middle[OPEN] < 0.05
    assert at(track, 0.56)[OPEN] > 0.5
    assert at(track, 0.80)[OPEN] > 0.5


def test_short_closures_still_close():
    phones = [Phone("a", 0.5, 0.65), Phone("m", 0.65, 0.66), Phone("a", 0.66, 0.8)]
    assert mode_track(phones, TIMES)[:, PRESS].max() > 0.95


def test_lip_meets_teeth_with_the_upper_lip_raised():
    middle = at(mode_track(said("a", "f", "a"), TIMES), 0.5 + 0.18)
    assert middle[OPEN] < 0.2
    assert middle[UPPER] > 0.2
    assert 0.2 < middle[PRESS] < 0.6


def test_rounding_begins_before_its_vowel():
    spread = at(mode_track(said("t", "s", "i"), TIMES), 0.66)
    rounded = at(mode_track(said("t", "s", "u"), TIMES), 0.66)  # 80 ms before the vowel
    assert rounded[ROUND] > spread[ROUND] + 0.2
    assert spread[WIDE] > rounded[WIDE]


def test_stress_opens_more():
    plain = mode_track([Phone("a", 0.5, 0.7, 0.85)], TIMES)[:, OPEN].max()
    strong = mode_track([Phone("a", 0.5, 0.7, 1.15)], TIMES)[:, OPEN].max()
    assert strong > 1.2 * plain


def test_a_long_pause_shuts_and_a_seam_does_not():
    def gap(seconds):
        phones = [
            Phone("a", 0.5, 0.7),
            Phone("", 0.7, 0.7 + seconds),
            Phone("a", 0.7 + seconds, 1.0 + seconds),
        ]
        return at(mode_track(phones, TIMES), 0.7 + seconds / 2)[OPEN]

    assert gap(0.4) < 0.05
    assert gap(0.03) > 0.4


def test_tracks_do_not_depend_on_the_sampling():
    phones = said("b", "a", "u", "m", "i")
    fine = mode_track(phones, TIMES)
    assert np.allclose(mode_track(phones, TIMES[::4]), fine[::4], atol=1e-6)


def test_every_mode_stays_in_its_range():
    rng = np.random.default_rng(0)
    sounds = rng.choice(list("pbmfvtdszʃʒkɡɹlwjaæʌəeɛɪiouyɔ"), 200)
    track = mode_track(said(*sounds, each_s=0.08), np.arange(0, 17, 0.02))
    assert track.min() >= 0
    assert track.max() <= 1


def test_what_the_letters_mean():
    assert viseme_of("ˈaː") == "aa"
    assert viseme_of("") == viseme_of(",") == REST
    assert viseme_of("tʃ") == "t"  # the first letter counts: sources hand over one sound at a time
    assert not VISEMES["p"].vowel
    assert VISEMES["iy"].vowel
