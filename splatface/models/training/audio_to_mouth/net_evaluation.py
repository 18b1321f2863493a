# SPDX-License-Identifier: Apache-2.0
"""Evaluate audio-to-mouth nets on held-out speech and non-speech: scores, tables, report and plots."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import uniform_filter1d

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
from splatface.models.training.speech_corpus.phonemes import LabeledSpeech
from splatface.models.typing import Float32Array, Float64Array, FloatArray

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
    "plot_openings",
    "remove_drift",
    "score_mouth",
    "trial_from_phones",
    "write_evaluation",
]

SHUT_BELOW = 0.08  # opening below which a mouth counts as shut
_OPEN = MOUTH_MODES.index("open")
_TARGET_STEP_S = 0.005  # the target is sampled finer than any encoder
_FRAME_MS = 20.0
_MAX_LAG_FRAMES = 8
_MAX_CLOSURE_FRAMES = 20  # lips that stay shut for longer are at rest
_CLOSURE_TOLERANCE_FRAMES = 2
_MIN_STD = 0.02  # of a target; below, a mode stands still
_WARM_UP_FRAMES = 15  # of a window, in a sound without speech
_DRIFT_S = 2.0  # a running mean over this time is drift, not speech
_PLOT_S = 6.0
_COLUMNS = (
    "open_r",
    "open_amplitude",
    "open_lag_ms",
    "modes_r",
    "closure_recall",
    "closure_precision",
    "jitter",
)


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationTrial:
    """One recording and the target mouth."""

    source: str  # "kokoro", "librivox", ...
    language: str
    condition: str  # "clean", "recorded" (room, noise, another microphone), "real"
    samples: Float32Array  # [T], 16 kHz
    times_s: Float64Array  # [n], rising
    modes: Float32Array  # [n, len(MOUTH_MODES)]; NaN columns are unknown

    def target_modes(self, times_s: Float64Array) -> Float32Array:
        """Interpolate the target at the times [F], as [F, len(MOUTH_MODES)]."""
        columns = [np.interp(times_s, self.times_s, mode) for mode in self.modes.T]
        return np.stack(columns, axis=1).astype(np.float32)

    def split(self, fraction: float) -> tuple["EvaluationTrial", "EvaluationTrial"]:
        """Split the target in time: the beginning to train on, and the rest; both keep the whole audio."""
        middle = round(fraction * len(self.times_s))
        return (
            replace(self, times_s=self.times_s[:middle], modes=self.modes[:middle]),
            replace(self, times_s=self.times_s[middle:], modes=self.modes[middle:]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class NonSpeechTrial:
    """A sound without speech."""

    kind: str  # of NONSPEECH_KINDS
    samples: Float32Array  # [T], 16 kHz


@dataclass(frozen=True, slots=True)
class MouthScore:
    """Agreement of a predicted mouth with the target; NaN where the target does not tell."""

    open_r: float  # correlation of opening
    open_amplitude: float  # standard deviation, predicted / target
    open_lag_ms: float  # positive: the predicted mouth is late
    modes_r: float  # mean correlation of the modes that move
    closure_recall: float  # of lips that meet between sounds, predicted within 40 ms
    closure_precision: float
    jitter: float  # second difference, predicted / target
    seconds: float
    mode_r: tuple[float, ...]  # [len(MOUTH_MODES)], NaN where the target stands still

    def as_dict(self) -> dict[str, object]:
        """Return the score as plain data, the modes by name."""
        return asdict(self) | {"mode_r": dict(zip(MOUTH_MODES, self.mode_r, strict=True))}


@dataclass(frozen=True, slots=True)
class NetEvaluation:
    """Scores of one predictor."""

    groups: dict[str, MouthScore]  # by "source language condition"
    shut: dict[str, float]  # fraction of the time at which the mouth is shut, by kind of non-speech

    def means(self, condition: str) -> dict[str, float]:
        """Average over the groups of a condition, every source and language counting the same."""
        chosen = [score for name, score in self.groups.items() if name.endswith(" " + condition)]
        if not chosen:
            return {}
        return {name: _mean(getattr(score, name) for score in chosen) for name in _COLUMNS}

    def conditions(self) -> list[str]:
        """Return the conditions in the order of the groups."""
        return list(dict.fromkeys(name.split()[-1] for name in self.groups))

    def as_dict(self) -> dict[str, object]:
        """Return plain data for JSON."""
        groups = {name: score.as_dict() for name, score in self.groups.items()}
        means = {condition: self.means(condition) for condition in self.conditions()}
        return {"means": means, "groups": groups, "shut": self.shut}


def evaluate_predictor(
    predictor: Predictor, trials: Sequence[EvaluationTrial], nonspeech: Sequence[NonSpeechTrial]
) -> NetEvaluation:
    """Score a predictor by source, language and condition, and on sounds without speech."""
    pairs: dict[str, list[tuple[Float32Array, Float32Array]]] = {}
    for trial in trials:
        predicted, times_s = predictor(trial.samples)
        inside = (times_s >= trial.times_s[0]) & (times_s <= trial.times_s[-1])
        name = f"{trial.source} {trial.language} {trial.condition}"
        pairs.setdefault(name, []).append((predicted[inside], trial.target_modes(times_s[inside])))
    groups = {}
    for name, group in pairs.items():
        predicted, target = (np.concatenate(side) for side in zip(*group, strict=True))
        groups[name] = score_mouth(predicted, target)
    openings: dict[str, list[Float32Array]] = {}
    for sound in nonspeech:
        predicted, _ = predictor(sound.samples)
        openings.setdefault(sound.kind, []).append(predicted[_WARM_UP_FRAMES:, _OPEN])
    shut = {kind: float((np.concatenate(parts) < SHUT_BELOW).mean()) for kind, parts in openings.items()}
    return NetEvaluation(groups, shut)


def score_mouth(predicted: Float32Array, target: Float32Array) -> MouthScore:
    """Compare modes [F, n], frames 20 ms apart; columns of `target` that are NaN are not scored."""
    opening, target_opening = predicted[:, _OPEN], target[:, _OPEN]
    mode_r = tuple(
        pearson(predicted[:, i], target[:, i]) if target[:, i].std() > _MIN_STD else float("nan")
        for i in range(len(MOUTH_MODES))
    )
    known = [r for r in mode_r if not np.isnan(r)]
    recall, precision = _closure_recall_and_precision(opening, target_opening)
    return MouthScore(
        open_r=pearson(opening, target_opening),
        open_amplitude=float(opening.std() / target_opening.std()),
        open_lag_ms=_lag_ms(opening, target_opening),
        modes_r=float(np.mean(known)) if known else float("nan"),
        closure_recall=recall,
        closure_precision=precision,
        jitter=float(np.diff(opening, 2).std() / np.diff(target_opening, 2).std()),
        seconds=len(target) * _FRAME_MS / 1000,
        mode_r=mode_r,
    )


def _lag_ms(opening: Float32Array, target: Float32Array) -> float:
    """Return the lag of the best correlation, refined by a parabola through its neighbors."""
    lags = range(-_MAX_LAG_FRAMES, _MAX_LAG_FRAMES + 1)
    r = np.array([pearson(np.roll(opening, -lag)[10:-10], target[10:-10]) for lag in lags])
    best = int(np.clip(np.argmax(r), 1, len(r) - 2))
    return _FRAME_MS * (lags[0] + best + parabolic_peak_offset(*r[best - 1 : best + 2].tolist()))


def _closure_recall_and_precision(opening: Float32Array, target: Float32Array) -> tuple[float, float]:
    """Return recall and precision of lips that meet between sounds, within two frames, from openings [F]."""
    if np.isnan(target).any():
        return float("nan"), float("nan")
    return _matched_closures(target, opening), _matched_closures(opening, target)


def _matched_closures(opening: Float32Array, other: Float32Array) -> float:
    """Return the fraction of closures in one opening [F] that are in the other too."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], opening < SHUT_BELOW, [False]]).astype(np.int8)))
    hits = [
        (other[max(a - _CLOSURE_TOLERANCE_FRAMES, 0) : b + _CLOSURE_TOLERANCE_FRAMES] < SHUT_BELOW).any()
        for a, b in edges.reshape(-1, 2)
        if a > 0 and b < len(opening) and b - a <= _MAX_CLOSURE_FRAMES
    ]
    return float(np.mean(hits)) if hits else 1.0


