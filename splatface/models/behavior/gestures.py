"""Gestures of a face that speaks or listens: nods, brow raises, posture shifts, blinks."""

from collections import deque
from functools import lru_cache

import numpy as np

from splatface.models.behavior.eyes import BlinkScheduler, long_blink
from splatface.models.behavior.head_movements import RISE_S, BrowRaise, Nod, Posture, PostureShift
from splatface.models.behavior.prosody import (
    SPEAKING,
    AccentDetector,
    PhraseBegin,
    PhraseDetector,
    PhraseEnd,
    StressedSyllable,
)
from splatface.models.behavior.trajectories import ActivityIntervals
from splatface.models.messages import NS_PER_S, AudioFrame

__all__ = ["RAMP_S", "Backchannel", "SpeechGestures", "tilt_of"]

# Speech goes on over pauses as long as this.
HOLD_S = 0.7
# A gesture that would come later than this after its sound is left out.
LATE_S = 0.3
SET_BACK_S = 1.0  # further back than this a recording begins again; less is an interruption
SPEECH_NOD_RAD = np.radians(3.8)
HURRIED_S, IN_STEP_S = 0.12, 0.1
CHIN_UP = 0.12  # share of the nods that go up
SHIFT_RAD = np.radians([2.6, 1.1, 1.7])
SHIFT_APART_S = 2.0
RAISE_APART_S = 1.3
# Chance of a blink when one is due: more at a pause than on a stressed syllable.
PAUSE_CALLS, ACCENT_CALLS = 1.0, 0.2
KEPT = 24

Random = np.random.Generator


class SpeechGestures:
    """Hears the face's own voice; `nods`, `raises`, `posture` and `talk` say what comes of it."""

    def __init__(self, seed: int, lids: BlinkScheduler) -> None:
        self._seed = seed
        self._lids = lids
        self._accents, self._phrases = AccentDetector(), PhraseDetector()
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.nods: deque[Nod] = deque(maxlen=KEPT)
        self.raises: deque[BrowRaise] = deque(maxlen=KEPT)
        self.posture = Posture()
        self.talk = ActivityIntervals()
        self._accents.reset()
        self._phrases.reset()
        self._latest_s = -np.inf
        self._utterance = 0
        self._next_nod_s = self._next_raise_s = self._next_shift_s = -np.inf

    def hear(self, frame: AudioFrame, present_s: float) -> None:
        """Take in one frame; nothing that follows from it begins before `present_s`."""
        now_s = frame.center_ns / NS_PER_S
        if now_s < self._latest_s - SET_BACK_S:
            self.reset()
            self._lids.reset()
        elif now_s < self._latest_s or frame.utterance != self._utterance:
            self._cut_short(present_s)
        self._latest_s, self._utterance = now_s, frame.utterance
        if frame.voice_probability >= SPEAKING and now_s + HOLD_S > present_s:
            self.talk.last_until(max(now_s, present_s), now_s + HOLD_S)
        accent, turn = self._accents.hear(frame), self._phrases.hear(frame)
        if accent is None and turn is None:
            return
        random = np.random.default_rng([self._seed, frame.center_ns % 2**63])
        if accent and accent.peak_s > present_s - LATE_S:
            self._stress(accent, present_s, random)
        if isinstance(turn, PhraseBegin) and turn.at_s > present_s - LATE_S:
            self._open(turn, present_s, random)
        if isinstance(turn, PhraseEnd):
            self._pause(turn, present_s, random)

    def _cut_short(self, present_s: float) -> None:
        """Gestures of words that will not be said are not begun; those begun come to their end."""
        self.nods = deque((nod for nod in self.nods if nod.begin_s <= present_s), maxlen=KEPT)
        self.raises = deque((one for one in self.raises if one.begin_s <= present_s), maxlen=KEPT)
        self.posture.forget_after(present_s)
        self._lids.forget_after(present_s)
        self.talk.end(present_s)
        self._accents.reset()
        self._phrases.reset()

    def _stress(self, accent: StressedSyllable, present_s: float, random: Random) -> None:
        if accent.peak_s >= self._next_nod_s and random.random() < 0.45 + 0.5 * accent.strength:
            nod = _nod(accent, present_s, random)
            self.nods.append(nod)
            self._next_nod_s = accent.peak_s + float(np.clip(random.lognormal(np.log(0.75), 0.45), 0.45, 2.4))
        if random.random() < 0.55 * accent.strength**2:
            self._raise(max(accent.peak_s - RISE_S, present_s), 0.25 + 0.4 * accent.strength, random)
        begin_s = max(accent.peak_s, present_s)
        if random.random() < ACCENT_CALLS * accent.strength * self._lids.blink_urgency(begin_s):
            self._lids.request_blink(begin_s, present_s)

    def _open(self, phrase: PhraseBegin, present_s: float, random: Random) -> None:
        begin_s = max(phrase.at_s, present_s)
        if phrase.at_s >= self._next_shift_s and random.random() < 0.75:
            angles = np.clip(random.normal(0.0, SHIFT_RAD), -2 * SHIFT_RAD, 2 * SHIFT_RAD)
            self.posture.add(PostureShift(begin_s, float(random.uniform(0.6, 1.1)), angles))
            self._next_shift_s = phrase.at_s + SHIFT_APART_S
        if random.random() < (0.5 if phrase.pause_s > 0.5 else 0.25):
            self._raise(begin_s, float(random.uniform(0.3, 0.65)), random)

    def _pause(self, phrase: PhraseEnd, present_s: float, random: Random) -> None:
        lag_s = float(random.uniform(0.1, 0.3))
        begin_s = max(phrase.at_s + lag_s, present_s)
        if random.random() < PAUSE_CALLS * self._lids.blink_urgency(begin_s):
            self._lids.request_blink(begin_s, present_s)

    def _raise(self, begin_s: float, weight: float, random: Random) -> None:
        if begin_s < self._next_raise_s:
            return
        hold_s = float(random.uniform(0.05, 0.4))
        self.raises.append(BrowRaise(begin_s, weight * float(random.uniform(0.8, 1.1)), hold_s))
        self._next_raise_s = begin_s + hold_s + RAISE_APART_S


