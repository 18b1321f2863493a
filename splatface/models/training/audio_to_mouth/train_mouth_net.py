"""Train the net from audio features to mouth modes (`splatface hear train`)."""

import io
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from splatface.models.audio.offline_features import FeatureExtractor, features
from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES, AudioToMouthNet, Convolution
from splatface.models.storage import atomic_write
from splatface.models.training.audio_to_mouth.encoded_clips import Clips, delay_modes
from splatface.models.training.audio_to_mouth.net_evaluation import EvaluationTrial

__all__ = [
    "MouthTrainingConfig",
    "NetConfig",
    "TorchMouthNet",
    "split_trial",
    "train_mouth_net",
    "train_single_speaker_net",
]


class TorchMouthNet(nn.Module):
    """A CoefficientNet that learns.

    Args:
        net: where it starts.
        dropout: of projected features, whole frames' features at once.
        dropout_within: of what later layers see.
    """

    def __init__(self, net: AudioToMouthNet, *, dropout: float, dropout_within: float) -> None:
        super().__init__()
        self._encoder, self._lookahead_ms = net.encoder, net.lookahead_ms
        self.window, self._view = net.window, net.context_frames
        self.register_buffer("mean", _tensor(net.mean))
        self.register_buffer("std", _tensor(net.std))
        self.project = nn.Parameter(_tensor(net.project))
        self.conv_weights = nn.ParameterList(
            [nn.Parameter(_tensor(conv.weight).permute(2, 1, 0).contiguous()) for conv in net.convs]
        )
        self.conv_biases = nn.ParameterList([nn.Parameter(_tensor(conv.bias)) for conv in net.convs])
        self.w1, self.b1 = nn.Parameter(_tensor(net.w1)), nn.Parameter(_tensor(net.b1))
        self.w2, self.b2 = nn.Parameter(_tensor(net.w2)), nn.Parameter(_tensor(net.b2))
        self._dropout, self._dropout_within = nn.Dropout(dropout), nn.Dropout(dropout_within)

    def forward(self, values: Tensor) -> Tensor:
        """Modes [B, L - W + 1, n] of runs of features [B, L, D]."""
        # Whole frames' features are dropped, not a window's inputs: a sixteenth of the dice to throw.
        frames = self._dropout(((values - self.mean) / self.std) @ self.project).transpose(1, 2)
        for number, (weight, bias) in enumerate(zip(self.conv_weights, self.conv_biases, strict=True)):
            taken, kernel = weight.shape[1], weight.shape[2]
            inputs, passed = frames[:, :taken], frames[:, taken:, kernel - 1 :]
            outputs = _gelu(
                nn.functional.conv1d(self._dropout_within(inputs) if number else inputs, weight, bias)
            )
            if weight.shape[0] == taken:  # not a wider one, as Convolution has it
                outputs = outputs + inputs[:, :, kernel - 1 :]
            frames = torch.cat([outputs, passed], dim=1)
        windows = frames.unfold(2, self._view, 1).permute(0, 2, 3, 1).flatten(2)
        modes: Tensor = self._dropout_within(_gelu(windows @ self.w1 + self.b1)) @ self.w2 + self.b2
        return modes

    def to_numpy(self) -> AudioToMouthNet:
        """The net as it is now."""
        convs = zip(self.conv_weights, self.conv_biases, strict=True)
        return AudioToMouthNet(
            encoder=self._encoder,
            lookahead_ms=self._lookahead_ms,
            mean=_array(self.mean),
            std=_array(self.std),
            project=_array(self.project),
            w1=_array(self.w1),
            b1=_array(self.b1),
            w2=_array(self.w2),
            b2=_array(self.b2),
            convs=tuple(Convolution(_array(weight.permute(2, 1, 0)), _array(bias)) for weight, bias in convs),
        )


def _gelu(x: Tensor) -> Tensor:
    return nn.functional.gelu(x, approximate="tanh")


