# SPDX-License-Identifier: Apache-2.0
"""Compare mouth motion predicted from audio with filmed lips: scores, ridge baseline and plots."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio.offline_features import FeatureExtractor, extract_features
from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.signals import parabolic_peak_offset, pearson
from splatface.models.training.audio_to_mouth.net_evaluation import import_figure_classes, remove_drift
from splatface.models.training.audio_to_mouth.predictors import Predictor
from splatface.models.training.filmed_lips.filmed_mouth import FilmedMouth
from splatface.models.typing import BoolArray, Float64Array, FloatArray

__all__ = [
    "LipScore",
    "closure_threshold",
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
CLOSURE_TOLERANCE_MS = 40.0
# Lips meet below this fraction between the clip's smallest gap (2nd percentile) and its largest (98th).
CLOSED_FRACTION = 0.15
# Of the height from forehead to nose; a clip whose lips never come nearer has no closure.
MAX_CLOSED_GAP = 0.035
MAX_CLOSURE_S = 0.4  # lips that stay shut for longer are at rest
ONSET_REST_S = 0.25  # of closed lips before an onset
ONSET_WITHIN_S = 0.4  # between the filmed and the predicted onset
MIN_STD = 0.02  # of a mode of a clip; below, it is not scored
_RIDGE_TAPS_S = (-0.16, -0.12, -0.08, -0.04, 0.0)  # before the newest frame
_RIDGE = 1e4  # against features of variance 1, summed over all frames
_PLOT_S = 8.0
_PLOT_MODES = ("open", "wide", "round")


@dataclass(frozen=True, slots=True)
class LipScore:
    """Agreement of predicted with filmed lips; NaN where the clip does not tell."""

    r_raw: float  # correlation of `open`
    r_speech: float  # the same above 0.5 Hz
    r_gap: float  # inner-lip gap above 0.5 Hz
    lag_ms: float  # of the best correlation; positive: the prediction is late
    amplitude: float  # predicted / filmed standard deviation of `open` above 0.5 Hz
    closure_recall: float  # of filmed closures, predicted within 40 ms
    closure_precision: float  # of predicted closures, filmed within 40 ms
    onset_delay_ms: float  # median of predicted minus filmed onsets after a pause
    mode_r: dict[str, float]  # correlation above 0.5 Hz by mode
    seconds: float

    def as_dict(self) -> dict[str, object]:
        """Return plain data for JSON."""
        return asdict(self)


def score_predictor(predictor: Predictor, clip: FilmedMouth) -> LipScore:
    """Predict the mouth from the clip's audio and compare it with the filmed one."""
    predicted, times_s = predictor(clip.samples)
    return lip_score(clip, times_s, predicted)


def lip_score(clip: FilmedMouth, predicted_times_s: Float64Array, predicted: FloatArray) -> LipScore:
    """Compare predicted modes [P, 8] at the times [P] with a filmed mouth."""
    modes = interpolate_modes(clip.times_s, predicted_times_s, predicted)
    weights, offset = _gap_from_modes(clip)
    gap = modes @ weights + offset
    fast, filmed_fast = remove_drift(modes, clip.step_s), remove_drift(clip.modes, clip.step_s)
    recall, precision = _closure_recall_and_precision(clip, gap)
    return LipScore(
        r_raw=pearson(modes[:, OPEN], clip.modes[:, OPEN]),
        r_speech=pearson(fast[:, OPEN], filmed_fast[:, OPEN]),
        r_gap=pearson(remove_drift(gap, clip.step_s), remove_drift(clip.gap, clip.step_s)),
        lag_ms=_lag_ms(filmed_fast[:, OPEN], clip, predicted_times_s, predicted[:, OPEN]),
        amplitude=float(fast[:, OPEN].std() / max(filmed_fast[:, OPEN].std(), 1e-9)),
        closure_recall=recall,
        closure_precision=precision,
        onset_delay_ms=_onset_delay_ms(clip, gap),
        mode_r={
            mode: pearson(fast[:, i], filmed_fast[:, i]) if clip.modes[:, i].std() > MIN_STD else float("nan")
            for i, mode in enumerate(MOUTH_MODES)
        },
        seconds=len(clip.times_s) * clip.step_s,
    )


def mean_score(scores: Sequence[LipScore]) -> dict[str, object]:
    """Average over clips, each counting the same; `abs_lag_ms` is the mean magnitude of the lag."""
    names = [name for name in LipScore.__dataclass_fields__ if name not in ("mode_r", "seconds")]
    mean: dict[str, object] = {name: _mean([getattr(score, name) for score in scores]) for name in names}
    mean["abs_lag_ms"] = _mean([abs(score.lag_ms) for score in scores])
    mean["mode_r"] = {mode: _mean([score.mode_r[mode] for score in scores]) for mode in MOUTH_MODES}
    mean["clips"] = len(scores)
    mean["seconds"] = float(sum(score.seconds for score in scores))
    return mean


