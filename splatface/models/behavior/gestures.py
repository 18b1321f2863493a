# SPDX-License-Identifier: Apache-2.0
"""Gestures of a face that speaks or listens: nods, brow raises, posture shifts, blinks."""

from collections import deque
from functools import lru_cache

import numpy as np

from splatface.models.behavior.eyes import BlinkScheduler, long_blink
from splatface.models.behavior.head_movements import BROW_RISE_S, BrowRaise, Nod, Posture, PostureShift
from splatface.models.behavior.prosody import (
    VOICE_PROBABILITY,
    PhraseBegin,
    PhraseDetector,
    PhraseEnd,
    StressDetector,
    StressedSyllable,
)
from splatface.models.behavior.trajectories import ActivityIntervals
from splatface.models.messages import NS_PER_S, AudioFrame

__all__ = ["ATTENTION_RAMP_S", "Backchannel", "SpeechGestures", "listening_tilt"]

_MAX_GESTURES = 24

# While the face speaks. Speech continues over pauses of this duration.
_SPEECH_HOLD_S = 0.7
_MAX_DELAY_S = 0.3  # a gesture that would come later than this after its audio is omitted
_RESTART_S = 1.0  # a recording restarts when time steps back further than this; less is an interruption
_SPEECH_NOD_RAD = np.radians(3.8)
_HURRIED_NOD_S, _NOD_SYNC_S = 0.12, 0.1
_UPWARD_NODS = 0.12  # fraction of the nods
_SHIFT_STD_RAD = np.radians([2.6, 1.1, 1.7])
_SHIFT_INTERVAL_S = 2.0
_RAISE_INTERVAL_S = 1.3
# Probability of a blink when one is due: higher at a pause than on a stressed syllable.
_PAUSE_BLINK, _STRESS_BLINK = 1.0, 0.2

# While the face listens. A user of whom nothing was reported for this duration has stopped.
_REPORT_TIMEOUT_S = 3.0
_ATTENTION_HOLD_S = 1.2  # attention remains on a user who pauses
ATTENTION_RAMP_S = 0.8
_MIN_SPEECH_S = 0.7
_NOD_INTERVAL_S = 1.6
_MEAN_NOD_INTERVAL_S = 4.5
_BACKCHANNEL_NOD_RAD = np.radians(2.6)
_TILT_RAD = np.radians([1.6, 3.2])

Random = np.random.Generator


