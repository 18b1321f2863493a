# SPDX-License-Identifier: Apache-2.0
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
from torch import Tensor, nn

from splatface.models.audio.offline_features import FeatureExtractor, extract_features
from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES, AudioToMouthNet, Convolution
from splatface.models.storage import atomic_write
from splatface.models.training.audio_to_mouth.encoded_clips import Clips, delay_modes
from splatface.models.training.audio_to_mouth.net_evaluation import EvaluationTrial
from splatface.models.training.fields.basis_field import gelu
from splatface.models.typing import Float32Array

__all__ = [
    "MouthTrainingConfig",
    "NetConfig",
    "RunBatch",
    "RunSampler",
    "TorchMouthNet",
    "train_mouth_net",
    "train_single_speaker_net",
]

_OPEN = MOUTH_MODES.index("open")
_RUN_FRAMES = 50  # 1 s, over which the velocity and amplitude losses are computed
_REPORT_EVERY = 250  # steps
_WARMUP_STEPS = 100
_REST_BELOW = 0.02  # all modes of a mouth at rest


@dataclass(frozen=True, slots=True, kw_only=True)
class NetConfig:
    """Size of a net."""

    window: int = 16  # frames of input
    projected: int = 64  # features after the projection
    convs: int = 3  # convolutions after it
    kernel: int = 4  # frames of each convolution
    channels: int = 128  # outputs of each convolution
    hidden: int = 384


@dataclass(frozen=True, slots=True, kw_only=True)
class MouthTrainingConfig:
    """Settings of a training."""

    net: NetConfig = NetConfig()
    lookahead_frames: int = 1  # of 20 ms between an image's time and the newest frame
    batch_size: int = 32  # runs of 1 s
    steps: int = 6000
    learning_rate: float = 2e-3
    velocity_weight: float = 6.0  # modes change by about a fifth of their spread a frame
    rest_weight: float = 2.0
    amplitude_weight: float = 0.05
    dropout: float = 0.2  # of the projected features: there are few voices
    hidden_dropout: float = 0.2  # of the inputs of later layers
    weight_decay: float = 1e-2
    speaker_mixup: float = 0.6  # largest offset of a run, as a fraction of the difference of two clips' means
    bf16: bool = False  # products in bfloat16: four times as fast where the processor has avx512_bf16
    seed: int = 0


class TorchMouthNet(nn.Module):
    """A trainable AudioToMouthNet on runs of frames.

    Args:
        net: initial weights.
        dropout: of projected features, whole frames' features at once.
        hidden_dropout: of the inputs of later layers.
    """

    def __init__(self, net: AudioToMouthNet, *, dropout: float, hidden_dropout: float) -> None:
        super().__init__()
        self._encoder, self._lookahead_ms = net.encoder, net.lookahead_ms
        self.window, self._context_frames = net.window, net.context_frames
        self.register_buffer("mean", _tensor(net.mean))
        self.register_buffer("std", _tensor(net.std))
        self.project = nn.Parameter(_tensor(net.project))
        self.conv_weights = nn.ParameterList(
            [nn.Parameter(_tensor(conv.weight).permute(2, 1, 0).contiguous()) for conv in net.convs]
        )
        self.conv_biases = nn.ParameterList([nn.Parameter(_tensor(conv.bias)) for conv in net.convs])
        self.w1, self.b1 = nn.Parameter(_tensor(net.w1)), nn.Parameter(_tensor(net.b1))
        self.w2, self.b2 = nn.Parameter(_tensor(net.w2)), nn.Parameter(_tensor(net.b2))
        self._dropout, self._hidden_dropout = nn.Dropout(dropout), nn.Dropout(hidden_dropout)

    def forward(self, values: Tensor) -> Tensor:
        """Compute modes [B, L - W + 1, n] of runs of features [B, L, D]."""
        # Whole frames' features are dropped, not a window's inputs: a sixteenth of the random numbers.
        frames = self._dropout(((values - self.mean) / self.std) @ self.project).transpose(1, 2)
        for number, (weight, bias) in enumerate(zip(self.conv_weights, self.conv_biases, strict=True)):
            channels, kernel = weight.shape[1], weight.shape[2]
            inputs, unchanged = frames[:, :channels], frames[:, channels:, kernel - 1 :]
            dropped = self._hidden_dropout(inputs) if number else inputs
            outputs = gelu(nn.functional.conv1d(dropped, weight, bias))
            if weight.shape[0] == channels:  # a residual, as in Convolution
                outputs = outputs + inputs[:, :, kernel - 1 :]
            frames = torch.cat([outputs, unchanged], dim=1)
        windows = frames.unfold(2, self._context_frames, 1).permute(0, 2, 3, 1).flatten(2)
        modes: Tensor = self._hidden_dropout(gelu(windows @ self.w1 + self.b1)) @ self.w2 + self.b2
        return modes

    def to_numpy(self) -> AudioToMouthNet:
        """Return the net with its present weights."""
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


