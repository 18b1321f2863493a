"""Where training starts: Gaussians from the data set's points, or random ones in the person's box."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import TrainingError
from splatface.models.head.motion_map import MOTION_SIZE
from splatface.models.render.conventions import SH_0
from splatface.models.training.dataset.dataset_io import points
from splatface.models.training.dataset.frame_images import box_of, labels, person_mask, picture
from splatface.models.training.dataset.types import (
    EYES,
    FACE,
    HAIR,
    LIPS,
    MOUTH,
    NECK,
    TORSO,
    Dataset,
    Points,
)
from splatface.models.training.optimization.config import TrainConfig
from splatface.models.training.optimization.packed import (
    LOG_SCALES,
    MEANS,
    OPACITY,
    QUATS,
    SH_DC,
    SKIN,
    logit,
    row_width,
    skin_logits,
)
from splatface.models.typing import Float32Array

__all__ = ["InitialGaussians", "initialize_gaussians"]


_HEAD_PARTS = (HAIR, FACE, EYES, LIPS, MOUTH)
_OPACITY = 0.7
_THICKNESS_M = 0.2  # of the box that random points fill
# Where room is short, points of the parts that are looked at most are kept first.
_KEEP = {TORSO: 0.5, NECK: 0.8, HAIR: 0.8, FACE: 1.5, EYES: 4.0, LIPS: 4.0, MOUTH: 3.0}


@dataclass(frozen=True, slots=True, eq=False)
class InitialGaussians:
    """N Gaussians before the first step."""

    table: Float32Array  # [N, row_width]
    labels: NDArray[np.uint8]  # [N] LABELS
    modes: Float32Array  # [N, 16, 3] m per unit of each mouth mode and control; zeros where nobody knows


def initialize_gaussians(dataset: Dataset, rows: NDArray[np.int64], config: TrainConfig) -> InitialGaussians:
    """The Gaussians that training starts from.

    rows are those trained on; they are looked at only where the data set has no points. Raises
    TrainingError where nothing can be started from.
    """
    generator = np.random.default_rng([config.seed, 1])
    found = points(dataset)
    if found is None or not len(found.means):
        return _random(dataset, rows, config, generator)
    kept = _chosen(found, config.densify.max_gaussians, generator)
    table = np.zeros((len(kept), row_width(config.sh_degree)), np.float32)
    table[:, MEANS], table[:, QUATS] = found.means[kept], found.quats[kept]
    # Fewer points stand for the same surface: each grows.
    grown = np.sqrt(len(found.means) / len(kept))
    sizes = np.clip(found.scales[kept] * grown, config.shape.min_scale_m, config.shape.max_scale_m)
    table[:, LOG_SCALES] = np.log(sizes)
    table[:, SH_DC] = (found.colors[kept] - 0.5) / SH_0
    table[:, OPACITY] = logit(_OPACITY)
    table[:, SKIN] = skin_logits(found.skin[kept])
    modes = np.concatenate([found.mouth_modes, found.control_modes], axis=1)[kept]
    return InitialGaussians(table, found.labels[kept].copy(), np.ascontiguousarray(modes, np.float32))


def _chosen(found: Points, most: int, generator: np.random.Generator) -> NDArray[np.int64]:
    count = len(found.means)
    if count <= most:
        return np.arange(count)
    weight = np.array([_KEEP.get(label, 0.1) for label in found.labels.tolist()])
    # Efraimidis and Spirakis 2006: the largest of u^(1/w) are a weighted sample without replacement.
    key = np.log(generator.random(count)) / weight
    return np.sort(np.argsort(-key)[:most])


def _random(
    dataset: Dataset, rows: NDArray[np.int64], config: TrainConfig, generator: np.random.Generator
) -> InitialGaussians:
    """Points in the box of the person's silhouette, about the depth of the pivot, colored as they look."""
    if not len(rows):
        raise TrainingError(
            "data set: expected TRAIN pictures with known poses, found none: track them first"
        )
    row = int(rows[len(rows) // 2])
    shown, parts = picture(dataset, row), labels(dataset, row)
    person = person_mask(parts)
    box = box_of(person)
    if box is None:
        raise TrainingError(
            f"labels of row {row}: expected a person, found only background: make masks first"
        )
    camera, count = dataset.camera, config.random_points
    to_world = np.linalg.inv(camera.T_camera_world)
    center = camera.T_camera_world[:3, :3] @ dataset.pivot_m + camera.T_camera_world[:3, 3]
    y, x = (generator.uniform(low, high, count) for low, high in (box[:2], box[2:]))
    z = center[2] + generator.uniform(-0.7, 0.3, count) * _THICKNESS_M
    seen = np.stack([(x - camera.cx) * z / camera.fx, (y - camera.cy) * z / camera.fy, z], axis=1)
    pixels = y.astype(int), x.astype(int)
    part = np.where(person[pixels], parts[pixels], TORSO).astype(np.uint8)
    table = np.zeros((count, row_width(config.sh_degree)), np.float32)
    table[:, MEANS] = seen @ to_world[:3, :3].T + to_world[:3, 3]
    table[:, QUATS] = (1, 0, 0, 0)
    area = np.ptp(seen[:, 0]) * np.ptp(seen[:, 1])
    table[:, LOG_SCALES] = np.log(np.clip(0.5 * np.sqrt(area / count), 1e-3, config.shape.max_scale_m))
    table[:, SH_DC] = (shown[pixels] / 255 - 0.5) / SH_0
    table[:, OPACITY] = logit(0.1)  # as 3DGS starts
    by_head = np.where(np.isin(part, _HEAD_PARTS), 0.95, np.where(part == NECK, 0.5, 0.05))
    table[:, SKIN] = logit(by_head)
    return InitialGaussians(table, part, np.zeros((count, MOTION_SIZE, 3), np.float32))