class SpeechGestures:
    """Gestures with the face's own speech; `nods`, `raises`, `posture` and `speech` are the result.

    Nods go with stressed syllables (Hadar et al. 1983; Graf et al. 2002; Munhall et al. 2004), brows are
    raised with strong ones and at the beginning of a topic (Flecha-García 2010), blinks gather in pauses and
    at phrase boundaries (Cummins 2012; Nakano & Kitazawa 2010), some on accents (Loehr 2007). All are random.
    """

    def __init__(self, seed: int, blinks: BlinkScheduler) -> None:
        self._seed = seed
        self._blinks = blinks
        self._stresses, self._phrases = StressDetector(), PhraseDetector()
        self.reset()

    def reset(self) -> None:
        """Remove all gestures."""
        self.nods: deque[Nod] = deque(maxlen=_MAX_GESTURES)
        self.raises: deque[BrowRaise] = deque(maxlen=_MAX_GESTURES)
        self.posture = Posture()
        self.speech = ActivityIntervals()
        self._stresses.reset()
        self._phrases.reset()
        self._last_frame_s = -np.inf
        self._utterance = 0
        self._next_nod_s = self._next_raise_s = self._next_shift_s = -np.inf

    def push(self, frame: AudioFrame, present_s: float) -> None:
        """Process one frame; its gestures begin at `present_s` at the earliest."""
        now_s = frame.center_ns / NS_PER_S
        if now_s < self._last_frame_s - _RESTART_S:
            self.reset()
            self._blinks.reset()
        elif now_s < self._last_frame_s or frame.utterance != self._utterance:
            self._interrupt(present_s)
        self._last_frame_s, self._utterance = now_s, frame.utterance
        if frame.voice_probability >= VOICE_PROBABILITY and now_s + _SPEECH_HOLD_S > present_s:
            self.speech.extend(max(now_s, present_s), now_s + _SPEECH_HOLD_S)
        stress, phrase = self._stresses.push(frame), self._phrases.push(frame)
        if stress is None and phrase is None:
            return
        random = np.random.default_rng([self._seed, frame.center_ns % 2**63])
        if stress and stress.peak_s > present_s - _MAX_DELAY_S:
            self._on_stress(stress, present_s, random)
        if isinstance(phrase, PhraseBegin) and phrase.time_s > present_s - _MAX_DELAY_S:
            self._on_phrase_begin(phrase, present_s, random)
        if isinstance(phrase, PhraseEnd):
            self._on_phrase_end(phrase, present_s, random)

    def _interrupt(self, present_s: float) -> None:
        """Cancel the gestures that have not begun; the others are completed."""
        self.nods = deque((nod for nod in self.nods if nod.begin_s <= present_s), maxlen=_MAX_GESTURES)
        self.raises = deque((r for r in self.raises if r.begin_s <= present_s), maxlen=_MAX_GESTURES)
        self.posture.cancel_after(present_s)
        self._blinks.cancel_after(present_s)
        self.speech.end(present_s)
        self._stresses.reset()
        self._phrases.reset()

    def _on_stress(self, stress: StressedSyllable, present_s: float, random: Random) -> None:
        if stress.peak_s >= self._next_nod_s and random.random() < 0.45 + 0.5 * stress.prominence:
            self.nods.append(_speech_nod(stress, present_s, random))
            interval_s = float(np.clip(random.lognormal(np.log(0.75), 0.45), 0.45, 2.4))
            self._next_nod_s = stress.peak_s + interval_s
        if random.random() < 0.55 * stress.prominence**2:
            begin_s = max(stress.peak_s - BROW_RISE_S, present_s)
            self._raise_brows(begin_s, 0.25 + 0.4 * stress.prominence, random)
        begin_s = max(stress.peak_s, present_s)
        if random.random() < _STRESS_BLINK * stress.prominence * self._blinks.blink_urgency(begin_s):
            self._blinks.request_blink(begin_s, present_s)

    def _on_phrase_begin(self, phrase: PhraseBegin, present_s: float, random: Random) -> None:
        begin_s = max(phrase.time_s, present_s)
        if phrase.time_s >= self._next_shift_s and random.random() < 0.75:
            angles = np.clip(random.normal(0.0, _SHIFT_STD_RAD), -2 * _SHIFT_STD_RAD, 2 * _SHIFT_STD_RAD)
            self.posture.add(PostureShift(begin_s, float(random.uniform(0.6, 1.1)), angles))
            self._next_shift_s = phrase.time_s + _SHIFT_INTERVAL_S
        if random.random() < (0.5 if phrase.pause_s > 0.5 else 0.25):
            self._raise_brows(begin_s, float(random.uniform(0.3, 0.65)), random)

    def _on_phrase_end(self, phrase: PhraseEnd, present_s: float, random: Random) -> None:
        lag_s = float(random.uniform(0.1, 0.3))
        begin_s = max(phrase.time_s + lag_s, present_s)
        if random.random() < _PAUSE_BLINK * self._blinks.blink_urgency(begin_s):
            self._blinks.request_blink(begin_s, present_s)

    def _raise_brows(self, begin_s: float, weight: float, random: Random) -> None:
        if begin_s < self._next_raise_s:
            return
        hold_s = float(random.uniform(0.05, 0.4))
        self.raises.append(BrowRaise(begin_s, weight * float(random.uniform(0.8, 1.1)), hold_s))
        self._next_raise_s = begin_s + hold_s + _RAISE_INTERVAL_S


def _speech_nod(stress: StressedSyllable, present_s: float, random: Random) -> Nod:
    """Return a nod that is lowest when the syllable is loudest; late ones are faster and shallower."""
    depth_rad = _SPEECH_NOD_RAD * (0.3 + 0.7 * stress.prominence) * float(random.uniform(0.7, 1.1))
    down_s = float(random.uniform(0.13, 0.19))
    begin_s = max(stress.peak_s - down_s, present_s)
    if begin_s + down_s > stress.peak_s + _NOD_SYNC_S:
        down_s, depth_rad = _HURRIED_NOD_S, 0.85 * depth_rad
    yaw, roll = random.normal(0.0, [0.3, 0.22])
    if random.random() < _UPWARD_NODS:
        depth_rad *= -0.6
    return Nod(
        begin_s=begin_s,
        pitch_rad=depth_rad,
        yaw_rad=float(yaw) * depth_rad,
        roll_rad=float(roll) * depth_rad,
        down_s=down_s,
        up_s=float(random.uniform(0.28, 0.45)),
        overshoot=float(random.uniform(0.0, 0.3)),
    )


