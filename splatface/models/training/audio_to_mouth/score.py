"""How well a heard mouth follows the true one, in figures."""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.peak import parabolic_peak_offset
from splatface.models.pearson import pearson
from splatface.models.typing import Float32Array

__all__ = ["SHUT_BELOW", "Score", "plain", "score"]


SHUT_BELOW = 0.08  # opening below which a mouth is called shut
_OPEN = MOUTH_MODES.index("open")
_LONGEST_CLOSURE = 20  # frames; lips that stay shut for longer are at rest
_FRAME_MS = 20.0
_MOVES = 0.02  # spread of the truth below which a mode stands still


@dataclass(frozen=True, slots=True)
class Score:
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


def score(heard: Float32Array, true: Float32Array) -> Score:
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
    return Score(
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


def plain(result: Score) -> dict[str, object]:
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
