"""Every installed engine speaks; what holds for one holds for all."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
import pytest

from splatface.models.errors import SpeechError
from splatface.models.tts import native_worker
from splatface.models.tts.engine import EngineProcess
from splatface.models.tts.speak import ENGINES, check_voice, default_voice, engine, speak, voices

pytestmark = pytest.mark.slow

WORKER = Path(native_worker.__file__)
ONE_EACH = {voice.engine: voice.name for voice in reversed(voices()) if voice.language == "en-us"}
TEXT = "Bob bought 25 apples, didn't he? My mother sat in the sun."
needs_voice = pytest.mark.skipif(not ONE_EACH, reason="no voice is installed: apt-get install libflite1")
needs_flite = pytest.mark.skipif(not engine("flite").voices(), reason=engine("flite").INSTALL)
needs_espeak = pytest.mark.skipif(not engine("espeak").voices(), reason=engine("espeak").INSTALL)


@pytest.fixture(scope="module", params=ENGINES)
def speech(request):
    if request.param not in ONE_EACH:
        pytest.skip(engine(request.param).INSTALL)
    return list(speak(TEXT, ONE_EACH[request.param]))


def test_a_text_is_synthesized_sentence_by_sentence(speech):
    assert [spoken.text for spoken in speech] == [
        "Bob bought 25 apples, didn't he?",
        "My mother sat in the sun.",
    ]
    assert [spoken.last for spoken in speech] == [False, True]
    for spoken in speech:
        assert spoken.samples.dtype == np.float32
        assert 1.0 < len(spoken.samples) / 16_000 < 6.0
        assert np.isfinite(spoken.samples).all()


def test_words_are_those_of_the_text_in_order(speech):
    words = [word for spoken in speech for word in spoken.words]
    expected = ["Bob", "bought", "25", "apples", "didn't", "he", "My", "mother", "sat", "in", "the", "sun"]
    assert [word.text for word in words] == expected
    assert all(word.text in TEXT[word.begin : word.end] for word in words)
    for spoken in speech:
        starts = [word.start_ns for word in spoken.words]
        assert starts == sorted(starts)
        assert all(0 <= word.start_ns < word.end_ns <= spoken.speech_ns for word in spoken.words)


def test_vowels_are_louder_than_pauses_and_closures(speech):
    for spoken in speech:
        assert all(a.end_ns <= b.start_ns + 1 for a, b in pairwise(spoken.phonemes))
        power = {"vowel": [], "other": []}
        for phoneme in spoken.phonemes:
            span = spoken.samples[phoneme.start_ns // 62_500 : phoneme.end_ns // 62_500]
            if len(span):
                kind = "vowel" if set(phoneme.ipa) & set("aeiouæɑɔəɛɪʊʌɝɚ") else "other"
                power[kind].append(np.square(span).mean())
        assert len(power["vowel"]) >= 5
        assert np.mean(power["vowel"]) > 1.2 * np.mean(power["other"])


def test_audio_begins_at_once_and_ends_with_the_pause(speech):
    for spoken in speech:
        loud = np.flatnonzero(np.abs(spoken.samples) > 0.02)
        assert loud[0] < 0.15 * 16_000
        assert spoken.speech_ns / 62_500 - loud[-1] < 0.15 * 16_000
        pause = spoken.samples[spoken.speech_ns // 62_500 :]
        assert len(pause) == 5600
        assert not pause.any()


def test_all_voices_are_equally_loud(speech):
    sound = np.concatenate([spoken.samples for spoken in speech])
    power = np.square(sound[: len(sound) // 160 * 160].reshape(-1, 160)).mean(axis=1)
    loud = power[power > power.max() / 300]
    assert 10 * np.log10(loud.mean()) == pytest.approx(-23, abs=1.5)
    assert np.abs(sound).max() <= 0.9


@needs_voice
def test_rate_changes_the_length():
    def seconds(rate):
        return sum(len(spoken.samples) for spoken in speak(TEXT, rate=rate)) / 16_000

    plain = seconds(1.0)
    assert seconds(0.0) == pytest.approx(plain, rel=0.02)
    assert seconds(2.0) == pytest.approx(plain / 2, rel=0.15)
    assert seconds(0.5) == pytest.approx(plain * 2, rel=0.15)


@needs_espeak
@pytest.mark.parametrize(
    ("voice", "text", "words"),
    [
        ("espeak/de", "Grüße aus München, fünf Äpfel!", ["Grüße", "aus", "München", "fünf", "Äpfel"]),
        ("espeak/fr-fr", "L'été est là.", ["L'été", "est", "là"]),
        ("espeak/ru", "Привет, как дела?", ["Привет", "как", "дела"]),
        ("espeak/en-us+f2", "No, no, Dr. Who.", ["No", "no", "Dr", "Who"]),
    ],
)
def test_words_in_other_languages(voice, text, words):
    (spoken,) = speak(text, voice)
    assert [word.text for word in spoken.words] == words


@needs_flite
def test_letters_unknown_to_flite_are_replaced_by_similar_ones():
    (spoken,) = speak("The café’s naïve.", "flite/kal16")
    assert [word.text for word in spoken.words] == ["The", "café’s", "naïve"]
    with pytest.raises(SpeechError, match="expected English text"):
        list(speak("漢字", "flite/kal16"))


@needs_voice
def test_the_first_sentence_does_not_wait_for_the_others(monkeypatch):
    module, texts = engine(default_voice().engine), []
    synthesize = module.say
    monkeypatch.setattr(module, "say", lambda text, *rest: texts.append(text) or synthesize(text, *rest))
    next(speak("Good morning, how are you today? And this follows. " * 20))
    assert texts == ["Good morning, how are you today?"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("", ""), "expected something to say"),
        (("Hi.", "bob"), "expected engine/voice with an engine of flite, espeak, piper, kokoro"),
        (("Hi.", "flite/"), "expected engine/voice"),
        (("Hi.", "../../x/y"), "expected engine/voice"),
        (("Hi.", "", float("nan")), "rate: expected"),
        (("Hi.", "", -1.0), "rate: expected"),
    ],
)
def test_arguments_are_checked_before_synthesis(arguments, why):
    with pytest.raises(SpeechError, match=why):
        speak(*arguments)


def test_an_unknown_voice_lists_the_known_ones_or_the_installation():
    for name in ENGINES:
        with pytest.raises(SpeechError, match=r"splatface voices|install"):
            check_voice(f"{name}/nobody")


def test_mixtures_languages_and_variants_are_voices():
    if engine("kokoro").voices():
        assert check_voice("kokoro/jf_alpha+jm_kumo@fr")
        for wrong in ("kokoro/jf_alpha+nobody", "kokoro/jf_alpha@xx", "kokoro/jf_alpha+"):
            with pytest.raises(SpeechError):
                check_voice(wrong)
    if engine("espeak").voices():
        assert check_voice("espeak/de+f2")


@needs_voice
def test_the_default_voice_is_a_small_one():
    assert default_voice().engine in ENGINES[:2]
    assert check_voice("") == default_voice().name


def test_a_library_that_is_missing_or_crashes_is_an_error():
    with pytest.raises(SpeechError, match="crashed"):
        EngineProcess("no_such_library").request(text="x")


@needs_flite
def test_an_engine_that_was_killed_is_started_again():
    process = EngineProcess("flite")
    process.request(text="one", voice="kal16", stretch=1.0)
    for child in psutil.Process().children():
        if child.cmdline()[-2:] == [str(WORKER), "flite"]:
            child.kill()
    head, samples = process.request(text="two", voice="kal16", stretch=1.0)
    assert head["words"][0][0] == "two"
    assert len(samples) > 1000
    process.close()
