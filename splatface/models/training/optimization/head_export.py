# SPDX-License-Identifier: Apache-2.0
"""Export of a baked head: limits, consent, networks, reports; and the back of a head filmed from the front.

No frame shows that back, and no training may use it: a cheek in front of a shell that exists from the start
learns to be transparent. So the shell is added when everything else is learned, no wider than a turned head
hides.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree

from splatface.models.audio2motion.audio_to_mouth import AudioToMouthNet
from splatface.models.audio2motion.pretrained_nets import load_net, shipped_encoders
from splatface.models.errors import EncoderError, TrainingError
from splatface.models.head.head import Gaussians, Head, HeadInfo, MotionMap
from splatface.models.head.head_file import save_head
from splatface.models.messages import HeadControl
from splatface.models.render.render import renderer
from splatface.models.rotations import quats_from_matrices
from splatface.models.talking_head import TalkingHead
from splatface.models.training.audio_to_mouth.speaker_calibration import calibrate_net, calibration_as_dict
from splatface.models.training.dataset.dataset_audio import load_features
from splatface.models.training.dataset.types import Dataset
from splatface.models.training.optimization.bake import BakedHead
from splatface.models.training.optimization.dataset_statistics import (
    fit_torso_follow_ratio,
    motion_limits_from_dataset,
    pose_limits_from_dataset,
)
from splatface.models.typing import Float32Array, Float64Array

__all__ = ["add_back_of_head_shell", "calibrated_nets", "export_head", "write_head"]

_MIN_OPACITY_LOGIT = float(np.log((1 / 255) / (1 - 1 / 255)))  # visible in an 8-bit image
_MAX_COEFFICIENT = 4.0  # coefficients have mean square 1

_MIN_SKINNING_WEIGHT, _MIN_OPACITY = 0.95, 0.3  # of Gaussians that outline the head
_BAND_M, _SMOOTHING_BANDS = 0.006, 2.0
_ANGLES = 24  # from one side to the other
_DEPTH_RATIO = 0.7  # of the head's half width: a deeper shell would stick out when the head turns
_INSET_M = 0.003  # from the outline
_EDGE_QUANTILE = 0.03  # of a band's x positions
_MIN_BAND_SIZE = 12  # Gaussians
_CHIN_QUANTILE = 0.95  # of the head's heights: nothing is added below it
_DISC_SCALE, _DISC_THICKNESS = 0.75, 0.3  # of the distance to the next
_MAX_DISTANCE_M = 0.01  # limit of it: at the crown a band is far wider than the one above
_OPACITY_LOGIT = 4.0
_NEIGHBORS = 12


def export_head(baked: BakedHead, dataset: Dataset, *, name: str, reports: Mapping[str, Any]) -> Head:
    """Return a head without networks: the baked person with the description of the data set.

    Args:
        baked: Gaussians and motion basis.
        dataset: camera, consent, license, limits of the pose.
        name: of the head.
        reports: "training", "evaluation": plain data for head.yaml.

    Gaussians that are never visible are left out. All but places are rounded to half floats, which the
    file then stores as such.
    """
    color = np.asarray(dataset.background, np.float64).reshape(-1, 3).mean(axis=0)
    info = HeadInfo(
        name=name,
        person=_person(dataset),
        license=dataset.license,
        consent=dataset.consent,
        camera=dataset.camera,
        coefficient_names=tuple(f"direction {k + 1}" for k in range(baked.basis.shape[2])),
        background=(float(color[0]), float(color[1]), float(color[2])),
        pivot_m=(float(dataset.pivot_m[0]), float(dataset.pivot_m[1]), float(dataset.pivot_m[2])),
        pose_limits=pose_limits_from_dataset(dataset),
        motion_limits=motion_limits_from_dataset(dataset),
        torso_follow=fit_torso_follow_ratio(dataset),
        fps=dataset.fps,
        reports=dict(reports),
    )
    visible = _visible(baked)
    kept = visible[baked.dynamic]
    new_index = np.cumsum(visible) - 1
    g = baked.gaussians
    return Head(
        gaussians=Gaussians(
            means=np.ascontiguousarray(g.means[visible], np.float32),
            **{
                f.name: _round_to_float16(getattr(g, f.name)[visible])
                for f in fields(Gaussians)
                if f.name != "means"
            },
        ),
        skinning_weight=_round_to_float16(np.clip(baked.skin[visible], 0.0, 1.0)),
        dynamic=new_index[baked.dynamic[kept]].astype(np.int32),
        basis=_round_to_float16(baked.basis[kept]),
        motion_map=MotionMap(
            **{f.name: _round_to_float16(getattr(baked.motion_map, f.name)) for f in fields(MotionMap)}
        ),
        info=info,
    )


def _person(dataset: Dataset) -> str:
    return f"nobody: {dataset.name} is a synthetic actor" if dataset.source == "actor" else dataset.name


def calibrated_nets(
    dataset: Dataset, encoders: Iterable[str] | None = None
) -> tuple[dict[str, AudioToMouthNet], dict[str, Any]]:
    """Return the shared networks, calibrated to the person where the audio allows, and what was found.

    `encoders`: all that have a network when left out. An encoder whose weights are not installed here leaves
    its network as it is: the head then runs with it elsewhere.
    """
    nets: dict[str, AudioToMouthNet] = {}
    reports: dict[str, Any] = {}
    for encoder in shipped_encoders() if encoders is None else encoders:
        net = load_net(encoder)
        try:
            net, calibration = calibrate_net(net, dataset, *load_features(dataset, encoder))
        except EncoderError as error:
            reports[encoder] = {"not calibrated": str(error)}
        else:
            reports[encoder] = calibration_as_dict(calibration)
        nets[encoder] = replace(net, w2=_round_to_float16(net.w2), b2=_round_to_float16(net.b2))
    return nets, reports


def write_head(head: Head, folder: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Save the head with a preview [512, 512, 3] of it at rest; return the preview.

    Raises:
        HeadError: when it is not valid or the disk refuses.
    """
    talker = TalkingHead(head, renderer("cpu", threads=1), size=(512, 512), watermark=True)
    preview = talker.render([], HeadControl(), 0)
    save_head(head, folder, preview)
    return preview


