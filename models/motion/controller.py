"""Everything the face does besides speaking, put together: sway, breath, blinks, gaze, nods, expression."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from transforms3d.euler import euler2quat

from splatface.models.motion.blink import blink_line, lids_at
from splatface.models.motion.gaze import gaze_line, glance_at
from splatface.models.motion.glide import glide_to, resting, value_at
from splatface.models.motion.nod import NodDetector, nods_at
from splatface.models.motion.sway import sway_at, sway_of
from splatface.models.values import NS_PER_S, AudioFrame, HeadControl

__all__ = ["EXPRESSIONS", "Controller", "MotionConfig"]

EXPRESSIONS = ("smile", "brow_up", "brow_down")
# A turn of the gaze beyond this is shared by eyes and head (Guitton & Volle 1987).
EYES_ALONE_RAD = math.radians(8.0)
HEAD_SHARE = 0.6
EYE_LIMIT_RAD = np.radians([28.0, 20.0])
# The eyes are there first, the head follows; together they hold the aim.
EYES_S = 0.12
HEAD_S = 0.45
EXPRESS_S = 0.35


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionConfig:
    """How lively a face is; amounts of 1 are a calm person in conversation, 0 turns one off."""

    seed: int = 0
    sway: float = 1.0
    blink_per_minute: float = 18.0
    wander: float = 1.0
    nod: float = 1.0
    yaw_limit_rad: float = math.radians(22.0)
    pitch_limit_rad: float = math.radians(14.0)
    roll_limit_rad: float = math.radians(10.0)


def _soft_clamp(value: float, limit: float) -> float:
    """The value itself up to half the limit, then ever slower, never beyond: a stop without a jolt."""
    half = limit / 2
    if half <= 0.0:
        return 0.0
    beyond = abs(value) - half
    if beyond <= 0.0:
        return value
    return math.copysign(half + half * math.tanh(beyond / half), value)


def _head_part(aim: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far the head turns for an aim [2] that the eyes can not hold alone."""
    turn = float(np.linalg.norm(aim))
    share = HEAD_SHARE * max(turn - EYES_ALONE_RAD, 0.0) / turn if turn > 0.0 else 0.0
    return share * aim


class Controller:
    """Deterministic for a seed: what it gives depends on the moment asked for and on what it was told."""

    def __init__(self, config: MotionConfig) -> None:
        self.config = config
        self._sway = sway_of(config.seed, config.sway)
        self._blinks = blink_line(config.seed + 1, config.blink_per_minute)
        self._glances = gaze_line(config.seed + 2, config.wander)
        self._nods = NodDetector(config.seed + 3, config.nod)
        # Yaw, pitch of what is looked at, from the head at rest; the eyes get there, the head part of it.
        self._eyes_aim = resting(np.zeros(2))
        self._head_aim = resting(np.zeros(2))
        self._expression = resting(np.zeros(len(EXPRESSIONS)))

    def hear(self, frame: AudioFrame, time_ns: int) -> None:
        """Take in speech, for nods; `time_ns` is the present, which no nod may begin before."""
        self._nods.hear(frame, time_ns / NS_PER_S)

    def look_at(self, point_m: NDArray[np.float64], time_ns: int) -> None:
        """Turn to a point (m, REP 103, origin at the head); one behind the head is looked at sideways."""
        forward, left, up = (float(v) for v in point_m)
        yaw = math.atan2(left, max(forward, 1e-3))
        pitch = -math.atan2(up, max(math.hypot(forward, left), 1e-3))
        aim, now_s = np.array([yaw, pitch]), time_ns / NS_PER_S
        self._eyes_aim = glide_to(self._eyes_aim, aim, now_s, EYES_S)
        self._head_aim = glide_to(self._head_aim, _head_part(aim), now_s, HEAD_S)

    def express(self, name: str, weight: float, time_ns: int) -> None:
        """Put on an expression, 0 takes it off.

        Raises:
            KeyError: for a name that is none of EXPRESSIONS.
            ValueError: for a weight that is not finite; others are brought to 0..1.
        """
        if name not in EXPRESSIONS:
            raise KeyError(name)
        if not math.isfinite(weight):
            raise ValueError(f"expression {name}: expected a weight of 0 to 1, found {weight}")
        target = self._expression.target.copy()
        target[EXPRESSIONS.index(name)] = min(max(weight, 0.0), 1.0)
        self._expression = glide_to(self._expression, target, time_ns / NS_PER_S, EXPRESS_S)

    def control_at(self, time_ns: int) -> HeadControl:
        """What the face does at a moment."""
        now_s = time_ns / NS_PER_S
        nod, brow = nods_at(self._nods.nods, now_s)
        sway = sway_at(self._sway, now_s)
        yaw, pitch, roll = self._head_angles(value_at(self._head_aim, now_s), sway, nod)
        glance = glance_at(self._glances, now_s)
        # Vestibulo-ocular reflex: the eyes keep to their aim while the head moves.
        eyes = value_at(self._eyes_aim, now_s) + glance - np.array([yaw, pitch])
        eyes = np.clip(eyes, -EYE_LIMIT_RAD, EYE_LIMIT_RAD)
        left, right = lids_at(self._blinks, now_s)
        # A change of mind on the way may swing a little past its end.
        shown = np.clip(value_at(self._expression, now_s), 0.0, 1.0)
        weights = dict(zip(EXPRESSIONS, shown.tolist(), strict=True))
        weights["brow_up"] = max(weights["brow_up"], brow)
        return HeadControl(
            time_ns=time_ns,
            quat_world_head=np.array(euler2quat(yaw, pitch, roll, "rzyx")),
            translation_m=sway[3:],
            blink_left=left,
            blink_right=right,
            gaze_yaw_rad=float(eyes[0]),
            gaze_pitch_rad=float(eyes[1]),
            expression=tuple((name, weight) for name, weight in weights.items() if weight > 1e-4),
        )

    def _head_angles(
        self, aim: NDArray[np.float64], sway: NDArray[np.float64], nod: float
    ) -> tuple[float, float, float]:
        config = self.config
        return (
            _soft_clamp(float(aim[0] + sway[0]), config.yaw_limit_rad),
            _soft_clamp(float(aim[1] + sway[1]) + nod, config.pitch_limit_rad),
            _soft_clamp(float(sway[2]), config.roll_limit_rad),
        )
