"""Which voice sounds like a person: the installed ones ranked by speaker similarity."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatface.models.tts.embedding import embedding
from splatface.models.tts.speak import speak
from splatface.models.tts.voice import Voice

__all__ = ["REPORT", "Match", "best_voices", "voice_of_head", "voice_report"]

REPORT = "voice"  # in a head's reports
# Read by every voice: short, with all kinds of sounds.
SENTENCES = (
    "The boat was there when the sun rose, and the soft wind moved the yellow leaves of the tall trees. "
    "Please measure how much fresh coffee you would like to buy for five people this evening. "
    "Why should we choose that road when another one is much shorter?"
)


@dataclass(frozen=True, slots=True)
class Match:
    """A voice and how much it sounds like the recording."""

    voice: Voice
    similarity: float  # 0..1; two recordings of one person have about 0.8 and more


def best_voices(
    samples: NDArray[np.float32],
    voices: Iterable[Voice],
    embedded: Callable[[Voice], NDArray[np.float32]] | None = None,
) -> list[Match]:
    """Voices in the order in which they sound like a recording, the nearest first.

    Args:
        samples: [T] at 16 kHz, best 5 s or more of one person.
        voices: those to compare.
        embedded: the embedding of a voice, for instance from a cache; None speaks with it now.

    Raises:
        SpeechError: when there is too little speech, a voice fails, or Resemblyzer is not installed.
    """
    person = embedding(samples)
    of = embedded or embedding_of_voice
    found = [Match(voice, float(of(voice) @ person)) for voice in voices]
    return sorted(found, key=lambda match: -match.similarity)


def embedding_of_voice(voice: Voice) -> NDArray[np.float32]:
    """The embedding of what a voice says, [256]."""
    return embedding(np.concatenate([spoken.samples for spoken in speak(SENTENCES, voice.name)]))


def voice_report(matches: list[Match], clip: str) -> dict[str, object]:
    """What a head keeps of it under `reports: voice`: plain data."""
    ranking = [{"name": m.voice.name, "similarity": round(m.similarity, 3)} for m in matches[:5]]
    return {**ranking[0], "clip": clip, "ranking": ranking}


def voice_of_head(reports: Mapping[str, object]) -> str:
    """The voice that was matched to a head, empty when none was."""
    found = reports.get(REPORT)
    return str(found.get("name", "")) if isinstance(found, Mapping) else ""
