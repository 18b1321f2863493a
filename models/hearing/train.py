"""Train the net that hears: features of one encoder to mouth modes.

    python -m splatface.models.hearing.corpus --out CORPUS
    python -m splatface.models.hearing.train --corpus CORPUS --encoder fsmn

The only file here that needs torch. What was heard is kept beside the corpus, so that a second training
of the same encoder starts at once.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from splatface.models.head.coefficients import MOUTH_MODES, CoefficientNet
from splatface.models.hearing.dataset import Clips, hear_corpus, load_clips, looking_ahead, save_clips
from splatface.models.hearing.weights import LOOKAHEAD_FRAMES, store_net

__all__ = ["Training", "main", "train"]

_PRESS, _OPEN = MOUTH_MODES.index("press"), MOUTH_MODES.index("open")
_RUN = 50  # frames in a row that the velocity and amplitude losses see: 1 s


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How a net is trained."""

    lookahead: int = 1  # frames of 20 ms between a picture's time and the newest frame
    window: int = 16  # frames it looks at
    projected: int = 56  # features after the projection
    hidden: int = 256
    batch: int = 48  # runs of 1 s
    steps: int = 6000
    rate: float = 2e-3
    velocity: float = 6.0  # weights of the losses; modes change by about a fifth of their spread a frame
    closure: float = 1.0
    rest: float = 2.0
    amplitude: float = 0.05
    dropout: float = 0.3  # of what the first layer sees: there are few voices
    seed: int = 0


class _Net(nn.Module):
    """The torch twin of CoefficientNet, on runs of frames."""

    def __init__(self, clips: Clips, how: Training) -> None:
        super().__init__()
        sample = clips.values[:: max(len(clips.values) // 20000, 1)].astype(np.float32)
        mean, std = sample.mean(axis=0), sample.std(axis=0) + 1e-2
        self.register_buffer("mean", torch.from_numpy(mean))
        self.register_buffer("std", torch.from_numpy(std))
        # Principal components, whitened: a start that already keeps most of what was heard.
        _, spread, rows = np.linalg.svd((sample - mean) / std, full_matrices=False)
        whiten = rows[: how.projected].T * np.sqrt(len(sample)) / spread[: how.projected]
        self.project = nn.Parameter(torch.from_numpy(np.ascontiguousarray(whiten, np.float32)))
        self.first = nn.Linear(how.window * whiten.shape[1], how.hidden)
        self.second = nn.Linear(how.hidden, len(MOUTH_MODES))
        self.window, self.dropout = how.window, nn.Dropout(how.dropout)

    def forward(self, values: Tensor) -> Tensor:
        """Modes [B, L - W + 1, n] of runs [B, L, D]."""
        frames = ((values - self.mean) / self.std) @ self.project
        windows = frames.unfold(1, self.window, 1).transpose(2, 3).flatten(2)
        hidden = nn.functional.gelu(self.first(self.dropout(windows)), approximate="tanh")
        modes: Tensor = self.second(hidden)
        return modes


def _loss(heard: Tensor, true: Tensor, how: Training) -> Tensor:
    """Distance, velocity, closures, rest, and amplitude: neither muted nor jittery."""
    weight = torch.ones_like(true)
    closed = (true[..., _PRESS] > 0.5).float()
    weight[..., _PRESS] += how.closure * closed
    weight[..., _OPEN] += 1.0 + how.closure * closed
    weight = weight + how.rest * (true.abs().amax(-1, keepdim=True) < 0.02).float()
    distance = (weight * (heard - true) ** 2).mean()
    velocity = ((heard.diff(dim=1) - true.diff(dim=1)) ** 2).mean()
    spread_heard = heard.flatten(0, 1).std(0)[:-1]  # the last mode, smile, is never heard
    spread_true = true.flatten(0, 1).std(0)[:-1]
    amplitude = ((spread_heard / (spread_true + 0.01) - 1) ** 2).mean()
    return distance + how.velocity * velocity + how.amplitude * amplitude


def _runs(clips: Clips, how: Training) -> NDArray[np.int64]:
    """First frames of every run that lies within one clip."""
    length = how.window - 1 + _RUN
    starts = [
        np.arange(a, b - length + 1)
        for a, b in zip(clips.starts[:-1], clips.starts[1:], strict=True)
        if b - a >= length
    ]
    return np.concatenate(starts)


def train(clips: Clips, how: Training) -> CoefficientNet:
    """Train on one core, `how.steps` steps of about 40 ms; prints the loss as it goes."""
    torch.manual_seed(how.seed)
    rng = np.random.default_rng(how.seed)
    clips = looking_ahead(clips, how.lookahead)
    net = _Net(clips, how)
    adam = torch.optim.AdamW(net.parameters(), lr=how.rate, weight_decay=1e-3)
    starts, length = _runs(clips, how), how.window - 1 + _RUN
    losses: list[float] = []
    for step in range(how.steps):
        for group in adam.param_groups:
            group["lr"] = how.rate * min(step / 100, 1.0) * 0.5 * (1 + np.cos(np.pi * step / how.steps))
        at = rng.choice(starts, how.batch)[:, None] + np.arange(length)
        values = torch.from_numpy(clips.values[at].astype(np.float32))
        true = torch.from_numpy(clips.modes[at[:, how.window - 1 :]])
        loss = _loss(net(values), true, how)
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(float(loss.detach()))
        if (step + 1) % 500 == 0:
            print(f"step {step + 1} of {how.steps}: loss {np.mean(losses[-500:]):.4f}", flush=True)
    return _plain(net.eval(), clips.encoder, how)


def _plain(net: _Net, encoder: str, how: Training) -> CoefficientNet:
    def array(tensor: Tensor) -> NDArray[np.float32]:
        return np.ascontiguousarray(tensor.detach().numpy().astype(np.float32))

    return CoefficientNet(
        encoder=encoder,
        lookahead_ms=20.0 * how.lookahead,
        mean=array(net.mean),
        std=array(net.std),
        project=array(net.project),
        w1=array(net.first.weight.T),
        b1=array(net.first.bias),
        w2=array(net.second.weight.T),
        b2=array(net.second.bias),
    )


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True, help="what the module corpus wrote")
    parser.add_argument("--encoder", choices=sorted(LOOKAHEAD_FRAMES), required=True)
    parser.add_argument("--copies", type=float, default=2.0, help="recordings of every sentence")
    parser.add_argument("--steps", type=int, default=Training().steps, help="of training, about 40 ms each")
    parser.add_argument("--lookahead", type=int, help="frames of 20 ms (default: as the shipped net)")
    parser.add_argument("--out", type=Path, help="file to write (default: the shipped one)")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    kept = options.corpus / "heard" / f"{options.encoder}_{options.copies:g}.npz"
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        save_clips(kept, hear_corpus(options.corpus, options.encoder, copies=options.copies))
    clips = load_clips(kept)
    print(f"{len(clips.values) / 50 / 60:.1f} min of sound in {len(clips.starts) - 1} clips", flush=True)
    frames = LOOKAHEAD_FRAMES[options.encoder] if options.lookahead is None else options.lookahead
    how = Training(steps=options.steps, lookahead=frames)
    print(f"wrote {store_net(train(clips, how), options.out)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
