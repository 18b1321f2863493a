"""What head, brows and lids do with one's own speech.

Nods go with stressed syllables (Hadar et al. 1983; Graf et al. 2002; Munhall et al. 2004), brows go up with
strong ones and where something new begins (Flecha-García 2010), blinks gather in pauses and at the edges of
phrases (Cummins 2012; Nakano & Kitazawa 2010), some on accents (Loehr 2007). None of it always: people are no
metronomes.
"""

from collections import deque

import numpy as np

from splatface.models.behavior.accent import SPEAKING, AccentDetector, StressedSyllable
from splatface.models.behavior.brow import RISE_S, BrowRaise
from splatface.models.behavior.lids import BlinkScheduler
from splatface.models.behavior.nod import Nod
from splatface.models.behavior.phrase import PhraseBegin, PhraseDetector, PhraseEnd
from splatface.models.behavior.posture import Posture, PostureShift
from splatface.models.behavior.spans import ActivityIntervals
from splatface.models.messages import NS_PER_S, AudioFrame

__all__ = ["SpeechGestures"]

# Speech goes on over pauses as long as this.
HOLD_S = 0.7
# A gesture that would come later than this after its sound is left out.
LATE_S = 0.3
SET_BACK_S = 1.0  # further back than this a recording begins again; less is an interruption
NOD_RAD = np.radians(3.8)
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
    depth_rad = NOD_RAD * (0.3 + 0.7 * accent.strength) * float(random.uniform(0.7, 1.1))
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
