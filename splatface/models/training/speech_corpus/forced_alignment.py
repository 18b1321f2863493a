"""Forced alignment: times of phones in a recording of known words, by warping a synthetic voice onto it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio.audio_file import read_sound
from splatface.models.audio.encoder import encoder
from splatface.models.audio.offline_features import FeatureExtractor
from splatface.models.errors import AudioError, SpeechError
from splatface.models.messages import NS_PER_S, SAMPLE_RATE, AudioChunk
from splatface.models.training.speech_corpus.corpus_voices import (
    synthesize_espeak,
    synthesize_flite,
    trim_pauses,
)
from splatface.models.training.speech_corpus.phonemes import VISEMES, LabeledSpeech, Phone, viseme_name
from splatface.models.typing import Float32Array, Float64Array

__all__ = [
    "AlignedRecording",
    "Alignment",
    "align_features",
    "align_phones",
    "align_recordings",
    "closure_at",
    "number_transcripts",
    "read_recording",
    "read_transcripts",
    "transfer_phones",
    "voice_by_name",
]

_STEPS = ((1, 1), (1, 2), (2, 1), (1, 3), (3, 1))  # frames of one side, of the other
_QUIET_DB = -38.0  # under the loudest: a pause, which each side makes as it likes
_HOP = 320


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """Moments of the reference and the moments of the recording that sound the same."""

    reference_s: Float64Array  # [n], rising
    recording_s: Float64Array  # [n], rising
    distance: float  # mean cosine distance along the way, 0 same .. 1 strangers


def align_features(
    reference: tuple[Float32Array, Float64Array],
    recording: tuple[Float32Array, Float64Array],
    voiced: tuple[Float32Array, Float32Array],
) -> Alignment | None:
    """Warp one utterance onto another of the same words.

    Args:
        reference, recording: features [F, D] and centers [F] in s.
        voiced: the samples [T] at 16 kHz of both; their pauses are left out of the matching.

    None where one side is silent or more than three times as long as the other.
    """
    sides = []
    for (values, centers_s), samples in zip((reference, recording), voiced, strict=True):
        loud = _loud(samples, centers_s)
        if loud.sum() < 5:
            return None
        x = values[loud] - values[loud].mean(axis=0)
        x = x / (x.std(axis=0) + 1e-3)
        sides.append((x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-6), centers_s[loud]))
    (a, a_s), (b, b_s) = sides
    path = _path(1 - a @ b.T)
    if path is None:
        return None
    steps, distance = path
    return Alignment(a_s[steps[:, 0]], b_s[steps[:, 1]], distance)


def transfer_phones(phones: tuple[Phone, ...], found: Alignment) -> tuple[Phone, ...]:
    """The reference's phones at the recording's times; what lies across a pause of the recording is cut."""

    def moved(time_s: float) -> float:
        outside = time_s - float(np.clip(time_s, found.reference_s[0], found.reference_s[-1]))
        return float(np.interp(time_s, found.reference_s, found.recording_s)) + outside

    there = []
    for phone in phones:
        start_s, end_s = max(moved(phone.start_s), 0.0), moved(phone.end_s)
        if end_s - start_s > 0.005:
            there.append(Phone(phone.ipa, start_s, end_s, phone.stress))
    return tuple(there)


def _loud(samples: Float32Array, centers_s: Float64Array) -> NDArray[np.bool_]:
    power = np.square(samples[: len(samples) // _HOP * _HOP].reshape(-1, _HOP)).mean(axis=1)
    level = 10 * np.log10(power + 1e-12)
    loud = level > np.percentile(level, 98) + _QUIET_DB
    near = np.convolve(loud, np.ones(5), "same") > 0  # closures are quiet too: stay within 40 ms of speech
    at = np.clip((centers_s * SAMPLE_RATE / _HOP).astype(np.int64), 0, len(near) - 1)
    found: NDArray[np.bool_] = near[at]
    return found


def _path(cost: Float32Array) -> tuple[NDArray[np.int64], float] | None:
    """Cheapest way from corner to corner, [n, 2], and the mean cost on it."""
    rows, columns = cost.shape
    total = np.full((rows, columns), np.inf)
    came = np.zeros((rows, columns), np.int8)
    total[0, 0] = cost[0, 0]
    for i in range(1, rows):
        for k, (down, right) in enumerate(_STEPS):
            if down > i or right >= columns:
                continue
            weight = down + right  # both sides' frames count the same however the step leans
            there = total[i - down, :-right] + weight * cost[i, right:]
            better = there < total[i, right:]
            total[i, right:][better] = there[better]
            came[i, right:][better] = k
    if not np.isfinite(total[-1, -1]):
        return None
    at, way = (rows - 1, columns - 1), []
    while at != (0, 0):
        way.append(at)
        down, right = _STEPS[came[at]]
        at = (at[0] - down, at[1] - right)
    way.append((0, 0))
    return np.array(way[::-1]), float(total[-1, -1] / (rows + columns))


Synthesizer = Callable[[str], LabeledSpeech]
_MAX_DISTANCE = 0.58  # the same words are at 0.38 to 0.48, others above
_ENCODER = "fsmn"  # as good as whisper here (11 ms from the true starts) and ten times as cheap


@dataclass(frozen=True, slots=True, eq=False)
class AlignedRecording:
    """A recording with the times of its phones."""

    said: LabeledSpeech
    distance: float  # 0 sure .. 1


def read_transcripts(path: Path) -> dict[str, str]:
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


def number_transcripts() -> dict[str, str]:
    """What the files of every language called digits/N say: a number, which every voice can read."""
    return {f"digits/{number}": str(number) for number in (*range(21), *range(30, 100, 10))}


def voice_by_name(name: str) -> Synthesizer:
    """`flite/slt` or `espeak/fr-fr+f2` as a function from text to Spoken.

    Raises SpeechError for other engines: their times are too coarse or their voices too few.
    """
    engine, _, voice = name.partition("/")
    if engine == "flite":
        return lambda text: synthesize_flite(text, voice)
    if engine == "espeak":
        return lambda text: synthesize_espeak(text, voice)
    raise SpeechError(f"voice {name}: expected flite/NAME or espeak/LANGUAGE, found another: choose one")


def read_recording(path: Path) -> Float32Array:
    """Samples [T] at 16 kHz of a sound file, .g722 or what soundfile reads."""
    if path.suffix != ".g722":
        from splatface.models.audio.audio_file import read_sound

        return read_sound(path)
    try:
        import av
    except ImportError as error:
        raise AudioError(f"{path}: expected the package av to read G.722: pip install av") from error
    with av.open(str(path), format="g722") as sound:
        blocks = [frame.to_ndarray().reshape(-1) for frame in sound.decode(audio=0)]
    whole: Float32Array = np.concatenate(blocks).astype(np.float32) / np.float32(32768)
    return whole


def align_recordings(
    folder: Path, words: dict[str, str], say: Synthesizer, ear: FeatureExtractor, *, voice: str, language: str
) -> Iterator[AlignedRecording]:
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
        samples = read_recording(files[name])
        if len(samples) < SAMPLE_RATE // 4:
            continue
        samples = samples * np.float32(0.5 / max(float(np.abs(samples).max()), 1e-6))
        reference = trim_pauses(say(words[name]))
        found = align_features(
            ear(_ENCODER, reference.samples), ear(_ENCODER, samples), (reference.samples, samples)
        )
        if found is not None and found.distance < _MAX_DISTANCE:
            phones = transfer_phones(reference.phones, found)
            yield AlignedRecording(
                trim_pauses(LabeledSpeech(samples, phones, voice, language)), found.distance
            )


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
    found = align_features(reference[:2], own[:2], (reference[2], own[2]))
    if found is None or found.distance > _MAX_DISTANCE:
        how_far = "nothing to compare" if found is None else f"a distance of {found.distance:.2f}"
        raise AudioError(
            f"{path}: expected {voice} to sound like it (at most {_MAX_DISTANCE}), found {how_far}: "
            "check that --words is all that is said, and the voice's language"
        )
    return transfer_phones(said.phones, found)


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


def closure_at(phones: tuple[Phone, ...], time_s: float) -> str:
    """The sound that lips close for at a time (p, b, m as IPA), else nothing."""
    for phone in phones:
        if phone.start_s <= time_s < phone.end_s and VISEMES[viseme_name(phone.ipa)].closure == 1.0:
            return phone.ipa[:1]
    return ""
