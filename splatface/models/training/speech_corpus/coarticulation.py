"""Turn phones in time into mouth modes in time: sounds blend into each other, and lips meet at closures.

Dominance functions after Cohen & Massaro, "Modeling coarticulation in synthetic visual speech" (1993): every
phone pulls each mode towards its target with a strength that fades before and after it, and the mouth is at
the weighted mean. Closures (p b m) are then laid over it, because no mean closes. The numbers are fitted to
filmed lips (`filmed_lips.fit_coarticulation`) and lie in coarticulation_data/README.md's table.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.errors import SpeechError
from splatface.models.training.speech_corpus.phonemes import REST, VISEMES, Phone, viseme_name
from splatface.models.typing import Float32Array

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
_PEOPLE = 0.7  # of the targets from phonetics, which were set by eye for a clear speaker
_JAW_FADE_S = 0.055  # reach of jaw and lips' parting beyond a phone
_LIPS_BEFORE_S, _LIPS_AFTER_S = 0.110, 0.070  # rounding begins early
_NEGLIGIBLE = 1e-5  # dominance
_EXPONENT = 1.5  # of the fade
_SEAM, _PAUSE = 0.2, 2.5  # gain of a short and of a full pause's dominance


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Coarticulation:
    """Targets and blending of V visemes in the mouth's 8 modes."""

    targets: Float32Array  # [V, 8] modes at a plain phone of usual length
    strengths: Float32Array  # [V, 8] dominance over the neighbors, > 0
    before_s: Float32Array  # [V, 8] reach of the dominance before the phone
    after_s: Float32Array  # [V, 8] after it
    stress: Float32Array  # [V, 8] added to the targets per unit of stress above 1
    duration: Float32Array  # [V, 8] added per e-fold of the phone's duration above 80 ms
    lead_s: Float32Array  # [8] by which the mouth is ahead of the sound
    closed: Float32Array  # [8] modes of lips that meet
    edge_s: float = 0.050  # from open to shut
    hold_s: float = 0.030  # a closure lasts at least this long
    closure_lead_s: float = 0.015
    rest_after_s: float = 0.16  # a pause longer than this shuts the mouth fully; seams are spoken through
    fade_limits_s: tuple[float, float] = (0.025, 0.3)

    def log_duration(self, duration_s: NDArray[np.floating]) -> Float32Array:
        """Natural logarithm of a phone's duration over 80 ms, within limits."""
        return np.asarray(np.log(np.clip(duration_s, 0.02, 0.4)) + 2.5, np.float32)

    def rest_gain(self, duration_s: NDArray[np.floating]) -> Float32Array:
        """Factor on a pause's dominance: in a real pause nothing else reaches in."""
        fullness = np.minimum(duration_s / self.rest_after_s, 1.0)
        return np.asarray(_SEAM + _PAUSE * fullness, np.float32)

    def core_s(self, duration_s: NDArray[np.floating]) -> Float32Array:
        """Time inside a phone at which its full dominance begins: vowels hold their target."""
        return np.asarray(0.25 * np.minimum(duration_s, 0.16), np.float32)


_ARRAYS: Final = tuple(field.name for field in fields(Coarticulation))[:8]


def initial_coarticulation(closed: Float32Array) -> Coarticulation:
    """Make the rule that fitting starts from: targets from phonetics (`phonemes.VISEMES`), scaled to people.

    Args:
        closed: [8] modes of lips that meet.
    """
    targets = _PEOPLE * np.array([viseme.targets for viseme in VISEMES.values()], np.float32)
    targets[:, MOUTH_MODES.index("press")] = 0.0
    targets[VISEME_NAMES.index("p")] = closed
    strengths = np.empty_like(targets)
    before_s, after_s, stress = (np.zeros_like(targets) for _ in range(3))
    for i, viseme in enumerate(VISEMES.values()):
        strengths[i], before_s[i], after_s[i] = viseme.jaw, _JAW_FADE_S, _JAW_FADE_S
        strengths[i, _LIPS] = viseme.lips
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
    """Read the rule that ships, or another one that `save_coarticulation` wrote.

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
    wanted = {name: shape[1:] if name in ("lead_s", "closed") else shape for name in _ARRAYS}
    wrong = [name for name in _ARRAYS if getattr(rule, name).shape != wanted[name]]
    if wrong:
        raise SpeechError(
            f"{path}: expected {shape[0]} visemes and {shape[1]} modes, found other sizes in "
            f"{', '.join(wrong)}: install splatface again"
        )
    return rule


def save_coarticulation(path: Path, rule: Coarticulation, about: dict[str, str]) -> None:
    """Write a rule's arrays with where they come from."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ascontiguousarray(getattr(rule, name)) for name in _ARRAYS}, path, about)


