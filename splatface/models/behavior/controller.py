# SPDX-License-Identifier: Apache-2.0
"""Motion of the head besides the mouth: sway, breath, blinks, gaze, nods, brows, expressions."""

import math
from dataclasses import dataclass

import numpy as np

from splatface.models.behavior.eyes import BlinkScheduler, gaze_stream, gaze_toward_viewer_at
from splatface.models.behavior.gestures import ATTENTION_RAMP_S, Backchannel, SpeechGestures, listening_tilt
from splatface.models.behavior.head_movements import (
    active_nods,
    brow_raise_at,
    fuzzy_or,
    make_sway,
    nod_angles_at,
    sway_at,
)
from splatface.models.behavior.trajectories import constant_trajectory, plan_to, value_at
from splatface.models.messages import NS_PER_S, AudioFrame, HeadControl
from splatface.models.rotations import quat_from_euler
from splatface.models.typing import Float64Array

__all__ = ["EXPRESSIONS", "HeadMotionController", "MotionConfig"]

EXPRESSIONS = ("smile", "brow_up", "brow_down", "jaw_side")
_MIN_WEIGHT = np.array([0.0, 0.0, 0.0, -1.0])  # the jaw moves to the left at 1, to the right at -1
# A gaze shift beyond this is made by eyes and head together (Guitton & Volle 1987).
_EYES_ONLY_RAD = math.radians(8.0)
_HEAD_FRACTION = 0.6
_EYE_LIMIT_RAD = np.radians([28.0, 20.0])
# The eyes arrive first, the head follows; together they hold the aim.
_EYES_DURATION_S = 0.12
_HEAD_DURATION_S = 0.45
_EXPRESSION_DURATION_S = 0.35
# A listener's eyes return to the speaker as fast as a saccade of 20 degrees.
_GAZE_RAMP_S = 0.07
_POSTURE_RAMP_S = 1.5
_NOD_LIMIT_RAD = math.radians(9.0)
# Fraction of spontaneous blinks: speakers blink less within a phrase than at its boundaries, listeners less
# than both (Bentivoglio et al. 1997).
_BLINKS_SPEAKING = 0.3
_BLINKS_LISTENING = 0.7
_BROWS_LISTENING = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionConfig:
    """Amounts of motion: 1 is a relaxed person in conversation, 0 turns one off."""

    seed: int = 0
    sway: float = 1.0
    blink_per_minute: float = 18.0
    gaze_variability: float = 1.0
    nod: float = 1.0
    brow: float = 1.0
    backchannel: float = 1.0
    yaw_limit_rad: float = math.radians(22.0)
    pitch_limit_rad: float = math.radians(14.0)
    roll_limit_rad: float = math.radians(10.0)


