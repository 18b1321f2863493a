"""Draw filmed lips and what is predicted of them, with the phones that are said."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.errors import EncoderError
from splatface.models.training.filmed_lips.filmed_mouth import FilmedMouth

__all__ = ["plot_lips"]

_SHOWN_S = 8.0
_MODES = ("open", "wide", "round")


def plot_lips(
    folder: Path,
    film: FilmedMouth,
    predictions: Mapping[str, tuple[NDArray[np.floating], NDArray[np.float64]]],
) -> Path:
    """Write <name>.png: three modes over the first 8 s of speech, filmed and predicted.

    Args:
        folder: made where it is absent.
        film: the clip; its phones are written below the curves where it has some.
        predictions: modes [P, 8] and times [P], s, by name.

    Raises:
        EncoderError: when matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise EncoderError("plots: expected matplotlib, found none: pip install matplotlib") from error
    folder.mkdir(parents=True, exist_ok=True)
    begin = max(film.phones[0].start_s - 0.3, 0.0) if film.phones else float(film.times_s[0])
    figure = Figure(figsize=(14, 7), layout="constrained")
    for number, mode in enumerate(_MODES):
        column = MOUTH_MODES.index(mode)
        axes = figure.add_subplot(3, 1, number + 1, ylabel=mode, xlim=(begin, begin + _SHOWN_S))
        axes.plot(film.times_s, film.modes[:, column], "k", linewidth=2, alpha=0.6, label="filmed")
        for name, (modes, times_s) in predictions.items():
            axes.plot(times_s, modes[:, column], linewidth=1.2, label=name)
        for phone in film.phones:
            if begin <= phone.start_s < begin + _SHOWN_S:
                axes.axvline(phone.start_s, color="0.85", linewidth=0.6, zorder=0)
                place = ((phone.start_s + phone.end_s) / 2, 0.01)
                axes.text(*place, phone.ipa, ha="center", transform=axes.get_xaxis_transform())
        axes.grid(axis="y", alpha=0.3)
    figure.axes[0].set_title(film.name)
    figure.axes[0].legend(loc="upper right", ncols=len(predictions) + 1, fontsize="small")
    figure.axes[-1].set_xlabel("s")
    path = folder / f"{film.name}.png"
    FigureCanvasAgg(figure).print_png(str(path))
    return path
