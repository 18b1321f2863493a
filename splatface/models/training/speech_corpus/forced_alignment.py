# SPDX-License-Identifier: Apache-2.0
"""Forced alignment: times of phones in a recording of known words, by warping a synthetic voice onto it.

Dynamic time warping after Sakoe & Chiba, "Dynamic programming algorithm optimization for spoken word
recognition" (1978), with slope constraints, over an encoder's features, which hardly depend on the speaker.

Folders of recordings: Debian's asterisk-core-sounds-{en,es,fr,it,ru}-g722 (/usr/share/asterisk/sounds), or
any other folder with a file of transcripts: lines `name: words`, name without the suffix. Numbers need none.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from splatface.models.audio.audio_file import read_sound
from splatface.models.audio.offline_features import RecordingFeatures, extract_features
from splatface.models.errors import AudioError, SpeechError
from splatface.models.messages import SAMPLE_RATE
from splatface.models.training.speech_corpus.corpus_voices import (
    synthesize_espeak,
    synthesize_flite,
    trim_pauses,
)
from splatface.models.training.speech_corpus.phonemes import VISEMES, LabeledSpeech, Phone, viseme_name
from splatface.models.typing import BoolArray, Float32Array, Float64Array, Int64Array

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

Synthesizer: TypeAlias = Callable[[str], LabeledSpeech]  # from text

_ENCODER = "fsmn"  # as good as whisper here (11 ms from the true starts) and ten times as cheap
_MAX_DISTANCE = 0.58  # the same words are at 0.38 to 0.48, others above
_STEPS = ((1, 1), (1, 2), (2, 1), (1, 3), (3, 1))  # frames of the reference, of the recording
_PAUSE_DB = -38.0  # under the loudest; pauses need not correspond
_HOP = 320  # samples
_MIN_PHONE_S = 0.005
_PEAK = 0.5
_MIN_VOICE_PROBABILITY = 0.2
_SILENCE_AFTER_S = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """Corresponding times of a reference and a recording."""

    reference_s: Float64Array  # [n], rising
    recording_s: Float64Array  # [n], rising
    distance: float  # mean cosine distance along the path, 0 same .. 1 unrelated

    def to_recording_s(self, reference_s: float) -> float:
        """Map a time of the reference to the recording; outside the path by its nearest end."""
        outside_s = reference_s - float(np.clip(reference_s, self.reference_s[0], self.reference_s[-1]))
        return float(np.interp(reference_s, self.reference_s, self.recording_s)) + outside_s


@dataclass(frozen=True, slots=True, eq=False)
class AlignedRecording:
    """A recording with the times of its phones."""

    speech: LabeledSpeech
    distance: float  # of the alignment, 0 certain .. 1


def align_phones(path: Path, words: str, voice: str) -> tuple[Phone, ...]:
    """Find the phones of a recording of known words, in its own time.

    Args:
        path: the recording, read as a whole.
        words: all that is spoken in it.
        voice: synthesizes the reference: flite/NAME or espeak/LANGUAGE.

    Raises:
        AudioError: the recording cannot be read, or contains other words.
        SpeechError: there is no such voice.
    """
    samples = _scaled_to_peak(read_sound(path))
    reference = voice_by_name(voice)(words)
    alignment = align_features(
        *_voiced_features(reference.samples),
        *_voiced_features(samples),
    )
    if alignment is None or alignment.distance > _MAX_DISTANCE:
        found = "nothing to compare" if alignment is None else f"a distance of {alignment.distance:.2f}"
        raise AudioError(
            f"{path}: expected {voice} to sound like it (at most {_MAX_DISTANCE}), found {found}: "
            "check that --words is all that is said, and the voice's language"
        )
    return transfer_phones(reference.phones, alignment)


def align_recordings(
    folder: Path, transcripts: Mapping[str, str], synthesize: Synthesizer, *, voice: str, language: str
) -> Iterator[AlignedRecording]:
    """Align every recording below `folder` that has a transcript; those with other words are left out.

    Args:
        folder: with NAME.g722, NAME.wav, ...
        transcripts: words by NAME.
        synthesize: a voice of the same language with exact phone times, best of similar sex and accent.
        voice, language: labels of the recordings.
    """
    files = {str(path.relative_to(folder).with_suffix("")): path for path in folder.rglob("*.*")}
    for name in sorted(transcripts.keys() & files.keys()):
        samples = read_recording(files[name])
        if len(samples) < SAMPLE_RATE // 4:
            continue
        samples = _scaled_to_peak(samples)
        reference = trim_pauses(synthesize(transcripts[name]))
        alignment = align_features(
            extract_features(_ENCODER, reference.samples),
            reference.samples,
            extract_features(_ENCODER, samples),
            samples,
        )
        if alignment is not None and alignment.distance < _MAX_DISTANCE:
            phones = transfer_phones(reference.phones, alignment)
            speech = trim_pauses(LabeledSpeech(samples, phones, voice, language))
            yield AlignedRecording(speech, alignment.distance)


def align_features(
    reference: RecordingFeatures,
    reference_samples: Float32Array,
    recording: RecordingFeatures,
    recording_samples: Float32Array,
) -> Alignment | None:
    """Warp one utterance onto another of the same words.

    Args:
        reference, recording: features of both.
        reference_samples, recording_samples: [T] at 16 kHz, whose pauses are excluded.

    Returns:
        None where one side is silent or more than three times as long as the other.
    """
    sides = []
    for features, samples in ((reference, reference_samples), (recording, recording_samples)):
        loud = _loud_frames(samples, features.times_s)
        if loud.sum() < 5:
            return None
        x = features.values[loud] - features.values[loud].mean(axis=0)
        x = x / (x.std(axis=0) + 1e-3)
        sides.append((x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-6), features.times_s[loud]))
    (reference_units, reference_s), (recording_units, recording_s) = sides
    path, distance = _cheapest_path(1 - reference_units @ recording_units.T)
    if path is None:
        return None
    return Alignment(reference_s[path[:, 0]], recording_s[path[:, 1]], distance)


def transfer_phones(phones: tuple[Phone, ...], alignment: Alignment) -> tuple[Phone, ...]:
    """Move the reference's phones to the recording's times; those in a pause of the recording are dropped."""
    moved = []
    for phone in phones:
        start_s = max(alignment.to_recording_s(phone.start_s), 0.0)
        end_s = alignment.to_recording_s(phone.end_s)
        if end_s - start_s > _MIN_PHONE_S:
            moved.append(replace(phone, start_s=start_s, end_s=end_s))
    return tuple(moved)


def _loud_frames(samples: Float32Array, times_s: Float64Array) -> BoolArray:
    """Mark the frames [F] at the given times that are within 40 ms of loud audio."""
    power = np.square(samples[: len(samples) // _HOP * _HOP].reshape(-1, _HOP)).mean(axis=1)
    level_db = 10 * np.log10(power + 1e-12)
    loud = level_db > np.percentile(level_db, 98) + _PAUSE_DB
    near = np.convolve(loud, np.ones(5), "same") > 0  # closures are quiet too
    hops = np.clip((times_s * SAMPLE_RATE / _HOP).astype(np.int64), 0, len(near) - 1)
    frames: BoolArray = near[hops]
    return frames


def _cheapest_path(cost: Float32Array) -> tuple[Int64Array | None, float]:
    """Return the cheapest path [n, 2] from corner to corner and its mean cost; None where there is none."""
    rows, columns = cost.shape
    total = np.full((rows, columns), np.inf)
    best_step = np.zeros((rows, columns), np.int8)
    total[0, 0] = cost[0, 0]
    for i in range(1, rows):
        for k, (down, right) in enumerate(_STEPS):
            if down > i or right >= columns:
                continue
            weight = down + right  # frames of both sides count the same in steps of any slope
            new_total = total[i - down, :-right] + weight * cost[i, right:]
            better = new_total < total[i, right:]
            total[i, right:][better] = new_total[better]
            best_step[i, right:][better] = k
    if not np.isfinite(total[-1, -1]):
        return None, np.inf
    at, path = (rows - 1, columns - 1), []
    while at != (0, 0):
        path.append(at)
        down, right = _STEPS[best_step[at]]
        at = (at[0] - down, at[1] - right)
    path.append((0, 0))
    return np.array(path[::-1]), float(total[-1, -1] / (rows + columns))


def _voiced_features(samples: Float32Array) -> tuple[RecordingFeatures, Float32Array]:
    """Return features, and samples [T] silenced where nobody speaks: some pauses are as loud as speech."""
    features = extract_features(_ENCODER, samples, silence_after_s=_SILENCE_AFTER_S)
    times_s = np.arange(len(samples)) / SAMPLE_RATE
    voiced = np.interp(times_s, features.times_s, features.voice_probability) > _MIN_VOICE_PROBABILITY
    within = features.times_s < len(samples) / SAMPLE_RATE
    return (
        RecordingFeatures(
            features.values[within], features.times_s[within], features.voice_probability[within]
        ),
        samples * voiced.astype(np.float32),
    )


def _scaled_to_peak(samples: Float32Array) -> Float32Array:
    return samples * np.float32(_PEAK / max(float(np.abs(samples).max()), 1e-6))


def closure_at(phones: tuple[Phone, ...], time_s: float) -> str:
    """Return the phone that closes the lips at a time (p, b, m as IPA), else an empty string."""
    for phone in phones:
        if phone.start_s <= time_s < phone.end_s and VISEMES[viseme_name(phone.ipa)].closure == 1.0:
            return phone.ipa[:1]
    return ""


def voice_by_name(name: str) -> Synthesizer:
    """Return `flite/slt` or `espeak/fr-fr+f2` as a function from text to labeled speech.

    Raises:
        SpeechError: another engine; their phone times are too coarse or their voices too few.
    """
    engine, _, voice = name.partition("/")
    if engine == "flite":
        return lambda text: synthesize_flite(text, voice)
    if engine == "espeak":
        return lambda text: synthesize_espeak(text, voice)
    raise SpeechError(f"voice {name}: expected flite/NAME or espeak/LANGUAGE, found another: choose one")


def read_transcripts(path: Path) -> dict[str, str]:
    """Read words by name from lines `name: words`, without comments (`;`) and non-speech (`[`, `<`).

    Raises:
        AudioError: the file cannot be read or has no such line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise AudioError(f"{path}: expected a file of words, found {error}: check the path") from error
    pairs = (line.split(":", 1) for line in lines if ":" in line and not line.startswith(";"))
    words = {name.strip().removesuffix(".wav"): text.strip(" .…") for name, text in pairs}
    transcripts = {name: text for name, text in words.items() if text and text[0] not in "[<"}
    if not transcripts:
        raise AudioError(f"{path}: expected lines such as `goodbye: Goodbye!`, found none: check the file")
    return transcripts


def number_transcripts() -> dict[str, str]:
    """Return the words of the files digits/N in every language: a number, which every voice can read."""
    return {f"digits/{number}": str(number) for number in (*range(21), *range(30, 100, 10))}


def read_recording(path: Path) -> Float32Array:
    """Read samples [T] at 16 kHz of a sound file, .g722 or a format of soundfile.

    Raises:
        AudioError: it cannot be read.
    """
    if path.suffix != ".g722":
        return read_sound(path)
    try:
        import av
    except ImportError as error:
        raise AudioError(f"{path}: expected the package av to read G.722: pip install av") from error
    with av.open(str(path), format="g722") as container:
        blocks = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
    samples: Float32Array = np.concatenate(blocks).astype(np.float32) / np.float32(32768)
    return samples
