"""Fit the coarticulation rule to filmed lips: what people do at each sound, not what we think they do.

The rule is that of `hearing.coarticulation`; here it is written in torch, so that its numbers can follow the
gradient of the distance to filmed modes. The film's alignment is uncertain by tens of ms, so closures are not
fitted: their shape is the rule's, their depth is what the lips show where they meet.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.errors import TrainingError
from splatface.models.training.filmed_lips.filmed_mouth import FilmedMouth, amplitude_gain
from splatface.models.training.filmed_lips.lip_score import OPEN, closure_threshold
from splatface.models.training.speech_corpus.coarticulation import (
    VISEME_NAMES,
    Coarticulation,
    closure_curve,
    fill_pauses,
    initial_coarticulation,
)
from splatface.models.training.speech_corpus.phonemes import REST, viseme_name

__all__ = ["CoarticulationFitConfig", "fit_coarticulation"]

_LEAST_PHONES = 20
_STRETCH = 400  # frames of a clip that one step looks at
_MOST_GAIN = 1.8  # of a mode; more would show the rule's own errors
_NEAR_S = 0.2  # around a phone; elsewhere nobody knows what is said
_REST = VISEME_NAMES.index(REST)


@dataclass(frozen=True, slots=True, kw_only=True)
class CoarticulationFitConfig:
    """Settings of the fit."""

    steps: int = 300
    lr: float = 0.03
    clips: int = 5  # of a step
    velocity_weight: float = 1.5
    prior_weight: float = 5e-4  # that holds every number to where it started
    open_prior_weight: float = 0.3  # the same for the mode `open`, where the first rule is as good
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Clip:
    """One filmed clip as tensors; P phones with the pauses between them."""

    times_s: Tensor  # [F]
    modes: Tensor  # [F, 8]
    near: Tensor  # [F] 1 near a phone
    shut: Tensor  # [F] 0..1 closures
    viseme: Tensor  # [P]
    start_s: Tensor  # [P]
    end_s: Tensor  # [P]
    stress: Tensor  # [P]


def fit_coarticulation(
    films: Sequence[FilmedMouth],
    config: CoarticulationFitConfig | None = None,
    report: Callable[[str], None] = lambda text: None,
) -> Coarticulation:
    """Fit the rule to clips whose phones are known; the others are left out.

    Args:
        films: of `splatface hear films --words`.
        config: settings.
        report: called with the loss every 50 steps.

    Raises:
        TrainingError: when no clip has 20 phones.
    """
    config = config or CoarticulationFitConfig()
    spoken = [film for film in films if len(film.phones) >= _LEAST_PHONES]
    if not spoken:
        raise TrainingError(
            f"rule: expected clips with {_LEAST_PHONES} phones or more, found none: "
            "make them with `splatface hear films --words`"
        )
    usual = float(np.mean([film.modes[:, OPEN].std() for film in spoken]))
    first = initial_coarticulation(_closed_modes(spoken))
    clips = [_clip(film, amplitude_gain(film, usual), first) for film in spoken]
    torch.manual_seed(config.seed)
    rule = _TorchRule(first)
    start = {name: value.detach().clone() for name, value in rule.named_parameters()}
    weights = torch.full((len(MOUTH_MODES),), config.prior_weight)
    weights[OPEN] = config.open_prior_weight
    spread = torch.stack([clip.modes.std(dim=0) for clip in clips]).mean(dim=0).clamp(min=0.03)
    adam = torch.optim.Adam(rule.parameters(), lr=config.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, config.steps)
    rng = np.random.default_rng(config.seed)
    losses: list[float] = []
    for step in range(config.steps):
        chosen = rng.choice(len(clips), min(config.clips, len(clips)), replace=False)
        parts = [_loss(rule, _stretch(clips[i], rng), spread, config.velocity_weight) for i in chosen]
        prior = sum((weights * (value - start[name]) ** 2).sum() for name, value in rule.named_parameters())
        loss = torch.stack(parts).mean() + prior
        adam.zero_grad()
        loss.backward()
        adam.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if (step + 1) % 50 == 0:
            report(f"step {step + 1} of {config.steps}: loss {np.mean(losses[-50:]):.3f}")
    return _as_wide(rule.fitted(), _gains(rule, clips))


def _gains(rule: "_TorchRule", clips: Sequence["_Clip"]) -> NDArray[np.float32]:
    """Gains [8] from the rule's spread to people's: a fit gives the mean of what it cannot foresee."""
    with torch.no_grad():
        said = [rule(clip)[clip.near > 0] for clip in clips]
    filmed = [clip.modes[clip.near > 0] for clip in clips]
    ratio = [torch.stack([part.std(dim=0) for part in parts]).mean(dim=0).numpy() for parts in (filmed, said)]
    return np.asarray(np.clip(ratio[0] / np.maximum(ratio[1], 1e-3), 1.0, _MOST_GAIN), np.float32)


def _as_wide(rule: Coarticulation, gains: NDArray[np.float32]) -> Coarticulation:
    return replace(
        rule, targets=rule.targets * gains, stress=rule.stress * gains, duration=rule.duration * gains
    )


class _TorchRule(nn.Module):
    """`mode_track` with gradients."""

    def __init__(self, first: Coarticulation) -> None:
        super().__init__()
        self._first = first
        self.targets = nn.Parameter(torch.from_numpy(first.targets.copy()))
        self.strengths = nn.Parameter(torch.from_numpy(np.log(first.strengths)))
        self.before = nn.Parameter(torch.from_numpy(np.log(first.before_s)))
        self.after = nn.Parameter(torch.from_numpy(np.log(first.after_s)))
        self.stress = nn.Parameter(torch.from_numpy(first.stress.copy()))
        self.duration = nn.Parameter(torch.from_numpy(first.duration.copy()))
        self.lead_s = nn.Parameter(torch.from_numpy(first.lead_s.copy()))

    def forward(self, clip: _Clip) -> Tensor:
        """Modes [F, 8] at the clip's times."""
        first, visemes = self._first, clip.viseme
        shortest, longest = first.fade_limits_s
        at = clip.times_s[:, None, None] + self.lead_s
        duration = (clip.end_s - clip.start_s)[:, None]
        log_duration = first.log_duration(duration.numpy())
        core = torch.from_numpy(first.core_s(duration.numpy()))
        before = (clip.start_s[:, None] + core - at).clamp(min=0)
        after = (at - clip.end_s[:, None] + core).clamp(min=0)
        rest = (visemes == _REST)[:, None].float()
        dominance = (
            self.strengths[visemes]
            + rest * torch.from_numpy(np.log(first.rest_gain(duration.numpy())))
            - (before / self.before[visemes].exp().clamp(shortest, longest) + 1e-4) ** 1.5
            - (after / self.after[visemes].exp().clamp(shortest, longest) + 1e-4) ** 1.5
        )
        targets = (
            self.targets[visemes]
            + self.stress[visemes] * (clip.stress[:, None] - 1)
            + self.duration[visemes] * torch.from_numpy(log_duration)
        ) * (1 - rest)
        blended = (torch.softmax(dominance, dim=1) * targets).sum(dim=1)
        shut = clip.shut[:, None]
        return blended * (1 - shut) + torch.from_numpy(first.closed) * shut

    def fitted(self) -> Coarticulation:
        """As plain numbers."""
        shortest, longest = self._first.fade_limits_s

        def array(value: Tensor) -> NDArray[np.float32]:
            return np.ascontiguousarray(value.detach().numpy().astype(np.float32))

        targets = array(self.targets)
        targets[_REST] = 0.0
        return Coarticulation(
            targets=targets,
            strengths=array(self.strengths.exp()),
            before_s=array(self.before.exp().clamp(shortest, longest)),
            after_s=array(self.after.exp().clamp(shortest, longest)),
            stress=array(self.stress),
            duration=array(self.duration),
            lead_s=array(self.lead_s),
            closed=self._first.closed,
        )


