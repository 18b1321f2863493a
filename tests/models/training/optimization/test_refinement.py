"""Motion that landmarks tell with noise comes back from the pictures, and nothing else moves."""

import json
from dataclasses import replace

import numpy as np
import pytest
from training_scene import REFINED_RUN, run_training

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.training.dataset.body_poses import with_motion_offset
from splatface.models.training.dataset.types import TEST, TRAIN
from splatface.models.training.optimization.dataset_statistics import all_motion
from splatface.models.training.optimization.refinement import (
    REFINED_CHANNELS,
    LossAndGrad,
    MotionObjective,
    extrapolate_correction,
    refine_motion,
)
from splatface.models.training.optimization.train_config import RefineConfig, StageConfig

pytestmark = pytest.mark.slow

ANCHOR, RESIDUALS, PICTURES = 0.05, 1000.0, 12
ROWS = np.arange(2, PICTURES)
NOISY = replace(
    REFINED_RUN,
    stages=StageConfig(canonical_steps=60, deformation_steps=240),
    refine=RefineConfig(
        rounds=2, iterations=4, rotation_sigma_deg=0.01, translation_sigma_m=1e-5, motion_sigma=0.3
    ),
)


@pytest.fixture
def generator():
    return np.random.default_rng(3)


class QuadraticLoss:
    """Pictures that are missed by the square of what the motion is wrong, all modes entangled."""

    def __init__(self, generator, blind=()):
        m = len(REFINED_CHANNELS)
        ways = generator.normal(size=(m, m))
        self.bend = ways @ ways.T / m + np.eye(m)
        self.true = np.zeros((PICTURES, 16))
        self.true[:, REFINED_CHANNELS] = generator.normal(size=(PICTURES, m)) * 0.05
        self.change, self.blind = np.zeros((PICTURES, 16)), blind

    def set_change(self, change):
        self.change = change.copy()

    def evaluate(self, row):
        if row in self.blind:
            return LossAndGrad(float("nan"), np.full(16, np.nan))
        off = (self.change - self.true)[row, REFINED_CHANNELS]
        grads = np.full(16, 9.0)  # of the eyes, which are not asked for
        grads[REFINED_CHANNELS] = self.bend @ off
        return LossAndGrad(0.02 + off @ self.bend @ off / 2, grads)

    @property
    def objective(self):
        return MotionObjective(self.set_change, self.evaluate, RESIDUALS)


def test_each_picture_finds_its_motion(generator):
    problem = QuadraticLoss(generator)
    found = refine_motion(problem.change, problem.objective, ROWS, ANCHOR, 6)
    left = (found - problem.true)[ROWS]
    assert np.abs(left).max() < 0.2 * np.abs(problem.true).max()
    assert not found[:2].any()
    assert not np.delete(found, REFINED_CHANNELS, axis=1).any()


def test_it_ends_where_picture_and_landmarks_agree(generator):
    problem = QuadraticLoss(generator)
    found = refine_motion(problem.change, problem.objective, ROWS, ANCHOR, 30)
    for row in ROWS:
        problem.set_change(found)
        result = problem.evaluate(row)
        stats = RESIDUALS / result.loss * result.grads[REFINED_CHANNELS]
        hold = found[row, REFINED_CHANNELS] / ANCHOR**2
        assert np.abs(stats + hold).max() < 0.02 * np.abs(hold).max()


def test_who_trusts_landmarks_stays_with_them(generator):
    problem = QuadraticLoss(generator)
    found = refine_motion(problem.change, problem.objective, ROWS, 1e-5, 6)
    assert np.abs(found).max() < 1e-5


def test_a_picture_that_cannot_be_looked_at_goes_by_its_landmarks(generator):
    problem = QuadraticLoss(generator, blind=(4,))
    start = problem.change.copy()
    start[4, 0] = 0.01
    found = refine_motion(start, problem.objective, ROWS, ANCHOR, 6)
    assert np.isfinite(found).all()
    assert np.abs(found[4]).max() <= 0.01
    assert np.abs((found - problem.true)[5]).max() < 0.02


def test_pictures_between_take_what_is_the_same_for_all(generator):
    tracked = generator.random((400, 16)).astype(np.float32)
    way = generator.normal(size=(16, 16)) * 0.1
    rule = 0.02 + tracked @ way
    noise = generator.normal(size=rule.shape) * 0.01
    found = extrapolate_correction(tracked[:300], (rule + noise)[:300], tracked[300:])
    assert np.abs(found - rule[300:]).max() < 0.02
    assert extrapolate_correction(tracked[:3], rule[:3], tracked[:0]).shape == (0, 16)


@pytest.fixture(scope="module")
def noisy(tiny):
    """A data set with wrong mouth modes."""
    generator = np.random.default_rng(5)
    frames = tiny.frames
    mouth = frames.mouth.copy()
    mouth[:, 0] += generator.normal(size=len(mouth)) * 0.15
    return replace(tiny, frames=replace(frames, mouth=mouth.astype(np.float32)))


@pytest.fixture(scope="module")
def run(noisy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("motion")
    return run_training(noisy, NOISY, folder), folder


@pytest.mark.parametrize("part", [TRAIN, TEST])
def test_a_run_finds_what_the_mouth_did(tiny, noisy, run, part):
    rows = np.flatnonzero(tiny.frames.split == part)
    true, tracked = tiny.frames.mouth[rows, 0], noisy.frames.mouth[rows, 0]
    found = run[0].dataset.frames.mouth[rows, 0]
    assert np.corrcoef(found, true)[0, 1] > np.corrcoef(tracked, true)[0, 1] + 0.02
    assert np.std(found - true) < 0.7 * np.std(tracked - true)


def test_it_is_reported(run):
    rounds = json.loads((run[1] / "poses.json").read_text())["rounds"]
    assert "mouth_changed" not in rounds[0]  # the face has not learned to move yet
    assert all(line["mouth_changed"] > 0 for line in rounds[1:])


def changes(trained, tracked):
    """What a training changed in the motion [F, 16]."""
    frames = tracked.frames
    kept_to_ranges = with_motion_offset(tracked, np.zeros((len(frames), 16)), frames.time_ns)
    return all_motion(trained.dataset) - all_motion(kept_to_ranges)


def test_few_are_looked_at_and_all_are_reported(noisy, tmp_path):
    few = replace(NOISY, refine=replace(NOISY.refine, max_frames=12, iterations=2))
    changed = np.abs(changes(run_training(noisy, few, tmp_path), noisy)).max(axis=1) > 0
    between = np.setdiff1d(np.flatnonzero(noisy.frames.split == TRAIN), np.arange(0, len(changed), 3))
    assert changed[between].all()


def test_it_may_be_left_out(noisy, tmp_path):
    short = StageConfig(canonical_steps=20, deformation_steps=20)
    still = replace(NOISY, refine=replace(NOISY.refine, motion_sigma=0.0), stages=short)
    assert not changes(run_training(noisy, still, tmp_path), noisy).any()


def test_names():
    following = [(*MOUTH_MODES, *CONTROLS)[k] for k in REFINED_CHANNELS]
    assert following[:8] == list(MOUTH_MODES)
    assert not any("blink" in name or "gaze" in name for name in following)
