"""Teach a net that knows made voices how people move their lips: filmed clips and the corpus together."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from splatface.models.head.coefficients import CoefficientNet
from splatface.models.hearing.dataset import Clips, looking_ahead
from splatface.models.hearing.torch_net import TorchNet

__all__ = ["FineTuning", "fine_tune"]

_FRAME_MS = 20.0
_RUN = 50  # frames in a row that the velocity and amplitude losses see: 1 s
_REPORT_EVERY = 100  # steps
# Weights of the modes' errors over their usual spread: more for what is seen most and measured best.
_MODE_WEIGHTS = (2.0, 1.0, 1.0, 0.5, 1.0, 1.0, 0.7, 0.4)
_USUAL_SPREAD = (0.25, 0.14, 0.14, 0.07, 0.11, 0.12, 0.08, 0.07)
# The inner-lip gap by modes: least squares over all filmed clips.
_GAP_WEIGHTS = (0.278, -0.061, 0.028, 0.009, 0.235, -0.187, -0.137, 0.029)
_USUAL_GAP = 0.06
_CLOSED_GAP, _CLOSED_SHARPNESS = 0.018, 0.015  # of the same sum: below, lips meet
_NEAR_FRAMES = 2  # 40 ms


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuning:
    """Settings of the training."""

    steps: int = 2000
    rate: float = 1e-3
    batch: int = 32  # runs of 1 s of filmed clips
    corpus_batch: int = 16  # runs of made voices and of sounds without speech
    corpus_weight: float = 0.5
    velocity: float = 4.0
    gap: float = 1.0
    closure: float = 1.0  # of lips that meet within 40 ms of when they were filmed to
    closure_balance: float = 2.0  # how much worse a missed closure is than an invented one
    rest: float = 4.0  # added to the weight of all modes where nobody speaks
    amplitude: float = 3.0
    dropout: float = 0.2
    dropout_within: float = 0.3
    decay: float = 1e-2
    stranger: float = 0.5  # how far a run is moved towards another clip's mean: a voice between voices
    bfloat16: bool = False
    seed: int = 0


def fine_tune(
    start: CoefficientNet,
    films: Clips,
    corpus: Clips | None,
    config: FineTuning | None = None,
    report: Callable[[str], None] = lambda told: None,
) -> CoefficientNet:
    """Train on from a net, on one core.

    Args:
        start: a net of the clips' encoder.
        films: of `film_clips`.
        corpus: of `hearing.dataset.hear_corpus`; None to forget made voices.
        config: settings.
        report: called with the loss every 100 steps.
    """
    config = config or FineTuning()
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    net = TorchNet(start, dropout=config.dropout, dropout_within=config.dropout_within)
    ahead = round(start.lookahead_ms / _FRAME_MS)
    filmed = _Runs(looking_ahead(films, ahead), start)
    made = _Runs(looking_ahead(corpus, ahead), start) if corpus is not None else None
    adam = torch.optim.AdamW(net.parameters(), lr=config.rate, weight_decay=config.decay)
    losses: list[float] = []
    for step in range(config.steps):
        rate = config.rate * min(step / 50, 1.0) * 0.5 * (1 + math.cos(math.pi * step / config.steps))
        for group in adam.param_groups:
            group["lr"] = rate
        loss = _batch_loss(net, filmed.draw(config.batch, config.stranger, rng), config)
        if made is not None:
            runs = made.draw(config.corpus_batch, config.stranger, rng)
            loss = loss + config.corpus_weight * _batch_loss(net, runs, config)
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(float(loss.detach()))
        if (step + 1) % _REPORT_EVERY == 0:
            report(f"step {step + 1} of {config.steps}: loss {np.mean(losses[-_REPORT_EVERY:]):.3f}")
    return net.eval().plain()


@dataclass(frozen=True, slots=True)
class _Batch:
    """B runs of frames."""

    values: Tensor  # [B, L, D]
    modes: Tensor  # [B, R, 8] of the last R frames
    known: Tensor  # [B, R] 1 where the modes are known
    closed: Tensor | None  # [B, R] 1 where lips were seen to meet


class _Runs:
    """Runs of frames that lie within one clip, drawn with voices between voices."""

    def __init__(self, clips: Clips, net: CoefficientNet) -> None:
        self._clips, self._known = clips, clips.known_frames()
        self._window, self._dims = net.window, net.feature_dim
        self._length = net.window - 1 + _RUN
        spans = list(zip(clips.starts[:-1], clips.starts[1:], strict=True))
        self._starts = np.concatenate(
            [np.arange(a, b - self._length + 1) for a, b in spans if b - a >= self._length]
        )
        self._means = np.stack(
            [clips.values[a:b, : self._dims].astype(np.float32).mean(axis=0) for a, b in spans]
        )

    def draw(self, count: int, stranger: float, rng: np.random.Generator) -> _Batch:
        at = rng.choice(self._starts, count)[:, None] + np.arange(self._length)
        one, other = (self._means[rng.integers(0, len(self._means), count)] for _ in range(2))
        offset = stranger * rng.random((count, 1), np.float32) * (one - other)
        values = self._clips.values[at][..., : self._dims].astype(np.float32) + offset[:, None]
        last, closed = at[:, self._window - 1 :], self._clips.closed
        return _Batch(
            torch.from_numpy(values.astype(np.float32)),
            torch.from_numpy(self._clips.modes[last]),
            torch.from_numpy(self._known[last].astype(np.float32)),
            None if closed is None else torch.from_numpy(closed[last].astype(np.float32)),
        )


def _batch_loss(net: TorchNet, batch: _Batch, config: FineTuning) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=config.bfloat16):
        predicted = net(batch.values)
    predicted = predicted.float()
    loss = _loss(predicted, batch.modes, batch.known, config)
    if batch.closed is not None:
        loss = loss + config.closure * _closure_loss(predicted, batch.closed, batch.known, config)
    return loss


def _closure_loss(predicted: Tensor, closed: Tensor, known: Tensor, config: FineTuning) -> Tensor:
    """Cross-entropy of lips that meet: anywhere within 40 ms counts, and only beyond it is one invented."""
    meets = (_CLOSED_GAP - predicted @ _constant(_GAP_WEIGHTS)) / _CLOSED_SHARPNESS
    near, frames = 2 * _NEAR_FRAMES + 1, {"stride": 1, "padding": _NEAR_FRAMES}
    meets_near = nn.functional.max_pool1d(meets[:, None], near, **frames)[:, 0]
    closed_near = nn.functional.max_pool1d(closed[:, None], near, **frames)[:, 0]
    missed = _mean(nn.functional.softplus(-meets_near), known * closed)
    invented = _mean(nn.functional.softplus(meets), known * (1 - closed_near))
    return config.closure_balance * missed + invented


def _loss(predicted: Tensor, modes: Tensor, known: Tensor, config: FineTuning) -> Tensor:
    """Distance, velocity, gap and amplitude of runs [B, R, 8], where they are known [B, R]."""
    spread, weights = _constant(_USUAL_SPREAD), _constant(_MODE_WEIGHTS)
    off = (predicted - modes) / spread
    resting = (modes.abs().amax(dim=-1, keepdim=True) < 0.02).float()
    weight = weights * (1 + config.rest * resting)
    both = known[:, 1:] * known[:, :-1]
    distance = _mean((weight * off**2).mean(dim=-1), known)
    velocity = _mean((weights * off.diff(dim=1) ** 2).mean(dim=-1), both)
    gap_off = ((predicted - modes) @ _constant(_GAP_WEIGHTS)) / _USUAL_GAP
    amplitude = ((_spread(predicted, known) / (_spread(modes, known) + 0.01) - 1) ** 2 * weights).mean()
    return (
        distance
        + config.velocity * velocity
        + config.gap * _mean(gap_off**2, known)
        + config.amplitude * amplitude
    )


def _constant(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def _mean(values: Tensor, known: Tensor) -> Tensor:
    return (values * known).sum() / known.sum().clamp(min=1)


def _spread(modes: Tensor, known: Tensor) -> Tensor:
    """Standard deviations [8] over the known frames of a batch."""
    chosen = modes[known > 0]
    return chosen.std(dim=0) if len(chosen) > 1 else torch.zeros(modes.shape[-1])


def held_out_gains(predicted: NDArray[np.floating], filmed: NDArray[np.floating]) -> NDArray[np.float32]:
    """Gains [8] that bring predicted modes [F, 8] to the spread of filmed ones; regression mutes."""
    gains = filmed.std(axis=0) / np.maximum(predicted.std(axis=0), 1e-3)
    return np.clip(gains, 1.0, 1.6).astype(np.float32)
