# SPDX-License-Identifier: Apache-2.0
"""Motion of an actor's video from a seed: lips in time with speech, eyes, brows, head and shoulders."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.behavior.eyes import blink_stream, eyelid_closure_at, gaze_at, gaze_stream
from splatface.models.behavior.head_movements import Nod, make_sway, nod_pitch_and_brow_at, sway_at
from splatface.models.behavior.trajectories import constant_trajectory, minimum_jerk_step, plan_to, value_at
from splatface.models.training.speech_corpus.coarticulation import modes_from_phones
from splatface.models.training.speech_corpus.phonemes import Phone, is_vowel
from splatface.models.training.synthetic.rig import BodyPose
from splatface.models.training.synthetic.speech_track import (
    ActorVoice,
    SpeechScript,
    SpeechTrack,
    make_speech_track,
)
from splatface.models.typing import AnyArray

__all__ = [
    "LEARNED_SHARE",
    "POSE_FIELDS",
    "POSE_LIMITS_RAD",
    "TEST_SHARE",
    "ActingConfig",
    "ExpressionEvent",
    "Performance",
    "expression_weights",
    "make_performance",
    "pose_exploration",
    "schedule_expressions",
]

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


def schedule_expressions(
    pauses: Sequence[tuple[float, float]], *, until_s: float, seed: int
) -> list[ExpressionEvent]:
    """Return expressions for the pauses [(start, end)] and, as pauses are few, for the eyes also in between.

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


def expression_weights(episodes: Sequence[ExpressionEvent], times_s: AnyArray) -> dict[str, AnyArray]:
    """Return for every control and `mouth_smile` how much of it [T] the episodes show at the times [T]."""
    shown = {name: np.zeros(len(times_s)) for name in _PLAYED}
    for episode in episodes:
        track = shown[episode.name]
        for row in np.flatnonzero(np.abs(times_s - episode.middle_s) < _RISE_S + _FALL_S):
            value = episode.amount * _expression_envelope(float(times_s[row]) - episode.middle_s)
            track[row] = value if abs(value) > abs(track[row]) else track[row]
    return shown


def _expression_envelope(since_s: float) -> float:
    """Return 0..1 around the middle of an episode."""
    rise = minimum_jerk_step((since_s + _HOLD_S / 2 + _RISE_S) / _RISE_S)
    return rise - minimum_jerk_step((since_s - _HOLD_S / 2) / _FALL_S)


_STEPS_S = (1.1, 2.4)  # between two aims
_GLIDE_S = (0.8, 1.3)  # on the way
_DAMPING = 0.45  # share of the range where the film is only measured with
_CHANNELS = 6
_PRIME_ROOTS = np.sqrt([2.0, 3.0, 5.0, 7.0, 11.0, 13.0])


def pose_exploration(seed: int, times_s: AnyArray, *, still_from_s: float) -> AnyArray:
    """Return positions [T, 6] in -1..1 at rising times [T]; it starts at 0 and is calmer from a time on.

    The aims are an additive quasi-random sequence (Kronecker: n times the roots of primes, modulo 1),
    which fills the box evenly however many there are; every third is near the middle, so that the
    ordinary pose is seen most.
    """
    rng = np.random.default_rng([seed, 0x0A])
    offset = rng.uniform(0.0, 1.0, _CHANNELS)
    trajectory = constant_trajectory(np.zeros(_CHANNELS))
    positions = np.zeros((len(times_s), _CHANNELS))
    next_s, count = 0.4, 0
    for row, time_s in enumerate(times_s.tolist()):
        if time_s >= next_s:
            aim = 2 * np.mod(offset + count * _PRIME_ROOTS, 1.0) - 1
            # Pushed outwards: a k-th of the way from the middle of an even filling is seldom the edge.
            aim = np.sign(aim) * np.abs(aim) ** 0.6
            reach = 0.25 if count % 3 == 2 else 1.0
            damping = _DAMPING if time_s >= still_from_s - _STEPS_S[0] else 1.0
            trajectory = plan_to(trajectory, aim * reach * damping, time_s, float(rng.uniform(*_GLIDE_S)))
            next_s, count = time_s + float(rng.uniform(*_STEPS_S)), count + 1
        positions[row] = value_at(trajectory, time_s)
    return positions


