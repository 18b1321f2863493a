# SPDX-License-Identifier: Apache-2.0
"""Mouth modes from phones: a coarticulation model that blends neighboring sounds and closes the lips.

Dominance functions after Cohen & Massaro, "Modeling coarticulation in synthetic visual speech" (1993): the
mouth is the mean of all phones' targets, weighted by dominances that fade before and after each phone. Lip
closures (p b m) are applied on top, because no mean closes. The numbers are fitted to filmed lips
(`filmed_lips.fit_coarticulation`); coarticulation_data/README.md has a table of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.errors import SpeechError
from splatface.models.training.speech_corpus.phonemes import REST, VISEMES, Phone, viseme_name
from splatface.models.typing import Float32Array, Float64Array, FloatArray

__all__ = [
    "VISEME_NAMES",
    "Coarticulation",
    "closure_curve",
    "fill_pauses",
    "initial_coarticulation",
    "load_coarticulation",
    "modes_from_phones",
    "save_coarticulation",
]


VISEME_NAMES: Final = tuple(VISEMES)
_FILE = Path(__file__).parent / "coarticulation_data" / "coarticulation.safetensors"
_LIPS = [MOUTH_MODES.index(name) for name in ("wide", "round", "funnel")]
_OPEN = MOUTH_MODES.index("open")
_REST = VISEME_NAMES.index(REST)
_TARGET_SCALE = 0.7  # of the viseme targets, which were set by hand for a clear speaker
_JAW_FADE_S = 0.055  # reach of the opening modes beyond a phone
_LIPS_BEFORE_S, _LIPS_AFTER_S = 0.110, 0.070  # rounding begins early
_NEGLIGIBLE = 1e-5  # dominance
_FADE_EXPONENT = 1.5  # of the fade
_MIN_PAUSE_GAIN, _PAUSE_GAIN = 0.2, 2.5  # of the dominance of a short pause; more of a full one


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Coarticulation:
    """Parameters of the model: targets and dominances of V visemes in the mouth's 8 modes."""

    targets: Float32Array  # [V, 8] modes at a plain phone of usual length
    strengths: Float32Array  # [V, 8] dominance over the neighbors, > 0
    before_s: Float32Array  # [V, 8] reach of the dominance before the phone
    after_s: Float32Array  # [V, 8] after it
    stress: Float32Array  # [V, 8] added to the targets per unit of stress above 1
    duration: Float32Array  # [V, 8] added per e-fold of the phone's duration above 80 ms
    lead_s: Float32Array  # [8] lead of the mouth over the audio
    closed: Float32Array  # [8] modes of lips that meet
    edge_s: float = 0.050  # from open to shut
    hold_s: float = 0.030  # a closure lasts at least this long
    closure_lead_s: float = 0.015
    rest_after_s: float = 0.16  # a pause longer than this shuts the mouth fully
    fade_limits_s: tuple[float, float] = (0.025, 0.3)

    def log_duration(self, duration_s: FloatArray) -> Float32Array:
        """Compute the natural logarithm of a phone's duration over 80 ms, within limits."""
        return np.asarray(np.log(np.clip(duration_s, 0.02, 0.4)) + 2.5, np.float32)

    def rest_gain(self, duration_s: FloatArray) -> Float32Array:
        """Compute the factor on a pause's dominance: no phone reaches into a long pause."""
        fullness = np.minimum(duration_s / self.rest_after_s, 1.0)
        return np.asarray(_MIN_PAUSE_GAIN + _PAUSE_GAIN * fullness, np.float32)

    def core_s(self, duration_s: FloatArray) -> Float32Array:
        """Compute the time inside a phone at which its full dominance begins: vowels hold their target."""
        return np.asarray(0.25 * np.minimum(duration_s, 0.16), np.float32)


_ARRAYS: Final = tuple(field.name for field in fields(Coarticulation))[:8]


def initial_coarticulation(closed: Float32Array) -> Coarticulation:
    """Make the initial parameters of a fit: scaled targets of `phonemes.VISEMES`.

    Args:
        closed: [8] modes of lips that meet.
    """
    targets = _TARGET_SCALE * np.array([viseme.targets for viseme in VISEMES.values()], np.float32)
    targets[:, MOUTH_MODES.index("press")] = 0.0
    targets[VISEME_NAMES.index("p")] = closed
    strengths = np.empty_like(targets)
    before_s, after_s, stress = (np.zeros_like(targets) for _ in range(3))
    for i, viseme in enumerate(VISEMES.values()):
        strengths[i], before_s[i], after_s[i] = viseme.jaw_dominance, _JAW_FADE_S, _JAW_FADE_S
        strengths[i, _LIPS] = viseme.lip_dominance
        if i != _REST:
            before_s[i, _LIPS], after_s[i, _LIPS] = _LIPS_BEFORE_S, _LIPS_AFTER_S
        if viseme.vowel:
            stress[i, _OPEN] = targets[i, _OPEN]
    return Coarticulation(
        targets=targets,
        strengths=strengths,
        before_s=before_s,
        after_s=after_s,
        stress=stress,
        duration=np.zeros_like(targets),
        lead_s=np.full(len(MOUTH_MODES), 0.015, np.float32),
        closed=np.asarray(closed, np.float32),
    )


