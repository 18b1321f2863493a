"""When the known words of one recording are said."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio.encoder import encoder
from splatface.models.audio.files import read_sound
from splatface.models.errors import AudioError
from splatface.models.messages import NS_PER_S, SAMPLE_RATE, AudioChunk
from splatface.models.training.speech_corpus.alignment import align, moved_phones
from splatface.models.training.speech_corpus.phonemes import VISEMES, Phone, viseme_of
from splatface.models.training.speech_corpus.recordings import voice_by_name
from splatface.models.typing import Float32Array

__all__ = ["align_phones", "closed_for"]


_ENCODER = "fsmn"
_FARTHEST = 0.58  # the same words lie at 0.38 to 0.48, others above (docs/hearing.md)
_PEAK = 0.5
_VOICED = 0.2  # voice probability


def align_phones(path: Path, words: str, voice: str) -> tuple[Phone, ...]:
    """The phones of a recording, in its own time; it is read whole.

    Args:
        path: the recording.
        words: all that is said in it.
        voice: says the same and is aligned with it: flite/NAME or espeak/LANGUAGE.

    Raises:
        AudioError: the recording cannot be read, or sounds like other words.
        SpeechError: there is no such voice.
    """
    samples = read_sound(path)
    samples = samples * np.float32(_PEAK / max(float(np.abs(samples).max()), 1e-6))
    said = voice_by_name(voice)(words)
    own, reference = _heard(samples), _heard(said.samples)
    found = align(reference[:2], own[:2], (reference[2], own[2]))
    if found is None or found.distance > _FARTHEST:
        how_far = "nothing to compare" if found is None else f"a distance of {found.distance:.2f}"
        raise AudioError(
            f"{path}: expected {voice} to sound like it (at most {_FARTHEST}), found {how_far}: "
            "check that --words is all that is said, and the voice's language"
        )
    return moved_phones(said.phones, found)


def _heard(samples: Float32Array) -> tuple[Float32Array, NDArray[np.float64], Float32Array]:
    """Features, their times in s, and the samples [T] with pauses made silent: some are as loud as speech."""
    ear = encoder(_ENCODER)
    chunk = AudioChunk(np.pad(samples, (0, SAMPLE_RATE // 2)), SAMPLE_RATE, 0)
    frames = ear.push(chunk)
    centers_s = np.array([frame.center_ns for frame in frames], np.int64) / NS_PER_S
    voice = np.array([frame.voice_probability for frame in frames])
    times_s = np.arange(len(samples)) / SAMPLE_RATE
    spoken = np.interp(times_s, centers_s, voice) > _VOICED
    within = centers_s < len(samples) / SAMPLE_RATE
    values = np.stack([frame.values for frame in frames])
    return values[within], centers_s[within], samples * spoken.astype(np.float32)


def closed_for(phones: tuple[Phone, ...], time_s: float) -> str:
    """The sound that lips close for at a time (p, b, m as IPA), else nothing."""
    for phone in phones:
        if phone.start_s <= time_s < phone.end_s and VISEMES[viseme_of(phone.ipa)].closure == 1.0:
            return phone.ipa[:1]
    return ""
