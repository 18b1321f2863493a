import numpy as np
import pytest

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.errors import SpeechError
from splatface.models.training.speech_corpus.coarticulation import (
    initial_coarticulation,
    load_coarticulation,
    modes_from_phones,
    save_coarticulation,
)
from splatface.models.training.speech_corpus.phonemes import REST, VISEMES, Phone, viseme_name

OPEN, WIDE, ROUND, UPPER = (MOUTH_MODES.index(name) for name in ("open", "wide", "round", "upper_lip"))
CLOSED = load_coarticulation().closed  # modes of lips that meet, as filmed
TIMES = np.arange(-0.5, 2.5, 0.01)


def at(modes, time_s):
    return modes[np.argmin(np.abs(TIMES - time_s))]


def phone_sequence(*sounds, each_s=0.12, start_s=0.5):
    return [Phone(ipa, start_s + i * each_s, start_s + (i + 1) * each_s) for i, ipa in enumerate(sounds)]


def test_no_speech_is_rest():
    assert np.abs(modes_from_phones([], TIMES)).max() == 0


def test_no_times_no_modes():
    assert modes_from_phones(phone_sequence("a"), np.zeros(0)).shape == (0, len(MOUTH_MODES))


def test_far_from_speech_the_mouth_is_shut():
    modes = modes_from_phones(phone_sequence("h", "a", "l", "o"), TIMES)
    assert np.abs(at(modes, 0.1)).max() < 0.02
    assert np.abs(at(modes, 1.5)).max() < 0.02


@pytest.mark.parametrize("closure", ["p", "b", "m"])
def test_lips_meet_between_open_vowels(closure):
    modes = modes_from_phones(phone_sequence("a", closure, "a"), TIMES)
    middle = at(modes, 0.5 + 0.17)
    np.testing.assert_allclose(middle, CLOSED, atol=0.02)
    assert middle[OPEN] < 0.05
    assert at(modes, 0.56)[OPEN] > 0.4
    assert at(modes, 0.80)[OPEN] > 0.4


def test_short_closures_still_close():
    phones = [Phone("a", 0.5, 0.65), Phone("m", 0.65, 0.66), Phone("a", 0.66, 0.8)]
    assert modes_from_phones(phones, TIMES)[:, OPEN][(TIMES > 0.6) & (TIMES < 0.7)].min() < 0.06


def test_f_has_a_higher_upper_lip_than_p():
    modes = modes_from_phones(phone_sequence("a", "f", "a"), TIMES)
    middle = at(modes, 0.5 + 0.18)
    assert middle[OPEN] < 0.4 * modes[:, OPEN].max()
    assert middle[UPPER] > CLOSED[UPPER]


def test_rounding_begins_before_its_vowel():
    spread = at(modes_from_phones(phone_sequence("t", "s", "i"), TIMES), 0.66)
    rounded = at(modes_from_phones(phone_sequence("t", "s", "u"), TIMES), 0.66)  # 80 ms before the vowel
    assert rounded[ROUND] > spread[ROUND] + 0.1
    assert spread[WIDE] > rounded[WIDE]


def test_stress_opens_more():
    plain = modes_from_phones([Phone("a", 0.5, 0.7, 0.85)], TIMES)[:, OPEN].max()
    strong = modes_from_phones([Phone("a", 0.5, 0.7, 1.15)], TIMES)[:, OPEN].max()
    assert strong > 1.2 * plain


def test_a_long_pause_shuts_the_mouth_and_a_word_boundary_does_not():
    def gap(seconds):
        phones = [
            Phone("a", 0.5, 0.7),
            Phone("", 0.7, 0.7 + seconds),
            Phone("a", 0.7 + seconds, 1.0 + seconds),
        ]
        return at(modes_from_phones(phones, TIMES), 0.7 + seconds / 2)[OPEN]

    assert gap(0.4) < 0.05
    assert gap(0.03) > 0.4


def test_modes_do_not_depend_on_the_sampling():
    phones = phone_sequence("b", "a", "u", "m", "i")
    fine = modes_from_phones(phones, TIMES)
    assert np.allclose(modes_from_phones(phones, TIMES[::4]), fine[::4], atol=1e-6)


def test_every_mode_stays_in_its_range():
    rng = np.random.default_rng(0)
    sounds = rng.choice(list("pbmfvtdszʃʒkɡɹlwjaæʌəeɛɪiouyɔ"), 200)
    modes = modes_from_phones(phone_sequence(*sounds, each_s=0.08), np.arange(0, 17, 0.02))
    assert modes.min() >= -0.5
    assert modes.max() <= 1.1
    assert modes[:, OPEN].min() >= -0.05


def test_visemes_of_ipa_letters():
    assert viseme_name("ˈaː") == "aa"
    assert viseme_name("") == viseme_name(",") == REST
    assert viseme_name("tʃ") == "t"  # the first letter counts: sources hand over one sound at a time
    assert not VISEMES["p"].vowel
    assert VISEMES["iy"].vowel


def test_saved_parameters_load_unchanged(tmp_path):
    rule = initial_coarticulation(CLOSED)
    save_coarticulation(tmp_path / "rule.safetensors", rule, {"license": "Apache-2.0"})
    again = load_coarticulation(tmp_path / "rule.safetensors")
    phones = phone_sequence("b", "a", "u")
    np.testing.assert_array_equal(
        modes_from_phones(phones, TIMES, again), modes_from_phones(phones, TIMES, rule)
    )


@pytest.mark.parametrize("content", [b"", b"no rule", None])
def test_a_damaged_file_is_refused(tmp_path, content):
    path = tmp_path / "rule.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SpeechError, match="expected a coarticulation rule"):
        load_coarticulation(path)
