# SPDX-License-Identifier: Apache-2.0
"""Fit the parameters of the coarticulation model to filmed lips.

The model of `speech_corpus.coarticulation` is written in torch here, for gradients of the distance to filmed
modes. The phones of a video are uncertain by tens of ms, so the times of closures are not fitted; their depth
is that of filmed lips where they meet.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
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
from splatface.models.typing import Float32Array

__all__ = ["CoarticulationFitConfig", "fit_coarticulation"]

_MIN_PHONES = 20
_MAX_FRAMES = 400  # of a clip in one step
_MAX_GAIN = 1.8  # of a mode; more would amplify the model's own errors
_NEAR_S = 0.2  # around a phone; elsewhere the speech is unknown
_PHONE_MARGIN_S = 0.5  # of phones around an excerpt
_REST = VISEME_NAMES.index(REST)


@dataclass(frozen=True, slots=True, kw_only=True)
class CoarticulationFitConfig:
    """Settings of the fit."""

    steps: int = 300
    learning_rate: float = 0.03
    clips_per_step: int = 5
    velocity_weight: float = 1.5
    prior_weight: float = 5e-4  # of the squared change of every parameter
    open_prior_weight: float = 0.3  # the same for the mode `open`, where the initial parameters are as good
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class _ClipTensors:
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
    clips: Sequence[FilmedMouth],
    config: CoarticulationFitConfig | None = None,
    report: Callable[[str], None] = lambda text: None,
) -> Coarticulation:
    """Fit the model to clips whose phones are known; the others are left out.

    Args:
        clips: of `splatface hear films --words`.
        config: settings.
        report: called with the loss every 50 steps.

    Raises:
        TrainingError: no clip has 20 phones.
    """
    config = config or CoarticulationFitConfig()
    labeled = [clip for clip in clips if len(clip.phones) >= _MIN_PHONES]
    if not labeled:
        raise TrainingError(
            f"rule: expected clips with {_MIN_PHONES} phones or more, found none: "
            "make them with `splatface hear films --words`"
        )
    common_std = float(np.mean([clip.modes[:, OPEN].std() for clip in labeled]))
    initial = initial_coarticulation(_closed_modes(labeled))
    tensors = [_clip_tensors(clip, amplitude_gain(clip, common_std), initial) for clip in labeled]
    torch.manual_seed(config.seed)
    model = _TorchCoarticulation(initial)
    _optimize(model, tensors, config, report)
    gains = _amplitude_gains(model, tensors)
    fitted = model.to_numpy()
    return replace(
        fitted,
        targets=fitted.targets * gains,
        stress=fitted.stress * gains,
        duration=fitted.duration * gains,
    )


def _optimize(
    model: "_TorchCoarticulation",
    clips: Sequence["_ClipTensors"],
    config: CoarticulationFitConfig,
    report: Callable[[str], None],
) -> None:
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    weights = torch.full((len(MOUTH_MODES),), config.prior_weight)
    weights[OPEN] = config.open_prior_weight
    std = torch.stack([clip.modes.std(dim=0) for clip in clips]).mean(dim=0).clamp(min=0.03)
    adam = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, config.steps)
    rng = np.random.default_rng(config.seed)
    losses: list[float] = []
    for step in range(config.steps):
        chosen = rng.choice(len(clips), min(config.clips_per_step, len(clips)), replace=False)
        parts = [_clip_loss(model, _excerpt(clips[i], rng), std, config.velocity_weight) for i in chosen]
        prior = sum((weights * (value - start[name]) ** 2).sum() for name, value in model.named_parameters())
        loss = torch.stack(parts).mean() + prior
        adam.zero_grad()
        loss.backward()
        adam.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if (step + 1) % 50 == 0:
            report(f"step {step + 1} of {config.steps}: loss {np.mean(losses[-50:]):.3f}")


def _amplitude_gains(model: "_TorchCoarticulation", clips: Sequence["_ClipTensors"]) -> Float32Array:
    """Compute gains [8] to the filmed standard deviations: a fit mutes what it cannot predict."""
    with torch.no_grad():
        predicted = [model(clip)[clip.near > 0] for clip in clips]
    filmed = [clip.modes[clip.near > 0] for clip in clips]
    filmed_std, std = (
        torch.stack([part.std(dim=0) for part in parts]).mean(dim=0).numpy() for parts in (filmed, predicted)
    )
    return np.asarray(np.clip(filmed_std / np.maximum(std, 1e-3), 1.0, _MAX_GAIN), np.float32)


class _TorchCoarticulation(nn.Module):
    """`modes_from_phones` with gradients."""

    def __init__(self, initial: Coarticulation) -> None:
        super().__init__()
        self._initial = initial
        self.targets = nn.Parameter(torch.from_numpy(initial.targets.copy()))
        self.log_strengths = nn.Parameter(torch.from_numpy(np.log(initial.strengths)))
        self.log_before_s = nn.Parameter(torch.from_numpy(np.log(initial.before_s)))
        self.log_after_s = nn.Parameter(torch.from_numpy(np.log(initial.after_s)))
        self.stress = nn.Parameter(torch.from_numpy(initial.stress.copy()))
        self.duration = nn.Parameter(torch.from_numpy(initial.duration.copy()))
        self.lead_s = nn.Parameter(torch.from_numpy(initial.lead_s.copy()))

    def forward(self, clip: _ClipTensors) -> Tensor:
        """Compute modes [F, 8] at the clip's times."""
        initial, visemes = self._initial, clip.viseme
        shortest, longest = initial.fade_limits_s
        mouth_s = clip.times_s[:, None, None] + self.lead_s
        duration = (clip.end_s - clip.start_s)[:, None]
        log_duration = initial.log_duration(duration.numpy())
        core = torch.from_numpy(initial.core_s(duration.numpy()))
        before = (clip.start_s[:, None] + core - mouth_s).clamp(min=0)
        after = (mouth_s - clip.end_s[:, None] + core).clamp(min=0)
        rest = (visemes == _REST)[:, None].float()
        dominance = (
            self.log_strengths[visemes]
            + rest * torch.from_numpy(np.log(initial.rest_gain(duration.numpy())))
            - (before / self.log_before_s[visemes].exp().clamp(shortest, longest) + 1e-4) ** 1.5
            - (after / self.log_after_s[visemes].exp().clamp(shortest, longest) + 1e-4) ** 1.5
        )
        targets = (
            self.targets[visemes]
            + self.stress[visemes] * (clip.stress[:, None] - 1)
            + self.duration[visemes] * torch.from_numpy(log_duration)
        ) * (1 - rest)
        blended = (torch.softmax(dominance, dim=1) * targets).sum(dim=1)
        shut = clip.shut[:, None]
        return blended * (1 - shut) + torch.from_numpy(initial.closed) * shut

    def to_numpy(self) -> Coarticulation:
        """Return the present parameters."""
        shortest, longest = self._initial.fade_limits_s

        def array(value: Tensor) -> Float32Array:
            return np.ascontiguousarray(value.detach().numpy().astype(np.float32))

        targets = array(self.targets)
        targets[_REST] = 0.0
        return Coarticulation(
            targets=targets,
            strengths=array(self.log_strengths.exp()),
            before_s=array(self.log_before_s.exp().clamp(shortest, longest)),
            after_s=array(self.log_after_s.exp().clamp(shortest, longest)),
            stress=array(self.stress),
            duration=array(self.duration),
            lead_s=array(self.lead_s),
            closed=self._initial.closed,
        )


