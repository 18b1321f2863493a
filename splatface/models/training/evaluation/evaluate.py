"""How good a head is on the part of a data set that it never saw: by its motion, and by sound alone."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import EncoderError, MetricError
from splatface.models.head.head import Head
from splatface.models.training.dataset.dataset_audio import load_audio
from splatface.models.training.dataset.frame_images import picture
from splatface.models.training.dataset.types import TEST, TRAIN, VAL, Dataset, rows_of
from splatface.models.training.evaluation.evaluate_frames import (
    Group,
    Tools,
    Truth,
    UserWeights,
    evaluate_frames,
    tools_of,
    unavailable_metrics,
    warmed_up_landmarker,
)
from splatface.models.training.evaluation.live_path import LivePath, hearing_of, silent_at
from splatface.models.training.evaluation.mouth_metrics import MotionScore, motion_score, mouth_opening
from splatface.models.training.evaluation.neck_gap import Seam, worst_neck_gap

__all__ = ["SPLITS", "Evaluation", "EvaluationConfig", "evaluate", "evaluation_json", "mouth_openings"]

SPLITS = {"test": TEST, "val": VAL, "train": TRAIN}


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationConfig:
    """What is measured."""

    split: str = "test"
    encoder: str = ""  # whose net hears; the head's first when empty
    threads: int = 1  # of the renderer, as on the kiosk
    supersample: int = 1  # samples a pixel along each side, as on the kiosk; 2 costs twice the time
    samples: int = 32  # pictures, evenly spread, that ST-LPIPS, LPIPS and identity look at
    most: int = 0  # pictures from the beginning of the part; 0 = all
    supplied: UserWeights = field(default_factory=UserWeights)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Evaluation:
    """One head on one part of one data set."""

    head: str
    dataset: str
    split: str
    encoder: str | None
    pictures: int
    size: tuple[int, int]  # width, height in px
    gaussians: int
    training_minutes: float | None
    by_motion: Group  # driven by the tracked motion
    by_sound: Group  # mouth driven by sound alone; head, eyes and brows as tracked
    hearing: MotionScore | None
    seam: Seam
    truth: Truth


def evaluate(
    head: Head, dataset: Dataset, config: EvaluationConfig, *, clock: Callable[[], float]
) -> Evaluation:
    """Draw every picture of the part with the live path, twice, and compare.

    Args:
        head: sound, as `load_head` returns it.
        dataset: opened.
        config: what to measure.
        clock: seconds, for the fps.

    Raises:
        MetricError: when the part has no pictures, or a file of weights or the encoder asked for does not
            fit. What is merely not installed is left out, with the reason.
        DatasetError: when a picture is damaged.
    """
    tools = tools_of(config.supplied)
    truth = _truth(dataset, config, tools)
    live = LivePath(head, dataset, threads=config.threads, supersample=config.supersample)
    encoder = config.encoder or next(iter(head.nets), "")
    by_sound, hearing = _by_sound(head, encoder, truth, tools, live, clock)
    return Evaluation(
        head=head.info.name,
        dataset=dataset.name,
        split=config.split,
        encoder=encoder or None,
        pictures=len(truth.rows),
        size=(dataset.camera.width, dataset.camera.height),
        gaussians=len(head.gaussians),
        training_minutes=_minutes(head),
        by_motion=_by_motion(truth, tools, live, clock),
        by_sound=by_sound,
        hearing=hearing,
        seam=worst_neck_gap(head, config.threads),
        truth=truth,
    )


def evaluation_json(evaluation: Evaluation) -> dict[str, Any]:
    """Plain data: the head, the data set, and the groups `by_motion` and `by_sound`.

    Each group has its figures by name, None where there is none, and the reasons under "not_available".
    """
    hearing = evaluation.hearing
    by_sound = _group_json(evaluation.by_sound)
    by_sound["mode_correlations"] = hearing.mode_correlations if hearing else None
    by_sound["motion"] = (
        {name: value for name, value in asdict(hearing).items() if name != "mode_correlations"}
        if hearing
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
        "seam": asdict(evaluation.seam),
        "by_motion": _group_json(evaluation.by_motion),
        "by_sound": by_sound,
    }


def _group_json(group: Group) -> dict[str, Any]:
    figures = {
        name: None if value is None else float(f"{value:.6g}") for name, value in group.figures.items()
    }
    missed = {"truth": group.faces_missed[0], "drawn": group.faces_missed[1]}
    return {**figures, "faces_missed": missed, "not_available": dict(group.reasons)}


def _truth(dataset: Dataset, config: EvaluationConfig, tools: Tools) -> Truth:
    frames = dataset.frames
    rows = rows_of(frames, SPLITS[config.split])
    rows = rows[np.isfinite(frames.T_world_head[rows]).all(axis=(1, 2))]
    rows = rows[: config.most or None]
    if not len(rows):
        raise MetricError(
            f"{dataset.name}: expected pictures of the {config.split} part with a known pose, found none: "
            f"choose another part ({', '.join(SPLITS)})"
        )
    places = np.linspace(0, len(rows) - 1, min(config.samples, len(rows)))
    return Truth(
        dataset=dataset,
        rows=rows,
        silent=silent_at(load_audio(dataset), frames.time_ns[rows]),
        landmarks=_landmarks(dataset, rows, tools),
        sampled=frozenset(np.round(places).astype(int).tolist()),
    )


def _landmarks(dataset: Dataset, rows: NDArray[np.intp], tools: Tools) -> NDArray[np.float64] | None:
    finder = warmed_up_landmarker(tools, picture(dataset, int(rows[0])))
    if finder is None:
        return None
    with finder as find:
        return np.stack([find(picture(dataset, row)) for row in rows.tolist()])


def _by_motion(truth: Truth, tools: Tools, live: LivePath, clock: Callable[[], float]) -> Group:
    mouths = truth.dataset.frames.mouth[truth.rows]
    unknown = int((~np.isfinite(mouths).all(axis=1)).sum())
    if unknown:
        return unavailable_metrics(f"the data set does not know the mouth's motion in {unknown} pictures")
    return evaluate_frames(truth, tools, live.render_with_tracked_mouth, clock=clock)


def _by_sound(
    head: Head, encoder: str, truth: Truth, tools: Tools, live: LivePath, clock: Callable[[], float]
) -> tuple[Group, MotionScore | None]:
    if not encoder:
        return unavailable_metrics("the head has no net that hears: train it for an encoder"), None
    if not load_audio(truth.dataset).any():
        return unavailable_metrics("the film has no sound"), None
    times_ns = truth.dataset.frames.time_ns
    span_ns = (int(times_ns[truth.rows[0]]), int(times_ns[truth.rows[-1]]))
    try:
        hearing = hearing_of(head, truth.dataset, encoder, span_ns)
    except EncoderError as error:
        return unavailable_metrics(str(error)), None
    group = evaluate_frames(
        truth, tools, lambda row: live.heard(row, hearing(int(times_ns[row]))), clock=clock
    )
    return group, motion_score(truth.dataset, hearing, span_ns)


def _minutes(head: Head) -> float | None:
    """How long the head was trained, as the trainer noted it in head.yaml."""
    training = head.info.reports.get("training")
    minutes = training.get("minutes") if isinstance(training, dict) else None
    known = isinstance(minutes, (int, float)) and math.isfinite(minutes)
    return float(minutes) if known and minutes is not None else None


def mouth_openings(evaluation: Evaluation) -> dict[str, NDArray[np.float64]]:
    """Openings [F] over the height of the face: "truth", "by motion", "by sound", where faces were found."""
    truth = evaluation.truth.landmarks
    found = {
        "truth": None if truth is None else mouth_opening(truth),
        "by motion": evaluation.by_motion.opening,
        "by sound": evaluation.by_sound.opening,
    }
    return {name: opening for name, opening in found.items() if opening is not None}
