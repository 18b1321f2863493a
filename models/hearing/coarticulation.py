"""Phones in time become mouth modes in time: sounds blend, closures close.

Dominance functions after Cohen & Massaro, "Modeling coarticulation in synthetic visual speech" (1993):
every phone pulls the lips towards its target with a strength that fades before and after it, and the
lips stand at the weighted mean. Closures (p b m, f v) are then laid over it, because no mean closes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatface.models.head.coefficients import MOUTH_MODES
from splatface.models.hearing.phonemes import REST, VISEMES, Phone, viseme_of

__all__ = ["Coarticulation", "mode_track"]

Array = NDArray[np.float32]
_LIPS = tuple(MOUTH_MODES.index(name) for name in ("wide", "round", "funnel"))
_OPENING = tuple(MOUTH_MODES.index(name) for name in ("open", "upper_lip", "lower_lip"))
_OPEN, _PRESS = MOUTH_MODES.index("open"), MOUTH_MODES.index("press")
_UPPER = MOUTH_MODES.index("upper_lip")


@dataclass(frozen=True, slots=True, kw_only=True)
class Coarticulation:
    """How sounds blend into each other."""

    lead_s: float = 0.015  # the lips move this much before the sound
    jaw_fade_s: float = 0.055  # reach of jaw and lids of the mouth beyond the phone
    lips_before_s: float = 0.110  # rounding begins early
    lips_after_s: float = 0.070
    edge_s: float = 0.050  # from open to shut
    hold_s: float = 0.030  # a closure lasts at least this long
    rest_after_s: float = 0.16  # a pause longer than this shuts the mouth fully


def mode_track(
    phones: Sequence[Phone], times_s: NDArray[np.float64], how: Coarticulation | None = None
) -> Array:
    """Mouth modes [T, len(MOUTH_MODES)] at the times [T], 0 at rest; before and after the phones is rest."""
    how = how or Coarticulation()
    t = times_s + how.lead_s
    spoken = _with_pauses(phones, t)
    weighted = np.zeros((len(t), len(MOUTH_MODES)))
    weights = np.full((len(t), len(MOUTH_MODES)), 1e-6)
    for phone in spoken:
        near, dominance = _dominance(phone, t, how)
        weighted[near] += dominance * _targets(phone)
        weights[near] += dominance
    blended = weighted / weights
    _close(blended, spoken, t, how)
    track: Array = blended.astype(np.float32)
    return track


def _with_pauses(phones: Sequence[Phone], t: NDArray[np.float64]) -> list[Phone]:
    """The phones with every gap, and the time before and after, filled by rest."""
    filled: list[Phone] = []
    end = min(float(t[0]), 0.0) - 1.0 if len(t) else 0.0
    for phone in phones:
        if phone.start_s - end > 1e-3:
            filled.append(Phone("", end, phone.start_s))
        if filled and viseme_of(filled[-1].ipa) == REST and viseme_of(phone.ipa) == REST:
            filled[-1] = Phone("", filled[-1].start_s, phone.end_s)  # one pause, however it is written
        else:
            filled.append(phone)
        end = phone.end_s
    last = (float(t[-1]) if len(t) else 0.0) + 1.0
    if last > end:
        filled.append(Phone("", end, last))
    return filled


def _targets(phone: Phone) -> NDArray[np.float64]:
    viseme = VISEMES[viseme_of(phone.ipa)]
    targets = np.array(viseme.targets)
    if viseme.vowel:
        targets[_OPEN] *= phone.stress
    return targets


def _dominance(
    phone: Phone, t: NDArray[np.float64], how: Coarticulation
) -> tuple[slice, NDArray[np.float64]]:
    """The stretch of t near the phone and its dominance there, [n, modes]."""
    viseme = VISEMES[viseme_of(phone.ipa)]
    duration = phone.end_s - phone.start_s
    core = 0.25 * min(duration, 0.16)  # a held vowel is at its target but for its edges
    reach = 4 * max(how.lips_before_s, how.lips_after_s)
    near = slice(*np.searchsorted(t, (phone.start_s - reach, phone.end_s + reach)))
    before = np.maximum(phone.start_s + core - t[near], 0)
    after = np.maximum(t[near] - phone.end_s + core, 0)
    jaw_before, jaw_after, lips_before, lips_after = (
        how.jaw_fade_s,
        how.jaw_fade_s,
        how.lips_before_s,
        how.lips_after_s,
    )
    jaw, lips = viseme.jaw, viseme.lips
    if viseme_of(phone.ipa) == REST:
        # Short gaps are spoken through; in a real pause nothing else reaches in.
        fullness = min(duration / how.rest_after_s, 1.0)
        jaw, lips = jaw * (0.2 + 2.3 * fullness), lips * (0.2 + 5.0 * fullness)
        lips_before = lips_after = how.jaw_fade_s
    dominance = np.empty((near.stop - near.start, len(MOUTH_MODES)))
    dominance[:] = (jaw * np.exp(-((before / jaw_before) ** 1.5) - (after / jaw_after) ** 1.5))[:, None]
    rounding = lips * np.exp(-((before / lips_before) ** 1.5) - (after / lips_after) ** 1.5)
    dominance[:, _LIPS] = rounding[:, None]
    return near, dominance


def _close(
    track: NDArray[np.float64], phones: Sequence[Phone], t: NDArray[np.float64], how: Coarticulation
) -> None:
    """Shut the lips at every closure; f and v leave the upper lip up."""
    for phone in phones:
        name = viseme_of(phone.ipa)
        amount = VISEMES[name].closure
        if not amount:
            continue
        start, end = phone.start_s, phone.end_s
        if name == "p" and phone.ipa[0] in "pb":
            end = start + 0.75 * (end - start)  # the last part is the burst: the lips already part
        lacking = max(how.hold_s - (end - start), 0.0) / 2
        start, end = start - lacking, end + lacking
        near = slice(*np.searchsorted(t, (start - how.edge_s, end + how.edge_s)))
        away = np.maximum(np.maximum(start - t[near], t[near] - end), 0) / how.edge_s
        shut = amount * 0.5 * (1 + np.cos(np.pi * np.minimum(away, 1)))
        upper = track[near, _UPPER].copy()
        for mode in _OPENING:
            track[near, mode] *= 1 - shut
        if name == "f":
            track[near, _UPPER] = upper
            track[near, _PRESS] = np.maximum(track[near, _PRESS], 0.5 * shut)
        else:
            track[near, _PRESS] = np.maximum(track[near, _PRESS], shut)