class HeadMotionController:
    """Head motion; deterministic: a function of the seed, the time and the inputs.

    Inputs: the face's own speech, whether the user speaks, the point to look at, expressions.
    """

    def __init__(self, config: MotionConfig) -> None:
        self.config = config
        self._sway = make_sway(config.seed, config.sway)
        self.blinks = BlinkScheduler(
            config.seed + 1, config.blink_per_minute, self._spontaneous_blink_fraction_at
        )
        self._gaze = gaze_stream(config.seed + 2, config.gaze_variability)
        self.speech_gestures = SpeechGestures(config.seed + 3, self.blinks)
        self.backchannel = Backchannel(config.seed + 4, self.blinks)
        # Yaw and pitch of the point looked at, relative to the head at rest; and the head's part of them.
        self._eyes_aim = constant_trajectory(np.zeros(2))
        self._head_aim = constant_trajectory(np.zeros(2))
        self._expression = constant_trajectory(np.zeros(len(EXPRESSIONS)))

    def push_speech(self, frame: AudioFrame, time_ns: int) -> None:
        """Process the face's own speech; `time_ns` is the present, before which no gesture may begin."""
        self.speech_gestures.push(frame, time_ns / NS_PER_S)

    def set_user_speaking(self, speaking: bool, time_ns: int) -> None:
        """Report whether the user speaks, at least once in 3 s while it is so."""
        self.backchannel.set_user_speaking(speaking, time_ns / NS_PER_S)

    def look_at(self, point_m: Float64Array, time_ns: int) -> None:
        """Look at a point (m, REP 103, origin at the head); for one behind the head, look sideways."""
        forward, left, up = (float(v) for v in point_m)
        yaw = math.atan2(left, max(forward, 1e-3))
        pitch = -math.atan2(up, max(math.hypot(forward, left), 1e-3))
        aim, now_s = np.array([yaw, pitch]), time_ns / NS_PER_S
        self._eyes_aim = plan_to(self._eyes_aim, aim, now_s, _EYES_DURATION_S)
        self._head_aim = plan_to(self._head_aim, _head_part(aim), now_s, _HEAD_DURATION_S)

    def set_expression(self, name: str, weight: float, time_ns: int) -> None:
        """Set the weight of an expression, 0 to remove it.

        Raises:
            KeyError: for a name that is not in EXPRESSIONS.
            ValueError: for a weight that is not finite; others are clipped to 0..1, of jaw_side to -1..1.
        """
        if name not in EXPRESSIONS:
            raise KeyError(name)
        if not math.isfinite(weight):
            raise ValueError(
                f"expression {name}: expected a weight of 0 to 1 (jaw_side: -1 to 1), found {weight}"
            )
        target = self._expression.target.copy()
        index = EXPRESSIONS.index(name)
        target[index] = np.clip(weight, _MIN_WEIGHT[index], 1.0)
        self._expression = plan_to(self._expression, target, time_ns / NS_PER_S, _EXPRESSION_DURATION_S)

    def control_at(self, time_ns: int) -> HeadControl:
        """Return the pose and the controls at a time."""
        now_s = time_ns / NS_PER_S
        sway = sway_at(self._sway, now_s)
        yaw, pitch, roll = self._head_angles(now_s, sway)
        gaze = gaze_toward_viewer_at(self._gaze, now_s, self._listening_at(now_s, _GAZE_RAMP_S))
        # Vestibulo-ocular reflex: the eyes hold their aim while the head moves.
        eyes = value_at(self._eyes_aim, now_s) + gaze - np.array([yaw, pitch])
        left, right = self.blinks.closure_at(now_s)
        return HeadControl(
            time_ns=time_ns,
            quat_world_head=quat_from_euler((yaw, pitch, roll)),
            translation_m=sway[3:],
            blink_left=left,
            blink_right=right,
            gaze_yaw_rad=_soft_clamp(float(eyes[0]), _EYE_LIMIT_RAD[0], 0.85),
            gaze_pitch_rad=_soft_clamp(float(eyes[1]), _EYE_LIMIT_RAD[1], 0.85),
            expression=self._expression_at(now_s),
        )

    def _listening_at(self, time_s: float, ramp_s: float) -> float:
        """Return the level of listening, 0..1: the user speaks and the face does not."""
        attention = self.backchannel.attention.level_at(time_s, ramp_s)
        silent = 1.0 - self.speech_gestures.speech.level_at(time_s, ramp_s)
        return min(self.config.backchannel, 1.0) * attention * silent

    def _spontaneous_blink_fraction_at(self, time_s: float) -> float:
        """Return the fraction of spontaneous blinks that happen; gestures request others."""
        speaking = self.speech_gestures.speech.level_at(time_s, ATTENTION_RAMP_S)
        listening = self._listening_at(time_s, ATTENTION_RAMP_S)
        return 1.0 - (1.0 - _BLINKS_SPEAKING) * speaking - (1.0 - _BLINKS_LISTENING) * listening

    def _head_angles(self, time_s: float, sway: Float64Array) -> tuple[float, float, float]:
        """Return yaw, pitch and roll (rad) of the sum of all head movements, within the limits."""
        config = self.config
        angles = config.nod * self.speech_gestures.posture.angles_at(time_s)
        angles = angles * self.speech_gestures.speech.level_at(time_s, _POSTURE_RAMP_S) + sway[:3]
        angles[:2] += value_at(self._head_aim, time_s)
        angles[2] += self._tilt_at(time_s)
        yaw, pitch, roll = angles + self._nods_at(time_s)
        return (
            _soft_clamp(float(yaw), config.yaw_limit_rad),
            _soft_clamp(float(pitch), config.pitch_limit_rad),
            _soft_clamp(float(roll), config.roll_limit_rad),
        )

    def _nods_at(self, time_s: float) -> Float64Array:
        """Return yaw, pitch and roll (rad) of the nods, [3]; their sum is limited."""
        speech, nods = self.speech_gestures.speech, active_nods(self.backchannel.nods, time_s)
        # A face that begins to speak stops nodding as a listener.
        backchannel = [nod for nod in nods if speech.level_at(nod.begin_s, ATTENTION_RAMP_S) < 0.5]
        angles = self.config.nod * nod_angles_at(self.speech_gestures.nods, time_s)
        angles += self.config.backchannel * nod_angles_at(backchannel, time_s)
        return np.array([_soft_clamp(float(angle), _NOD_LIMIT_RAD) for angle in angles])

    def _tilt_at(self, time_s: float) -> float:
        """Return the roll (rad) of the head while it listens."""
        intervals = self.backchannel.attention.levels_at(time_s, ATTENTION_RAMP_S)
        tilt = sum(level * listening_tilt(self.config.seed, begin) for begin, level in intervals)
        silent = 1.0 - self.speech_gestures.speech.level_at(time_s, ATTENTION_RAMP_S)
        return self.config.backchannel * silent * tilt

    def _expression_at(self, time_s: float) -> tuple[tuple[str, float], ...]:
        # A replanned trajectory may overshoot a little.
        values = np.clip(value_at(self._expression, time_s), _MIN_WEIGHT, 1.0)
        weights = dict(zip(EXPRESSIONS, values.tolist(), strict=True))
        listening = self._listening_at(time_s, ATTENTION_RAMP_S)
        backchannel = _BROWS_LISTENING + brow_raise_at(self.backchannel.raises, time_s)
        brows = fuzzy_or(
            min(listening * backchannel, 1.0), brow_raise_at(self.speech_gestures.raises, time_s)
        )
        # Proportional to the amount for small weights, at most 1.
        scaled = 1.0 - (1.0 - brows) ** self.config.brow
        weights["brow_up"] = fuzzy_or(weights["brow_up"], scaled)
        return tuple((name, weight) for name, weight in weights.items() if abs(weight) > 1e-4)


def _soft_clamp(value: float, limit: float, knee: float = 0.5) -> float:
    """Return the value itself up to `knee` of the limit, then compressed, never beyond the limit."""
    excess, range_above_knee = abs(value) - knee * limit, (1.0 - knee) * limit
    if limit <= 0.0:
        return 0.0
    if excess <= 0.0:
        return value
    return math.copysign(knee * limit + range_above_knee * math.tanh(excess / range_above_knee), value)


def _head_part(aim: Float64Array) -> Float64Array:
    """Return the head's part of an aim [2]: what the eyes alone cannot hold."""
    angle = float(np.linalg.norm(aim))
    fraction = _HEAD_FRACTION * max(angle - _EYES_ONLY_RAD, 0.0) / angle if angle > 0.0 else 0.0
    return fraction * aim