class Backchannel:
    """Gestures of a listener while the user speaks; `attention`, `nods` and `raises` are the result.

    Listeners nod in and after the speaker's pauses and every few seconds (Hadar et al. 1985; Ward & Tsukahara
    2000: after 0.7 s of speech at the earliest, not in quick succession), some with a long
    blink (Hömke et al. 2017).
    """

    def __init__(self, seed: int, blinks: BlinkScheduler) -> None:
        self._seed = seed
        self._blinks = blinks
        self.reset()

    def reset(self) -> None:
        """Remove all gestures and the user's speech."""
        self.attention = ActivityIntervals()
        self.nods: deque[Nod] = deque(maxlen=_MAX_GESTURES)
        self.raises: deque[BrowRaise] = deque(maxlen=_MAX_GESTURES)
        self._speech = ActivityIntervals()
        self._last_report_s = -np.inf
        self._next_nod_s = -np.inf

    def set_user_speaking(self, speaking: bool, now_s: float) -> None:
        """Report whether the user speaks, repeatedly while it is so."""
        if now_s < self._last_report_s:
            self.reset()
        self._last_report_s = now_s
        random = np.random.default_rng([self._seed, round(now_s * NS_PER_S) % 2**63])
        if speaking:
            self.attention.extend(now_s, now_s + _REPORT_TIMEOUT_S)
            if self._speech.extend(now_s, now_s + _REPORT_TIMEOUT_S):
                self._on_begin(now_s, random)
            self._schedule_nods(now_s)
        elif self._speech.intervals and now_s < self._speech.intervals[-1][1]:
            self._speech.end(now_s)
            self.attention.end(now_s + _ATTENTION_HOLD_S)
            self._on_pause(now_s, random)

    def _on_begin(self, now_s: float, random: Random) -> None:
        self._next_nod_s = now_s + _random_nod_interval_s(random)
        if random.random() < 0.4:
            self._raise_brows(now_s + 0.15, random)

    def _schedule_nods(self, now_s: float) -> None:
        """Add a nod every few seconds, drawn from when the last one was due: more reports add none."""
        while self._next_nod_s < now_s + _REPORT_TIMEOUT_S:
            begin_s = self._next_nod_s
            random = np.random.default_rng([self._seed, round(begin_s * NS_PER_S) % 2**63])
            self._next_nod_s = begin_s + _random_nod_interval_s(random)
            if begin_s < now_s:
                continue
            self._nod(begin_s, random)
            if random.random() < 0.35:
                self._raise_brows(begin_s, random)

    def _on_pause(self, now_s: float, random: Random) -> None:
        """Cancel the scheduled nods; one may signal understanding."""
        self.nods = deque((nod for nod in self.nods if nod.begin_s <= now_s), maxlen=_MAX_GESTURES)
        self.raises = deque((r for r in self.raises if r.begin_s <= now_s), maxlen=_MAX_GESTURES)
        speech_s = now_s - self._speech.intervals[-1][0]
        begin_s = now_s + float(random.uniform(0.1, 0.45))
        rested = not self.nods or begin_s - self.nods[-1].begin_s > _NOD_INTERVAL_S
        if speech_s < _MIN_SPEECH_S or not rested or random.random() > 0.65:
            return
        self._nod(begin_s, random)
        if random.random() < 0.4:
            self._blinks.request_blink(begin_s + 0.05, now_s, long_blink(random))

    def _nod(self, begin_s: float, random: Random) -> None:
        """Add a nod, sometimes with a second smaller one."""
        depth_rad = _BACKCHANNEL_NOD_RAD * float(random.uniform(0.6, 1.2))
        down_s, up_s = float(random.uniform(0.2, 0.28)), float(random.uniform(0.34, 0.5))
        roll = float(random.normal(0.0, 0.15))
        self.nods.append(
            Nod(begin_s, depth_rad, down_s=down_s, up_s=up_s, overshoot=0.1, roll_rad=roll * depth_rad)
        )
        if random.random() < 0.4:
            second_s = begin_s + down_s + 0.8 * up_s
            self.nods.append(Nod(second_s, 0.6 * depth_rad, down_s=down_s, up_s=up_s))

    def _raise_brows(self, begin_s: float, random: Random) -> None:
        weight, hold_s = float(random.uniform(0.2, 0.45)), float(random.uniform(0.2, 0.7))
        self.raises.append(BrowRaise(begin_s, weight, hold_s))


@lru_cache(maxsize=64)
def listening_tilt(seed: int, begin_s: float) -> float:
    """Return the roll (rad) of the head while it listens to speech that began at a time."""
    random = np.random.default_rng([seed, round(begin_s * NS_PER_S) % 2**63, 0x71])
    return float(random.choice([-1.0, 1.0]) * random.uniform(*_TILT_RAD))


def _random_nod_interval_s(random: Random) -> float:
    return float(np.clip(random.lognormal(np.log(_MEAN_NOD_INTERVAL_S), 0.4), 2 * _NOD_INTERVAL_S, 12.0))