def modes_from_phones(
    phones: Sequence[Phone], times_s: NDArray[np.float64], rule: Coarticulation | None = None
) -> Float32Array:
    """Make mouth modes [T, 8] at rising times [T], 0 at rest; before and after the phones is rest."""
    rule = rule or load_coarticulation()
    weighted = np.zeros((len(times_s), len(MOUTH_MODES)))
    weights = np.full((len(times_s), len(MOUTH_MODES)), 1e-9)
    for phone in fill_pauses(phones, times_s):
        near, dominance = _dominance(phone, times_s, rule)
        weighted[near] += dominance * _target(phone, rule)
        weights[near] += dominance
    shut = closure_curve(phones, times_s, rule)[:, None]
    track: Float32Array = (weighted / weights * (1 - shut) + rule.closed * shut).astype(np.float32)
    return track


def fill_pauses(phones: Sequence[Phone], times_s: NDArray[np.float64]) -> list[Phone]:
    """Fill every gap between the phones, and the time before and after, with rest."""
    filled: list[Phone] = []
    end = min(float(times_s[0]), 0.0) - 1.0 if len(times_s) else 0.0
    for phone in phones:
        if phone.start_s - end > 1e-3:
            filled.append(Phone("", end, phone.start_s))
        if filled and viseme_name(filled[-1].ipa) == REST and viseme_name(phone.ipa) == REST:
            filled[-1] = Phone("", filled[-1].start_s, phone.end_s)  # one pause, however it is written
        else:
            filled.append(phone)
        end = phone.end_s
    last = (float(times_s[-1]) if len(times_s) else 0.0) + 1.0
    if last > end:
        filled.append(Phone("", end, last))
    return filled


def closure_curve(
    phones: Sequence[Phone], times_s: NDArray[np.float64], rule: Coarticulation
) -> NDArray[np.float64]:
    """Lip closure [T] by p b m: 0 not at all .. 1 shut."""
    t = times_s + rule.closure_lead_s
    curve = np.zeros(len(t))
    for phone in phones:
        amount = VISEMES[viseme_name(phone.ipa)].closure
        if amount < 1.0:
            continue
        start, end = phone.start_s, phone.end_s
        if phone.ipa[0] in "pb":
            end = start + 0.75 * (end - start)  # the last part is the burst: the lips already part
        lacking = max(rule.hold_s - (end - start), 0.0) / 2
        start, end = start - lacking, end + lacking
        near = slice(*np.searchsorted(t, (start - rule.edge_s, end + rule.edge_s)))
        away = np.maximum(np.maximum(start - t[near], t[near] - end), 0) / rule.edge_s
        curve[near] = np.maximum(curve[near], 0.5 * (1 + np.cos(np.pi * np.minimum(away, 1))))
    return curve


def _target(phone: Phone, rule: Coarticulation) -> Float32Array:
    viseme = VISEME_NAMES.index(viseme_name(phone.ipa))
    if viseme == _REST:
        return np.zeros(len(MOUTH_MODES), np.float32)
    longer = rule.log_duration(np.array(phone.end_s - phone.start_s))
    target: Float32Array = (
        rule.targets[viseme] + rule.stress[viseme] * (phone.stress - 1) + rule.duration[viseme] * longer
    )
    return target


def _dominance(
    phone: Phone, times_s: NDArray[np.float64], rule: Coarticulation
) -> tuple[slice, NDArray[np.float64]]:
    """The stretch of time near the phone and its dominance there, [n, 8]."""
    viseme = VISEME_NAMES.index(viseme_name(phone.ipa))
    duration = np.array(phone.end_s - phone.start_s)
    core = float(rule.core_s(duration))
    strength = rule.strengths[viseme].astype(np.float64)
    if viseme == _REST:
        strength = strength * float(rule.rest_gain(duration))
    fades = float(max(rule.before_s[viseme].max(), rule.after_s[viseme].max()))
    reach = fades * np.log(1 / _NEGLIGIBLE) ** (1 / _EXPONENT) + float(np.abs(rule.lead_s).max())
    near = slice(*np.searchsorted(times_s, (phone.start_s - reach, phone.end_s + reach)))
    at = times_s[near, None] + rule.lead_s
    before = np.maximum(phone.start_s + core - at, 0) / rule.before_s[viseme]
    after = np.maximum(at - phone.end_s + core, 0) / rule.after_s[viseme]
    return near, strength * np.exp(-(before**_EXPONENT) - after**_EXPONENT)
