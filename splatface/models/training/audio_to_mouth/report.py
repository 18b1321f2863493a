"""What was measured, as a folder: report.md (tables), report.json, pictures of opening over time."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.errors import EncoderError
from splatface.models.training.audio_to_mouth.evaluate import Measured, table
from splatface.models.training.audio_to_mouth.listening import Predictor
from splatface.models.training.audio_to_mouth.trials import Trial

__all__ = ["plot_openings", "write_tables"]

_OPEN = MOUTH_MODES.index("open")
_SHOWN_S = 6.0


def write_tables(folder: Path, measured: Mapping[str, Measured], about: Mapping[str, object]) -> None:
    """report.md and report.json; `about`: whatever else was found out, as plain data."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["# Hearing, measured", "", table(measured)]
    lines += [f"* {name}: {value}" for name, value in about.items()]
    (folder / "report.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = {"listeners": {name: result.plain() for name, result in measured.items()}, "about": dict(about)}
    text = json.dumps(_finite(found), indent=1)
    (folder / "report.json").write_text(text + "\n", encoding="utf-8")


def plot_openings(folder: Path, listeners: Mapping[str, Predictor], trials: Sequence[Trial]) -> list[Path]:
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
