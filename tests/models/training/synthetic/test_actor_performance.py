from dataclasses import replace

import numpy as np
import pytest

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.errors import ActorError
from splatface.models.training.speech_corpus.phonemes import LabeledSpeech, Phone, viseme_name
from splatface.models.training.speech_corpus.sentences import SENTENCES
from splatface.models.training.synthetic.performance import (
    GAZE_LIMITS_RAD,
    POSE_LIMITS_RAD,
    ActingConfig,
    make_performance,
)
from splatface.models.training.synthetic.speech_track import (
    VOICES,
    ActorVoice,
    SpeechScript,
    make_script,
    make_speech_track,
)

OPEN = MOUTH_MODES.index("open")


def say(text):
    """A second a word: a vowel between two closures, as a tone."""
    phones, samples = [], []
    for word, _ in enumerate(text.split()):
        phones += [
            Phone("m", word, word + 0.3),
            Phone("a", word + 0.3, word + 0.7, 1.15),
            Phone("m", word + 0.7, word + 1),
        ]
        samples.append(np.sin(np.arange(16000) * 0.1).astype(np.float32) * 0.5)
    return LabeledSpeech(np.concatenate(samples), tuple(phones), "test/tone", "en")


VOICE = ActorVoice("test/tone", "woman", "nobody's", say)
SCRIPT = SpeechScript(("one two three", "four five"), ("kept back",))
ACTING = ActingConfig(seconds=30.0, seed=3)


@pytest.fixture(scope="module")
def acted():
    return make_performance(SCRIPT, VOICE, ACTING)


def test_sound_and_moments_last_as_long_as_asked(acted):
    assert len(acted.speech.samples) == 30 * 16000
    assert len(acted) == 750
    assert np.array_equal(np.unique(np.diff(acted.time_ns)), [40_000_000])


def test_the_same_values_give_the_same_film(acted):
    again = make_performance(SCRIPT, VOICE, ACTING)
    for name in ("mouth", "controls", "poses"):
        assert np.array_equal(getattr(acted, name), getattr(again, name))
    assert not np.array_equal(acted.poses, make_performance(SCRIPT, VOICE, replace(ACTING, seed=4)).poses)


def test_lips_follow_the_phones(acted):
    times_s = acted.time_ns / 1e9
    for phone in (phone for phone in acted.speech.phones if phone.end_s < 29):
        middle = np.argmin(np.abs(times_s - (phone.start_s + phone.end_s) / 2))
        if viseme_name(phone.ipa) == "p":
            assert acted.mouth[middle, OPEN] < 0.06
        else:
            assert acted.mouth[middle, OPEN] > 0.4


def test_pauses_rest_the_mouth(acted):
    times_s = acted.time_ns / 1e9
    for start_s, end_s in acted.speech.pauses:
        inside = (times_s > start_s + 0.16) & (times_s < end_s - 0.16)
        speaking = [i for i, name in enumerate(MOUTH_MODES) if name != "smile"]
        assert acted.mouth[inside][:, speaking].max(initial=0) < 0.05


def test_sentences_kept_back_are_heard_only_at_the_end():
    kept = replace(
        VOICE,
        say=lambda text: replace(say(text), phones=(Phone("u", 0.2, 0.8),)) if "kept" in text else say(text),
    )
    track = make_speech_track(SCRIPT, kept, seconds=30, held_out_from_s=25, seed=0)
    assert all(phone.start_s >= 25 for phone in track.phones if phone.ipa == "u")
    assert all(phone.end_s <= 25 for phone in track.phones if phone.ipa != "u")
    assert any(phone.ipa == "u" for phone in track.phones)


def test_the_script_keeps_back_what_hearing_never_saw():
    script = make_script(5)
    assert set(script.held_out) == set(SENTENCES["en"][-8:])
    assert not set(script.spoken) & set(script.held_out)
    assert script.spoken != make_script(6).spoken


def test_the_head_covers_its_range_and_stays_in_it(acted):
    limits = np.array(POSE_LIMITS_RAD)
    assert (np.abs(acted.poses) <= limits + 1e-9).all()
    learned = acted.poses[: int(0.85 * len(acted)), :3]
    assert (learned.max(axis=0) > 0.6 * limits[:3]).all()
    assert (learned.min(axis=0) < -0.6 * limits[:3]).all()


def test_motion_is_smooth(acted):
    per_s = np.abs(np.diff(acted.poses[:, :3], axis=0)) * 25
    assert per_s.max() < np.radians(90)
    jolts = np.abs(np.diff(acted.poses[:, :3], n=2, axis=0)) * 25**2
    assert jolts.max() < np.radians(700)


def test_the_film_begins_at_rest(acted):
    assert np.abs(acted.poses[0]).max() < 0.08
    assert np.abs(acted.mouth[0]).max() < 0.02


@pytest.mark.parametrize("name", ["blink_left", "blink_right", "brow_up", "brow_down", "smile"])
def test_every_control_is_fully_shown_once(acted, name):
    track = acted.controls[: int(0.85 * len(acted)), CONTROLS.index(name)]
    assert track.max() > 0.9
    assert track.min() >= 0


def test_eyes_look_everywhere_and_no_further(acted):
    gaze = acted.controls[:, 2:4]
    assert (np.abs(gaze) <= GAZE_LIMITS_RAD).all()
    assert (gaze.max(axis=0) > 0.7 * np.array(GAZE_LIMITS_RAD)).all()
    assert (gaze.min(axis=0) < -0.7 * np.array(GAZE_LIMITS_RAD)).all()


def test_a_statue_stands_still():
    still = make_performance(SCRIPT, VOICE, replace(ACTING, motion_amplitude=0.0))
    assert np.abs(still.poses).max() == 0
    assert still.mouth[:, OPEN].max() > 0.5


def test_too_short_a_film_is_refused():
    with pytest.raises(ActorError, match="ask for 10 s or more"):
        make_performance(SCRIPT, VOICE, ActingConfig(seconds=1.0))


def test_voices_are_named_with_their_license():
    assert {voice.gender for voice in VOICES.values()} == {"woman", "man"}
    assert all(voice.license and name == voice.name for name, voice in VOICES.items())


def test_flite_speaks_with_phones():
    said = VOICES["flite/slt"].say("Hello.")
    assert len(said.samples) > 4000
    assert "l" in [phone.ipa for phone in said.phones]
