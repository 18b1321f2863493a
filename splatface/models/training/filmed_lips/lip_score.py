"""Compare lips predicted from sound with lips that were filmed."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.peak import parabolic_peak_offset
from splatface.models.pearson import pearson
from splatface.models.training.audio_to_mouth.listening import Predictor
from splatface.models.training.filmed_lips.filmed_mouth import FilmedMouth
from splatface.models.typing import Float64Array

__all__ = [
    "LipScore",
    "lip_score",
    "mean_score",
    "predicted_at",
    "score_listener",
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


def predicted_at(
    times_s: Float64Array, predicted_times_s: Float64Array, predicted: NDArray[np.floating]
) -> Float64Array:
    """Interpolate predicted modes [P, n] at the times [F]."""
    columns = [np.interp(times_s, predicted_times_s, column) for column in predicted.T]
    return np.stack(columns, axis=1)


def score_listener(listener: Predictor, film: FilmedMouth) -> LipScore:
    """Predict the mouth from the clip's sound and compare it with the filmed one."""
    predicted, times_s = listener(film.samples)
    return lip_score(film, times_s, predicted)


def lip_score(
    film: FilmedMouth, predicted_times_s: Float64Array, predicted: NDArray[np.floating]
) -> LipScore:
    """Compare predicted modes [P, 8] at the times [P] with a filmed mouth."""
    at = predicted_at(film.times_s, predicted_times_s, predicted)
    weights, offset = _gap_of_modes(film)
    gap = at @ weights + offset
    filmed = film.modes[:, OPEN]
    lags_ms = np.arange(-MAX_LAG_MS, MAX_LAG_MS + 1, LAG_STEP_MS)
    filmed_fast = faster(filmed, film.step_s)
    curve = [
        pearson(
            faster(np.interp(film.times_s + lag / 1000, predicted_times_s, predicted[:, OPEN]), film.step_s),
            filmed_fast,
        )
        for lag in lags_ms
    ]
    recall, precision = _closures(film, gap)
    return LipScore(
        r_raw=pearson(at[:, OPEN], filmed),
        r_speech=pearson(faster(at[:, OPEN], film.step_s), filmed_fast),
        r_gap=pearson(faster(gap, film.step_s), faster(film.gap, film.step_s)),
        lag_ms=_peak_ms(np.array(curve), lags_ms),
        amplitude=float(faster(at[:, OPEN], film.step_s).std() / max(filmed_fast.std(), 1e-9)),
        closure_recall=recall,
        closure_precision=precision,
        onset_delay_ms=_onset_delay_ms(film, gap),
        mode_r={
            mode: pearson(faster(at[:, i], film.step_s), faster(film.modes[:, i], film.step_s))
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


def faster(values: Float64Array, step_s: float) -> Float64Array:
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


def closed_below(gap: Float64Array) -> float:
    """Gap below which the lips of a clip meet; -inf when they never do."""
    low, high = np.percentile(gap, [2, 98])
    return float(low + CLOSED_SHARE * (high - low)) if low < MAX_CLOSED_GAP else -np.inf


def _stretches(on: NDArray[np.bool_]) -> NDArray[np.intp]:
    """First and last + 1 [n, 2] of runs of True."""
    return np.flatnonzero(np.diff(np.concatenate([[0], on.astype(np.int8), [0]]))).reshape(-1, 2)


def _closures(film: FilmedMouth, gap: Float64Array) -> tuple[float, float]:
    """Recall and precision of lips that meet while speaking."""
    limit = closed_below(film.gap)
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
    limit = closed_below(film.gap)
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
