"""Filmed mouths as training data: every clip recorded anew several times, with the mouth that was filmed."""

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from splatface.models.audio.encoder import FEATURE_VERSION
from splatface.models.audio.offline_features import FeatureExtractor, features
from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES, AudioToMouthNet, Convolution
from splatface.models.errors import TrainingError
from splatface.models.messages import SAMPLE_RATE
from splatface.models.signals import pearson
from splatface.models.training.audio_to_mouth.encoded_clips import Clips, delay_modes, jitter_frame_phase
from splatface.models.training.audio_to_mouth.net_postprocessing import scale_outputs
from splatface.models.training.audio_to_mouth.predictors import predict_recording
from splatface.models.training.audio_to_mouth.train_mouth_net import TorchMouthNet
from splatface.models.training.filmed_lips.filmed_mouth import FilmedMouth, amplitude_gain
from splatface.models.training.filmed_lips.lip_score import closure_threshold, interpolate_modes, remove_drift
from splatface.models.training.speech_corpus.augmentation import AugmentedAudio, augment_audio
from splatface.models.training.speech_corpus.phonemes import LabeledSpeech
from splatface.models.typing import Float32Array

__all__ = [
    "FineTuningConfig",
    "average_nets",
    "encode_filmed_clips",
    "fine_tune",
    "fine_tune_soup",
    "match_filmed_amplitude",
]

_OPEN = MOUTH_MODES.index("open")
_GAP_S = 0.12  # two frames farther apart have no mouth between them
# A net that is unsure follows past sound: it answered 8 ms late when taught the moment itself.
_AHEAD_S = 0.008
_AFTER_S = 0.25  # of silence after a clip: what the encoder looks ahead


def encode_filmed_clips(
    films: Sequence[FilmedMouth],
    encoder: str,
    *,
    copies: int,
    cache: Path,
    ear: FeatureExtractor = features,
    report: Callable[[str], None] = lambda text: None,
) -> Clips:
    """Encode every clip as it is and `copies` times recorded anew, the mouth at each frame's center.

    All persons open as wide on average: how wide one opens is calibrated per person.

    Args:
        films: clips in step with their sound.
        encoder: of `models.audio`.
        copies: more copies begin with fewer.
        cache: folder for the encoder's features, which take long to make.
        ear: `features`, or something quicker that hears the same.
        report: called with a line for each clip that was encoded.
    """
    others = [LabeledSpeech(film.samples[: 10 * SAMPLE_RATE], (), film.name, "") for film in films[:12]]
    usual = float(np.mean([film.modes[:, _OPEN].std() for film in films]))
    parts: list[tuple[NDArray[np.float16], Float32Array, NDArray[np.bool_], NDArray[np.bool_]]] = []
    for film in films:
        gain, closed = amplitude_gain(film, usual), film.gap < closure_threshold(film.gap)
        for copy in range(copies + 1):
            kept = cache / f"{film.name}_{_digest(film.samples)}_{encoder}_{FEATURE_VERSION}_{copy:02d}.npz"
            if not kept.is_file():
                kept.parent.mkdir(parents=True, exist_ok=True)
                _encode(kept, film, copy, others, encoder=encoder, ear=ear)
                report(f"{encoder}: encoded {film.name}, recording {copy + 1} of {copies + 1}")
            with np.load(kept) as arrays:
                values, times_s = arrays["values"], arrays["film_times_s"] + _AHEAD_S
            modes, known = _mouth_at(film, times_s)
            nearest = np.abs(film.times_s[None] - times_s[:, None]).argmin(axis=1)
            parts.append((values, modes * np.float32(gain), known, closed[nearest] & known))
    return Clips(
        encoder,
        np.concatenate([part[0] for part in parts]),
        np.concatenate([part[1] for part in parts]),
        np.cumsum([0] + [len(part[0]) for part in parts]),
        np.concatenate([part[2] for part in parts]),
        np.concatenate([part[3] for part in parts]),
    )


def _encode(
    path: Path,
    film: FilmedMouth,
    copy: int,
    others: Sequence[LabeledSpeech],
    *,
    encoder: str,
    ear: FeatureExtractor,
) -> None:
    """Write features [F, D] of one recording and the film times [F] of their centers."""
    rng = np.random.default_rng([copy, *film.name.encode()])
    silence = np.zeros(round(_AFTER_S * SAMPLE_RATE), np.float32)
    if copy:
        level = np.float32(0.5 / max(float(np.abs(film.samples).max()), 1e-6))
        again = augment_audio(film.samples * level, others, rng)
    else:
        again = AugmentedAudio(np.concatenate([film.samples, silence]), 0.0, 1.0)
    values, centers_s = ear(encoder, again.samples)
    if copy:
        values, centers_s = jitter_frame_phase(values, centers_s, rng)
    np.savez(path, values=values.astype(np.float16), film_times_s=(centers_s - again.before_s) * again.rate)


