"""Measure a net on voices, languages and noises it was never trained on.

python -m splatface.models.hearing.evaluate --corpus CORPUS --encoder fsmn
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splatface.models.head.coefficients import MOUTH_MODES, CoefficientNet
from splatface.models.hearing.augment import recorded, silent
from splatface.models.hearing.coarticulation import mode_track
from splatface.models.hearing.corpus import held_out, read
from splatface.models.hearing.features import features
from splatface.models.hearing.weights import load_net, shipped_encoders

from .voices.spoken import Spoken

__all__ = ["Score", "heard_modes", "measure", "score"]

Array = NDArray[np.float32]
_OPEN, _PRESS = MOUTH_MODES.index("open"), MOUTH_MODES.index("press")
_FRAME_MS = 20.0


@dataclass(frozen=True, slots=True)
class Score:
    """How well the heard mouth follows the true one."""

    open_r: float  # correlation of opening
    open_amplitude: float  # spread heard / spread true
    open_lag_ms: float  # positive: the heard mouth is late
    modes_r: float  # mean correlation of the modes that move
    closure_recall: float  # of the true p b m, lips seen shut within 40 ms
    closure_precision: float
    jitter: float  # second difference heard / true
    seconds: float


def heard_modes(net: CoefficientNet, samples: Array) -> tuple[Array, NDArray[np.float64]]:
    """Modes [F, n] that the net hears in a recording [T] at 16 kHz, and their times [F], s."""
    values, centres_s = features(net.encoder, samples)
    padded = np.concatenate([np.repeat(values[:1], net.window - 1, axis=0), values])
    modes = np.stack([net(padded[i : i + net.window]) for i in range(len(values))])
    return modes, centres_s - net.lookahead_ms / 1000


def score(heard: Array, true: Array) -> Score:
    """Compare modes [F, n], frames 20 ms apart."""
    a, b = heard[:, _OPEN], true[:, _OPEN]
    lags = range(-8, 9)
    correlations = [_correlation(np.roll(a, -lag)[10:-10], b[10:-10]) for lag in lags]
    moving = [i for i in range(len(MOUTH_MODES)) if true[:, i].std() > 0.02]
    recall, precision = _closures(heard[:, _PRESS], true[:, _PRESS])
    return Score(
        open_r=_correlation(a, b),
        open_amplitude=float(a.std() / b.std()),
        open_lag_ms=_FRAME_MS * _peak(np.array(correlations), lags[0]),
        modes_r=float(np.mean([_correlation(heard[:, i], true[:, i]) for i in moving])),
        closure_recall=recall,
        closure_precision=precision,
        jitter=float(np.diff(a, 2).std() / np.diff(b, 2).std()),
        seconds=len(true) * _FRAME_MS / 1000,
    )


def _correlation(a: Array, b: Array) -> float:
    """Pearson's r; 0 where one side stands still."""
    if min(a.std(), b.std()) < 1e-6:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _peak(values: NDArray[np.float64], first: int) -> float:
    """Where a parabola through the largest value and its neighbours peaks."""
    i = int(np.clip(np.argmax(values), 1, len(values) - 2))
    left, top, right = values[i - 1 : i + 2]
    return first + i + 0.5 * float(left - right) / float(left - 2 * top + right)


def _closures(heard: Array, true: Array) -> tuple[float, float]:
    """Recall and precision of stretches of shut lips, each found within two frames."""

    def stretches(press: Array, over: float) -> NDArray[np.int64]:
        shut = np.concatenate([[False], press > over, [False]]).astype(np.int8)
        return np.flatnonzero(np.diff(shut)).reshape(-1, 2)

    def found(of: NDArray[np.int64], shut: NDArray[np.bool_]) -> float:
        hits = [shut[max(start - 2, 0) : end + 2].any() for start, end in of]
        return float(np.mean(hits)) if hits else 1.0

    return found(stretches(true, 0.8), heard > 0.5), found(stretches(heard, 0.5), true > 0.5)


def _rest(net: CoefficientNet, voices: Sequence[Spoken], rng: np.random.Generator) -> dict[str, float]:
    """Share of time at which the mouth is shut (opening below 0.08) where no one speaks."""
    quiet, _ = heard_modes(net, np.zeros(16000 * 4, np.float32))
    noisy = np.concatenate([heard_modes(net, silent(3.0, voices, rng).samples)[0] for _ in range(12)])
    return {
        "shut_in_silence": float((quiet[10:, _OPEN] < 0.08).mean()),
        "shut_in_noise": float((noisy[:, _OPEN] < 0.08).mean()),
    }


def measure(net: CoefficientNet, corpus: Path, *, each: int = 10) -> dict[str, dict[str, float]]:
    """Scores by source and language of what was held out, clean and recorded somewhere."""
    rng = np.random.default_rng(1)
    kept = [said for path in sorted(corpus.glob("*.npz")) if held_out(said := read(path))]
    groups: dict[str, list[Spoken]] = {}
    for said in kept:
        groups.setdefault(f"{said.voice.split('/')[0]} {said.language}", []).append(said)
    table = {}
    for name, voices in groups.items():
        chosen = voices[:each]
        clean = [(np.pad(said.samples, 6400), said.phones, 0.4) for said in chosen]
        rough = [(r.samples, r.phones, 0.0) for said in chosen for r in [recorded(said, kept, rng)]]
        for label, recordings in (("clean", clean), ("recorded", rough)):
            pairs = []
            for samples, phones, shift_s in recordings:
                heard, times_s = heard_modes(net, samples)
                pairs.append((heard, mode_track(phones, times_s - shift_s)))
            heard, true = (np.concatenate(side) for side in zip(*pairs, strict=True))
            result = score(heard, true)
            table[f"{name} {label}"] = {key: getattr(result, key) for key in Score.__slots__}
    return {**table, "rest": _rest(net, kept, rng)}


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True, help="what the module corpus wrote")
    parser.add_argument("--encoder", choices=shipped_encoders(), required=True)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    options = parser.parse_args(argv)
    table = measure(load_net(options.encoder), options.corpus)
    if options.json:
        print(json.dumps(table))
        return 0
    for name, row in table.items():
        print(f"{name:24s} " + "  ".join(f"{key} {value:.2f}" for key, value in row.items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
