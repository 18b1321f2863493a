# SPDX-License-Identifier: Apache-2.0
"""Fine-tune an audio-to-mouth net on filmed lips together with the synthetic speech corpus."""

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
from splatface.models.audio.offline_features import FeatureExtractor, extract_features
from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES, AudioToMouthNet, Convolution
from splatface.models.errors import TrainingError
from splatface.models.messages import SAMPLE_RATE
from splatface.models.signals import pearson
from splatface.models.training.audio_to_mouth.encoded_clips import Clips, delay_modes, jitter_frame_phase
from splatface.models.training.audio_to_mouth.net_evaluation import remove_drift
from splatface.models.training.audio_to_mouth.net_postprocessing import scale_outputs
from splatface.models.training.audio_to_mouth.predictors import predict_recording
from splatface.models.training.audio_to_mouth.train_mouth_net import RunBatch, RunSampler, TorchMouthNet
from splatface.models.training.filmed_lips.filmed_mouth import FilmedMouth, amplitude_gain
from splatface.models.training.filmed_lips.lip_score import closure_threshold, interpolate_modes
from splatface.models.training.speech_corpus.augmentation import AugmentedAudio, augment_audio
from splatface.models.training.speech_corpus.phonemes import LabeledSpeech
from splatface.models.typing import BoolArray, Float32Array, Float64Array

__all__ = [
    "FineTuningConfig",
    "average_nets",
    "encode_filmed_clips",
    "fine_tune",
    "fine_tune_soup",
    "match_filmed_amplitude",
]

_OPEN = MOUTH_MODES.index("open")
_FRAME_MS = 20.0
_REPORT_EVERY = 100  # steps
_WARMUP_STEPS = 50
_MAX_FRAME_GAP_S = 0.12  # two video frames farther apart have no known mouth between them
# A net that is unsure follows past audio: trained on the exact time, it answered 8 ms late.
_TARGET_LEAD_S = 0.008
_SILENCE_AFTER_S = 0.25  # the encoder's look-ahead
_BABBLE_CLIPS, _BABBLE_S = 12, 10
# Weights of the modes' errors over their common spread: more for what is most visible and best measured.
_MODE_WEIGHTS = (2.0, 1.0, 1.0, 0.5, 1.0, 1.0, 0.7, 0.4)
_MODE_STD = (0.25, 0.14, 0.14, 0.07, 0.11, 0.12, 0.08, 0.07)
# The inner-lip gap by modes: least squares over all filmed clips.
_GAP_WEIGHTS = (0.278, -0.061, 0.028, 0.009, 0.235, -0.187, -0.137, 0.029)
_GAP_STD = 0.06
_CLOSED_GAP, _CLOSED_SHARPNESS = 0.018, 0.015  # of the same sum: below, lips meet
_CLOSURE_TOLERANCE_FRAMES = 2  # 40 ms
_REST_BELOW = 0.02  # all modes of a mouth at rest
_MIN_FOLLOWING_R = 0.3  # correlation of `open`; below, the audio of a clip is not the filmed speaker's
_AMPLITUDE_GAIN_RANGE = (1.0, 1.6)
_OPEN_OFFSET = -0.03  # a mean of open and closed is never closed


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuningConfig:
    """Settings of a fine-tuning."""

    steps: int = 900  # more overfit to the clips
    learning_rate: float = 7e-4
    batch_size: int = 32  # runs of 1 s of filmed clips
    corpus_batch_size: int = 32  # runs of synthetic speech and of sounds without speech
    corpus_weight: float = 1.0
    velocity_weight: float = 4.0
    gap_weight: float = 1.0
    closure_weight: float = 0.5  # of lips that meet within 40 ms of the filmed ones
    missed_closure_weight: float = 3.0  # relative to a closure that was not filmed
    rest_weight: float = 8.0  # added to the weight of all modes where nobody speaks
    amplitude_weight: float = 3.0
    dropout: float = 0.3
    hidden_dropout: float = 0.4
    weight_decay: float = 1e-2
    speaker_mixup: float = 0.8  # largest offset of a run, as a fraction of the difference of two clips' means
    feature_noise: float = 0.1  # standard deviation added to features of standard deviation 1
    bf16: bool = False
    seed: int = 0


