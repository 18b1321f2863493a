"""A film's worth of acting: lips in time with the sound, eyes, brows, head and shoulders, all from a seed."""

from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.behavior.blink import blink_line, lids_at
from splatface.models.behavior.gaze import gaze_line, glance_at
from splatface.models.behavior.nod import Nod, nods_at
from splatface.models.behavior.sway import sway_at, sway_of
from splatface.models.training.speech_corpus.coarticulation import mode_track
from splatface.models.training.speech_corpus.phonemes import Phone, is_vowel
from splatface.models.training.synthetic.bones import BodyPose
from splatface.models.training.synthetic.episodes import ExpressionEvent, episodes_of, shown_at
from splatface.models.training.synthetic.roaming import pose_exploration
from splatface.models.training.synthetic.speech_track import Script, SpeechTrack, Voice, speak
from splatface.models.typing import AnyArray

__all__ = [
    "LEARNED_SHARE",
    "POSE_FIELDS",
    "POSE_LIMITS_RAD",
    "TEST_SHARE",
    "Acting",
    "Performance",
    "perform",
]


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
class Acting:
    """How long, how fine and how lively; the same values give the same film."""

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
    acting: Acting

    def __len__(self) -> int:
        return len(self.time_ns)

    def pose(self, moment: int) -> BodyPose:
        """The body's pose at a moment."""
        return BodyPose(**dict(zip(POSE_FIELDS, self.poses[moment].tolist(), strict=True)))


def perform(script: Script, voice: Voice, acting: Acting) -> Performance:
    """Speak and act a script; deterministic for a seed.

    The mouth has exactly what the hearing nets are taught for these sounds (`mode_track`); in pauses of
    the first 85 % the face makes the expressions that speech alone never shows (`episodes`).

    Raises:
        ActorError: when not one sentence fits into `acting.seconds`.
    """
    kept_back_from_s = LEARNED_SHARE * acting.seconds
    speech = speak(script, voice, seconds=acting.seconds, kept_back_from_s=kept_back_from_s, seed=acting.seed)
    times_s = np.arange(int(acting.seconds * acting.fps + 1e-6)) / acting.fps
    episodes = episodes_of(speech.pauses, until_s=LEARNED_SHARE * acting.seconds, seed=acting.seed)
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
    mouth = mode_track(speech.phones, times_s)
    for name, value in shown_at(episodes, times_s).items():
        if name.startswith("mouth_"):
            mouth[:, MOUTH_MODES.index(name.removeprefix("mouth_"))] += value
    return mouth


def _nods(phones: tuple[Phone, ...], seed: int) -> list[Nod]:
    """A nod at some stressed vowels, at most one in a while, a raise of the brows at some of them."""
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
    """Pitch (rad) and brow [T, 2] of all nods."""
    return np.array([nods_at(deque(nods), float(t)) for t in times_s]).reshape(-1, 2)


def _poses(times_s: AnyArray, nods: list[Nod], acting: Acting) -> AnyArray:
    """Poses [T, 6]: roaming over the whole range, sway and breath on it, nods with the speech."""
    sway = sway_of(acting.seed, acting.motion_amplitude)
    swaying = np.array([sway_at(sway, float(t)) for t in times_s]).reshape(-1, 6)
    # Only the part that is learned from has to cover the range; the test is how one speaks.
    roaming = acting.motion_amplitude * pose_exploration(
        acting.seed, times_s, calm_from_s=LEARNED_SHARE * acting.seconds
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
    """Values [T, n] as they are up to 80 % of their limits [n], then ever slower, never beyond."""
    knee = 0.8 * limits
    beyond = np.abs(values) - knee
    bent = knee + 0.2 * limits * np.tanh(np.maximum(beyond, 0) / (0.2 * limits))
    limited: AnyArray = np.where(beyond > 0, np.sign(values) * bent, values)
    return limited


def _controls(
    times_s: AnyArray, poses: AnyArray, acts: tuple[list[Nod], list[ExpressionEvent]], seed: int
) -> AnyArray:
    nods, episodes = acts
    shown = shown_at(episodes, times_s)
    blinks = blink_line(seed + 1, _BLINKS_PER_MINUTE)
    lids = np.array([lids_at(blinks, float(t)) for t in times_s]).reshape(-1, 2)
    glances = gaze_line(seed + 2, 1.3)
    gaze = np.array([glance_at(glances, float(t)) for t in times_s]).reshape(-1, 2)
    # Eyes hold the viewer while the head turns (vestibulo-ocular reflex), but for what is too far.
    gaze -= 0.8 * poses[:, :2]
    brows = _nod_track(nods, times_s)[:, 1]
    smile = 0.10 + 0.10 * np.sin(2 * np.pi * 0.071 * times_s + seed)
    tracks = {
        "blink_left": np.maximum(lids[:, 0], shown["blink_left"]),
        "blink_right": np.maximum(lids[:, 1], shown["blink_right"]),
        "gaze_yaw": _towards(gaze[:, 0], shown["gaze_yaw"], _GAZE_END_RAD),
        "gaze_pitch": _towards(gaze[:, 1], shown["gaze_pitch"], _GAZE_END_RAD),
        "brow_up": np.maximum(brows * (1 - shown["brow_down"]), shown["brow_up"]),
        "brow_down": shown["brow_down"],
        # Lips alone smile in one of the episodes; then the expression keeps out of it.
        "smile": np.maximum(smile, shown["smile"]) * (1 - shown["mouth_smile"]),
        "jaw_side": _towards(_sideways(times_s, seed), shown["jaw_side"], 1.0),
    }
    controls = np.stack([tracks[name] for name in CONTROLS], axis=1)
    controls[:, 2:4] = _soft_clip(controls[:, 2:4], np.array(GAZE_LIMITS_RAD))
    return controls.astype(np.float32)


def _sideways(times_s: AnyArray, seed: int) -> AnyArray:
    """Nobody's mouth stays in the middle [T]: slow, of about the size that films of people show."""
    phase = np.random.default_rng([seed, 0x51]).uniform(0, 2 * np.pi, 3)
    waves = np.sin(2 * np.pi * np.outer(times_s, (0.13, 0.37, 0.83)) + phase)
    swayed: AnyArray = waves @ (0.07, 0.06, 0.05)
    return swayed


def _towards(values: AnyArray, share: AnyArray, end: float) -> AnyArray:
    """Values [T] led to an extreme: `share` [T] -1..1 of `end`."""
    led: AnyArray = values * (1 - np.abs(share)) + end * share
    return led