def _nod(accent: StressedSyllable, present_s: float, random: Random) -> Nod:
    """A nod that is lowest when the syllable is loudest; late ones hurry, and are shallower for it."""
    depth_rad = SPEECH_NOD_RAD * (0.3 + 0.7 * accent.strength) * float(random.uniform(0.7, 1.1))
    down_s = float(random.uniform(0.13, 0.19))
    begin_s = max(accent.peak_s - down_s, present_s)
    if begin_s + down_s > accent.peak_s + IN_STEP_S:
        down_s, depth_rad = HURRIED_S, 0.85 * depth_rad
    side = random.normal(0.0, [0.3, 0.22])
    if random.random() < CHIN_UP:
        depth_rad *= -0.6
    return Nod(
        begin_s=begin_s,
        pitch_rad=depth_rad,
        yaw_rad=float(side[0]) * depth_rad,
        roll_rad=float(side[1]) * depth_rad,
        down_s=down_s,
        up_s=float(random.uniform(0.28, 0.45)),
        beyond=float(random.uniform(0.0, 0.3)),
    )


# A talker of whom nothing was heard for so long has fallen silent.
UNTOLD_S = 3.0
# Attention stays with one who pauses.
LINGER_S = 1.2
RAMP_S = 0.8
FIRST_S = 0.7
APART_S = 1.6
EVERY_S = 4.5
BACKCHANNEL_NOD_RAD = np.radians(2.6)
TILT_RAD = np.radians([1.6, 3.2])