def _mouth_at(film: FilmedMouth, times_s: NDArray[np.float64]) -> tuple[Float32Array, NDArray[np.bool_]]:
    """Modes [F, 8] at film times [F], and whether they are known there."""
    modes = interpolate_modes(times_s, film.times_s, film.modes)
    after = np.clip(np.searchsorted(film.times_s, times_s), 1, len(film.times_s) - 1)
    near = film.times_s[after] - film.times_s[after - 1] < _GAP_S
    inside = (times_s >= film.times_s[0]) & (times_s <= film.times_s[-1])
    return modes.astype(np.float32), near & inside


def _digest(samples: Float32Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(samples, np.float32).tobytes()).hexdigest()[:8]


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
_FOLLOWS_R = 0.3  # correlation of `open` from which a clip tells how wide its person opens
_GAINS = (1.0, 1.6)
_CLOSING = 0.03  # taken off `open`: a mean of open and closed is never closed


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuningConfig:
    """Settings of the training."""

    steps: int = 900  # more learn the clips by heart
    rate: float = 7e-4
    batch: int = 32  # runs of 1 s of filmed clips
    corpus_batch: int = 32  # runs of made voices and of sounds without speech
    corpus_weight: float = 1.0
    velocity: float = 4.0
    gap: float = 1.0
    closure: float = 0.5  # of lips that meet within 40 ms of when they were filmed to
    closure_balance: float = 3.0  # how much worse a missed closure is than an invented one
    rest: float = 8.0  # added to the weight of all modes where nobody speaks
    amplitude: float = 3.0
    dropout: float = 0.3
    dropout_within: float = 0.4
    decay: float = 1e-2
    stranger: float = 0.8  # how far a run is moved towards another clip's mean: a voice between voices
    noise: float = 0.1  # standard deviation added to features of standard deviation 1
    bfloat16: bool = False
    seed: int = 0


def fine_tune(
    start: AudioToMouthNet,
    films: Clips,
    corpus: Clips | None,
    config: FineTuningConfig | None = None,
    report: Callable[[str], None] = lambda text: None,
) -> AudioToMouthNet:
    """Train on from a net, on one core.

    Args:
        start: a net of the clips' encoder.
        films: of `film_clips`.
        corpus: of `hearing.dataset.hear_corpus`; None to forget made voices.
        config: settings.
        report: called with the loss every 100 steps.
    """
    config = config or FineTuningConfig()
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    net = TorchMouthNet(start, dropout=config.dropout, dropout_within=config.dropout_within)
    ahead = round(start.lookahead_ms / _FRAME_MS)
    filmed = _Runs(delay_modes(films, ahead), start)
    made = _Runs(delay_modes(corpus, ahead), start) if corpus is not None else None
    adam = torch.optim.AdamW(net.parameters(), lr=config.rate, weight_decay=config.decay)
    losses: list[float] = []
    for step in range(config.steps):
        rate = config.rate * min(step / 50, 1.0) * 0.5 * (1 + math.cos(math.pi * step / config.steps))
        for group in adam.param_groups:
            group["lr"] = rate
        loss = _batch_loss(net, filmed.draw(config.batch, config.stranger, config.noise, rng), config)
        if made is not None:
            runs = made.draw(config.corpus_batch, config.stranger, config.noise, rng)
            loss = loss + config.corpus_weight * _batch_loss(net, runs, config)
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(float(loss.detach()))
        if (step + 1) % _REPORT_EVERY == 0:
            report(f"step {step + 1} of {config.steps}: loss {np.mean(losses[-_REPORT_EVERY:]):.3f}")
    net.eval()
    return net.to_numpy()


