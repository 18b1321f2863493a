import numpy as np
import pytest
import torch
from performers import performer_of, true_performer

from splatface.models.errors import TrainingError
from splatface.models.training.dataset.types import TRAIN
from splatface.models.training.optimization.bake import (
    BakeConfig,
    DatasetRenderer,
    bake_field,
    image_sensitivity,
)
from splatface.models.training.optimization.dataset_statistics import known_rows


def deltas_of(baked, dataset, row):
    """What the baked head adds to its own canonical Gaussians, all N."""
    frames = dataset.frames
    deltas = np.zeros((len(baked.gaussians), 14), np.float32)
    deltas[baked.dynamic] = baked.basis @ baked.motion_map(frames.mouth[row], frames.controls[row])
    return deltas


def picture_of(baked, performer, dataset, row):
    g = baked.gaussians
    table = torch.from_numpy(
        np.concatenate(
            [
                g.means, g.quats, g.log_scales, g.opacity_logits[:, None],
                performer.table[:, 11:12].numpy(), g.sh.reshape(len(g), -1),
            ],
            axis=1,
        )
    )  # fmt: skip
    deltas = torch.from_numpy(deltas_of(baked, dataset, row))
    return DatasetRenderer(dataset).picture(table, deltas, row).numpy()


def psnr_between(baked, performer, dataset):
    """Field against baked head, over all rows trained on."""
    stage, squares = DatasetRenderer(dataset), []
    for row in known_rows(dataset, TRAIN).tolist():
        field = stage.picture(performer.table, performer.deltas(row), row).numpy()
        squares.append(np.mean((field - picture_of(baked, performer, dataset, row)) ** 2))
    return -10 * np.log10(np.mean(squares))


def test_a_linear_field_bakes_without_loss(tiny):
    head, _ = true_performer(tiny)
    rng = np.random.default_rng(0)
    basis = np.zeros((len(head.gaussians), 14, 16))
    basis[:300, :3] = rng.normal(size=(300, 3, 16)) * 2e-3
    basis[:300, 11:] = rng.normal(size=(300, 3, 16)) * 0.2
    performer = performer_of(head, tiny, lambda motion: motion, basis)
    baked = bake_field(performer, tiny, BakeConfig(hidden=0))
    assert set(baked.dynamic) <= set(range(300))
    assert baked.report["lost_with_directions"] < 1e-6
    assert baked.report["not_told_by_motion"] < 1e-4
    assert psnr_between(baked, performer, tiny) > 55
    assert baked.basis.shape == (len(baked.dynamic), 14, 32)


def test_the_true_head_bakes_to_itself(tiny):
    _, performer = true_performer(tiny)
    baked = bake_field(performer, tiny, BakeConfig())
    assert psnr_between(baked, performer, tiny) > 45


def test_at_rest_the_baked_head_is_the_field_at_rest(tiny):
    head, _ = true_performer(tiny)
    rng = np.random.default_rng(1)
    basis = np.zeros((len(head.gaussians), 14, 17))
    basis[:200, 11:] = rng.normal(size=(200, 3, 17)) * 0.3
    constant = performer_of(head, tiny, lambda motion: np.r_[motion, 1.0], basis)
    baked = bake_field(constant, tiny, BakeConfig(hidden=0))
    moved = np.isin(np.arange(200), baked.dynamic)
    found = baked.gaussians.sh[:200, 0] - head.gaussians.sh[:200, 0]
    assert found[moved] == pytest.approx(basis[:200, 11:, 16][moved], abs=0.03)


def test_fewer_ways_lose_more_and_say_so(tiny):
    head, _ = true_performer(tiny)
    rng = np.random.default_rng(2)
    basis = np.zeros((len(head.gaussians), 14, 16))
    basis[:300, 11:] = rng.normal(size=(300, 3, 16)) * 0.4
    performer = performer_of(head, tiny, lambda motion: motion, basis)
    lost = [
        bake_field(performer, tiny, BakeConfig(hidden=0, coefficients=k)).report["lost_with_directions"]
        for k in (2, 4, 16)
    ]
    assert lost[0] > lost[1] > lost[2]
    assert lost[2] < 1e-6


def test_those_whose_movement_shows_least_stand_still(tiny):
    head, _ = true_performer(tiny)
    basis = np.zeros((len(head.gaussians), 14, 16))
    basis[:100, 11] = 0.3
    basis[100:200, 11] = 1e-3
    performer = performer_of(head, tiny, lambda motion: motion, basis)
    baked = bake_field(performer, tiny, BakeConfig(hidden=0, dynamic=100))
    assert len(baked.dynamic) <= 100
    assert set(baked.dynamic) <= set(range(100))


def test_a_still_field_has_nothing_dynamic(tiny):
    head, _ = true_performer(tiny)
    performer = performer_of(head, tiny, lambda motion: motion, np.zeros((len(head.gaussians), 14, 16)))
    baked = bake_field(performer, tiny, BakeConfig())
    assert baked.dynamic.shape == (0,)
    assert baked.gaussians.means == pytest.approx(head.gaussians.means)


def test_a_field_that_ran_away_is_an_error(tiny):
    head, _ = true_performer(tiny)
    basis = np.zeros((len(head.gaussians), 14, 16))
    basis[5, 0, 0] = np.nan
    with pytest.raises(TrainingError, match="finite"):
        bake_field(performer_of(head, tiny, lambda m: m, basis), tiny, BakeConfig())


def test_the_effect_is_that_of_a_small_push(tiny):
    """Against finite differences of one Gaussian's color and place."""
    _, performer = true_performer(tiny)
    row = known_rows(tiny, TRAIN)[3]
    stage = DatasetRenderer(tiny)
    effect = image_sensitivity(performer, stage, np.array([row]), probes=64, seed=0)
    one = int(np.argsort(effect[:, 11])[-20])
    deltas = performer.deltas(row)
    for channel, step in ((11, 1e-2), (0, 2e-5)):
        ends = []
        for sign in (1, -1):
            pushed = deltas.clone()
            pushed[one, channel] += sign * step
            ends.append(stage.picture(performer.table, pushed, row).double())
        found = float(((ends[0] - ends[1]) / (2 * step)).norm())
        assert effect[one, channel] == pytest.approx(found, rel=0.35)


@pytest.mark.parametrize(("name", "value"), [("coefficients", 0), ("dynamic", 0), ("hidden", -1)])
def test_settings_that_make_no_sense_are_refused(name, value):
    with pytest.raises(TrainingError, match=name):
        BakeConfig(**{name: value})