def _clip_loss(
    model: _TorchCoarticulation, clip: _ClipTensors, std: Tensor, velocity_weight: float
) -> Tensor:
    error = (model(clip) - clip.modes) / std
    near = clip.near
    distance = ((error**2).mean(dim=1) * near).sum() / near.sum().clamp(min=1)
    return distance + velocity_weight * (
        (error.diff(dim=0) ** 2).mean(dim=1) * near[1:]
    ).sum() / near.sum().clamp(min=1)


def _closed_modes(clips: Sequence[FilmedMouth]) -> Float32Array:
    """Compute modes [8] of lips that meet: medians of each clip, averaged."""
    medians = []
    for clip in clips:
        closed = clip.gap < closure_threshold(clip.gap)
        if closed.sum() > 4:
            medians.append(np.median(clip.modes[closed], axis=0))
    if not medians:
        raise TrainingError("rule: expected clips in which lips meet, found none: give other clips")
    return np.asarray(np.mean(medians, axis=0), np.float32)


def _clip_tensors(clip: FilmedMouth, gain: float, initial: Coarticulation) -> _ClipTensors:
    phones = fill_pauses(clip.phones, clip.times_s)
    near = np.zeros(len(clip.times_s), bool)
    for phone in clip.phones:
        near |= (clip.times_s > phone.start_s - _NEAR_S) & (clip.times_s < phone.end_s + _NEAR_S)

    def tensor(values: object) -> Tensor:
        return torch.from_numpy(np.asarray(values, np.float32))

    return _ClipTensors(
        times_s=tensor(clip.times_s),
        modes=tensor(clip.modes * gain),
        near=tensor(near),
        shut=tensor(closure_curve(clip.phones, clip.times_s, initial)),
        viseme=torch.tensor([VISEME_NAMES.index(viseme_name(phone.ipa)) for phone in phones]),
        start_s=tensor([phone.start_s for phone in phones]),
        end_s=tensor([phone.end_s for phone in phones]),
        stress=tensor([phone.stress for phone in phones]),
    )


def _excerpt(clip: _ClipTensors, rng: np.random.Generator) -> _ClipTensors:
    """Return a random part of a long clip with the phones near it."""
    spare_frames = len(clip.times_s) - _MAX_FRAMES
    if spare_frames <= 0:
        return clip
    first = int(rng.integers(0, spare_frames + 1))
    frames = slice(first, first + _MAX_FRAMES)
    begin_s, end_s = clip.times_s[frames][[0, -1]]
    close = (clip.end_s > begin_s - _PHONE_MARGIN_S) & (clip.start_s < end_s + _PHONE_MARGIN_S)
    return _ClipTensors(
        times_s=clip.times_s[frames],
        modes=clip.modes[frames],
        near=clip.near[frames],
        shut=clip.shut[frames],
        viseme=clip.viseme[close],
        start_s=clip.start_s[close],
        end_s=clip.end_s[close],
        stress=clip.stress[close],
    )
