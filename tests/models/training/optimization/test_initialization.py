"""What a run starts from: points or none, targets, conditions, poses, paces."""

from dataclasses import replace

import numpy as np
import pytest
from dataset_fixture import tiny_dataset, tiny_head

from splatface.models.errors import TrainingError
from splatface.models.head.controls import bone_poses
from splatface.models.messages import HeadControl
from splatface.models.render.conventions import SH_0
from splatface.models.rotations import quat_from_euler
from splatface.models.training.dataset.dataset_io import load_dataset
from splatface.models.training.dataset.types import FACE, LIPS, MOUTH, TRAIN
from splatface.models.training.fields.field_config import ConditioningConfig
from splatface.models.training.optimization.dataset_statistics import known_frame_indices
from splatface.models.training.optimization.field_trainers import Conditions, pose_parameters
from splatface.models.training.optimization.gaussian_skinning import SH_DC, SKIN
from splatface.models.training.optimization.image_loss import TargetCache
from splatface.models.training.optimization.initialization import build_trainer, initialize_gaussians
from splatface.models.training.optimization.optimizer import (
    CANONICAL,
    DEFORMATION,
    basis_rates,
    schedule_at,
    table_rates,
)
from splatface.models.training.optimization.train_config import (
    DensifyConfig,
    LearningRates,
    LossConfig,
    StageConfig,
    preset,
)

BASIS = replace(preset("basis"), threads=1)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return load_dataset(tiny_dataset(tmp_path_factory.mktemp("data") / "tiny"))


@pytest.fixture(scope="module")
def rows(dataset):
    return known_frame_indices(dataset, TRAIN)


def test_points_become_gaussians(dataset, rows):
    from splatface.models.training.dataset.dataset_io import load_points

    found, start = load_points(dataset), initialize_gaussians(dataset, rows, BASIS)
    assert len(start.table) == len(found.means)
    assert np.array_equal(start.table[:, :3], found.means)
    assert np.allclose(0.5 + SH_0 * start.table[:, SH_DC], found.colors, atol=1e-6)
    assert np.allclose(1 / (1 + np.exp(-start.table[:, SKIN])), found.skinning_weight, atol=0.006)
    assert np.array_equal(start.modes[:, :8], found.mouth_modes)


def test_too_many_points_are_thinned_where_nobody_looks(dataset, rows):
    few = replace(BASIS, densify=DensifyConfig(max_gaussians=1500))
    every, start = initialize_gaussians(dataset, rows, BASIS), initialize_gaussians(dataset, rows, few)
    assert len(start.table) == 1500
    looked_at = np.isin(every.labels, (LIPS, MOUTH)).mean()
    assert np.isin(start.labels, (LIPS, MOUTH)).mean() > 1.3 * looked_at
    assert np.array_equal(start.table, initialize_gaussians(dataset, rows, few).table)
    assert not np.array_equal(start.table, initialize_gaussians(dataset, rows, replace(few, seed=1)).table)


def test_without_points_they_lie_at_random_where_the_person_is(dataset, rows, monkeypatch):
    from splatface.models.training.optimization import initialization as module

    monkeypatch.setattr(module, "load_points", lambda dataset: None)
    start = initialize_gaussians(dataset, rows, replace(BASIS, random_points=500))
    assert start.table.shape == (500, 24)
    assert np.isfinite(start.table).all()
    head, _ = tiny_head()
    low, high = head.gaussians.means.min(0) - 0.1, head.gaussians.means.max(0) + 0.1
    assert ((start.table[:, :3] > low) & (start.table[:, :3] < high)).mean() > 0.95
    share = 1 / (1 + np.exp(-start.table[:, SKIN]))
    assert share[start.labels == FACE].min() > 0.9
    assert not start.modes.any()


def test_nothing_to_train_on_is_said(dataset):
    frames = replace(dataset.frames, mouth=np.full_like(dataset.frames.mouth, np.nan))
    with pytest.raises(TrainingError, match="TRAIN pictures with known motion"):
        build_trainer(replace(dataset, frames=frames), BASIS)


def test_targets_weigh_the_mouth_most_and_are_kept_while_there_is_room(dataset, rows):
    row = int(rows[3])
    targets = TargetCache(dataset, LossConfig(), max_gb=1.0)
    target = targets(row)
    assert targets(row) is target
    top, left, bottom, right = target.lips
    middle = (top + bottom) // 2, (left + right) // 2
    assert target.weights[middle] > 3 * target.weights[2, 2]
    assert target.dynamic_mask[middle] == 255
    assert target.dynamic_mask[2, 2] == 0
    none = TargetCache(dataset, LossConfig(), max_gb=0.0)
    assert none(row) is not none(row)


def test_the_pose_of_a_control_comes_back(dataset):
    head, _ = tiny_head()
    angles, shift = np.array([0.2, -0.1, 0.05]), np.array([0.01, 0.02, -0.01])
    control = HeadControl(quat_world_head=quat_from_euler(angles), translation_m=shift)
    pose = pose_parameters(bone_poses(control, head.info).T_world_head, np.asarray(head.info.pivot_m))
    assert np.allclose(pose[:3], angles, atol=1e-9)
    assert np.allclose(pose[3:], [shift[1], -shift[2], -shift[0]], atol=1e-9)


def test_conditions_by_motion_and_by_sound(dataset):
    still = Conditions(dataset, ConditioningConfig(), "")(4)
    assert np.array_equal(still.mouth, dataset.frames.mouth[4].astype(np.float32))
    assert still.audio is None
    how = ConditioningConfig(drive="sound", frames=5, windows=3, lookahead_ms=40.0)
    conditions = Conditions(dataset, how, "logmel")
    audio = conditions(4).audio
    assert audio.shape == (3, 5, conditions.training_features().shape[1])
    assert np.array_equal(audio[0, 1:], audio[1, :-1])  # windows overlap, 20 ms apart
    later = Conditions(dataset, replace(how, lookahead_ms=60.0), "logmel")(4).audio
    assert np.allclose(later[:, :-1], audio[:, 1:], atol=1e-4)
    with pytest.raises(TrainingError, match="encoder"):
        Conditions(dataset, how, "")


def test_the_pace_follows_steps_or_minutes_whichever_is_further():
    stages = StageConfig(canonical_steps=100, deformation_steps=300, minutes=1.0)
    assert schedule_at(0, 0.0, stages).stage == CANONICAL
    assert schedule_at(100, 0.0, stages).stage == DEFORMATION
    assert schedule_at(50, 30.0, stages).stage == DEFORMATION
    assert schedule_at(50, 30.0, stages).progress == 0.5
    assert schedule_at(399, 59.0, stages).finished is False
    assert schedule_at(400, 1.0, stages).finished
    assert schedule_at(10, 60.0, stages).finished
    assert [schedule_at(step, 0.0, stages).warmup for step in (0, 100, 399)] == pytest.approx([0, 0.002, 0.6])
    assert schedule_at(399, 0.0, StageConfig(canonical_steps=400, deformation_steps=0)).stage == CANONICAL


def test_rates_cool_down():
    rates = LearningRates()
    first, last = table_rates(rates, 0.0, 24), table_rates(rates, 1.0, 24)
    assert first[0] == np.float32(rates.means)
    assert last[0] == np.float32(rates.means * rates.final_lr_ratio_means)
    assert last[10] == np.float32(rates.opacity * rates.final_lr_ratio)
    assert (first[15:] == np.float32(rates.sh_rest_lr)).all()
    schedule = schedule_at(50, 0.0, StageConfig(canonical_steps=0, deformation_steps=1000))
    assert (basis_rates(rates, schedule) > 0).all()