def _visible(baked: BakedHead) -> NDArray[np.bool_]:
    """Return whether the opacity of each Gaussian [N] can become visible."""
    highest = baked.gaussians.opacity_logits.astype(np.float64).copy()
    highest[baked.dynamic] += _MAX_COEFFICIENT * np.linalg.norm(baked.basis[:, 10].astype(np.float64), axis=1)
    visible: NDArray[np.bool_] = highest > _MIN_OPACITY_LOGIT
    if not visible.any():
        raise TrainingError("export: expected a person that can be seen, found all transparent: train longer")
    return visible


def _round_to_float16(values: Float32Array) -> Float32Array:
    """Return values rounded to half floats, as float32, clamped to their range."""
    rounded: Float32Array = np.clip(values, -65504, 65504).astype(np.float16).astype(np.float32)
    return np.ascontiguousarray(rounded)


def add_back_of_head_shell(baked: BakedHead) -> BakedHead:
    """Add half a shell behind the outline of the head, in the colors next to it.

    Without a head to outline nothing changes.
    """
    gaussians, of_head = baked.gaussians, baked.skin > _MIN_SKINNING_WEIGHT
    of_head &= 1 / (1 + np.exp(-gaussians.opacity_logits)) > _MIN_OPACITY
    grid = _shell(gaussians.means[of_head].astype(np.float64))
    if grid is None:
        return baked
    _, near = cKDTree(gaussians.means[of_head]).query(grid.reshape(-1, 3), k=_NEIGHBORS)
    colors = np.median(gaussians.sh[of_head, 0][near], axis=1)
    shell = _discs(grid, colors, gaussians.sh.shape[1])
    joined = {
        name: np.concatenate([getattr(gaussians, name), getattr(shell, name)]) for name in Gaussians.__slots__
    }
    skin = np.concatenate([baked.skin, np.ones(len(shell), np.float32)])
    return replace(baked, gaussians=Gaussians(**joined), skin=skin)


def _shell(means: Float64Array) -> Float64Array | None:
    """Return points [bands, angles, 3] behind the outline of means [N, 3] (x right, y down, z away)."""
    if len(means) < _MIN_BAND_SIZE:
        return None
    heights = np.arange(means[:, 1].min() + 1.5 * _BAND_M, np.quantile(means[:, 1], _CHIN_QUANTILE), _BAND_M)
    bands = []
    for height in heights:
        band = means[np.abs(means[:, 1] - height) < _BAND_M]
        if len(band) >= _MIN_BAND_SIZE:
            left, right = np.quantile(band[:, 0], (_EDGE_QUANTILE, 1 - _EDGE_QUANTILE))
            edge = (band[:, 0] <= left) | (band[:, 0] >= right)
            bands.append((left, right, np.median(band[edge, 2]), height))
    if len(bands) < 3:
        return None
    left, right, depth, height = np.array(bands).T
    left, right, depth = (
        gaussian_filter1d(v, _SMOOTHING_BANDS, mode="nearest") for v in (left, right, depth)
    )
    half_width = np.maximum((right - left) / 2 - _INSET_M, _INSET_M)[:, None]
    angles = np.linspace(0, np.pi, _ANGLES)
    x = (left + right)[:, None] / 2 + half_width * np.cos(angles)
    z = depth[:, None] + _DEPTH_RATIO * half_width * np.sin(angles)
    return np.stack([x, np.broadcast_to(height[:, None], x.shape), z], axis=2)


def _discs(grid: Float64Array, colors: NDArray[np.float32], sh_coefficients: int) -> Gaussians:
    """Return flat Gaussians that close a grid of points [B, A, 3]."""
    down, along = np.gradient(grid, axis=0), np.gradient(grid, axis=1)
    first, second = (v.reshape(-1, 3) for v in (along, down))
    sizes = [np.clip(np.linalg.norm(v, axis=1), _INSET_M, _MAX_DISTANCE_M) for v in (first, second)]
    first = first / np.linalg.norm(first, axis=1, keepdims=True)
    third = np.cross(first, second)
    third /= np.linalg.norm(third, axis=1, keepdims=True)
    axes = np.stack([first, np.cross(third, first), third], axis=2)
    count = len(first)
    scales = _DISC_SCALE * np.stack([*sizes, _DISC_THICKNESS * np.minimum(*sizes)], axis=1)
    sh = np.zeros((count, sh_coefficients, 3), np.float32)
    sh[:, 0] = colors
    return Gaussians(
        means=grid.reshape(-1, 3).astype(np.float32),
        quats=quats_from_matrices(axes).astype(np.float32),
        log_scales=np.log(scales).astype(np.float32),
        opacity_logits=np.full(count, _OPACITY_LOGIT, np.float32),
        sh=sh,
    )