def encode_filmed_clips(
    clips: Sequence[FilmedMouth],
    encoder: str,
    *,
    copies: int,
    cache: Path,
    extractor: FeatureExtractor = extract_features,
    report: Callable[[str], None] = lambda text: None,
) -> Clips:
    """Encode every clip as it is and `copies` times augmented, with the mouth at each frame's center.

    All speakers are scaled to the same average opening: amplitude is calibrated per person.

    Args:
        clips: with audio and video in sync.
        encoder: of `models.audio`.
        copies: more copies begin with fewer.
        cache: folder for the encoder's features, which take long to compute.
        extractor: `extract_features`, or a faster one with the same features.
        report: called with a line for each clip that was encoded.
    """
    babble = [
        LabeledSpeech(clip.samples[: _BABBLE_S * SAMPLE_RATE], (), clip.name, "")
        for clip in clips[:_BABBLE_CLIPS]
    ]
    common_std = float(np.mean([clip.modes[:, _OPEN].std() for clip in clips]))
    values: list[NDArray[np.float16]] = []
    modes: list[Float32Array] = []
    known: list[BoolArray] = []
    closed: list[BoolArray] = []
    for clip in clips:
        gain = np.float32(amplitude_gain(clip, common_std))
        clip_closed = clip.gap < closure_threshold(clip.gap)
        for copy in range(copies + 1):
            name = f"{clip.name}_{_digest(clip.samples)}_{encoder}_{FEATURE_VERSION}_{copy:02d}.npz"
            if not (cache / name).is_file():
                cache.mkdir(parents=True, exist_ok=True)
                _encode_copy(cache / name, clip, copy, babble, encoder=encoder, extractor=extractor)
                report(f"{encoder}: encoded {clip.name}, recording {copy + 1} of {copies + 1}")
            with np.load(cache / name) as file:
                frames, times_s = file["values"], file["film_times_s"] + _TARGET_LEAD_S
            frame_modes, frame_known = _modes_at(clip, times_s)
            nearest = np.abs(clip.times_s[None] - times_s[:, None]).argmin(axis=1)
            values.append(frames)
            modes.append(frame_modes * gain)
            known.append(frame_known)
            closed.append(clip_closed[nearest] & frame_known)
    return Clips(
        encoder,
        np.concatenate(values),
        np.concatenate(modes),
        np.cumsum([0] + [len(frames) for frames in values]),
        np.concatenate(known),
        np.concatenate(closed),
    )


def _encode_copy(
    path: Path,
    clip: FilmedMouth,
    copy: int,
    babble: Sequence[LabeledSpeech],
    *,
    encoder: str,
    extractor: FeatureExtractor,
) -> None:
    """Write features [F, D] of one copy and the video times [F] of their centers."""
    rng = np.random.default_rng([copy, *clip.name.encode()])
    if copy:
        gain = np.float32(0.5 / max(float(np.abs(clip.samples).max()), 1e-6))
        audio = augment_audio(clip.samples * gain, babble, rng)
    else:
        silence = np.zeros(round(_SILENCE_AFTER_S * SAMPLE_RATE), np.float32)
        audio = AugmentedAudio(np.concatenate([clip.samples, silence]), 0.0, 1.0)
    features = extractor(encoder, audio.samples)
    values, times_s = features.values, features.times_s
    if copy:
        values, times_s = jitter_frame_phase(values, times_s, rng)
    np.savez(path, values=values.astype(np.float16), film_times_s=(times_s - audio.before_s) * audio.rate)


def _modes_at(clip: FilmedMouth, times_s: Float64Array) -> tuple[Float32Array, BoolArray]:
    """Return modes [F, 8] at video times [F], and whether they are known there."""
    modes = interpolate_modes(times_s, clip.times_s, clip.modes)
    after = np.clip(np.searchsorted(clip.times_s, times_s), 1, len(clip.times_s) - 1)
    near = clip.times_s[after] - clip.times_s[after - 1] < _MAX_FRAME_GAP_S
    inside = (times_s >= clip.times_s[0]) & (times_s <= clip.times_s[-1])
    return modes.astype(np.float32), near & inside


