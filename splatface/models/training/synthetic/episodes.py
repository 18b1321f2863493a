"""What a face does in the pauses of its speech: each expression once, alone and fully, to learn it from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from splatface.models.audio2motion.audio_to_mouth import CONTROLS
from splatface.models.behavior.events import minimum_jerk_step
from splatface.models.typing import AnyArray

__all__ = ["ExpressionEvent", "episodes_of", "shown_at"]


_PLAYED = (*CONTROLS, "mouth_smile")
# (what, how far): a control, or `mouth_smile`, the mouth mode that no sound makes; gaze by its limit's share.
_REPERTOIRE: tuple[tuple[tuple[str, float], ...], ...] = (
    (("smile", 1.0),),
    (("brow_up", 1.0),),
    (("gaze_yaw", 1.0),),
    (("blink_left", 1.0),),
    (("brow_down", 1.0),),
    (("gaze_yaw", -1.0),),
    (("mouth_smile", 1.0),),
    (("blink_right", 1.0),),
    (("gaze_pitch", 1.0),),
    (("blink_left", 0.6), ("blink_right", 0.6)),
    (("gaze_pitch", -1.0),),
    (("jaw_side", 1.0),),
    (("smile", 0.6), ("brow_up", 0.6)),
    (("jaw_side", -1.0),),
    (("blink_left", 1.0), ("blink_right", 1.0), ("smile", 0.8)),
)
_RISE_S, _FALL_S, _HOLD_S = 0.22, 0.28, 0.14
_LIPS = ("smile", "mouth_smile", "jaw_side")
# The lips' episodes have to end with the pause; eyes and brows may go on into the speech.
_EACH_S = 0.85


@dataclass(frozen=True, slots=True)
class ExpressionEvent:
    """One expression that comes and goes."""

    name: str
    amount: float
    middle_s: float


def episodes_of(pauses: Sequence[tuple[float, float]], *, until_s: float, seed: int) -> list[ExpressionEvent]:
    """Expressions for the pauses [(start, end)] and, as pauses are few, for the eyes also in between.

    What moves the lips is put into a pause; the rest of the repertoire follows at even steps.
    """
    rng = np.random.default_rng([seed, 0xE9])
    acts = [_REPERTOIRE[i] for i in rng.permutation(len(_REPERTOIRE))]
    with_lips = [act for act in acts if any(name in _LIPS for name, _ in act)]
    others = [act for act in acts if act not in with_lips]
    quiet = [0.5 * (start + end) for start, end in pauses if end - start > 0.4 and end < until_s]
    quiet = quiet[1:]  # the film begins at rest
    taken = quiet[:: max(len(quiet) // max(len(with_lips), 1), 1)][: len(with_lips)]
    placed = list(zip(taken, with_lips, strict=False))
    free = [t for t in np.arange(1.0, until_s - 1.0, _EACH_S) if all(abs(t - at) > _EACH_S for at in taken)]
    placed += list(zip(free[:: max(len(free) // len(others), 1)], others, strict=False))
    return [ExpressionEvent(name, amount, float(at)) for at, act in placed for name, amount in act]


def shown_at(episodes: Sequence[ExpressionEvent], times_s: AnyArray) -> dict[str, AnyArray]:
    """For every control and `mouth_smile` how much of it [T] the episodes show at the times [T]."""
    shown = {name: np.zeros(len(times_s)) for name in _PLAYED}
    for episode in episodes:
        track = shown[episode.name]
        for row in np.flatnonzero(np.abs(times_s - episode.middle_s) < _RISE_S + _FALL_S):
            value = episode.amount * _course(float(times_s[row]) - episode.middle_s)
            track[row] = value if abs(value) > abs(track[row]) else track[row]
    return shown


def _course(since_s: float) -> float:
    """0..1 around the middle of an episode."""
    rise = minimum_jerk_step((since_s + _HOLD_S / 2 + _RISE_S) / _RISE_S)
    return rise - minimum_jerk_step((since_s - _HOLD_S / 2) / _FALL_S)
