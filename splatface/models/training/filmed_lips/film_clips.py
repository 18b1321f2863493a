"""Filmed mouths as training data: every clip recorded anew several times, with the mouth that was filmed."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio.encoder import FEATURE_VERSION
from splatface.models.audio.features_of_recording import FeatureExtractor, features
from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.messages import SAMPLE_RATE
from splatface.models.training.audio_to_mouth.dataset import Clips, between_frames
from splatface.models.training.filmed_lips.filmed_mouth import FilmedMouth
from splatface.models.training.filmed_lips.lip_score import closed_below, predicted_at
from splatface.models.training.speech_corpus.augment import Rerecording, rerecorded
from splatface.models.training.speech_corpus.voices.spoken import Spoken
from splatface.models.typing import Float32Array

__all__ = ["amplitude_gain", "film_clips"]


_OPEN = MOUTH_MODES.index("open")
_GAP_S = 0.12  # two frames farther apart have no mouth between them
_GAINS = (0.6, 1.7)
# A net that is unsure follows past sound: it answered 8 ms late when taught the moment itself.
_AHEAD_S = 0.008
_AFTER_S = 0.25  # of silence after a clip: what the encoder looks ahead


def film_clips(
    films: Sequence[FilmedMouth],
    encoder: str,
    *,
    copies: int,
    cache: Path,
    ear: FeatureExtractor = features,
    report: Callable[[str], None] = lambda text: None,
) -> Clips:
    """Encode every clip as it is and `copies` times recorded anew, the mouth at each frame's center.

    All persons open as wide on average: how wide one opens is calibrated per person.

    Args:
        films: clips in step with their sound.
        encoder: of `models.audio`.
        copies: more copies begin with fewer.
        cache: folder for the encoder's features, which take long to make.
        ear: `features`, or something quicker that hears the same.
        report: called with a line for each clip that was encoded.
    """
    others = [Spoken(film.samples[: 10 * SAMPLE_RATE], (), film.name, "") for film in films[:12]]
    usual = float(np.mean([film.modes[:, _OPEN].std() for film in films]))
    parts: list[tuple[NDArray[np.float16], Float32Array, NDArray[np.bool_], NDArray[np.bool_]]] = []
    for film in films:
        gain, closed = amplitude_gain(film, usual), film.gap < closed_below(film.gap)
        for copy in range(copies + 1):
            kept = cache / f"{film.name}_{_digest(film.samples)}_{encoder}_{FEATURE_VERSION}_{copy:02d}.npz"
            if not kept.is_file():
                kept.parent.mkdir(parents=True, exist_ok=True)
                _encode(kept, film, copy, others, encoder=encoder, ear=ear)
                report(f"{encoder}: encoded {film.name}, recording {copy + 1} of {copies + 1}")
            with np.load(kept) as arrays:
                values, times_s = arrays["values"], arrays["film_times_s"] + _AHEAD_S
            modes, known = _mouth_at(film, times_s)
            nearest = np.abs(film.times_s[None] - times_s[:, None]).argmin(axis=1)
            parts.append((values, modes * np.float32(gain), known, closed[nearest] & known))
    return Clips(
        encoder,
        np.concatenate([part[0] for part in parts]),
        np.concatenate([part[1] for part in parts]),
        np.cumsum([0] + [len(part[0]) for part in parts]),
        np.concatenate([part[2] for part in parts]),
        np.concatenate([part[3] for part in parts]),
    )


def amplitude_gain(film: FilmedMouth, usual: float) -> float:
    """Gain that brings the spread of a clip's `open` to the usual one, within limits."""
    return float(np.clip(usual / max(float(film.modes[:, _OPEN].std()), 1e-6), *_GAINS))


def _encode(
    path: Path, film: FilmedMouth, copy: int, others: Sequence[Spoken], *, encoder: str, ear: FeatureExtractor
) -> None:
    """Write features [F, D] of one recording and the film times [F] of their centers."""
    rng = np.random.default_rng([copy, *film.name.encode()])
    silence = np.zeros(round(_AFTER_S * SAMPLE_RATE), np.float32)
    if copy:
        level = np.float32(0.5 / max(float(np.abs(film.samples).max()), 1e-6))
        again = rerecorded(film.samples * level, others, rng)
    else:
        again = Rerecording(np.concatenate([film.samples, silence]), 0.0, 1.0)
    values, centers_s = ear(encoder, again.samples)
    if copy:
        values, centers_s = between_frames(values, centers_s, rng)
    np.savez(path, values=values.astype(np.float16), film_times_s=(centers_s - again.before_s) * again.rate)


def _mouth_at(film: FilmedMouth, times_s: NDArray[np.float64]) -> tuple[Float32Array, NDArray[np.bool_]]:
    """Modes [F, 8] at film times [F], and whether they are known there."""
    modes = predicted_at(times_s, film.times_s, film.modes)
    after = np.clip(np.searchsorted(film.times_s, times_s), 1, len(film.times_s) - 1)
    near = film.times_s[after] - film.times_s[after - 1] < _GAP_S
    inside = (times_s >= film.times_s[0]) & (times_s <= film.times_s[-1])
    return modes.astype(np.float32), near & inside


def _digest(samples: Float32Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(samples, np.float32).tobytes()).hexdigest()[:8]