def _loss(rule: _TorchRule, clip: _Clip, spread: Tensor, velocity_weight: float) -> Tensor:
    off = (rule(clip) - clip.modes) / spread
    near = clip.near
    distance = ((off**2).mean(dim=1) * near).sum() / near.sum().clamp(min=1)
    return distance + velocity_weight * (
        (off.diff(dim=0) ** 2).mean(dim=1) * near[1:]
    ).sum() / near.sum().clamp(min=1)


def _closed_modes(films: Sequence[FilmedMouth]) -> NDArray[np.float32]:
    """Modes [8] of lips that meet: medians of each clip, averaged."""
    medians = []
    for film in films:
        closed = film.gap < closure_threshold(film.gap)
        if closed.sum() > 4:
            medians.append(np.median(film.modes[closed], axis=0))
    if not medians:
        raise TrainingError("rule: expected clips in which lips meet, found none: give other clips")
    return np.asarray(np.mean(medians, axis=0), np.float32)


def _clip(film: FilmedMouth, gain: float, rule: Coarticulation) -> _Clip:
    phones = fill_pauses(film.phones, film.times_s)
    near = np.zeros(len(film.times_s), bool)
    for phone in film.phones:
        near |= (film.times_s > phone.start_s - _NEAR_S) & (film.times_s < phone.end_s + _NEAR_S)

    def tensor(values: object) -> Tensor:
        return torch.from_numpy(np.asarray(values, np.float32))

    return _Clip(
        times_s=tensor(film.times_s),
        modes=tensor(film.modes * gain),
        near=tensor(near),
        shut=tensor(closure_curve(film.phones, film.times_s, rule)),
        viseme=torch.tensor([VISEME_NAMES.index(viseme_name(phone.ipa)) for phone in phones]),
        start_s=tensor([phone.start_s for phone in phones]),
        end_s=tensor([phone.end_s for phone in phones]),
        stress=tensor([phone.stress for phone in phones]),
    )


def _stretch(clip: _Clip, rng: np.random.Generator) -> _Clip:
    """A part of a long clip with the phones near it."""
    spare = len(clip.times_s) - _STRETCH
    if spare <= 0:
        return clip
    first = int(rng.integers(0, spare + 1))
    frames = slice(first, first + _STRETCH)
    begin_s, end_s = clip.times_s[frames][[0, -1]]
    close = (clip.end_s > begin_s - 0.5) & (clip.start_s < end_s + 0.5)
    return _Clip(
        times_s=clip.times_s[frames],
        modes=clip.modes[frames],
        near=clip.near[frames],
        shut=clip.shut[frames],
        viseme=clip.viseme[close],
        start_s=clip.start_s[close],
        end_s=clip.end_s[close],
        stress=clip.stress[close],
    )
