"""Is the sound of a film this person's speech, and does it come when the lips move?"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d, uniform_filter1d

from splatface.models.audio.offline_features import features
from splatface.models.audio.vad import SILENCE_DBFS, VAD_WINDOW, SileroVad, level_dbfs
from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.audio2motion.weights import load_net
from splatface.models.errors import AudioError, EncoderError
from splatface.models.messages import SAMPLE_RATE
from splatface.models.signals import parabolic_peak_offset, pearson
from splatface.models.typing import Float32Array, Float64Array

__all__ = [
    "LARGEST_MS",
    "Loudness",
    "Offset",
    "SpeechEvidence",
    "advance_audio",
    "analyze_speech",
    "estimate_av_offset",
    "mouth_shape_from_landmarks",
]


LARGEST_MS = 200.0  # sound and picture that are farther apart are not mended
_ENCODERS = ("fsmn", "logmel")  # the first that is installed
_STEP_S = 0.01
_FAR_S = (0.5, 3.0)  # lags at which only chance correlates
_FAR_SHARE = 0.6  # of the film that must still overlap there
_LEAST_R, _OVER_CHANCE = 0.25, 1.25
_WEIGHTS = (
    2 / 3,
    1 / 3,
)  # of opening and width; together they are surer than either (measured on seven films)
_LEAST_S = 2.5  # of mouth seen
_GAP_S = 0.2  # in which no lips are seen, and none are made up
_SLOW_S, _FAST_S = 2.0, 0.03  # what is slower is not speech, what is faster trembles
_SPEECH = 0.5  # probability from which silero means it
_OPEN, _WIDE, _ROUND = (MOUTH_MODES.index(mode) for mode in ("open", "wide", "round"))
# Inner lips, upper over lower, in the middle third; forehead to nose, which talking does not move.
_UPPER, _LOWER, _TOP, _NOSE = (82, 13, 312), (87, 14, 317), 10, 2
_CORNERS = (61, 291)


@dataclass(frozen=True, slots=True)
class Loudness:
    """What kind of sound it is."""

    level_dbfs: float
    loudest_dbfs: float  # of any second
    speech: float  # share of the time at which somebody speaks; NaN where the detector is not installed


@dataclass(frozen=True, slots=True, eq=False)
class SpeechEvidence:
    """What there is to hear in a film."""

    loudness: Loudness
    mouth: Float64Array  # [n, 2] how open and how wide (or, negative, round) the shared net hears it
    time_s: Float64Array  # [n]


@dataclass(frozen=True, slots=True)
class Offset:
    """How much later than the picture the sound comes."""

    audio_delay_ms: float  # 0 when nothing is sure
    correlation: float  # of what is heard with what is seen, at `late_ms`
    correlation_at_zero: float  # the same as the film is
    reliable: bool


def analyze_speech(samples: Float32Array) -> SpeechEvidence:
    """Listen to samples [n], mono at 16 kHz."""
    blocks = [samples[i : i + SAMPLE_RATE] for i in range(0, len(samples), SAMPLE_RATE)]
    loudest = max((level_dbfs(block) for block in blocks), default=SILENCE_DBFS)
    mouth, time_s = _heard_mouth(samples)
    return SpeechEvidence(Loudness(level_dbfs(samples), loudest, _speech_share(samples)), mouth, time_s)


def mouth_shape_from_landmarks(landmarks: Float64Array) -> Float64Array:
    """How open and how wide [F, 2] the lips are, over the height from forehead to nose.

    landmarks: [F, 478, 2 or 3] px, NaN where there is no face.
    """
    places = landmarks[..., :2]
    gap = np.linalg.norm(places[:, _LOWER] - places[:, _UPPER], axis=-1).mean(axis=1)
    width = np.linalg.norm(places[:, _CORNERS[0]] - places[:, _CORNERS[1]], axis=-1)
    height = np.linalg.norm(places[:, _NOSE] - places[:, _TOP], axis=-1)
    return np.asarray(np.stack([gap, width], axis=1) / np.maximum(height, 1e-6)[:, None], np.float64)


def estimate_av_offset(heard: SpeechEvidence, mouth: Float64Array, time_s: Float64Array) -> Offset:
    """Where the mouth heard fits best to the mouth [F, 2] seen at rising times [F] (NaN where unseen).

    The best lag within ±200 ms is believed when the correlation there is 0.25 or more and a quarter larger
    than at any lag of half a second to three, where only chance makes one.
    """
    known = np.isfinite(mouth).all(axis=1)
    if len(time_s) < 2 or known.mean() * float(np.ptp(time_s)) < _LEAST_S or len(heard.time_s) < 50:
        return Offset(0.0, 0.0, 0.0, reliable=False)
    match = _Match(heard, mouth[known], time_s[known])
    reach = round(LARGEST_MS / 1000 / _STEP_S) + 2
    lags = np.arange(-reach, reach + 1) * _STEP_S
    near = np.array([match(lag) for lag in lags])
    far = [match(sign * lag, _FAR_SHARE) for lag in np.arange(*_FAR_S, 2 * _STEP_S) for sign in (-1, 1)]
    best = int(np.argmax(near))
    inner = 2 <= best < len(lags) - 2
    sure = bool(inner and near[best] >= max(_LEAST_R, _OVER_CHANCE * max(far)))
    late_s = float(lags[best] + _STEP_S * _parabolic_peak(near, best))
    return Offset(1000 * late_s if sure else 0.0, float(near[best]), float(near[reach]), sure)


class _Match:
    """How well the sound fits the lips when it is taken to be late."""

    def __init__(self, heard: SpeechEvidence, mouth: Float64Array, time_s: Float64Array) -> None:
        self._grid = np.arange(time_s[0], time_s[-1], _STEP_S)
        # Between two looks that are far apart nothing was seen.
        after = np.clip(np.searchsorted(time_s, self._grid), 1, len(time_s) - 1)
        self._known = time_s[after] - time_s[after - 1] < _GAP_S
        self._seen = _speech_band(_on_grid(self._grid, time_s, mouth))
        self._times = np.arange(heard.time_s[0], heard.time_s[-1], _STEP_S)
        self._said = _speech_band(_on_grid(self._times, heard.time_s, heard.mouth))

    def __call__(self, lag_s: float, share: float = 0.0) -> float:
        """Weighted correlation; 0 where less than a share of the film overlaps."""
        at = self._grid + lag_s
        inside = self._known & (at >= self._times[0]) & (at <= self._times[-1])
        if inside.sum() < max(share * len(at), 100):
            return 0.0
        said = _on_grid(at[inside], self._times, self._said)
        seen = self._seen[inside]
        return sum(w * pearson(said[:, i], seen[:, i]) for i, w in enumerate(_WEIGHTS))


def advance_audio(samples: Float32Array, late_ms: float) -> Float32Array:
    """Samples [n] moved to `late_ms` earlier, with silence where they have left; the same length."""
    shift = round(late_ms * SAMPLE_RATE / 1000)
    moved = np.zeros_like(samples)
    if shift >= 0:
        moved[: max(len(samples) - shift, 0)] = samples[shift:]
    else:
        moved[-shift:] = samples[:shift]
    return moved


def _heard_mouth(samples: Float32Array) -> tuple[Float64Array, Float64Array]:
    """How open and wide [n, 2], and times [n], by the first encoder that is installed."""
    for name in _ENCODERS:
        net = load_net(name)
        try:
            values, centers_s = features(name, samples)
        except (EncoderError, ValueError):  # ValueError: too short for a single frame
            continue
        before = np.repeat(values[:1], net.window - 1, axis=0)
        windows = np.lib.stride_tricks.sliding_window_view(
            np.concatenate([before, values]), net.window, axis=0
        )
        modes = np.array([net(window.T) for window in windows], np.float64)
        mouth = np.stack([modes[:, _OPEN], modes[:, _WIDE] - modes[:, _ROUND]], axis=1)
        return mouth, centers_s - net.lookahead_ms / 1000
    return np.zeros((0, 2)), np.zeros(0)


def _speech_share(samples: Float32Array) -> float:
    try:
        voice = SileroVad()
    except AudioError:
        return float("nan")
    likely = []
    for end in range(VAD_WINDOW, len(samples) + 1, VAD_WINDOW):
        voice.push(samples[end - VAD_WINDOW : end])
        likely.append(voice.probability(end - 1, end))
    return float(np.mean(np.array(likely) > _SPEECH)) if likely else 0.0


def _on_grid(grid: Float64Array, time_s: Float64Array, values: Float64Array) -> Float64Array:
    """Values [n, 2] at times [n] between which lines are drawn, at the times of a grid [g]: [g, 2]."""
    return np.stack([np.interp(grid, time_s, values[:, i]) for i in range(2)], axis=1)


def _speech_band(values: Float64Array) -> Float64Array:
    """Values [n, 2], 10 ms apart, without what is slower or faster than syllables."""
    slow = uniform_filter1d(values, round(_SLOW_S / _STEP_S), axis=0, mode="nearest")
    return np.asarray(gaussian_filter1d(values - slow, _FAST_S / _STEP_S, axis=0), np.float64)


def _parabolic_peak(values: Float64Array, best: int) -> float:
    """Where the parabola through the best value and its neighbors peaks, in steps from it."""
    if not 0 < best < len(values) - 1:
        return 0.0
    return parabolic_peak_offset(*values[best - 1 : best + 2].tolist())
