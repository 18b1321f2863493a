"""Whole runs: what is learned, what is written, and that stopping at any moment changes nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dataset_fixture import tiny_dataset
from safetensors import safe_open
from training_scene import SHORT_RUN, SHORT_STEPS, run_training

from splatface.models.errors import TrainingError
from splatface.models.render.conventions import SH_0
from splatface.models.training.dataset.dataset_io import load_dataset
from splatface.models.training.optimization import training_run
from splatface.models.training.optimization.gaussian_skinning import SH_DC
from splatface.models.training.optimization.render_loss import RenderLoss
from splatface.models.training.optimization.train_config import (
    StageConfig,
    preset,
)
from splatface.models.training.optimization.trainer import CHECKPOINT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_dataset(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture(scope="module")
def dataset(folder):
    return load_dataset(folder)


def tensors_of(trained):
    g = trained.gaussians
    names = ("means", "quats", "log_scales", "opacity_logits", "sh")
    own = {name: getattr(g, name).numpy() for name in names}
    field = {f"field.{name}": p.detach().numpy() for name, p in trained.field.named_parameters()}
    return own | field | {"skin": trained.skin_logits.numpy(), "poses": trained.dataset.frames.T_world_head}


@pytest.fixture(scope="module")
def whole(dataset, tmp_path_factory):
    reports = []
    out = tmp_path_factory.mktemp("whole")
    return run_training(dataset, SHORT_RUN, out, reports.append), reports, out


def test_a_short_run_learns_and_tells(whole, dataset):
    trained, reports, out = whole
    assert [p.step for p in reports] == [20, 40, 60, 80]
    assert [p.stage for p in reports] == ["canonical", "deformation", "deformation", "deformation"]
    assert reports[-1].loss < 0.8 * reports[0].loss
    assert reports[-1].psnr_db > reports[0].psnr_db + 2
    assert reports[-1].validation_psnr_db > 30
    assert reports[-1].seconds_left == 0
    assert len(trained.gaussians.means) == reports[-1].gaussians == len(trained.labels)
    assert trained.dataset.frames.T_world_head.shape == (len(dataset.frames), 4, 4)
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [20, 40, 60, 80]
    assert sorted(p.name for p in (out / "validation").iterdir()) == ["0000040.png", "0000080.png"]


def test_colors_stay_near_what_pictures_show(whole):
    with safe_open(whole[2] / CHECKPOINT, framework="numpy") as file:
        colors = file.get_tensor("table")[:, SH_DC]
        low, high = file.get_tensor("colors.low"), file.get_tensor("colors.high")
    assert low.shape == high.shape == colors.shape
    assert ((low <= colors) & (colors <= high)).all()
    known = np.isfinite(low)
    assert known.mean() > 0.5
    np.testing.assert_allclose((high - low)[known], 2 * 0.25 / SH_0, rtol=1e-3)
    assert ((colors == low) | (colors == high))[known].any()  # some would have gone farther


def test_a_finished_run_is_read_back(whole, dataset):
    trained, reports, out = whole
    again = run_training(dataset, SHORT_RUN, out, lambda progress: pytest.fail("trained on"))
    for name, tensor in tensors_of(trained).items():
        assert np.array_equal(tensors_of(again)[name], tensor), name
    assert list(again.history) == reports


HELPERS = Path(__file__).parents[3] / "helpers"
CHILD = """
import sys
from pathlib import Path
sys.path[:0] = [{helpers!r}]
from training_scene import SHORT_RUN, run_training
from splatface.models.training.dataset.dataset_io import load_dataset
run_training(load_dataset(Path({data!r})), SHORT_RUN, Path({out!r}), lambda p: print(p.step, flush=True))
"""


@pytest.mark.parametrize("killed_at", [20, 60])
def test_killed_and_resumed_it_ends_as_if_never_stopped(whole, dataset, folder, tmp_path, killed_at):
    code = CHILD.format(helpers=str(HELPERS), data=str(folder), out=str(tmp_path))
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    for line in child.stdout:
        if int(line) >= killed_at:
            break
    time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert (tmp_path / CHECKPOINT).is_file()
    trained, reports, _ = whole
    first = []
    resumed = run_training(dataset, SHORT_RUN, tmp_path, first.append)
    assert first[0].step >= killed_at
    for name, tensor in tensors_of(trained).items():
        assert np.array_equal(tensors_of(resumed)[name], tensor), name
    assert [p.loss for p in resumed.history] == [p.loss for p in reports]


def test_a_folder_of_another_run_is_refused(whole, dataset):
    with pytest.raises(TrainingError, match="found another"):
        run_training(dataset, replace(SHORT_RUN, seed=1), whole[2])


def test_a_torn_checkpoint_is_refused_in_words(dataset, tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(b"half")
    with pytest.raises(TrainingError, match="whole checkpoint"):
        run_training(dataset, SHORT_RUN, tmp_path)


def poisoned(monkeypatch, when):
    """Pictures whose loss is NaN while `when(call)`."""
    true, calls = RenderLoss.loss_and_grads, [0]

    def stats(self, *arguments):
        calls[0] += 1
        found = true(self, *arguments)
        return replace(found, loss=float("nan")) if when(calls[0]) else found

    monkeypatch.setattr(RenderLoss, "loss_and_grads", stats)


def test_a_single_nan_is_skipped(dataset, tmp_path, monkeypatch):
    poisoned(monkeypatch, lambda call: call == 30)
    trained = run_training(dataset, SHORT_RUN, tmp_path)
    assert np.isfinite(trained.gaussians.means.numpy()).all()
    assert trained.history[-1].step == SHORT_STEPS


def test_nan_in_a_row_goes_back_and_learns_slower(dataset, tmp_path, monkeypatch):
    poisoned(monkeypatch, lambda call: 30 <= call < 36)
    once = replace(SHORT_RUN, checkpoint_s=0.15)
    save, rates = training_run.save_checkpoint, []

    def save_and_record(state, path, key):
        rates.append(state.counters.rate)
        save(state, path, key)

    monkeypatch.setattr(training_run, "save_checkpoint", save_and_record)
    trained = run_training(dataset, once, tmp_path)
    assert trained.history[-1].step == SHORT_STEPS
    assert rates[0] == 1.0
    assert rates[-1] == 0.5


def test_nothing_but_nan_is_an_error_that_says_what_to_do(dataset, tmp_path, monkeypatch):
    poisoned(monkeypatch, lambda call: True)
    with pytest.raises(TrainingError, match=r"NaN again and again.*check"):
        run_training(dataset, SHORT_RUN, tmp_path)


def test_a_full_disk_is_reported_and_the_run_goes_on_later(dataset, tmp_path, monkeypatch, whole):
    true, calls = training_run.save_checkpoint, [0]

    def save(*arguments):
        calls[0] += 1
        if calls[0] == 5:
            raise OSError(28, "No space left on device")
        true(*arguments)

    monkeypatch.setattr(training_run, "save_checkpoint", save)
    with pytest.raises(TrainingError, match=r"No space left.*free space"):
        run_training(dataset, SHORT_RUN, tmp_path)
    resumed = run_training(dataset, SHORT_RUN, tmp_path)
    assert np.array_equal(resumed.gaussians.means, whole[0].gaussians.means)


def test_a_budget_of_minutes_ends_the_run(dataset, tmp_path):
    # 0.3 s: 30 calls of the clock
    short = replace(SHORT_RUN, stages=replace(SHORT_RUN.stages, minutes=0.005))
    trained = run_training(dataset, short, tmp_path)
    assert trained.history[-1].step < SHORT_STEPS
    assert trained.history[-1].stage == "deformation"


@pytest.mark.parametrize("kind", ["attention", "audio_plane"])
def test_other_fields_train_and_resume(dataset, tmp_path, kind):
    config = replace(
        preset(kind),
        threads=1,
        stages=StageConfig(canonical_steps=4, deformation_steps=8),
        report_every=4,
        validate_every=100,
        checkpoint_s=0.0,
    )
    whole = run_training(dataset, config, tmp_path / "whole")

    class StoppedError(Exception):
        pass

    def stop(progress):
        if progress.step == 8:
            raise StoppedError

    with pytest.raises(StoppedError):
        run_training(dataset, config, tmp_path / "stopped", stop)
    resumed = run_training(dataset, config, tmp_path / "stopped")
    for name, tensor in tensors_of(whole).items():
        assert np.array_equal(tensors_of(resumed)[name], tensor), name
    assert any((p != 0).any() for p in whole.field.parameters())


def test_from_random_points_a_person_appears(dataset, tmp_path, monkeypatch):
    from splatface.models.training.optimization import initialization

    monkeypatch.setattr(initialization, "load_points", lambda dataset: None)
    config = replace(
        SHORT_RUN,
        random_points=800,
        stages=StageConfig(canonical_steps=120, deformation_steps=80),
        report_every=20,
        checkpoint_s=1e9,
    )
    reports = run_training(dataset, config, tmp_path).history
    assert reports[-1].psnr_db > reports[0].psnr_db + 6
    assert reports[-1].gaussians > 800