def _tensor(array: Float32Array) -> Tensor:
    return torch.from_numpy(np.array(array, np.float32))


def _array(tensor: Any) -> Float32Array:
    return np.ascontiguousarray(tensor.detach().numpy().astype(np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class RunBatch:
    """B runs of frames."""

    values: Tensor  # [B, L, D]
    modes: Tensor  # [B, R, 8] of the last R frames
    known: Tensor  # [B, R] 1 where the modes are known
    closed: Tensor | None  # [B, R] 1 where filmed lips meet


class RunSampler:
    """Random runs of frames from single clips, with speaker mixup."""

    def __init__(self, clips: Clips, net: AudioToMouthNet) -> None:
        self._clips, self._known = clips, clips.known_frames()
        self._window, self._dims, self._std = net.window, net.feature_dim, net.std
        self._length = net.window - 1 + _RUN_FRAMES
        spans = list(zip(clips.starts[:-1], clips.starts[1:], strict=True))
        self._starts = np.concatenate(
            [np.arange(a, b - self._length + 1) for a, b in spans if b - a >= self._length]
        )
        # A clip's mean feature is where its voice and room are in feature space.
        self._means = np.stack(
            [clips.values[a:b, : self._dims].astype(np.float32).mean(axis=0) for a, b in spans]
        )

    def sample(
        self, count: int, rng: np.random.Generator, *, speaker_mixup: float, feature_noise: float = 0.0
    ) -> RunBatch:
        """Draw `count` runs.

        Args:
            count: of runs.
            rng: of all random numbers.
            speaker_mixup: largest offset of a run, as a fraction of the difference of two clips' means.
            feature_noise: standard deviation of the noise added to features of standard deviation 1.
        """
        frames = rng.choice(self._starts, count)[:, None] + np.arange(self._length)
        first, second = (self._means[rng.integers(0, len(self._means), count)] for _ in range(2))
        fraction = speaker_mixup * rng.random((count, 1), np.float32)
        values = self._clips.values[frames][..., : self._dims].astype(np.float32)
        values += (fraction * (first - second))[:, None]
        if feature_noise:
            values += feature_noise * self._std * rng.standard_normal(values.shape, np.float32)
        last, closed = frames[:, self._window - 1 :], self._clips.closed
        return RunBatch(
            torch.from_numpy(values.astype(np.float32)),
            torch.from_numpy(self._clips.modes[last]),
            torch.from_numpy(self._known[last].astype(np.float32)),
            None if closed is None else torch.from_numpy(closed[last].astype(np.float32)),
        )


def train_mouth_net(
    clips: Clips,
    config: MouthTrainingConfig,
    report: Callable[[str], None],
    state_path: Path | None = None,
) -> AudioToMouthNet:
    """Train on one core, `config.steps` steps of 20 to 100 ms.

    Args:
        clips: features with the mouth at the center of each frame.
        config: settings.
        report: called with the loss every 250 steps.
        state_path: file of an unfinished training; one with the same settings is continued.
    """
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    clips = delay_modes(clips, config.lookahead_frames)
    initial = _initial_net(clips, config)
    net = TorchMouthNet(initial, dropout=config.dropout, hidden_dropout=config.hidden_dropout)
    sampler = RunSampler(clips, initial)
    adam = torch.optim.AdamW(net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    losses: list[float] = []
    for step in range(_load_state(state_path, net, adam, config), config.steps):
        cosine = 0.5 * (1 + math.cos(math.pi * step / config.steps))
        for group in adam.param_groups:
            group["lr"] = config.learning_rate * min(step / _WARMUP_STEPS, 1.0) * cosine
        batch = sampler.sample(config.batch_size, rng, speaker_mixup=config.speaker_mixup)
        losses.append(_train_step(net, adam, batch, config))
        if (step + 1) % _REPORT_EVERY == 0:
            report(f"step {step + 1} of {config.steps}: loss {np.mean(losses[-_REPORT_EVERY:]):.4f}")
            _save_state(state_path, step + 1, net, adam, config)
    if state_path is not None:
        state_path.unlink(missing_ok=True)
    net.eval()
    return net.to_numpy()


def _initial_net(clips: Clips, config: MouthTrainingConfig) -> AudioToMouthNet:
    """Make an untrained net whose projection is the whitened principal components of the features."""
    size = config.net
    sample = clips.values[:: max(len(clips.values) // 20000, 1)].astype(np.float32)
    mean, std = sample.mean(axis=0), sample.std(axis=0) + 1e-2
    _, singular_values, components = np.linalg.svd((sample - mean) / std, full_matrices=False)
    whiten = components[: size.projected].T * np.sqrt(len(sample)) / singular_values[: size.projected]
    widths = [whiten.shape[1]] + size.convs * [size.channels]
    convs = [nn.Conv1d(*pair, size.kernel) for pair in pairwise(widths)]
    context_frames = size.window - size.convs * (size.kernel - 1)
    hidden = nn.Linear(context_frames * widths[-1], size.hidden)
    output = nn.Linear(size.hidden, len(MOUTH_MODES))
    return AudioToMouthNet(
        encoder=clips.encoder,
        lookahead_ms=20.0 * config.lookahead_frames,
        mean=mean,
        std=std,
        project=np.ascontiguousarray(whiten, np.float32),
        w1=_array(hidden.weight.T),
        b1=_array(hidden.bias),
        w2=_array(output.weight.T),
        b2=_array(output.bias),
        convs=tuple(Convolution(_array(conv.weight.permute(2, 1, 0)), _array(conv.bias)) for conv in convs),
    )


def _train_step(
    net: TorchMouthNet, adam: torch.optim.Optimizer, batch: RunBatch, config: MouthTrainingConfig
) -> float:
    with torch.autocast("cpu", torch.bfloat16, enabled=config.bf16):
        predicted = net(batch.values)
    loss = _mouth_loss(predicted.float(), batch.modes, config)
    adam.zero_grad()
    loss.backward()
    adam.step()
    return float(loss.detach())


def _mouth_loss(predicted: Tensor, target: Tensor, config: MouthTrainingConfig) -> Tensor:
    """Compute the loss of distance, velocity and amplitude: neither muted nor jittery."""
    weight = torch.ones_like(target)
    weight[..., _OPEN] += 1.0
    weight = weight + config.rest_weight * (target.abs().amax(-1, keepdim=True) < _REST_BELOW).float()
    distance = (weight * (predicted - target) ** 2).mean()
    velocity = ((predicted.diff(dim=1) - target.diff(dim=1)) ** 2).mean()
    predicted_std = predicted.flatten(0, 1).std(0)[:-1]  # the last mode, smile, does not follow from audio
    target_std = target.flatten(0, 1).std(0)[:-1]
    amplitude = ((predicted_std / (target_std + 0.01) - 1) ** 2).mean()
    return distance + config.velocity_weight * velocity + config.amplitude_weight * amplitude


def _save_state(
    path: Path | None,
    step: int,
    net: TorchMouthNet,
    adam: torch.optim.Optimizer,
    config: MouthTrainingConfig,
) -> None:
    if path is None:
        return
    state: dict[str, Any] = {"step": step, "net": net.state_dict(), "adam": adam.state_dict()}
    content = io.BytesIO()
    torch.save(state | {"config": asdict(config)}, content)
    atomic_write(path, content.getvalue(), fsync=False)


def _load_state(
    path: Path | None, net: TorchMouthNet, adam: torch.optim.Optimizer, config: MouthTrainingConfig
) -> int:
    """Load an unfinished training with the same settings and return its step; random numbers start anew."""
    if path is None or not path.is_file():
        return 0
    state = torch.load(path, weights_only=True)
    if state.get("config") != asdict(config):
        return 0
    net.load_state_dict(state["net"])
    adam.load_state_dict(state["adam"])
    return int(state["step"])


def train_single_speaker_net(
    trial: EvaluationTrial,
    encoder: str,
    config: MouthTrainingConfig,
    report: Callable[[str], None] = lambda text: None,
    extractor: FeatureExtractor = extract_features,
) -> AudioToMouthNet:
    """Train on one video alone: the baseline that one net for everybody must beat.

    Args:
        trial: modes that are NaN count as rest.
        encoder: of `models.audio`.
        config: settings; without speaker mixup.
        report: called with the loss.
        extractor: of the features.
    """
    features = extractor(encoder, trial.samples)
    inside = (features.times_s >= trial.times_s[0]) & (features.times_s <= trial.times_s[-1])
    modes = np.nan_to_num(trial.target_modes(features.times_s[inside]))
    clips = Clips(encoder, features.values[inside].astype(np.float16), modes, np.array([0, len(modes)]))
    return train_mouth_net(clips, config, report)