def _digest(samples: Float32Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(samples, np.float32).tobytes()).hexdigest()[:8]


def fine_tune_soup(
    start: AudioToMouthNet,
    filmed: Clips,
    corpus: Clips,
    config: FineTuningConfig | None = None,
    report: Callable[[str], None] = lambda text: None,
) -> AudioToMouthNet:
    """Fine-tune three times, with a smaller, equal and larger weight of the corpus, and average the weights.

    Nets fine-tuned from the same one may be averaged (Wortsman et al., "Model soups", 2022). Filmed lips and
    synthetic speech have different optima, and the mean loses less of both than any of the three.

    Args:
        start, filmed, corpus, report: as for `fine_tune`.
        config: of the middle one.
    """
    equal = config or FineTuningConfig()
    smaller = replace(
        equal, corpus_batch_size=equal.corpus_batch_size // 2, corpus_weight=0.25 * equal.corpus_weight
    )
    larger = replace(
        equal,
        steps=round(0.55 * equal.steps),
        learning_rate=0.6 * equal.learning_rate,
        corpus_batch_size=round(1.5 * equal.corpus_batch_size),
        corpus_weight=2.0 * equal.corpus_weight,
    )
    nets = [fine_tune(start, filmed, corpus, each, report) for each in (smaller, equal)]
    return average_nets([*nets, fine_tune(nets[1], filmed, corpus, larger, report)])


def fine_tune(
    start: AudioToMouthNet,
    filmed: Clips,
    corpus: Clips | None,
    config: FineTuningConfig | None = None,
    report: Callable[[str], None] = lambda text: None,
) -> AudioToMouthNet:
    """Continue the training of a net, on one core.

    Args:
        start: a net of the clips' encoder.
        filmed: of `encode_filmed_clips`.
        corpus: of `corpus_clips`; None to train on filmed lips alone.
        config: settings.
        report: called with the loss every 100 steps.
    """
    config = config or FineTuningConfig()
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    net = TorchMouthNet(start, dropout=config.dropout, hidden_dropout=config.hidden_dropout)
    lookahead_frames = round(start.lookahead_ms / _FRAME_MS)
    sources = [(RunSampler(delay_modes(filmed, lookahead_frames), start), config.batch_size, 1.0)]
    if corpus is not None:
        sampler = RunSampler(delay_modes(corpus, lookahead_frames), start)
        sources.append((sampler, config.corpus_batch_size, config.corpus_weight))
    adam = torch.optim.AdamW(net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    losses: list[float] = []
    for step in range(config.steps):
        cosine = 0.5 * (1 + math.cos(math.pi * step / config.steps))
        for group in adam.param_groups:
            group["lr"] = config.learning_rate * min(step / _WARMUP_STEPS, 1.0) * cosine
        loss = torch.zeros(())
        for sampler, count, weight in sources:
            batch = sampler.sample(
                count, rng, speaker_mixup=config.speaker_mixup, feature_noise=config.feature_noise
            )
            loss = loss + weight * _batch_loss(net, batch, config)
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(float(loss.detach()))
        if (step + 1) % _REPORT_EVERY == 0:
            report(f"step {step + 1} of {config.steps}: loss {np.mean(losses[-_REPORT_EVERY:]):.3f}")
    net.eval()
    return net.to_numpy()


def average_nets(nets: Sequence[AudioToMouthNet]) -> AudioToMouthNet:
    """Average the weights of nets of one shape that were fine-tuned from the same net."""

    def mean(arrays: Iterable[Float32Array]) -> Float32Array:
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
            Convolution(mean(conv.weight for conv in same), mean(conv.bias for conv in same))
            for same in convs
        ),
    )


def _batch_loss(net: TorchMouthNet, batch: RunBatch, config: FineTuningConfig) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=config.bf16):
        predicted = net(batch.values)
    predicted = predicted.float()
    loss = _motion_loss(predicted, batch.modes, batch.known, config)
    if batch.closed is not None:
        loss = loss + config.closure_weight * _closure_loss(predicted, batch.closed, batch.known, config)
    return loss