class Backchannel:
    """Is told whether the person talks; `attention`, `nods` and `raises` say what comes of it."""

    def __init__(self, seed: int, lids: BlinkScheduler) -> None:
        self._seed = seed
        self._lids = lids
        self.reset()

    def reset(self) -> None:
        """Nobody talks or has talked."""
        self.attention = ActivityIntervals()
        self.nods: deque[Nod] = deque(maxlen=KEPT)
        self.raises: deque[BrowRaise] = deque(maxlen=KEPT)
        self._talk = ActivityIntervals()
        self._latest_s = -np.inf
        self._next_nod_s = -np.inf

    def hear(self, talks: bool, now_s: float) -> None:
        """The person talks, or does not; said again and again while it is so."""
        if now_s < self._latest_s:
            self.reset()
        self._latest_s = now_s
        random = np.random.default_rng([self._seed, round(now_s * NS_PER_S) % 2**63])
        if talks:
            self.attention.last_until(now_s, now_s + UNTOLD_S)
            if self._talk.last_until(now_s, now_s + UNTOLD_S):
                self._begin(now_s, random)
            self._go_on(now_s)
        elif self._talk.all and now_s < self._talk.all[-1][1]:
            self._talk.end(now_s)
            self.attention.end(now_s + LINGER_S)
            self._pause(now_s, random)

    def _begin(self, now_s: float, random: Random) -> None:
        self._next_nod_s = now_s + _gap_s(random)
        if random.random() < 0.4:
            self._raise(now_s + 0.15, random)

    def _go_on(self, now_s: float) -> None:
        """A nod every few seconds, drawn from when the last one was due: telling more often adds none."""
        while self._next_nod_s < now_s + UNTOLD_S:
            begin_s = self._next_nod_s
            random = np.random.default_rng([self._seed, round(begin_s * NS_PER_S) % 2**63])
            self._next_nod_s = begin_s + _gap_s(random)
            if begin_s < now_s:
                continue
            self._nod(begin_s, random)
            if random.random() < 0.35:
                self._raise(begin_s, random)

    def _pause(self, now_s: float, random: Random) -> None:
        """Nods that were to come are not begun; one may say that it was understood."""
        self.nods = deque((nod for nod in self.nods if nod.begin_s <= now_s), maxlen=KEPT)
        self.raises = deque((one for one in self.raises if one.begin_s <= now_s), maxlen=KEPT)
        talked_s = now_s - self._talk.all[-1][0]
        begin_s = now_s + float(random.uniform(0.1, 0.45))
        rested = not self.nods or begin_s - self.nods[-1].begin_s > APART_S
        if talked_s < FIRST_S or not rested or random.random() > 0.65:
            return
        self._nod(begin_s, random)
        if random.random() < 0.4:
            self._lids.request_blink(begin_s + 0.05, now_s, long_blink(random))

    def _nod(self, begin_s: float, random: Random) -> None:
        """One nod, or a second smaller one with it."""
        depth_rad = BACKCHANNEL_NOD_RAD * float(random.uniform(0.6, 1.2))
        down_s, up_s = float(random.uniform(0.2, 0.28)), float(random.uniform(0.34, 0.5))
        side = float(random.normal(0.0, 0.15))
        self.nods.append(
            Nod(begin_s, depth_rad, down_s=down_s, up_s=up_s, beyond=0.1, roll_rad=side * depth_rad)
        )
        if random.random() < 0.4:
            again_s = begin_s + down_s + 0.8 * up_s
            self.nods.append(Nod(again_s, 0.6 * depth_rad, down_s=down_s, up_s=up_s))

    def _raise(self, begin_s: float, random: Random) -> None:
        self.raises.append(
            BrowRaise(begin_s, float(random.uniform(0.2, 0.45)), hold_s=float(random.uniform(0.2, 0.7)))
        )


@lru_cache(maxsize=64)
def tilt_of(seed: int, begin_s: float) -> float:
    """How far (rad) the head is held aslant while it listens to what began at a moment."""
    random = np.random.default_rng([seed, round(begin_s * NS_PER_S) % 2**63, 0x71])
    return float(random.choice([-1.0, 1.0]) * random.uniform(*TILT_RAD))


def _gap_s(random: Random) -> float:
    return float(np.clip(random.lognormal(np.log(EVERY_S), 0.4), 2 * APART_S, 12.0))