def remove_drift(values: FloatArray, step_s: float) -> Float64Array:
    """Subtract the running mean over 2 s from values [F] or [F, n]: what remains is above 0.5 Hz."""
    exact = values.astype(np.float64)
    slow = uniform_filter1d(exact, max(int(_DRIFT_S / step_s), 3), axis=0, mode="nearest")
    return np.asarray(exact - slow, np.float64)


def held_out_trials(corpus: Path, *, each: int = 10, seed: int = 1) -> list[EvaluationTrial]:
    """Return up to `each` test sentences of a source and language, clean and with simulated recording."""
    rng = np.random.default_rng(seed)
    sentences = _test_sentences(corpus)
    groups: dict[tuple[str, str], list[LabeledSpeech]] = {}
    for sentence in sentences:
        groups.setdefault((sentence.source, sentence.language), []).append(sentence)
    trials = []
    for group in groups.values():
        for sentence in group[:each]:
            trials.append(trial_from_phones(sentence, "clean", _padded(sentence, 0.4)))
            recording = simulate_recording(sentence, sentences, rng)
            trials.append(trial_from_phones(sentence, "recorded", recording))
    return trials


def trial_from_phones(
    sentence: LabeledSpeech, condition: str, recording: SimulatedRecording
) -> EvaluationTrial:
    """Make a trial whose target follows from the phones of a recording of the sentence."""
    times_s = np.arange(0.0, len(recording.samples) / SAMPLE_RATE, _TARGET_STEP_S)
    modes = modes_from_phones(recording.phones, times_s)
    return EvaluationTrial(sentence.source, sentence.language, condition, recording.samples, times_s, modes)


