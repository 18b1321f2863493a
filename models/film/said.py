"""When the known words of one recording are said."""

from pathlib import Path

import numpy as np

from splatface.models.audio.files import read_sound
from splatface.models.errors import AudioError
from splatface.models.hearing.alignment import align, moved_phones
from splatface.models.hearing.features import features
from splatface.models.hearing.phonemes import VISEMES, Phone, viseme_of
from splatface.models.hearing.recordings import voice_called

__all__ = ["closed_for", "phones_in"]

_ENCODER = "fsmn"
_FARTHEST = 0.58  # the same words lie at 0.38 to 0.48, others above (docs/hearing.md)
_PEAK = 0.5


def phones_in(path: Path, words: str, voice: str) -> tuple[Phone, ...]:
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
    said = voice_called(voice)(words)
    found = align(features(_ENCODER, said.samples), features(_ENCODER, samples), (said.samples, samples))
    if found is None or found.distance > _FARTHEST:
        how_far = "nothing to compare" if found is None else f"a distance of {found.distance:.2f}"
        raise AudioError(
            f"{path}: expected {voice} to sound like it (at most {_FARTHEST}), found {how_far}: "
            "check that --words is all that is said, and the voice's language"
        )
    return moved_phones(said.phones, found)


def closed_for(phones: tuple[Phone, ...], time_s: float) -> str:
    """The sound that lips close for at a time (p, b, m as IPA), else nothing."""
    for phone in phones:
        if phone.start_s <= time_s < phone.end_s and VISEMES[viseme_of(phone.ipa)].closure == 1.0:
            return phone.ipa[:1]
    return ""
