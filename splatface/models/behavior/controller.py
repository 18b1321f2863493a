"""Everything the face does besides speaking, put together: sway, breath, lids, gaze, nods, brows, smile."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatface.models.behavior.eyes import BlinkScheduler, gaze_line, held_glance_at
from splatface.models.behavior.gestures import RAMP_S, Backchannel, SpeechGestures, tilt_of
from splatface.models.behavior.head_movements import fuzzy_or, head_at, raises_at, sway_at, sway_of, under_way
from splatface.models.behavior.trajectories import plan_to, resting, value_at
from splatface.models.messages import NS_PER_S, AudioFrame, HeadControl
from splatface.models.rotations import quat_from_euler

__all__ = ["EXPRESSIONS", "HeadMotionController", "MotionConfig"]

EXPRESSIONS = ("smile", "brow_up", "brow_down", "jaw_side")
_LOWEST = np.array([0.0, 0.0, 0.0, -1.0])  # the jaw goes to the left at 1, to the right at -1
# A turn of the gaze beyond this is shared by eyes and head (Guitton & Volle 1987).
EYES_ALONE_RAD = math.radians(8.0)
HEAD_SHARE = 0.6
EYE_LIMIT_RAD = np.radians([28.0, 20.0])
# The eyes are there first, the head follows; together they hold the aim.
EYES_S = 0.12
HEAD_S = 0.45
EXPRESS_S = 0.35
# Eyes that listen come back to the talker as fast as a saccade of 20 degrees.
HOLD_S = 0.07
POSTURE_S = 1.5
NODS_LIMIT_RAD = math.radians(9.0)
# Speakers blink less within a phrase than at its edges, listeners less than both (Bentivoglio et al. 1997).
KEPT_SPEAKING = 0.3
KEPT_LISTENING = 0.7
BROWS_LISTENING = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionConfig:
    """How lively a face is; amounts of 1 are a calm person in conversation, 0 turns one off."""

    seed: int = 0
    sway: float = 1.0
    blink_per_minute: float = 18.0
    gaze_variability: float = 1.0
    nod: float = 1.0
    brow: float = 1.0
    listening: float = 1.0
    yaw_limit_rad: float = math.radians(22.0)
    pitch_limit_rad: float = math.radians(14.0)
    roll_limit_rad: float = math.radians(10.0)


def _soft_clamp(value: float, limit: float, knee: float = 0.5) -> float:
    """The value itself up to `knee` of the limit, then ever slower, never beyond: a stop without a jolt."""
    beyond, room = abs(value) - knee * limit, (1.0 - knee) * limit
    if limit <= 0.0:
        return 0.0
    if beyond <= 0.0:
        return value
    return math.copysign(knee * limit + room * math.tanh(beyond / room), value)


def _head_part(aim: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far the head turns for an aim [2] that the eyes can not hold alone."""
    turn = float(np.linalg.norm(aim))
    share = HEAD_SHARE * max(turn - EYES_ALONE_RAD, 0.0) / turn if turn > 0.0 else 0.0
    return share * aim


