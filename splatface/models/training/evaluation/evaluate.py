# SPDX-License-Identifier: Apache-2.0
"""Evaluate a head on held-out frames of a data set: driven by tracked motion, and by audio alone."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import EncoderError, MetricError
from splatface.models.head.head import Head
from splatface.models.training.dataset.dataset_audio import load_audio
from splatface.models.training.dataset.frame_images import read_image
from splatface.models.training.dataset.types import TEST, TRAIN, VAL, Dataset, frames_in_split
from splatface.models.training.evaluation.evaluate_frames import (
    MetricGroup,
    MetricTools,
    Truth,
    UserWeights,
    evaluate_frames,
    make_metric_tools,
    unavailable_metrics,
    warmed_up_landmarker,
)
from splatface.models.training.evaluation.live_path import LivePath, make_audio_to_mouth, silence_mask
from splatface.models.training.evaluation.mouth_metrics import MotionScore, motion_score, mouth_opening
from splatface.models.training.evaluation.neck_gap import NeckGap, worst_neck_gap

__all__ = ["SPLITS", "Evaluation", "EvaluationConfig", "evaluate", "evaluation_json", "mouth_openings"]

SPLITS = {"test": TEST, "val": VAL, "train": TRAIN}


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationConfig:
    """Settings of an evaluation."""

    split: str = "test"
    encoder: str = ""  # of the audio-to-mouth net; the head's first when empty
    threads: int = 1  # of the renderer, as on the kiosk
    supersample: int = 1  # samples a pixel along each side, as on the kiosk; 2 costs twice the time
    samples: int = 32  # images, evenly spread, that ST-LPIPS, LPIPS and identity look at
    most: int = 0  # images from the beginning of the part; 0 = all
    supplied: UserWeights = field(default_factory=UserWeights)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Evaluation:
    """Metrics of one head on one split of one data set."""

    head: str
    dataset: str
    split: str
    encoder: str | None
    pictures: int
    size: tuple[int, int]  # width, height in px
    gaussians: int
    training_minutes: float | None
    by_motion: MetricGroup  # driven by the tracked motion
    by_sound: MetricGroup  # mouth driven by sound alone; head, eyes and brows as tracked
    motion_score: MotionScore | None
    neck_gap: NeckGap
    truth: Truth


def evaluate(
    head: Head, dataset: Dataset, config: EvaluationConfig, *, clock: Callable[[], float]
) -> Evaluation:
    """Render every frame of a split with the live code, by tracked motion and by audio, and compare.

    Args:
        head: sound, as `load_head` returns it.
        dataset: opened.
        config: what to measure.
        clock: seconds, for the fps.

    Raises:
        MetricError: when the part has no images, or a file of weights or the encoder asked for does not
            fit. What is merely not installed is left out, with the reason.
        DatasetError: when an image is damaged.
    """
    metric_tools = make_metric_tools(config.supplied)
    truth = _make_truth(dataset, config, metric_tools)
    live = LivePath(head, dataset, threads=config.threads, supersample=config.supersample)
    encoder = config.encoder or next(iter(head.nets), "")
    by_sound, motion = _by_sound(head, encoder, truth, metric_tools, live, clock)
    return Evaluation(
        head=head.info.name,
        dataset=dataset.name,
        split=config.split,
        encoder=encoder or None,
        pictures=len(truth.frame_indices),
        size=(dataset.camera.width, dataset.camera.height),
        gaussians=len(head.gaussians),
        training_minutes=_training_minutes(head),
        by_motion=_by_motion(truth, metric_tools, live, clock),
        by_sound=by_sound,
        motion_score=motion,
        neck_gap=worst_neck_gap(head, config.threads),
        truth=truth,
    )


def evaluation_json(evaluation: Evaluation) -> dict[str, Any]:
    """Return plain data: the head, the data set, and the groups `by_motion` and `by_sound`.

    Each group has its figures by name, None where there is none, and the reasons under "not_available".
    """
    motion = evaluation.motion_score
    by_sound = _group_json(evaluation.by_sound)
    by_sound["mode_correlations"] = motion.mode_correlations if motion else None
    by_sound["motion"] = (
        {name: value for name, value in asdict(motion).items() if name != "mode_correlations"}
        if motion
        else None
    )
    return {
        "head": evaluation.head,
        "dataset": evaluation.dataset,
        "split": evaluation.split,
        "encoder": evaluation.encoder,
        "pictures": evaluation.pictures,
        "size": list(evaluation.size),
        "gaussians": evaluation.gaussians,
        "training_minutes": evaluation.training_minutes,
        "seam": asdict(evaluation.neck_gap),
        "by_motion": _group_json(evaluation.by_motion),
        "by_sound": by_sound,
    }


def _group_json(group: MetricGroup) -> dict[str, Any]:
    figures = {
        name: None if value is None else float(f"{value:.6g}") for name, value in group.figures.items()
    }
    missed = {"truth": group.faces_missed[0], "drawn": group.faces_missed[1]}
    return {**figures, "faces_missed": missed, "not_available": dict(group.reasons)}


def _make_truth(dataset: Dataset, config: EvaluationConfig, metric_tools: MetricTools) -> Truth:
    frames = dataset.frames
    frame_indices = frames_in_split(frames, SPLITS[config.split])
    frame_indices = frame_indices[np.isfinite(frames.T_world_head[frame_indices]).all(axis=(1, 2))]
    frame_indices = frame_indices[: config.most or None]
    if not len(frame_indices):
        raise MetricError(
            f"{dataset.name}: expected pictures of the {config.split} part with a known pose, found none: "
            f"choose another part ({', '.join(SPLITS)})"
        )
    positions = np.linspace(0, len(frame_indices) - 1, min(config.samples, len(frame_indices)))
    return Truth(
        dataset=dataset,
        frame_indices=frame_indices,
        silent=silence_mask(load_audio(dataset), frames.time_ns[frame_indices]),
        landmarks=_landmarks(dataset, frame_indices, metric_tools),
        sampled=frozenset(np.round(positions).astype(int).tolist()),
    )


def _landmarks(
    dataset: Dataset, frame_indices: NDArray[np.intp], metric_tools: MetricTools
) -> NDArray[np.float64] | None:
    landmarker = warmed_up_landmarker(metric_tools, read_image(dataset, int(frame_indices[0])))
    if landmarker is None:
        return None
    with landmarker as find:
        return np.stack([find(read_image(dataset, row)) for row in frame_indices.tolist()])


def _by_motion(
    truth: Truth, metric_tools: MetricTools, live: LivePath, clock: Callable[[], float]
) -> MetricGroup:
    mouth_modes = truth.dataset.frames.mouth[truth.frame_indices]
    unknown = int((~np.isfinite(mouth_modes).all(axis=1)).sum())
    if unknown:
        return unavailable_metrics(f"the data set does not know the mouth's motion in {unknown} pictures")
    return evaluate_frames(truth, metric_tools, live.render_with_tracked_mouth, clock=clock)


def _by_sound(
    head: Head,
    encoder: str,
    truth: Truth,
    metric_tools: MetricTools,
    live: LivePath,
    clock: Callable[[], float],
) -> tuple[MetricGroup, MotionScore | None]:
    if not encoder:
        return unavailable_metrics("the head has no net that hears: train it for an encoder"), None
    if not load_audio(truth.dataset).any():
        return unavailable_metrics("the film has no sound"), None
    times_ns = truth.dataset.frames.time_ns
    span_ns = (int(times_ns[truth.frame_indices[0]]), int(times_ns[truth.frame_indices[-1]]))
    try:
        audio_to_mouth = make_audio_to_mouth(head, truth.dataset, encoder, span_ns)
    except EncoderError as error:
        return unavailable_metrics(str(error)), None
    group = evaluate_frames(
        truth,
        metric_tools,
        lambda row: live.render_with_mouth(row, audio_to_mouth(int(times_ns[row]))),
        clock=clock,
    )
    return group, motion_score(truth.dataset, audio_to_mouth, span_ns)


def _training_minutes(head: Head) -> float | None:
    """Return the training time in minutes that the trainer noted in head.yaml, None when it is missing."""
    training = head.info.reports.get("training")
    minutes = training.get("minutes") if isinstance(training, dict) else None
    known = isinstance(minutes, (int, float)) and math.isfinite(minutes)
    return float(minutes) if known and minutes is not None else None


def mouth_openings(evaluation: Evaluation) -> dict[str, NDArray[np.float64]]:
    """Return openings [F] over the face height: "truth", "by motion", "by sound", where known."""
    truth = evaluation.truth.landmarks
    found = {
        "truth": None if truth is None else mouth_opening(truth),
        "by motion": evaluation.by_motion.opening,
        "by sound": evaluation.by_sound.opening,
    }
    return {name: opening for name, opening in found.items() if opening is not None}
