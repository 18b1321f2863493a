"""How well a head hears, as motion against motion: no pictures, at every moment of the film."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.training.dataset.types import Dataset
from splatface.models.training.evaluation.live import AudioToMouth
from splatface.models.training.evaluation.signals import amplitude_ratio, correlation, lag_ms

__all__ = ["MotionScore", "motion_score"]

_STILL = 0.02  # a mode that spreads less is not spoken with


@dataclass(frozen=True, slots=True)
class MotionScore:
    """The heard mouth against the tracked one, over the dense motion track. None where nothing moves."""

    mode_correlations: dict[str, float | None]  # by MOUTH_MODES
    mean_correlation: float | None  # of the modes that move
    open_amplitude: float | None  # heard / tracked spread of the mode "open"
    open_lag_ms: float | None  # positive: the heard mouth is late
    moments: int


def motion_score(dataset: Dataset, hearing: AudioToMouth, span_ns: tuple[int, int]) -> MotionScore:
    """Compare at every moment of the motion track within a span of film time (both ends included)."""
    track = dataset.motion
    inside = (track.time_ns >= span_ns[0]) & (track.time_ns <= span_ns[1])
    times_ns, truth = track.time_ns[inside], track.mouth[inside].astype(np.float64)
    if not len(times_ns):
        return MotionScore(dict.fromkeys(MOUTH_MODES), None, None, None, 0)
    heard = np.stack([hearing(int(time_ns)) for time_ns in times_ns]).astype(np.float64)
    fits = [
        _known(correlation(truth[:, k], heard[:, k]) if _moves(truth[:, k]) else np.nan)
        for k in range(len(MOUTH_MODES))
    ]
    moving = [fit for fit in fits if fit is not None]
    step_ms = float(np.median(np.diff(times_ns))) / 1e6 if len(times_ns) > 1 else 1000 / dataset.fps
    return MotionScore(
        mode_correlations=dict(zip(MOUTH_MODES, fits, strict=True)),
        mean_correlation=float(np.mean(moving)) if moving else None,
        open_amplitude=_known(amplitude_ratio(truth[:, 0], heard[:, 0])),
        open_lag_ms=_known(lag_ms(truth[:, 0], heard[:, 0], step_ms)),
        moments=len(times_ns),
    )


def _moves(mode: NDArray[np.float64]) -> bool:
    known = mode[np.isfinite(mode)]
    return len(known) > 1 and float(known.std()) > _STILL


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
