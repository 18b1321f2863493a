"""Compare mouth motion predicted from audio with filmed lips: scores, ridge baseline and plots."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from splatface.models.audio.offline_features import FeatureExtractor, features
from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.errors import EncoderError
from splatface.models.signals import parabolic_peak_offset, pearson
from splatface.models.training.audio_to_mouth.predictors import Predictor
from splatface.models.training.filmed_lips.filmed_mouth import FilmedMouth
from splatface.models.typing import Float64Array

__all__ = [
    "LipScore",
    "interpolate_modes",
    "lip_score",
    "mean_score",
    "plot_lips",
    "ridge_leave_one_out",
    "score_predictor",
]

OPEN = MOUTH_MODES.index("open")
MAX_LAG_MS = 200.0
LAG_STEP_MS = 10.0
SLOW_S = 2.0  # a running mean over 2 s is taken off: what remains is faster than 0.5 Hz
CLOSURE_TOLERANCE_MS = 40.0
# Lips meet below this share of the way from the clip's smallest gap (2nd percentile) to its largest (98th).
CLOSED_SHARE = 0.15
MAX_CLOSED_GAP = (
    0.035  # of the height from forehead to nose; a clip whose lips never come nearer has no closure
)
MAX_CLOSURE_S = 0.4  # lips that stay shut for longer are at rest
ONSET_REST_S = 0.25  # of closed lips before an onset
ONSET_WITHIN_S = 0.4  # between the filmed and the predicted onset
MOVES = 0.02  # spread below which a mode of a clip is not judged


@dataclass(frozen=True, slots=True)
class LipScore:
    """Agreement of predicted with filmed lips; NaN where the clip does not tell."""

    r_raw: float  # correlation of `open`
    r_speech: float  # the same above 0.5 Hz
    r_gap: float  # inner-lip gap above 0.5 Hz
    lag_ms: float  # of the best correlation; positive: the prediction is late
    amplitude: float  # predicted / filmed spread of `open` above 0.5 Hz
    closure_recall: float  # of filmed closures, predicted within 40 ms
    closure_precision: float  # of predicted closures, filmed within 40 ms
    onset_delay_ms: float  # median of predicted minus filmed onsets after a pause
    mode_r: dict[str, float]  # correlation above 0.5 Hz by mode
    seconds: float

    def plain(self) -> dict[str, object]:
        """As plain data for JSON."""
        return asdict(self)


def interpolate_modes(
    times_s: Float64Array, predicted_times_s: Float64Array, predicted: NDArray[np.floating]
) -> Float64Array:
    """Interpolate predicted modes [P, n] at the times [F]."""
    columns = [np.interp(times_s, predicted_times_s, column) for column in predicted.T]
    return np.stack(columns, axis=1)


def score_predictor(listener: Predictor, film: FilmedMouth) -> LipScore:
    """Predict the mouth from the clip's sound and compare it with the filmed one."""
    predicted, times_s = listener(film.samples)
    return lip_score(film, times_s, predicted)


def lip_score(
    film: FilmedMouth, predicted_times_s: Float64Array, predicted: NDArray[np.floating]
) -> LipScore:
    """Compare predicted modes [P, 8] at the times [P] with a filmed mouth."""
    at = interpolate_modes(film.times_s, predicted_times_s, predicted)
    weights, offset = _gap_of_modes(film)
    gap = at @ weights + offset
    filmed = film.modes[:, OPEN]
    lags_ms = np.arange(-MAX_LAG_MS, MAX_LAG_MS + 1, LAG_STEP_MS)
    filmed_fast = remove_drift(filmed, film.step_s)
    curve = [
        pearson(
            remove_drift(
                np.interp(film.times_s + lag / 1000, predicted_times_s, predicted[:, OPEN]), film.step_s
            ),
            filmed_fast,
        )
        for lag in lags_ms
    ]
    recall, precision = _closures(film, gap)
    return LipScore(
        r_raw=pearson(at[:, OPEN], filmed),
        r_speech=pearson(remove_drift(at[:, OPEN], film.step_s), filmed_fast),
        r_gap=pearson(remove_drift(gap, film.step_s), remove_drift(film.gap, film.step_s)),
        lag_ms=_peak_ms(np.array(curve), lags_ms),
        amplitude=float(remove_drift(at[:, OPEN], film.step_s).std() / max(filmed_fast.std(), 1e-9)),
        closure_recall=recall,
        closure_precision=precision,
        onset_delay_ms=_onset_delay_ms(film, gap),
        mode_r={
            mode: pearson(remove_drift(at[:, i], film.step_s), remove_drift(film.modes[:, i], film.step_s))
            if film.modes[:, i].std() > MOVES
            else float("nan")
            for i, mode in enumerate(MOUTH_MODES)
        },
        seconds=len(film.times_s) * film.step_s,
    )


