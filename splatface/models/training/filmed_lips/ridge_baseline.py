"""Predict filmed lips by ridge regression on the features of the other clips: what a net must beat."""

from collections.abc import Sequence

import numpy as np

from splatface.models.audio.features_of_recording import FeatureExtractor, features
from splatface.models.training.filmed_lips.filmed_mouth import FilmedMouth
from splatface.models.training.filmed_lips.lip_score import OPEN, faster
from splatface.models.typing import Float64Array

__all__ = ["ridge_leave_one_out"]


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
    usual = float(np.mean([faster(film.modes, film.step_s)[:, OPEN].std() for film in films]))
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
    fast = faster(film.modes, film.step_s)
    return np.asarray(fast / max(fast[:, OPEN].std(), 1e-6), np.float64)
