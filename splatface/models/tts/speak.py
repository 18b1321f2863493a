"""Speak a text: sentence by sentence, each as soon as it is there."""

import importlib
import math
from collections.abc import Iterator

from splatface.models.errors import SpeechError
from splatface.models.tts.finish import LoudnessNormalizer, postprocess
from splatface.models.tts.sentences import check_text, sentences
from splatface.models.tts.spoken import SpeechAudio
from splatface.models.tts.voice import Engine, Voice

__all__ = ["ENGINES", "check_voice", "default_voice", "engine", "speak", "voices"]

# In the order in which a default is sought: the small ones, which always work, first.
ENGINES = ("flite", "espeak", "piper", "kokoro")
SLOWEST, FASTEST = 0.5, 2.5


def engine(name: str) -> Engine:
    """An engine by its name; it is imported now, and loads its voices when first used.

    Raises:
        SpeechError: for another name.
    """
    if name not in ENGINES:
        raise SpeechError(f"engine: expected one of {', '.join(ENGINES)}, found {name[:40]!r}")
    found: Engine = importlib.import_module(f"splatface.models.tts.engines.{name}")
    return found


def voices() -> tuple[Voice, ...]:
    """All voices that are installed, in the order of ENGINES."""
    return tuple(voice for name in ENGINES for voice in engine(name).voices())


def default_voice() -> Voice:
    """The first installed voice that speaks English.

    Raises:
        SpeechError: when there is none.
    """
    for name in ENGINES:
        for voice in engine(name).voices():
            if voice.language == "en-us":
                return voice
    raise SpeechError(f"voice: expected an installed one, found none: {engine(ENGINES[0]).INSTALL}")


def check_voice(name: str) -> str:
    """The name, or the default's if it is empty, when that voice can speak.

    Besides the listed names, espeak/LANGUAGE+VARIANT and kokoro/VOICE+VOICE@LANGUAGE are voices.

    Raises:
        SpeechError: for an unknown voice or one whose engine is not installed, naming the remedy.
    """
    if not name:
        return default_voice().name
    engine_name, _, voice = name.partition("/")
    if engine_name not in ENGINES or not voice:
        raise SpeechError(
            f"voice: expected engine/voice with an engine of {', '.join(ENGINES)}, found {name[:60]!r}: "
            "splatface voices lists them"
        )
    found = engine(engine_name)
    known = [listed.name for listed in found.voices()]
    if not known:
        raise SpeechError(
            f"voice {name[:60]}: expected {engine_name} to be installed, found none: {found.INSTALL}"
        )
    if not found.has_voice(voice):
        raise SpeechError(
            f"voice: expected one of {engine_name} such as {', '.join(known[:6])}, found {name[:60]!r}: "
            "splatface voices lists them"
        )
    return name


def speak(text: str, voice: str = "", rate: float = 1.0) -> Iterator[SpeechAudio]:
    """Speak a text of any length; what is asked is checked before this returns.

    Args:
        text: with punctuation, which makes the pauses; numbers and short forms are read by the engine.
        voice: see `check_voice`; empty for the default.
        rate: 0.5..2.5, 1 (or 0) is the voice's own pace.

    Raises:
        SpeechError: for a text without a letter or digit, a binary one, an unknown voice, a voice whose
            engine is not installed, a rate out of range; later, when an engine fails.
    """
    check_text(text)
    name = check_voice(voice)
    pace = rate or 1.0
    if not (math.isfinite(pace) and SLOWEST <= pace <= FASTEST):
        raise SpeechError(f"rate: expected {SLOWEST} to {FASTEST}, 1 is the voice's own pace, found {rate:g}")
    return _spoken(text, name, pace)


def _spoken(text: str, name: str, pace: float) -> Iterator[SpeechAudio]:
    engine_name, _, voice = name.partition("/")
    found, loudness = engine(engine_name), LoudnessNormalizer()
    for sentence in sentences(text):
        said = found.say(sentence.text, voice, pace)
        yield postprocess(said, sentence, loudness, sentence.pause_ms / pace)