def fine_tune_soup(
    start: AudioToMouthNet,
    films: Clips,
    corpus: Clips,
    config: FineTuningConfig | None = None,
    report: Callable[[str], None] = lambda text: None,
) -> AudioToMouthNet:
    """Fine-tune three times, the corpus weighing less, as much and more, and take the mean of the weights.

    Nets that started as one may be averaged (Wortsman et al., "Model soups", 2022). Films and voices pull
    in different ways, and the mean gives up less of both than any of the three.

    Args:
        start, films, corpus, report: as for `fine_tune`.
        config: of the middle one.
    """
    even = config or FineTuningConfig()
    light = replace(even, corpus_batch=even.corpus_batch // 2, corpus_weight=0.25 * even.corpus_weight)
    heavy = replace(
        even,
        steps=round(0.55 * even.steps),
        rate=0.6 * even.rate,
        corpus_batch=round(1.5 * even.corpus_batch),
        corpus_weight=2.0 * even.corpus_weight,
    )
    nets = [fine_tune(start, films, corpus, each, report) for each in (light, even)]
    return average_nets([*nets, fine_tune(nets[1], films, corpus, heavy, report)])


def average_nets(nets: Sequence[AudioToMouthNet]) -> AudioToMouthNet:
    """The net whose weights are the mean of the nets', which have one shape and started as one."""

    def mean(arrays: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
        return np.asarray(np.mean(list(arrays), axis=0), np.float32)

    convs = zip(*(net.convs for net in nets), strict=True)
    return replace(
        nets[0],
        project=mean(net.project for net in nets),
        w1=mean(net.w1 for net in nets),
        b1=mean(net.b1 for net in nets),
        w2=mean(net.w2 for net in nets),
        b2=mean(net.b2 for net in nets),
        convs=tuple(
            Convolution(mean(conv.weight for conv in each), mean(conv.bias for conv in each))
            for each in convs
        ),
    )


@dataclass(frozen=True, slots=True)
class _Batch:
    """B runs of frames."""

    values: Tensor  # [B, L, D]
    modes: Tensor  # [B, R, 8] of the last R frames
    known: Tensor  # [B, R] 1 where the modes are known
    closed: Tensor | None  # [B, R] 1 where lips were seen to meet


class _Runs:
    """Runs of frames that lie within one clip, drawn with voices between voices."""

    def __init__(self, clips: Clips, net: AudioToMouthNet) -> None:
        self._clips, self._known = clips, clips.known_frames()
        self._window, self._dims, self._std = net.window, net.feature_dim, net.std
        self._length = net.window - 1 + _RUN
        spans = list(zip(clips.starts[:-1], clips.starts[1:], strict=True))
        self._starts = np.concatenate(
            [np.arange(a, b - self._length + 1) for a, b in spans if b - a >= self._length]
        )
        self._means = np.stack(
            [clips.values[a:b, : self._dims].astype(np.float32).mean(axis=0) for a, b in spans]
        )

    def draw(self, count: int, stranger: float, noise: float, rng: np.random.Generator) -> _Batch:
        """Draw `count` runs, moved towards other voices and with noise on the features."""
        at = rng.choice(self._starts, count)[:, None] + np.arange(self._length)
        one, other = (self._means[rng.integers(0, len(self._means), count)] for _ in range(2))
        offset = stranger * rng.random((count, 1), np.float32) * (one - other)
        values = self._clips.values[at][..., : self._dims].astype(np.float32) + offset[:, None]
        values += noise * self._std * rng.standard_normal(values.shape, np.float32)
        last, closed = at[:, self._window - 1 :], self._clips.closed
        return _Batch(
            torch.from_numpy(values.astype(np.float32)),
            torch.from_numpy(self._clips.modes[last]),
            torch.from_numpy(self._known[last].astype(np.float32)),
            None if closed is None else torch.from_numpy(closed[last].astype(np.float32)),
        )


def _batch_loss(net: TorchMouthNet, batch: _Batch, config: FineTuningConfig) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=config.bfloat16):
        predicted = net(batch.values)
    predicted = predicted.float()
    loss = _loss(predicted, batch.modes, batch.known, config)
    if batch.closed is not None:
        loss = loss + config.closure * _closure_loss(predicted, batch.closed, batch.known, config)
    return loss


def _closure_loss(predicted: Tensor, closed: Tensor, known: Tensor, config: FineTuningConfig) -> Tensor:
    """Cross-entropy of lips that meet: anywhere within 40 ms counts, and only beyond it is one invented."""
    meets = (_CLOSED_GAP - predicted @ _constant(_GAP_WEIGHTS)) / _CLOSED_SHARPNESS
    near, frames = 2 * _NEAR_FRAMES + 1, {"stride": 1, "padding": _NEAR_FRAMES}
    meets_near = nn.functional.max_pool1d(meets[:, None], near, **frames)[:, 0]
    closed_near = nn.functional.max_pool1d(closed[:, None], near, **frames)[:, 0]
    missed = _mean(nn.functional.softplus(-meets_near), known * closed)
    invented = _mean(nn.functional.softplus(meets), known * (1 - closed_near))
    return config.closure_balance * missed + invented


def _loss(predicted: Tensor, modes: Tensor, known: Tensor, config: FineTuningConfig) -> Tensor:
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


def match_filmed_amplitude(
    net: AudioToMouthNet, films: Sequence[FilmedMouth], ear: FeatureExtractor = features
) -> AudioToMouthNet:
    """The net with gains and biases that give people's spread, on clips of persons it was not trained on.

    Regression mutes what it is unsure of. `open` is spread about its mean: lips that nearly meet, meet.
    """
    gains, means = [], []
    for film in films:
        predicted, times_s = predict_recording(net, film.samples, ear)
        at = interpolate_modes(film.times_s, times_s, predicted)
        said, filmed = remove_drift(at, film.step_s), remove_drift(film.modes, film.step_s)
        if pearson(said[:, _OPEN], filmed[:, _OPEN]) < _FOLLOWS_R:
            continue  # sound of somebody else
        gains.append(filmed.std(axis=0) / np.maximum(said.std(axis=0), 1e-3))
        means.append(at.mean(axis=0))
    if not gains:
        raise TrainingError(
            f"amplitude: expected clips that the net follows by r {_FOLLOWS_R:g}, found none: give others"
        )
    gain, mean = np.clip(np.mean(gains, axis=0), *_GAINS), np.mean(means, axis=0)
    bias = 0.5 * (1 - gain) * mean
    bias[_OPEN] = (1 - gain[_OPEN]) * mean[_OPEN] - _CLOSING
    return scale_outputs(net, gain, bias)