def _padded(sentence: LabeledSpeech, seconds: float) -> SimulatedRecording:
    phones = (replace(p, start_s=p.start_s + seconds, end_s=p.end_s + seconds) for p in sentence.phones)
    return SimulatedRecording(np.pad(sentence.samples, round(seconds * SAMPLE_RATE)), tuple(phones))


def nonspeech_trials(
    corpus: Path, *, each: int = 4, seconds: float = 4.0, seed: int = 2
) -> list[NonSpeechTrial]:
    """Make sounds of every kind at which the mouth should stay shut, `each` at another level."""
    rng = np.random.default_rng(seed)
    sentences = _test_sentences(corpus)
    return [
        NonSpeechTrial(kind, nonspeech_sound(kind, round(seconds * SAMPLE_RATE), sentences, rng))
        for kind in NONSPEECH_KINDS
        for _ in range(1 if kind == "silence" else each)
    ]


def _test_sentences(corpus: Path) -> list[LabeledSpeech]:
    return [sentence for path in sorted(corpus.glob("*.npz")) if is_test(sentence := read_sentence(path))]


def write_evaluation(
    folder: Path, evaluations: Mapping[str, NetEvaluation], about: Mapping[str, object]
) -> None:
    """Write report.md and report.json; `about` is further plain data by name."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["# Audio-to-mouth evaluation", "", markdown_table(evaluations)]
    lines += [f"* {name}: {value}" for name, value in about.items()]
    (folder / "report.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    report = {
        "listeners": {name: evaluation.as_dict() for name, evaluation in evaluations.items()},
        "about": dict(about),
    }
    text = json.dumps(_nan_to_none(report), indent=1)
    (folder / "report.json").write_text(text + "\n", encoding="utf-8")


def markdown_table(evaluations: Mapping[str, NetEvaluation]) -> str:
    """Format every predictor's means by condition, then its groups, then the mouth in non-speech."""
    header = " | ".join(_COLUMNS) + " |"
    rule = "|---" * (len(_COLUMNS) + 2) + "|"
    lines = ["| predictor | condition | " + header, rule]
    for name, evaluation in evaluations.items():
        for condition in evaluation.conditions():
            lines.append(_table_row(name, condition, evaluation.means(condition).values()))
    lines += ["", "| predictor | source, language | " + header, rule]
    for name, evaluation in evaluations.items():
        for group, score in evaluation.groups.items():
            lines.append(_table_row(name, group, (getattr(score, column) for column in _COLUMNS)))
    kinds = list(dict.fromkeys(kind for evaluation in evaluations.values() for kind in evaluation.shut))
    lines += ["", "| shut at | " + " | ".join(kinds) + " |", "|---" * (len(kinds) + 1) + "|"]
    for name, evaluation in evaluations.items():
        lines.append(f"| {name} | " + " | ".join(f"{evaluation.shut[kind]:.3f}" for kind in kinds) + " |")
    return "\n".join(lines) + "\n"


def _table_row(name: str, group: str, values: Iterable[float]) -> str:
    return f"| {name} | {group} | " + " | ".join(f"{value:.2f}" for value in values) + " |"


def plot_openings(
    folder: Path, predictors: Mapping[str, Predictor], trials: Sequence[EvaluationTrial]
) -> list[Path]:
    """Plot target and predicted opening of the first trial of each source, language and condition.

    A target in other units than a mode's is drawn with the standard deviation of the first predictor.

    Raises:
        EncoderError: matplotlib is not installed.
    """
    Figure, FigureCanvasAgg = import_figure_classes()
    folder.mkdir(parents=True, exist_ok=True)
    first = {(trial.source, trial.language, trial.condition): trial for trial in reversed(trials)}
    paths = []
    for name, trial in first.items():
        figure = Figure(figsize=(11, 3), layout="constrained")
        axes = figure.add_subplot(xlabel="s", ylabel="opening", title=" ".join(name), xlim=(0, _PLOT_S))
        target = trial.modes[:, _OPEN]
        for number, (label, predictor) in enumerate(predictors.items()):
            predicted, times_s = predictor(trial.samples)
            opening = predicted[:, _OPEN]
            if number == 0 and np.isnan(trial.modes).any():
                target = (target - target.mean()) * opening.std() / target.std() + opening.mean()
            axes.plot(times_s, opening, label=label, linewidth=1.2)
        axes.plot(trial.times_s, target, "k", label="true", linewidth=2, alpha=0.6)
        axes.legend(loc="upper right", ncols=len(predictors) + 1, fontsize="small")
        paths.append(folder / f"opening_{'_'.join(name)}.png")
        FigureCanvasAgg(figure).print_png(str(paths[-1]))
    return paths


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def _nan_to_none(value: object) -> object:
    """Replace NaN, which JSON does not have, by None."""
    if isinstance(value, Mapping):
        return {str(key): _nan_to_none(inner) for key, inner in value.items()}
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def import_figure_classes() -> tuple[Any, Any]:
    """Import matplotlib's Figure and FigureCanvasAgg, which draw without a display.

    Raises:
        EncoderError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise EncoderError("plots: expected matplotlib, found none: pip install matplotlib") from error
    return Figure, FigureCanvasAgg
