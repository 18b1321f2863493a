"""Evaluate audio-to-mouth nets on held-out speech and non-speech: scores, tables, report and plots."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.errors import EncoderError
from splatface.models.messages import SAMPLE_RATE
from splatface.models.signals import parabolic_peak_offset, pearson
from splatface.models.training.audio_to_mouth.predictors import Predictor
from splatface.models.training.speech_corpus.augmentation import (
    NONSPEECH_KINDS,
    SimulatedRecording,
    nonspeech_sound,
    simulate_recording,
)
from splatface.models.training.speech_corpus.coarticulation import modes_from_phones
from splatface.models.training.speech_corpus.corpus import is_test, read_sentence
from splatface.models.training.speech_corpus.phonemes import LabeledSpeech, Phone
from splatface.models.typing import Float32Array

__all__ = [
    "SHUT_BELOW",
    "EvaluationTrial",
    "MouthScore",
    "NetEvaluation",
    "NonSpeechTrial",
    "evaluate_predictor",
    "held_out_trials",
    "markdown_table",
    "nonspeech_trials",
    "plain",
    "plot_openings",
    "score_mouth",
    "trial_from_phones",
    "write_evaluation",
]

_STEP_S = 0.005  # the truth is sampled finer than any encoder


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationTrial:
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

    def between(self, first: int, last: int) -> "EvaluationTrial":
        """The same recording, its mouth known only from moment `first` to before `last` of `times_s`."""
        return replace(self, times_s=self.times_s[first:last], modes=self.modes[first:last])


@dataclass(frozen=True, slots=True, eq=False)
class NonSpeechTrial:
    """A sound without speech."""

    kind: str  # of UNVOICED
    samples: Float32Array


def trial_from_phones(said: LabeledSpeech, condition: str, recording: SimulatedRecording) -> EvaluationTrial:
    """A trial whose truth follows from the phones."""
    times_s = np.arange(0.0, len(recording.samples) / SAMPLE_RATE, _STEP_S)
    modes = modes_from_phones(recording.phones, times_s)
    return EvaluationTrial(
        said.voice.split("/")[0], said.language, condition, recording.samples, times_s, modes
    )


def held_out_trials(corpus: Path, *, each: int = 10, seed: int = 1) -> list[EvaluationTrial]:
    """At most `each` held-out sentences of a source and language, clean and recorded somewhere."""
    rng = np.random.default_rng(seed)
    kept = [said for path in sorted(corpus.glob("*.npz")) if is_test(said := read_sentence(path))]
    groups: dict[tuple[str, str], list[LabeledSpeech]] = {}
    for said in kept:
        groups.setdefault((said.voice.split("/")[0], said.language), []).append(said)
    trials = []
    for group in groups.values():
        for said in group[:each]:
            trials.append(trial_from_phones(said, "clean", _padded(said, 0.4)))
            trials.append(trial_from_phones(said, "recorded", simulate_recording(said, kept, rng)))
    return trials


def nonspeech_trials(
    corpus: Path, *, each: int = 4, seconds: float = 4.0, seed: int = 2
) -> list[NonSpeechTrial]:
    """Sounds of every kind at which the mouth should stay shut, `each` with another level."""
    rng = np.random.default_rng(seed)
    voices = [said for path in sorted(corpus.glob("*.npz")) if is_test(said := read_sentence(path))]
    return [
        NonSpeechTrial(kind, nonspeech_sound(kind, round(seconds * SAMPLE_RATE), voices, rng))
        for kind in NONSPEECH_KINDS
        for _ in range(1 if kind == "silence" else each)
    ]


def _padded(said: LabeledSpeech, seconds: float) -> SimulatedRecording:
    phones = tuple(Phone(p.ipa, p.start_s + seconds, p.end_s + seconds, p.stress) for p in said.phones)
    return SimulatedRecording(np.pad(said.samples, round(seconds * SAMPLE_RATE)), phones)


SHUT_BELOW = 0.08  # opening below which a mouth is called shut
_OPEN = MOUTH_MODES.index("open")
_LONGEST_CLOSURE = 20  # frames; lips that stay shut for longer are at rest
_FRAME_MS = 20.0
_MOVES = 0.02  # spread of the truth below which a mode stands still


@dataclass(frozen=True, slots=True)
class MouthScore:
    """NaN where the truth does not tell."""

    open_r: float  # correlation of opening
    open_amplitude: float  # spread heard / spread true
    open_lag_ms: float  # positive: the heard mouth is late
    modes_r: float  # mean correlation of the modes that move
    closure_recall: float  # of lips that meet between sounds, found within 40 ms
    closure_precision: float
    jitter: float  # second difference heard / true
    seconds: float
    mode_r: tuple[float, ...]  # [len(MOUTH_MODES)], NaN where the true mode stands still


def score_mouth(heard: Float32Array, true: Float32Array) -> MouthScore:
    """Compare modes [F, n], frames 20 ms apart; columns of `true` that are NaN are not judged."""
    a, b = heard[:, _OPEN], true[:, _OPEN]
    lags = range(-8, 9)
    correlations = [pearson(np.roll(a, -lag)[10:-10], b[10:-10]) for lag in lags]
    mode_r = tuple(
        pearson(heard[:, i], true[:, i]) if true[:, i].std() > _MOVES else float("nan")
        for i in range(len(MOUTH_MODES))
    )
    known = [r for r in mode_r if not np.isnan(r)]
    recall, precision = _closures(a, b)
    return MouthScore(
        open_r=pearson(a, b),
        open_amplitude=float(a.std() / b.std()),
        open_lag_ms=_FRAME_MS * _peak(np.array(correlations), lags[0]),
        modes_r=float(np.mean(known)) if known else float("nan"),
        closure_recall=recall,
        closure_precision=precision,
        jitter=float(np.diff(a, 2).std() / np.diff(b, 2).std()),
        seconds=len(true) * _FRAME_MS / 1000,
        mode_r=mode_r,
    )


def plain(result: MouthScore) -> dict[str, object]:
    """A score as plain data, the modes by name."""
    return asdict(result) | {"mode_r": dict(zip(MOUTH_MODES, result.mode_r, strict=True))}


def _peak(values: NDArray[np.float64], first: int) -> float:
    """Where a parabola through the largest value and its neighbors peaks."""
    i = int(np.clip(np.argmax(values), 1, len(values) - 2))
    return first + i + parabolic_peak_offset(*values[i - 1 : i + 2].tolist())


def _closures(heard: Float32Array, true: Float32Array) -> tuple[float, float]:
    """Recall and precision of lips that meet between sounds, found within two frames, by the opening [F]."""
    if np.isnan(true).any():
        return float("nan"), float("nan")

    def found(of: Float32Array, among: Float32Array) -> float:
        edges = np.flatnonzero(np.diff(np.concatenate([[False], of < SHUT_BELOW, [False]]).astype(np.int8)))
        between = [
            (a, b) for a, b in edges.reshape(-1, 2) if a > 0 and b < len(of) and b - a <= _LONGEST_CLOSURE
        ]
        hits = [(among[max(a - 2, 0) : b + 2] < SHUT_BELOW).any() for a, b in between]
        return float(np.mean(hits)) if hits else 1.0

    return found(true, heard), found(heard, true)


_WARM_UP = 15  # frames that a window needs to fill, in a sound without speech
_MEANS = (
    "open_r",
    "open_amplitude",
    "open_lag_ms",
    "modes_r",
    "closure_recall",
    "closure_precision",
    "jitter",
)


@dataclass(frozen=True, slots=True)
class NetEvaluation:
    """What one listener reached."""

    groups: dict[str, MouthScore]  # by "source language condition"
    shut: dict[str, float]  # share of the time at which the mouth is shut, by kind of sound without speech

    def means(self, condition: str) -> dict[str, float]:
        """Means over the groups of a condition, every source and language counting the same."""
        chosen = [result for name, result in self.groups.items() if name.endswith(" " + condition)]
        return {name: _mean(getattr(result, name) for result in chosen) for name in _MEANS} if chosen else {}

    def conditions(self) -> list[str]:
        """In the order met."""
        return list(dict.fromkeys(name.split()[-1] for name in self.groups))

    def plain(self) -> dict[str, object]:
        """As plain data for JSON."""
        groups = {name: plain(result) for name, result in self.groups.items()}
        means = {condition: self.means(condition) for condition in self.conditions()}
        return {"means": means, "groups": groups, "shut": self.shut}


def evaluate_predictor(
    listener: Predictor, trials: Sequence[EvaluationTrial], resting: Sequence[NonSpeechTrial]
) -> NetEvaluation:
    """Score a listener by source, language and condition."""
    pairs: dict[str, list[tuple[Float32Array, Float32Array]]] = {}
    for trial in trials:
        heard, times_s = listener(trial.samples)
        inside = (times_s >= trial.times_s[0]) & (times_s <= trial.times_s[-1])
        name = f"{trial.source} {trial.language} {trial.condition}"
        pairs.setdefault(name, []).append((heard[inside], trial.truth(times_s[inside])))
    groups = {
        name: score_mouth(*(np.concatenate(side) for side in zip(*both, strict=True)))
        for name, both in pairs.items()
    }
    shut: dict[str, list[Float32Array]] = {}
    for trial_at_rest in resting:
        heard, _ = listener(trial_at_rest.samples)
        shut.setdefault(trial_at_rest.kind, []).append(heard[_WARM_UP:, _OPEN])
    return NetEvaluation(groups, {kind: _share_shut(np.concatenate(x)) for kind, x in shut.items()})


def markdown_table(measured: Mapping[str, NetEvaluation]) -> str:
    """Markdown: every listener's means by condition, then its groups, then the mouth at rest."""
    lines = ["| listener | condition | " + " | ".join(_MEANS) + " |", "|---" * (len(_MEANS) + 2) + "|"]
    for name, result in measured.items():
        for condition in result.conditions():
            lines.append(_row(name, condition, result.means(condition).values()))
    lines += [
        "",
        "| listener | source, language | " + " | ".join(_MEANS) + " |",
        "|---" * (len(_MEANS) + 2) + "|",
    ]
    for name, result in measured.items():
        for group, found in result.groups.items():
            lines.append(_row(name, group, (getattr(found, key) for key in _MEANS)))
    kinds = list(dict.fromkeys(kind for result in measured.values() for kind in result.shut))
    lines += ["", "| shut at | " + " | ".join(kinds) + " |", "|---" * (len(kinds) + 1) + "|"]
    for name, result in measured.items():
        lines.append(f"| {name} | " + " | ".join(f"{result.shut[kind]:.3f}" for kind in kinds) + " |")
    return "\n".join(lines) + "\n"