def interpolate_modes(
    times_s: Float64Array, predicted_times_s: Float64Array, predicted: FloatArray
) -> Float64Array:
    """Interpolate predicted modes [P, n] at the times [F]."""
    columns = [np.interp(times_s, predicted_times_s, column) for column in predicted.T]
    return np.stack(columns, axis=1)


def closure_threshold(gap: Float64Array) -> float:
    """Return the gap below which the lips of a clip meet; -inf when they never do."""
    low, high = np.percentile(gap, [2, 98])
    return float(low + CLOSED_FRACTION * (high - low)) if low < MAX_CLOSED_GAP else -np.inf


def _gap_from_modes(clip: FilmedMouth) -> tuple[Float64Array, float]:
    """Fit least-squares weights [8] and an offset from the filmed modes to the filmed gap."""
    terms = np.concatenate([clip.modes, np.ones((len(clip.modes), 1))], axis=1)
    solution = np.linalg.lstsq(terms, clip.gap, rcond=None)[0]
    return np.asarray(solution[:-1], np.float64), float(solution[-1])


def _lag_ms(
    filmed_fast: Float64Array, clip: FilmedMouth, predicted_times_s: Float64Array, opening: FloatArray
) -> float:
    """Return the lag of the best correlation, refined by a parabola through its neighbors."""
    lags_ms = np.arange(-MAX_LAG_MS, MAX_LAG_MS + 1, LAG_STEP_MS)
    delayed = (np.interp(clip.times_s + lag / 1000, predicted_times_s, opening) for lag in lags_ms)
    r = np.array([pearson(remove_drift(values, clip.step_s), filmed_fast) for values in delayed])
    best = int(np.clip(np.argmax(r), 1, len(r) - 2))
    return float(lags_ms[best] + LAG_STEP_MS * parabolic_peak_offset(*r[best - 1 : best + 2].tolist()))


def _runs(mask: BoolArray) -> NDArray[np.intp]:
    """Return first and last + 1 [n, 2] of runs of True."""
    return np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]]))).reshape(-1, 2)


def _closure_recall_and_precision(clip: FilmedMouth, gap: Float64Array) -> tuple[float, float]:
    """Return recall and precision of lips that meet while speaking."""
    threshold = closure_threshold(clip.gap)
    filmed, predicted = clip.gap < threshold, gap < threshold
    tolerance = round(CLOSURE_TOLERANCE_MS / 1000 / clip.step_s)
    longest = MAX_CLOSURE_S / clip.step_s

    def matched(closed: BoolArray, other: BoolArray) -> float:
        runs = [(a, b) for a, b in _runs(closed) if b - a <= longest and a > 0 and b < len(closed)]
        hits = [other[max(a - tolerance, 0) : b + tolerance].any() for a, b in runs]
        return float(np.mean(hits)) if hits else float("nan")

    return matched(filmed, predicted), matched(predicted, filmed)