def mean_score(scores: Sequence[LipScore]) -> dict[str, object]:
    """Mean over clips, each counting the same; `lag_ms` as it is and as a mean of its magnitude."""
    names = [name for name in LipScore.__dataclass_fields__ if name not in ("mode_r", "seconds")]
    mean: dict[str, object] = {name: _mean([getattr(score, name) for score in scores]) for name in names}
    mean["abs_lag_ms"] = _mean([abs(score.lag_ms) for score in scores])
    mean["mode_r"] = {mode: _mean([score.mode_r[mode] for score in scores]) for mode in MOUTH_MODES}
    mean["clips"] = len(scores)
    mean["seconds"] = float(sum(score.seconds for score in scores))
    return mean


def remove_drift(values: Float64Array, step_s: float) -> Float64Array:
    """Values [F] without their running mean over 2 s."""
    slow = uniform_filter1d(values, max(3, int(SLOW_S / step_s)), mode="nearest", axis=0)
    return np.asarray(values - slow, np.float64)


def _gap_of_modes(film: FilmedMouth) -> tuple[Float64Array, float]:
    """Least-squares weights [8] and offset of the filmed gap from the filmed modes."""
    terms = np.concatenate([film.modes, np.ones((len(film.modes), 1))], axis=1)
    found = np.linalg.lstsq(terms, film.gap, rcond=None)[0]
    return np.asarray(found[:-1], np.float64), float(found[-1])


def _peak_ms(curve: Float64Array, lags_ms: Float64Array) -> float:
    best = int(np.clip(np.argmax(curve), 1, len(curve) - 2))
    return float(lags_ms[best] + LAG_STEP_MS * parabolic_peak_offset(*curve[best - 1 : best + 2].tolist()))


def closure_threshold(gap: Float64Array) -> float:
    """Gap below which the lips of a clip meet; -inf when they never do."""
    low, high = np.percentile(gap, [2, 98])
    return float(low + CLOSED_SHARE * (high - low)) if low < MAX_CLOSED_GAP else -np.inf


def _stretches(on: NDArray[np.bool_]) -> NDArray[np.intp]:
    """First and last + 1 [n, 2] of runs of True."""
    return np.flatnonzero(np.diff(np.concatenate([[0], on.astype(np.int8), [0]]))).reshape(-1, 2)


def _closures(film: FilmedMouth, gap: Float64Array) -> tuple[float, float]:
    """Recall and precision of lips that meet while speaking."""
    limit = closure_threshold(film.gap)
    filmed, predicted = film.gap < limit, gap < limit
    near = round(CLOSURE_TOLERANCE_MS / 1000 / film.step_s)
    longest = MAX_CLOSURE_S / film.step_s

    def share(of: NDArray[np.bool_], among: NDArray[np.bool_]) -> float:
        inner = [(a, b) for a, b in _stretches(of) if b - a <= longest and a > 0 and b < len(of)]
        hits = [among[max(a - near, 0) : b + near].any() for a, b in inner]
        return float(np.mean(hits)) if hits else float("nan")

    return share(filmed, predicted), share(predicted, filmed)