def _row(name: str, group: str, values: Iterable[float]) -> str:
    return f"| {name} | {group} | " + " | ".join(f"{value:.2f}" for value in values) + " |"


def _share_shut(opening: Float32Array) -> float:
    return float((opening < SHUT_BELOW).mean())


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


_SHOWN_S = 6.0


def write_evaluation(
    folder: Path, measured: Mapping[str, NetEvaluation], about: Mapping[str, object]
) -> None:
    """report.md and report.json; `about`: whatever else was found out, as plain data."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["# Hearing, measured", "", markdown_table(measured)]
    lines += [f"* {name}: {value}" for name, value in about.items()]
    (folder / "report.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = {"listeners": {name: result.plain() for name, result in measured.items()}, "about": dict(about)}
    text = json.dumps(_finite(found), indent=1)
    (folder / "report.json").write_text(text + "\n", encoding="utf-8")


def plot_openings(
    folder: Path, listeners: Mapping[str, Predictor], trials: Sequence[EvaluationTrial]
) -> list[Path]:
    """One picture a source, language and condition: the first trial's opening, true and heard.

    A truth in other units than a mode's is drawn with the spread of the first listener.

    Raises EncoderError when matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise EncoderError("plots: expected matplotlib, found none: pip install matplotlib") from error
    folder.mkdir(parents=True, exist_ok=True)
    first = {(trial.source, trial.language, trial.condition): trial for trial in reversed(trials)}
    written = []
    for name, trial in first.items():
        figure = Figure(figsize=(11, 3), layout="constrained")
        axes = figure.add_subplot(xlabel="s", ylabel="opening", title=" ".join(name), xlim=(0, _SHOWN_S))
        true = trial.modes[:, _OPEN]
        for number, (label, listener) in enumerate(listeners.items()):
            heard, times_s = listener(trial.samples)
            if number == 0 and np.isnan(trial.modes).any():
                true = (true - true.mean()) * heard[:, _OPEN].std() / true.std() + heard[:, _OPEN].mean()
            axes.plot(times_s, heard[:, _OPEN], label=label, linewidth=1.2)
        axes.plot(trial.times_s, true, "k", label="true", linewidth=2, alpha=0.6)
        axes.legend(loc="upper right", ncols=len(listeners) + 1, fontsize="small")
        written.append(folder / f"opening_{'_'.join(name)}.png")
        FigureCanvasAgg(figure).print_png(str(written[-1]))
    return written


def _finite(value: object) -> object:
    """JSON knows no NaN: null."""
    if isinstance(value, Mapping):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