POSE_FIELDS: Final = (
    "head_yaw_rad",
    "head_pitch_rad",
    "head_roll_rad",
    "sway_x_rad",
    "sway_y_rad",
    "shoulder_lift_rad",
)
# The largest of each of POSE_FIELDS; the head's turns are what the film should cover.
POSE_LIMITS_RAD: Final = (*np.radians([20.0, 12.0, 8.0]).tolist(), 0.035, 0.025, 0.006)
GAZE_LIMITS_RAD: Final = (0.35, 0.22)
TEST_SHARE: Final = 0.10  # the last part of the film, which is only measured with
# Where sentences that are kept back begin: before the part they are for, where nothing is learned any more.
LEARNED_SHARE: Final = 0.85
_BLINKS_PER_MINUTE = 26.0
_NOD_GAP_S = 0.9
_BREATH_HZ = 0.27
_GAZE_END_RAD = 0.5  # beyond the limit, which then limits it


@dataclass(frozen=True, slots=True, kw_only=True)
class ActingConfig:
    """Length, frame rate and motion amplitude of a performance; the same values give the same video."""

    seconds: float = 45.0
    fps: float = 25.0
    seed: int = 0
    motion_amplitude: float = 1.0  # 0 a statue that speaks, 1 covers the limits of the pose


@dataclass(frozen=True, slots=True, eq=False)
class Performance:
    """T moments of acting and the sound they belong to."""

    time_ns: NDArray[np.int64]  # [T] from 0, the first sample of the sound, at `acting.fps`
    mouth: AnyArray  # [T, 8] f32 MOUTH_MODES
    controls: AnyArray  # [T, 8] f32 CONTROLS
    poses: AnyArray  # [T, 6] f64 POSE_FIELDS
    speech: SpeechTrack
    acting: ActingConfig

    def __len__(self) -> int:
        return len(self.time_ns)

    def pose(self, moment: int) -> BodyPose:
        """Return the body's pose at a moment."""
        return BodyPose(**dict(zip(POSE_FIELDS, self.poses[moment].tolist(), strict=True)))


def make_performance(script: SpeechScript, voice: ActorVoice, acting: ActingConfig) -> Performance:
    """Speak and act a script; deterministic for a seed.

    The mouth moves exactly as the audio-to-mouth nets are taught (`modes_from_phones`); in pauses of
    the first 85 % the face makes the expressions that speech alone never shows (`episodes`).

    Raises:
        ActorError: when not one sentence fits into `acting.seconds`.
    """
    held_out_from_s = LEARNED_SHARE * acting.seconds
    speech = make_speech_track(
        script, voice, seconds=acting.seconds, held_out_from_s=held_out_from_s, seed=acting.seed
    )
    times_s = np.arange(int(acting.seconds * acting.fps + 1e-6)) / acting.fps
    episodes = schedule_expressions(speech.pauses, until_s=LEARNED_SHARE * acting.seconds, seed=acting.seed)
    nods = _nods(speech.phones, acting.seed)
    poses = _poses(times_s, nods, acting)
    return Performance(
        time_ns=np.round(times_s * 1e9).astype(np.int64),
        mouth=_mouth(times_s, speech, episodes),
        controls=_controls(times_s, poses, (nods, episodes), acting.seed),
        poses=poses,
        speech=speech,
        acting=acting,
    )


def _mouth(times_s: AnyArray, speech: SpeechTrack, episodes: list[ExpressionEvent]) -> AnyArray:
    mouth = modes_from_phones(speech.phones, times_s)
    for name, value in expression_weights(episodes, times_s).items():
        if name.startswith("mouth_"):
            mouth[:, MOUTH_MODES.index(name.removeprefix("mouth_"))] += value
    return mouth


def _nods(phones: tuple[Phone, ...], seed: int) -> list[Nod]:
    """Return a nod at some stressed vowels, at most one in a while, a raise of the brows at some of them."""
    rng = np.random.default_rng([seed, 0x40])
    nods: list[Nod] = []
    for phone in phones:
        stressed = is_vowel(phone.ipa) and phone.stress >= 1.0 and phone.end_s - phone.start_s > 0.06
        rested = not nods or phone.start_s - nods[-1].begin_s > _NOD_GAP_S
        if stressed and rested and rng.random() < 0.6:
            brow = float(rng.uniform(0.25, 0.8)) if rng.random() < 0.45 else 0.0
            nods.append(Nod(phone.start_s, float(np.radians(rng.uniform(1.0, 3.5))), brow))
    return nods


def _nod_track(nods: list[Nod], times_s: AnyArray) -> AnyArray:
    """Return pitch (rad) and brow [T, 2] of all nods."""
    return np.array([nod_pitch_and_brow_at(deque(nods), float(t)) for t in times_s]).reshape(-1, 2)


