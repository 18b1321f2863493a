"""What nets are measured on: recordings with the true mouth, and sounds at which the mouth rests."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splatface.models.messages import SAMPLE_RATE
from splatface.models.training.speech_corpus.augment import Recording, simulate_recording
from splatface.models.training.speech_corpus.coarticulation import mode_track
from splatface.models.training.speech_corpus.corpus import is_test, read
from splatface.models.training.speech_corpus.phonemes import Phone
from splatface.models.training.speech_corpus.unvoiced import NONSPEECH_KINDS, unvoiced
from splatface.models.training.speech_corpus.voices.spoken import Spoken
from splatface.models.typing import Float32Array

__all__ = ["NonSpeechTrial", "Trial", "held_out_trials", "rest_trials", "trial_of_phones"]


_STEP_S = 0.005  # the truth is sampled finer than any encoder


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """One recording and the mouth that belongs to it."""

    source: str  # "kokoro", "librivox", ...
    language: str
    condition: str  # "clean", "recorded" (room, noise, another microphone), "real"
    samples: Float32Array  # [T], 16 kHz
    times_s: NDArray[np.float64]  # [n], rising
    modes: Float32Array  # [n, len(MOUTH_MODES)]; NaN columns are not known

    def truth(self, times_s: NDArray[np.float64]) -> Float32Array:
        """The mouth at the times [F], as [F, len(MOUTH_MODES)]."""
        columns = [np.interp(times_s, self.times_s, mode) for mode in self.modes.T]
        return np.stack(columns, axis=1).astype(np.float32)

    def between(self, first: int, last: int) -> "Trial":
        """The same recording, its mouth known only from moment `first` to before `last` of `times_s`."""
        return replace(self, times_s=self.times_s[first:last], modes=self.modes[first:last])


@dataclass(frozen=True, slots=True, eq=False)
class NonSpeechTrial:
    """A sound without speech."""

    kind: str  # of UNVOICED
    samples: Float32Array


def trial_of_phones(said: Spoken, condition: str, recording: Recording) -> Trial:
    """A trial whose truth follows from the phones."""
    times_s = np.arange(0.0, len(recording.samples) / SAMPLE_RATE, _STEP_S)
    modes = mode_track(recording.phones, times_s)
    return Trial(said.voice.split("/")[0], said.language, condition, recording.samples, times_s, modes)


def held_out_trials(corpus: Path, *, each: int = 10, seed: int = 1) -> list[Trial]:
    """At most `each` held-out sentences of a source and language, clean and recorded somewhere."""
    rng = np.random.default_rng(seed)
    kept = [said for path in sorted(corpus.glob("*.npz")) if is_test(said := read(path))]
    groups: dict[tuple[str, str], list[Spoken]] = {}
    for said in kept:
        groups.setdefault((said.voice.split("/")[0], said.language), []).append(said)
    trials = []
    for group in groups.values():
        for said in group[:each]:
            trials.append(trial_of_phones(said, "clean", _padded(said, 0.4)))
            trials.append(trial_of_phones(said, "recorded", simulate_recording(said, kept, rng)))
    return trials


def rest_trials(corpus: Path, *, each: int = 4, seconds: float = 4.0, seed: int = 2) -> list[NonSpeechTrial]:
    """Sounds of every kind at which the mouth should stay shut, `each` with another level."""
    rng = np.random.default_rng(seed)
    voices = [said for path in sorted(corpus.glob("*.npz")) if is_test(said := read(path))]
    return [
        NonSpeechTrial(kind, unvoiced(kind, round(seconds * SAMPLE_RATE), voices, rng))
        for kind in NONSPEECH_KINDS
        for _ in range(1 if kind == "silence" else each)
    ]


def _padded(said: Spoken, seconds: float) -> Recording:
    phones = tuple(Phone(p.ipa, p.start_s + seconds, p.end_s + seconds, p.stress) for p in said.phones)
    return Recording(np.pad(said.samples, round(seconds * SAMPLE_RATE)), phones)
