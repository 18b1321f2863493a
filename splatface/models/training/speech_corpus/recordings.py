"""Real people for the training data: recordings whose words are known, aligned with a voice.

Made for Debian's asterisk-core-sounds-{en,es,fr,it,ru}-g722 (/usr/share/asterisk/sounds) and for any other
folder with a file of words: lines `name: what is said`, name without the ending. Numbers need no words.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from splatface.models.audio.features_of_recording import FeatureExtractor
from splatface.models.errors import AudioError, SpeechError
from splatface.models.messages import SAMPLE_RATE
from splatface.models.training.speech_corpus.alignment import align, moved_phones
from splatface.models.training.speech_corpus.voices.espeak import espeak_say
from splatface.models.training.speech_corpus.voices.flite import flite_say
from splatface.models.training.speech_corpus.voices.pauses import trim_pauses
from splatface.models.training.speech_corpus.voices.spoken import Spoken
from splatface.models.typing import Float32Array

__all__ = ["Aligned", "aligned", "decoded", "known_numbers", "voice_by_name", "words_of"]


Say = Callable[[str], Spoken]
_FARTHEST = 0.58  # mean distance above which other words were said
_ENCODER = "fsmn"  # as good as whisper here (11 ms from the true starts) and ten times as cheap


@dataclass(frozen=True, slots=True, eq=False)
class Aligned:
    """A recording with the times of its phones."""

    said: Spoken
    distance: float  # 0 sure .. 1


def words_of(path: Path) -> dict[str, str]:
    """Words by name, from lines `name: words`, without comments (`;`) and sounds that say nothing (`[`, `<`).

    Raises AudioError where the file cannot be read or holds no such line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise AudioError(f"{path}: expected a file of words, found {error}: check the path") from error
    pairs = (line.split(":", 1) for line in lines if ":" in line and not line.startswith(";"))
    words = {name.strip().removesuffix(".wav"): text.strip(" .…") for name, text in pairs}
    found = {name: text for name, text in words.items() if text and text[0] not in "[<"}
    if not found:
        raise AudioError(f"{path}: expected lines such as `goodbye: Goodbye!`, found none: check the file")
    return found


def known_numbers() -> dict[str, str]:
    """What the files of every language called digits/N say: a number, which every voice can read."""
    return {f"digits/{number}": str(number) for number in (*range(21), *range(30, 100, 10))}


def voice_by_name(name: str) -> Say:
    """`flite/slt` or `espeak/fr-fr+f2` as a function from text to Spoken.

    Raises SpeechError for other engines: their times are too coarse or their voices too few.
    """
    engine, _, voice = name.partition("/")
    if engine == "flite":
        return lambda text: flite_say(text, voice)
    if engine == "espeak":
        return lambda text: espeak_say(text, voice)
    raise SpeechError(f"voice {name}: expected flite/NAME or espeak/LANGUAGE, found another: choose one")


def decoded(path: Path) -> Float32Array:
    """Samples [T] at 16 kHz of a sound file, .g722 or what soundfile reads."""
    if path.suffix != ".g722":
        from splatface.models.audio.files import read_sound

        return read_sound(path)
    try:
        import av
    except ImportError as error:
        raise AudioError(f"{path}: expected the package av to read G.722: pip install av") from error
    with av.open(str(path), format="g722") as sound:
        blocks = [frame.to_ndarray().reshape(-1) for frame in sound.decode(audio=0)]
    whole: Float32Array = np.concatenate(blocks).astype(np.float32) / np.float32(32768)
    return whole


def aligned(
    folder: Path, words: dict[str, str], say: Say, ear: FeatureExtractor, *, voice: str, language: str
) -> Iterator[Aligned]:
    """Every recording below `folder` whose words are known and which agrees with a voice that says them.

    Args:
        folder: holds NAME.g722, NAME.wav, ...
        words: what is said, by NAME.
        say: a voice of the same language with exact times; the nearer in sex and accent the better.
        ear: hears both.
        voice, language: what the recordings are called.
    """
    files = {str(path.relative_to(folder).with_suffix("")): path for path in folder.rglob("*.*")}
    for name in sorted(words.keys() & files.keys()):
        samples = decoded(files[name])
        if len(samples) < SAMPLE_RATE // 4:
            continue
        samples = samples * np.float32(0.5 / max(float(np.abs(samples).max()), 1e-6))
        reference = trim_pauses(say(words[name]))
        found = align(ear(_ENCODER, reference.samples), ear(_ENCODER, samples), (reference.samples, samples))
        if found is not None and found.distance < _FARTHEST:
            phones = moved_phones(reference.phones, found)
            yield Aligned(trim_pauses(Spoken(samples, phones, voice, language)), found.distance)