def _motion_loss(predicted: Tensor, target: Tensor, known: Tensor, config: FineTuningConfig) -> Tensor:
    """Compute distance, velocity, gap and amplitude of runs [B, R, 8], where they are known [B, R]."""
    std, mode_weights = _constant(_MODE_STD), _constant(_MODE_WEIGHTS)
    error = (predicted - target) / std
    resting = (target.abs().amax(dim=-1, keepdim=True) < _REST_BELOW).float()
    weight = mode_weights * (1 + config.rest_weight * resting)
    both_known = known[:, 1:] * known[:, :-1]
    distance = _masked_mean((weight * error**2).mean(dim=-1), known)
    velocity = _masked_mean((mode_weights * error.diff(dim=1) ** 2).mean(dim=-1), both_known)
    gap_error = ((predicted - target) @ _constant(_GAP_WEIGHTS)) / _GAP_STD
    ratio = _masked_std(predicted, known) / (_masked_std(target, known) + 0.01)
    amplitude = ((ratio - 1) ** 2 * mode_weights).mean()
    return (
        distance
        + config.velocity_weight * velocity
        + config.gap_weight * _masked_mean(gap_error**2, known)
        + config.amplitude_weight * amplitude
    )


def _closure_loss(predicted: Tensor, closed: Tensor, known: Tensor, config: FineTuningConfig) -> Tensor:
    """Compute the cross-entropy of lips that meet, with a tolerance of 40 ms on both sides."""
    logits = (_CLOSED_GAP - predicted @ _constant(_GAP_WEIGHTS)) / _CLOSED_SHARPNESS
    window = {"stride": 1, "padding": _CLOSURE_TOLERANCE_FRAMES}
    size = 2 * _CLOSURE_TOLERANCE_FRAMES + 1
    logits_near = nn.functional.max_pool1d(logits[:, None], size, **window)[:, 0]
    closed_near = nn.functional.max_pool1d(closed[:, None], size, **window)[:, 0]
    missed = _masked_mean(nn.functional.softplus(-logits_near), known * closed)
    false_closures = _masked_mean(nn.functional.softplus(logits), known * (1 - closed_near))
    return config.missed_closure_weight * missed + false_closures


def _constant(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / mask.sum().clamp(min=1)


def _masked_std(modes: Tensor, known: Tensor) -> Tensor:
    """Compute standard deviations [8] over the known frames of a batch."""
    chosen = modes[known > 0]
    return chosen.std(dim=0) if len(chosen) > 1 else torch.zeros(modes.shape[-1])


def match_filmed_amplitude(
    net: AudioToMouthNet, clips: Sequence[FilmedMouth], extractor: FeatureExtractor = extract_features
) -> AudioToMouthNet:
    """Scale the net's outputs to the amplitude of filmed speakers that it was not trained on.

    Regression mutes where it is unsure. `open` is scaled about its mean: lips that nearly meet, meet.

    Raises:
        TrainingError: the net follows none of the clips.
    """
    gains, means = [], []
    for clip in clips:
        predicted, times_s = predict_recording(net, clip.samples, extractor)
        modes = interpolate_modes(clip.times_s, times_s, predicted)
        fast, filmed_fast = remove_drift(modes, clip.step_s), remove_drift(clip.modes, clip.step_s)
        if pearson(fast[:, _OPEN], filmed_fast[:, _OPEN]) < _MIN_FOLLOWING_R:
            continue
        gains.append(filmed_fast.std(axis=0) / np.maximum(fast.std(axis=0), 1e-3))
        means.append(modes.mean(axis=0))
    if not gains:
        raise TrainingError(
            f"amplitude: expected clips that the net follows by r {_MIN_FOLLOWING_R:g}, found none: "
            "give others"
        )
    gain, mean = np.clip(np.mean(gains, axis=0), *_AMPLITUDE_GAIN_RANGE), np.mean(means, axis=0)
    bias = 0.5 * (1 - gain) * mean
    bias[_OPEN] = (1 - gain[_OPEN]) * mean[_OPEN] + _OPEN_OFFSET
    return scale_outputs(net, gain, bias)