def _onset_delay_ms(clip: FilmedMouth, gap: Float64Array) -> float:
    """Return the median delay of half-open lips after a filmed pause with closed lips."""
    threshold = closure_threshold(clip.gap)
    delays_ms = []
    for a, b in _runs(clip.gap < threshold):
        if (b - a) * clip.step_s < ONSET_REST_S or b >= len(clip.gap) - 2:
            continue
        after = slice(b, b + round(ONSET_WITHIN_S / clip.step_s))
        half = (threshold + clip.gap[after].max()) / 2
        half_predicted = (threshold + gap[after].max()) / 2
        onset = b + int(np.argmax(clip.gap[after] >= half))
        before = max(b - round(ONSET_REST_S / clip.step_s), 0)
        above = np.flatnonzero(gap[before : after.stop] >= half_predicted)
        if half_predicted > threshold and len(above):
            delays_ms.append(1000 * clip.step_s * (before + int(above[0]) - onset))
    return float(np.median(delays_ms)) if delays_ms else float("nan")


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def ridge_leave_one_out(
    clips: Sequence[FilmedMouth],
    encoder: str,
    lookahead_s: float,
    extractor: FeatureExtractor = extract_features,
) -> list[Float64Array]:
    """Predict the modes [F, 8] of every clip by ridge regression on the clips of all other speakers.

    Targets have no drift and the same standard deviation of `open` in every clip; the mean modes of all clips
    are added to the prediction.

    Args:
        clips: of at least two speakers.
        encoder: of `models.audio`.
        lookahead_s: of the newest feature frame after the predicted time.
        extractor: of the features.
    """
    inputs = [_ridge_inputs(clip, encoder, lookahead_s, extractor) for clip in clips]
    mean = np.concatenate(inputs).mean(axis=0)
    std = np.concatenate(inputs).std(axis=0) + 1e-6
    scaled = [np.concatenate([(x - mean) / std, np.ones((len(x), 1))], axis=1) for x in inputs]
    fast = [remove_drift(clip.modes, clip.step_s) for clip in clips]
    common_std = float(np.mean([modes[:, OPEN].std() for modes in fast]))
    targets = [common_std * (modes / max(modes[:, OPEN].std(), 1e-6)) for modes in fast]
    mean_modes = np.mean([clip.modes.mean(axis=0) for clip in clips], axis=0)
    gram = sum(x.T @ x for x in scaled) + _RIDGE * np.eye(scaled[0].shape[1])
    product = sum(x.T @ y for x, y in zip(scaled, targets, strict=True))
    weights: dict[str, Float64Array] = {}
    for speaker in dict.fromkeys(clip.speaker for clip in clips):
        own = [i for i, clip in enumerate(clips) if clip.speaker == speaker]
        others_gram = gram - sum(scaled[i].T @ scaled[i] for i in own)
        others_product = product - sum(scaled[i].T @ targets[i] for i in own)
        weights[speaker] = np.linalg.solve(others_gram, others_product)
    return [x @ weights[clip.speaker] + mean_modes for x, clip in zip(scaled, clips, strict=True)]


def _ridge_inputs(
    clip: FilmedMouth, encoder: str, lookahead_s: float, extractor: FeatureExtractor
) -> Float64Array:
    """Interpolate features at five times for every video frame, [F, 5 D]."""
    features = extractor(encoder, clip.samples)
    values, centers_s = features.values, features.times_s
    taps = []
    for tap_s in _RIDGE_TAPS_S:
        times_s = np.clip(clip.times_s + lookahead_s + tap_s, centers_s[0], centers_s[-1])
        after = np.clip(np.searchsorted(centers_s, times_s), 1, len(centers_s) - 1)
        fraction = (times_s - centers_s[after - 1]) / (centers_s[after] - centers_s[after - 1])
        taps.append(values[after - 1] * (1 - fraction)[:, None] + values[after] * fraction[:, None])
    return np.concatenate(taps, axis=1).astype(np.float64)


def plot_lips(
    folder: Path, clip: FilmedMouth, predictions: Mapping[str, tuple[FloatArray, Float64Array]]
) -> Path:
    """Write <name>.png: three modes over the first 8 s of speech, filmed and predicted, with the phones.

    Args:
        folder: made where it is absent.
        clip: with or without phones.
        predictions: modes [P, 8] and times [P], s, by name.

    Raises:
        EncoderError: matplotlib is not installed.
    """
    Figure, FigureCanvasAgg = import_figure_classes()
    folder.mkdir(parents=True, exist_ok=True)
    begin_s = max(clip.phones[0].start_s - 0.3, 0.0) if clip.phones else float(clip.times_s[0])
    figure = Figure(figsize=(14, 7), layout="constrained")
    for number, mode in enumerate(_PLOT_MODES):
        column = MOUTH_MODES.index(mode)
        axes = figure.add_subplot(3, 1, number + 1, ylabel=mode, xlim=(begin_s, begin_s + _PLOT_S))
        axes.plot(clip.times_s, clip.modes[:, column], "k", linewidth=2, alpha=0.6, label="filmed")
        for name, (modes, times_s) in predictions.items():
            axes.plot(times_s, modes[:, column], linewidth=1.2, label=name)
        for phone in clip.phones:
            if begin_s <= phone.start_s < begin_s + _PLOT_S:
                axes.axvline(phone.start_s, color="0.85", linewidth=0.6, zorder=0)
                middle_s = (phone.start_s + phone.end_s) / 2
                axes.text(middle_s, 0.01, phone.ipa, ha="center", transform=axes.get_xaxis_transform())
        axes.grid(axis="y", alpha=0.3)
    figure.axes[0].set_title(clip.name)
    figure.axes[0].legend(loc="upper right", ncols=len(predictions) + 1, fontsize="small")
    figure.axes[-1].set_xlabel("s")
    path = folder / f"{clip.name}.png"
    FigureCanvasAgg(figure).print_png(str(path))
    return path