@cache
def load_coarticulation(path: Path = _FILE) -> Coarticulation:
    """Read the shipped parameters, or others that `save_coarticulation` wrote.

    Raises:
        SpeechError: when the file is missing or damaged.
    """
    shape = (len(VISEME_NAMES), len(MOUTH_MODES))
    try:
        arrays = {name: array.astype(np.float32) for name, array in load_file(path).items()}
        rule = Coarticulation(**arrays)
    except (OSError, SafetensorError, TypeError) as error:
        raise SpeechError(
            f"{path}: expected a coarticulation rule, found none or a damaged one ({error}): "
            "install splatface again"
        ) from error
    expected = {name: shape[1:] if name in ("lead_s", "closed") else shape for name in _ARRAYS}
    wrong = [name for name in _ARRAYS if getattr(rule, name).shape != expected[name]]
    if wrong:
        raise SpeechError(
            f"{path}: expected {shape[0]} visemes and {shape[1]} modes, found other sizes in "
            f"{', '.join(wrong)}: install splatface again"
        )
    return rule


def save_coarticulation(path: Path, rule: Coarticulation, about: dict[str, str]) -> None:
    """Write the arrays with metadata about their origin."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ascontiguousarray(getattr(rule, name)) for name in _ARRAYS}, path, about)


def modes_from_phones(
    phones: Sequence[Phone], times_s: Float64Array, rule: Coarticulation | None = None
) -> Float32Array:
    """Compute mouth modes [T, 8] at rising times [T], 0 at rest and before and after the phones."""
    rule = rule or load_coarticulation()
    weighted_sum = np.zeros((len(times_s), len(MOUTH_MODES)))
    weights = np.full((len(times_s), len(MOUTH_MODES)), 1e-9)
    for phone in fill_pauses(phones, times_s):
        near, dominance = _dominance(phone, times_s, rule)
        weighted_sum[near] += dominance * _target(phone, rule)
        weights[near] += dominance
    shut = closure_curve(phones, times_s, rule)[:, None]
    modes: Float32Array = (weighted_sum / weights * (1 - shut) + rule.closed * shut).astype(np.float32)
    return modes


def fill_pauses(phones: Sequence[Phone], times_s: Float64Array) -> list[Phone]:
    """Fill every gap between the phones, and the time before and after, with rest."""
    filled: list[Phone] = []
    end = min(float(times_s[0]), 0.0) - 1.0 if len(times_s) else 0.0
    for phone in phones:
        if phone.start_s - end > 1e-3:
            filled.append(Phone("", end, phone.start_s))
        if filled and viseme_name(filled[-1].ipa) == REST and viseme_name(phone.ipa) == REST:
            filled[-1] = Phone("", filled[-1].start_s, phone.end_s)  # one pause, in any notation
        else:
            filled.append(phone)
        end = phone.end_s
    last = (float(times_s[-1]) if len(times_s) else 0.0) + 1.0
    if last > end:
        filled.append(Phone("", end, last))
    return filled


def closure_curve(phones: Sequence[Phone], times_s: Float64Array, rule: Coarticulation) -> Float64Array:
    """Compute the lip closure [T] by p b m: 0 open .. 1 shut."""
    t = times_s + rule.closure_lead_s
    curve = np.zeros(len(t))
    for phone in phones:
        amount = VISEMES[viseme_name(phone.ipa)].closure
        if amount < 1.0:
            continue
        start, end = phone.start_s, phone.end_s
        if phone.ipa[0] in "pb":
            end = start + 0.75 * (end - start)  # in the burst, the last part, the lips open
        extension = max(rule.hold_s - (end - start), 0.0) / 2
        start, end = start - extension, end + extension
        near = slice(*np.searchsorted(t, (start - rule.edge_s, end + rule.edge_s)))
        distance = np.maximum(np.maximum(start - t[near], t[near] - end), 0) / rule.edge_s
        curve[near] = np.maximum(curve[near], 0.5 * (1 + np.cos(np.pi * np.minimum(distance, 1))))
    return curve


def _target(phone: Phone, rule: Coarticulation) -> Float32Array:
    viseme = VISEME_NAMES.index(viseme_name(phone.ipa))
    if viseme == _REST:
        return np.zeros(len(MOUTH_MODES), np.float32)
    log_duration = rule.log_duration(np.array(phone.end_s - phone.start_s))
    target: Float32Array = (
        rule.targets[viseme] + rule.stress[viseme] * (phone.stress - 1) + rule.duration[viseme] * log_duration
    )
    return target


def _dominance(phone: Phone, times_s: Float64Array, rule: Coarticulation) -> tuple[slice, Float64Array]:
    """Return the slice of times near the phone and its dominance there, [n, 8]."""
    viseme = VISEME_NAMES.index(viseme_name(phone.ipa))
    duration = np.array(phone.end_s - phone.start_s)
    core = float(rule.core_s(duration))
    peak = rule.strengths[viseme].astype(np.float64)
    if viseme == _REST:
        peak = peak * float(rule.rest_gain(duration))
    fade_s = float(max(rule.before_s[viseme].max(), rule.after_s[viseme].max()))
    reach_s = fade_s * np.log(1 / _NEGLIGIBLE) ** (1 / _FADE_EXPONENT) + float(np.abs(rule.lead_s).max())
    near = slice(*np.searchsorted(times_s, (phone.start_s - reach_s, phone.end_s + reach_s)))
    mouth_s = times_s[near, None] + rule.lead_s
    before = np.maximum(phone.start_s + core - mouth_s, 0) / rule.before_s[viseme]
    after = np.maximum(mouth_s - phone.end_s + core, 0) / rule.after_s[viseme]
    return near, peak * np.exp(-(before**_FADE_EXPONENT) - after**_FADE_EXPONENT)