def _tensor(array: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(np.array(array, np.float32))


def _array(tensor: Any) -> NDArray[np.float32]:
    return np.ascontiguousarray(tensor.detach().numpy().astype(np.float32))


_PRESS, _OPEN = MOUTH_MODES.index("press"), MOUTH_MODES.index("open")
_RUN = 50  # frames in a row that the velocity and amplitude losses see: 1 s
_REPORT_EVERY = 250  # steps


@dataclass(frozen=True, slots=True, kw_only=True)
class NetConfig:
    """How large a net is."""

    window: int = 16  # frames it looks at
    projected: int = 64  # features after the projection
    convs: int = 3  # convolutions after it
    kernel: int = 4  # frames that each of them looks at
    channels: int = 128  # that they give
    hidden: int = 384


@dataclass(frozen=True, slots=True, kw_only=True)
class MouthTrainingConfig:
    """How a net is trained."""

    shape: NetConfig = NetConfig()
    lookahead: int = 1  # frames of 20 ms between a picture's time and the newest frame
    batch: int = 32  # runs of 1 s
    steps: int = 6000
    rate: float = 2e-3
    velocity: float = 6.0  # weights of the losses; modes change by about a fifth of their spread a frame
    closure: float = 1.0
    rest: float = 2.0
    amplitude: float = 0.05
    dropout: float = 0.2  # of the projected features: there are few voices
    dropout_within: float = 0.2  # of what later layers see
    decay: float = 1e-2  # of weights
    speaker_mixup: float = 0.6  # how far a run is moved towards another clip's mean: a voice between voices
    bf16: bool = False  # products in bfloat16: four times as fast where the processor has avx512_bf16
    seed: int = 0


def _first_net(clips: Clips, how: MouthTrainingConfig) -> AudioToMouthNet:
    """A net that has learned nothing, its projection the principal components of what was heard, whitened."""
    shape = how.shape
    sample = clips.values[:: max(len(clips.values) // 20000, 1)].astype(np.float32)
    mean, std = sample.mean(axis=0), sample.std(axis=0) + 1e-2
    _, spread, rows = np.linalg.svd((sample - mean) / std, full_matrices=False)
    whiten = rows[: shape.projected].T * np.sqrt(len(sample)) / spread[: shape.projected]
    widths = [whiten.shape[1]] + shape.convs * [shape.channels]
    convs = [nn.Conv1d(*pair, shape.kernel) for pair in pairwise(widths)]
    view = shape.window - shape.convs * (shape.kernel - 1)
    first, second = nn.Linear(view * widths[-1], shape.hidden), nn.Linear(shape.hidden, len(MOUTH_MODES))

    def array(tensor: Tensor) -> NDArray[np.float32]:
        return np.ascontiguousarray(tensor.detach().numpy().astype(np.float32))

    return AudioToMouthNet(
        encoder=clips.encoder,
        lookahead_ms=20.0 * how.lookahead,
        mean=mean,
        std=std,
        project=np.ascontiguousarray(whiten, np.float32),
        w1=array(first.weight.T),
        b1=array(first.bias),
        w2=array(second.weight.T),
        b2=array(second.bias),
        convs=tuple(Convolution(array(conv.weight.permute(2, 1, 0)), array(conv.bias)) for conv in convs),
    )


def _loss(heard: Tensor, true: Tensor, how: MouthTrainingConfig) -> Tensor:
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


def _runs(clips: Clips, how: MouthTrainingConfig) -> NDArray[np.int64]:
    """First frames of every run that lies within one clip."""
    length = how.shape.window - 1 + _RUN
    starts = [
        np.arange(a, b - length + 1)
        for a, b in zip(clips.starts[:-1], clips.starts[1:], strict=True)
        if b - a >= length
    ]
    return np.concatenate(starts)


def _means(clips: Clips) -> NDArray[np.float32]:
    """Mean features of every clip, [clips, D]: where its voice and room stand."""
    spans = zip(clips.starts[:-1], clips.starts[1:], strict=True)
    return np.stack([clips.values[a:b].astype(np.float32).mean(axis=0) for a, b in spans])


def _speaker_mixup_offsets(
    means: NDArray[np.float32], how: MouthTrainingConfig, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Offsets [batch, 1, D] that make another speaker of each run: a share of the way between two clips."""
    one, other = (means[rng.integers(0, len(means), how.batch)] for _ in range(2))
    share = how.speaker_mixup * rng.random((how.batch, 1), np.float32)
    return (share * (one - other))[:, None]


def train_mouth_net(
    clips: Clips, how: MouthTrainingConfig, report: Callable[[str], None], state: Path | None = None
) -> AudioToMouthNet:
    """Train on one core, `how.steps` steps of 20 to 100 ms.

    Args:
        clips: what the encoder heard, the mouth at the center of each frame.
        report: is told the loss every 250 steps.
        state: file that keeps an unfinished training; one begun with the same settings is gone on with.
    """
    torch.manual_seed(how.seed)
    rng = np.random.default_rng(how.seed)
    clips = delay_modes(clips, how.lookahead)
    first = _first_net(clips, how)
    net = TorchMouthNet(first, dropout=how.dropout, dropout_within=how.dropout_within)
    means = _means(clips)
    adam = torch.optim.AdamW(net.parameters(), lr=how.rate, weight_decay=how.decay)
    starts, length = _runs(clips, how), how.shape.window - 1 + _RUN
    losses: list[float] = []
    for step in range(_resumed(state, net, adam, how), how.steps):
        for group in adam.param_groups:
            group["lr"] = how.rate * min(step / 100, 1.0) * 0.5 * (1 + math.cos(math.pi * step / how.steps))
        at = rng.choice(starts, how.batch)[:, None] + np.arange(length)
        values = torch.from_numpy(
            clips.values[at].astype(np.float32) + _speaker_mixup_offsets(means, how, rng)
        )
        true = torch.from_numpy(clips.modes[at[:, how.shape.window - 1 :]])
        losses.append(_step(net, adam, (values, true), how))
        if (step + 1) % _REPORT_EVERY == 0:
            report(f"step {step + 1} of {how.steps}: loss {np.mean(losses[-_REPORT_EVERY:]):.4f}")
            _keep(state, step + 1, net, adam, how)
    if state is not None:
        state.unlink(missing_ok=True)
    net.eval()
    return net.to_numpy()


def _step(
    net: TorchMouthNet, adam: torch.optim.Optimizer, batch: tuple[Tensor, Tensor], how: MouthTrainingConfig
) -> float:
    values, true = batch
    with torch.autocast("cpu", torch.bfloat16, enabled=how.bf16):
        heard = net(values)
    loss = _loss(heard.float(), true, how)
    adam.zero_grad()
    loss.backward()
    adam.step()
    return float(loss.detach())


def _keep(
    state: Path | None, step: int, net: TorchMouthNet, adam: torch.optim.Optimizer, how: MouthTrainingConfig
) -> None:
    if state is None:
        return
    kept: dict[str, Any] = {"step": step, "net": net.state_dict(), "adam": adam.state_dict()}
    content = io.BytesIO()
    torch.save(kept | {"how": asdict(how)}, content)
    atomic_write(state, content.getvalue(), fsync=False)


def _resumed(
    state: Path | None, net: TorchMouthNet, adam: torch.optim.Optimizer, how: MouthTrainingConfig
) -> int:
    """The step to go on from; the dice fall anew, which no one can tell afterwards."""
    if state is None or not state.is_file():
        return 0
    kept = torch.load(state, weights_only=True)
    if kept["how"] != asdict(how):
        return 0
    net.load_state_dict(kept["net"])
    adam.load_state_dict(kept["adam"])
    return int(kept["step"])


_STEPS = 1000
_KNOWN = 0.6  # share of a film that is trained on


def split_trial(film: EvaluationTrial, share: float = _KNOWN) -> tuple[EvaluationTrial, EvaluationTrial]:
    """The beginning of a film to learn from, and the rest of it to be measured on."""
    at = round(share * len(film.times_s))
    return film.between(0, at), film.between(at, len(film.times_s))


def train_single_speaker_net(
    encoder: str,
    film: EvaluationTrial,
    lookahead: int,
    report: Callable[[str], None],
    ear: FeatureExtractor = features,
) -> AudioToMouthNet:
    """A net of the shipped shape trained on nothing but one film.

    Args:
        encoder: of `models.audio`.
        film: modes that are NaN are taken for rest.
        lookahead: frames of 20 ms.
        report: is told the loss.
        ear: hears the film.
    """
    values, centers_s = ear(encoder, film.samples)
    inside = (centers_s >= film.times_s[0]) & (centers_s <= film.times_s[-1])
    modes = np.nan_to_num(film.truth(centers_s[inside]))
    clips = Clips(encoder, values[inside].astype(np.float16), modes, np.array([0, len(modes)]))
    return train_mouth_net(
        clips, MouthTrainingConfig(steps=_STEPS, lookahead=lookahead, speaker_mixup=0.0), report
    )