def _onset_delay_ms(film: FilmedMouth, gap: Float64Array) -> float:
    """Median delay of half-open lips after a filmed pause with closed lips."""
    limit = closure_threshold(film.gap)
    delays = []
    for a, b in _stretches(film.gap < limit):
        if (b - a) * film.step_s < ONSET_REST_S or b >= len(film.gap) - 2:
            continue
        ahead = slice(b, b + round(ONSET_WITHIN_S / film.step_s))
        half = (limit + film.gap[ahead].max()) / 2
        half_predicted = (limit + gap[ahead].max()) / 2
        filmed = b + int(np.argmax(film.gap[ahead] >= half))
        before = max(b - round(ONSET_REST_S / film.step_s), 0)
        above = np.flatnonzero(gap[before : ahead.stop] >= half_predicted)
        if half_predicted > limit and len(above):
            delays.append(1000 * film.step_s * (before + int(above[0]) - filmed))
    return float(np.median(delays)) if delays else float("nan")


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


_TAPS_S = (-0.16, -0.12, -0.08, -0.04, 0.0)  # before the newest frame
_STRENGTH = 1e4  # against features of variance 1, summed over all frames


def ridge_leave_one_out(
    films: Sequence[FilmedMouth], encoder: str, lookahead_s: float, ear: FeatureExtractor = features
) -> list[Float64Array]:
    """Predict the modes [F, 8] of every clip from a regression on the clips of all other persons.

    Targets are freed of what is slower than 0.5 Hz and scaled to the same spread of `open` in every clip; the
    mean modes of all clips are added to what is predicted.

    Args:
        films: at least two persons.
        encoder: of `models.audio`.
        lookahead_s: of the newest feature frame after the moment that is predicted.
        ear: turns a recording into features.
    """
    inputs = [_inputs(film, encoder, lookahead_s, ear) for film in films]
    mean = np.concatenate(inputs).mean(axis=0)
    std = np.concatenate(inputs).std(axis=0) + 1e-6
    scaled = [np.concatenate([(x - mean) / std, np.ones((len(x), 1))], axis=1) for x in inputs]
    usual = float(np.mean([remove_drift(film.modes, film.step_s)[:, OPEN].std() for film in films]))
    rest = np.mean([film.modes.mean(axis=0) for film in films], axis=0)
    targets = [usual * _target(film) for film in films]
    square = sum(x.T @ x for x in scaled) + _STRENGTH * np.eye(scaled[0].shape[1])
    product = sum(x.T @ y for x, y in zip(scaled, targets, strict=True))
    weights: dict[str, Float64Array] = {}
    for person in dict.fromkeys(film.person for film in films):
        own = [i for i, film in enumerate(films) if film.person == person]
        left = square - sum(scaled[i].T @ scaled[i] for i in own)
        weights[person] = np.linalg.solve(left, product - sum(scaled[i].T @ targets[i] for i in own))
    return [x @ weights[film.person] + rest for x, film in zip(scaled, films, strict=True)]


def _inputs(film: FilmedMouth, encoder: str, lookahead_s: float, ear: FeatureExtractor) -> Float64Array:
    """Features of five moments [F, 5 D] for every video frame."""
    values, centers_s = ear(encoder, film.samples)
    taps = []
    for tap_s in _TAPS_S:
        at = np.clip(film.times_s + lookahead_s + tap_s, centers_s[0], centers_s[-1])
        after = np.clip(np.searchsorted(centers_s, at), 1, len(centers_s) - 1)
        share = (at - centers_s[after - 1]) / (centers_s[after] - centers_s[after - 1])
        taps.append(values[after - 1] * (1 - share)[:, None] + values[after] * share[:, None])
    return np.concatenate(taps, axis=1).astype(np.float64)


def _target(film: FilmedMouth) -> Float64Array:
    fast = remove_drift(film.modes, film.step_s)
    return np.asarray(fast / max(fast[:, OPEN].std(), 1e-6), np.float64)


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