def _poses(times_s: AnyArray, nods: list[Nod], acting: ActingConfig) -> AnyArray:
    """Return poses [T, 6]: roaming over the whole range, sway and breath on it, nods with the speech."""
    sway = make_sway(acting.seed, acting.motion_amplitude)
    swaying = np.array([sway_at(sway, float(t)) for t in times_s]).reshape(-1, 6)
    # Only the part that is learned from has to cover the range; the test is how one speaks.
    roaming = acting.motion_amplitude * pose_exploration(
        acting.seed, times_s, still_from_s=LEARNED_SHARE * acting.seconds
    )
    limits = np.array(POSE_LIMITS_RAD)
    poses = roaming * limits
    poses[:, :3] += 0.6 * swaying[:, :3]
    poses[:, 1] += acting.motion_amplitude * _nod_track(nods, times_s)[:, 0]
    # The torso goes along a little with the head, and breathes.
    poses[:, 3] -= 0.08 * poses[:, 2]
    breath = np.sin(2 * np.pi * _BREATH_HZ * times_s + acting.seed)
    poses[:, 5] += acting.motion_amplitude * 0.003 * breath
    return _soft_clip(poses, limits)


def _soft_clip(values: AnyArray, limits: AnyArray) -> AnyArray:
    """Return values [T, n] as they are up to 80 % of their limits [n], then ever slower, never beyond."""
    knee = 0.8 * limits
    beyond = np.abs(values) - knee
    bent = knee + 0.2 * limits * np.tanh(np.maximum(beyond, 0) / (0.2 * limits))
    limited: AnyArray = np.where(beyond > 0, np.sign(values) * bent, values)
    return limited


def _controls(
    times_s: AnyArray, poses: AnyArray, acts: tuple[list[Nod], list[ExpressionEvent]], seed: int
) -> AnyArray:
    nods, episodes = acts
    shown = expression_weights(episodes, times_s)
    blinks = blink_stream(seed + 1, _BLINKS_PER_MINUTE)
    lids = np.array([eyelid_closure_at(blinks, float(t)) for t in times_s]).reshape(-1, 2)
    glances = gaze_stream(seed + 2, 1.3)
    gaze = np.array([gaze_at(glances, float(t)) for t in times_s]).reshape(-1, 2)
    # Eyes hold the viewer while the head turns (vestibulo-ocular reflex), but for what is too far.
    gaze -= 0.8 * poses[:, :2]
    brows = _nod_track(nods, times_s)[:, 1]
    smile = 0.10 + 0.10 * np.sin(2 * np.pi * 0.071 * times_s + seed)
    tracks = {
        "blink_left": np.maximum(lids[:, 0], shown["blink_left"]),
        "blink_right": np.maximum(lids[:, 1], shown["blink_right"]),
        "gaze_yaw": _blend_towards(gaze[:, 0], shown["gaze_yaw"], _GAZE_END_RAD),
        "gaze_pitch": _blend_towards(gaze[:, 1], shown["gaze_pitch"], _GAZE_END_RAD),
        "brow_up": np.maximum(brows * (1 - shown["brow_down"]), shown["brow_up"]),
        "brow_down": shown["brow_down"],
        # Lips alone smile in one of the episodes; then the expression keeps out of it.
        "smile": np.maximum(smile, shown["smile"]) * (1 - shown["mouth_smile"]),
        "jaw_side": _blend_towards(_sideways_gaze(times_s, seed), shown["jaw_side"], 1.0),
    }
    controls = np.stack([tracks[name] for name in CONTROLS], axis=1)
    controls[:, 2:4] = _soft_clip(controls[:, 2:4], np.array(GAZE_LIMITS_RAD))
    return controls.astype(np.float32)


def _sideways_gaze(times_s: AnyArray, seed: int) -> AnyArray:
    """Return nobody's mouth stays in the middle [T]: slow, of about the size that films of people show."""
    phase = np.random.default_rng([seed, 0x51]).uniform(0, 2 * np.pi, 3)
    waves = np.sin(2 * np.pi * np.outer(times_s, (0.13, 0.37, 0.83)) + phase)
    swayed: AnyArray = waves @ (0.07, 0.06, 0.05)
    return swayed


def _blend_towards(values: AnyArray, share: AnyArray, end: float) -> AnyArray:
    """Return values [T] led to an extreme: `share` [T] -1..1 of `end`."""
    led: AnyArray = values * (1 - np.abs(share)) + end * share
    return led
