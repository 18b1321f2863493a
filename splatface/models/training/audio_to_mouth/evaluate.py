"""Measure listeners on voices, languages and noises that nothing was trained on."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.training.audio_to_mouth.listening import Predictor
from splatface.models.training.audio_to_mouth.score import SHUT_BELOW, Score, plain, score
from splatface.models.training.audio_to_mouth.trials import NonSpeechTrial, Trial
from splatface.models.typing import Float32Array

__all__ = ["Measured", "measure", "table"]


_OPEN = MOUTH_MODES.index("open")
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
class Measured:
    """What one listener reached."""

    groups: dict[str, Score]  # by "source language condition"
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


def measure(listener: Predictor, trials: Sequence[Trial], resting: Sequence[NonSpeechTrial]) -> Measured:
    """Score a listener by source, language and condition."""
    pairs: dict[str, list[tuple[Float32Array, Float32Array]]] = {}
    for trial in trials:
        heard, times_s = listener(trial.samples)
        inside = (times_s >= trial.times_s[0]) & (times_s <= trial.times_s[-1])
        name = f"{trial.source} {trial.language} {trial.condition}"
        pairs.setdefault(name, []).append((heard[inside], trial.truth(times_s[inside])))
    groups = {
        name: score(*(np.concatenate(side) for side in zip(*both, strict=True)))
        for name, both in pairs.items()
    }
    shut: dict[str, list[Float32Array]] = {}
    for trial_at_rest in resting:
        heard, _ = listener(trial_at_rest.samples)
        shut.setdefault(trial_at_rest.kind, []).append(heard[_WARM_UP:, _OPEN])
    return Measured(groups, {kind: _share_shut(np.concatenate(x)) for kind, x in shut.items()})


def table(measured: Mapping[str, Measured]) -> str:
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