class HeadMotionController:
    """Deterministic for a seed: what it gives depends on the moment asked for and on what it was told."""

    def __init__(self, config: MotionConfig) -> None:
        self.config = config
        self._sway = sway_of(config.seed, config.sway)
        self._lids = BlinkScheduler(config.seed + 1, config.blink_per_minute, self._blinks_kept_at)
        self._glances = gaze_line(config.seed + 2, config.gaze_variability)
        self._speaking = SpeechGestures(config.seed + 3, self._lids)
        self._listening = Backchannel(config.seed + 4, self._lids)
        # Yaw, pitch of what is looked at, from the head at rest; the eyes get there, the head part of it.
        self._eyes_aim = resting(np.zeros(2))
        self._head_aim = resting(np.zeros(2))
        self._expression = resting(np.zeros(len(EXPRESSIONS)))

    def hear(self, frame: AudioFrame, time_ns: int) -> None:
        """Take in the face's own speech; `time_ns` is the present, before which nothing new may begin."""
        self._speaking.hear(frame, time_ns / NS_PER_S)

    def set_user_speaking(self, speaks: bool, time_ns: int) -> None:
        """The person in front of the face talks, or does not; said at least once in 3 s while it is so."""
        self._listening.hear(speaks, time_ns / NS_PER_S)

    def look_at(self, point_m: NDArray[np.float64], time_ns: int) -> None:
        """Turn to a point (m, REP 103, origin at the head); one behind the head is looked at sideways."""
        forward, left, up = (float(v) for v in point_m)
        yaw = math.atan2(left, max(forward, 1e-3))
        pitch = -math.atan2(up, max(math.hypot(forward, left), 1e-3))
        aim, now_s = np.array([yaw, pitch]), time_ns / NS_PER_S
        self._eyes_aim = plan_to(self._eyes_aim, aim, now_s, EYES_S)
        self._head_aim = plan_to(self._head_aim, _head_part(aim), now_s, HEAD_S)

    def set_expression(self, name: str, weight: float, time_ns: int) -> None:
        """Put on an expression, 0 takes it off.

        Raises:
            KeyError: for a name that is none of EXPRESSIONS.
            ValueError: for a weight that is not finite; others are brought to 0..1, of jaw_side to -1..1.
        """
        if name not in EXPRESSIONS:
            raise KeyError(name)
        if not math.isfinite(weight):
            raise ValueError(
                f"expression {name}: expected a weight of 0 to 1 (jaw_side: -1 to 1), found {weight}"
            )
        target = self._expression.target.copy()
        place = EXPRESSIONS.index(name)
        target[place] = np.clip(weight, _LOWEST[place], 1.0)
        self._expression = plan_to(self._expression, target, time_ns / NS_PER_S, EXPRESS_S)

    def control_at(self, time_ns: int) -> HeadControl:
        """What the face does at a moment."""
        now_s = time_ns / NS_PER_S
        sway = sway_at(self._sway, now_s)
        yaw, pitch, roll = self._head_angles(now_s, sway)
        glance = held_glance_at(self._glances, now_s, self._listens_at(now_s, HOLD_S))
        # Vestibulo-ocular reflex: the eyes keep to their aim while the head moves.
        eyes = value_at(self._eyes_aim, now_s) + glance - np.array([yaw, pitch])
        left, right = self._lids.at(now_s)
        return HeadControl(
            time_ns=time_ns,
            quat_world_head=quat_from_euler((yaw, pitch, roll)),
            translation_m=sway[3:],
            blink_left=left,
            blink_right=right,
            gaze_yaw_rad=_soft_clamp(float(eyes[0]), EYE_LIMIT_RAD[0], 0.85),
            gaze_pitch_rad=_soft_clamp(float(eyes[1]), EYE_LIMIT_RAD[1], 0.85),
            expression=self._expression_at(now_s),
        )

    def _listens_at(self, time_s: float, ramp_s: float) -> float:
        """How much the face listens, 0..1: somebody talks and it does not."""
        attends = self._listening.attention.level_at(time_s, ramp_s)
        silent = 1.0 - self._speaking.talk.level_at(time_s, ramp_s)
        return min(self.config.listening, 1.0) * attends * silent

    def _blinks_kept_at(self, time_s: float) -> float:
        """Share of the blinks in their own rhythm; speech calls others (see `Lids`)."""
        speaks = self._speaking.talk.level_at(time_s, RAMP_S)
        listens = self._listens_at(time_s, RAMP_S)
        return 1.0 - (1.0 - KEPT_SPEAKING) * speaks - (1.0 - KEPT_LISTENING) * listens

    def _head_angles(self, time_s: float, sway: NDArray[np.float64]) -> tuple[float, float, float]:
        """Yaw, pitch and roll (rad) of all that moves the head, within the limits."""
        config = self.config
        held = config.nod * self._speaking.posture.at(time_s)
        held = held * self._speaking.talk.level_at(time_s, POSTURE_S) + sway[:3]
        held[:2] += value_at(self._head_aim, time_s)
        held[2] += self._tilt_at(time_s)
        yaw, pitch, roll = held + self._nods_at(time_s)
        return (
            _soft_clamp(float(yaw), config.yaw_limit_rad),
            _soft_clamp(float(pitch), config.pitch_limit_rad),
            _soft_clamp(float(roll), config.roll_limit_rad),
        )

    def _nods_at(self, time_s: float) -> NDArray[np.float64]:
        """Yaw, pitch and roll (rad) of the nods, [3]; no sum of nods is deeper than their limit."""
        talk, nods = self._speaking.talk, under_way(self._listening.nods, time_s)
        # Whoever begins to speak stops nodding to others.
        heeding = [nod for nod in nods if talk.level_at(nod.begin_s, RAMP_S) < 0.5]
        angles = self.config.nod * head_at(self._speaking.nods, time_s)
        angles += self.config.listening * head_at(heeding, time_s)
        return np.array([_soft_clamp(float(angle), NODS_LIMIT_RAD) for angle in angles])

    def _tilt_at(self, time_s: float) -> float:
        """Roll (rad) of a head held aslant to listen."""
        stretches = self._listening.attention.levels_at(time_s, RAMP_S)
        tilt = sum(level * tilt_of(self.config.seed, begin) for begin, level in stretches)
        silent = 1.0 - self._speaking.talk.level_at(time_s, RAMP_S)
        return self.config.listening * silent * tilt

    def _expression_at(self, time_s: float) -> tuple[tuple[str, float], ...]:
        # A change of mind on the way may swing a little past its end.
        shown = np.clip(value_at(self._expression, time_s), _LOWEST, 1.0)
        weights = dict(zip(EXPRESSIONS, shown.tolist(), strict=True))
        listens = self._listens_at(time_s, RAMP_S)
        heeding = BROWS_LISTENING + raises_at(self._listening.raises, time_s)
        brows = fuzzy_or(min(listens * heeding, 1.0), raises_at(self._speaking.raises, time_s))
        # As many times the amount where it is little, never above 1.
        lively = 1.0 - (1.0 - brows) ** self.config.brow
        weights["brow_up"] = fuzzy_or(weights["brow_up"], lively)
        return tuple((name, weight) for name, weight in weights.items() if abs(weight) > 1e-4)
