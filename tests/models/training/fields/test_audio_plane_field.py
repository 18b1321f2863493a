from itertools import product as all_of

import pytest
import torch
from fields_fixture import (
    COUNT,
    condition,
    features,
    gaussians,
    generator,
    jaw,
    learn,
    shaken,
    small_planes,
)

from splatface.models.errors import TrainingError
from splatface.models.training.fields.audio_plane_field import PrototypeGrid
from splatface.models.training.fields.factorized_planes import grid_values
from splatface.models.training.fields.factory import make_field
from splatface.models.training.fields.field_config import AudioPlaneConfig, ConditioningConfig


def field(seed=0, **changes):
    made = make_field(
        small_planes(**changes), gaussians(), training_features=features(), generator=generator(seed)
    )
    return shaken(made)


def interpolate(grid, place):
    """Linear along every axis of `grid` [R, ..., D] at place [axes], in plain Python."""
    if not len(place):
        return grid
    at = min(max(float(place[0]), 0.0), 1.0) * (len(grid) - 1)
    first = min(int(at), len(grid) - 2)
    share = at - first
    below = interpolate(grid[first], place[1:])
    return (1 - share) * below + share * interpolate(grid[first + 1], place[1:])


def equation_6(made, means, now):
    """f of every Gaussian by loops over s, (i, j, k) and Gaussians."""
    a = made.encoder(now)
    layout, places = made.layout, made.box(means)
    axes = ((0, 1, 2), (0, 2, 1), (1, 2, 0))
    fusion = made.config.fusion
    rows = []
    for n in range(len(means)):
        f = []
        for s, prototypes in enumerate(made.prototypes):
            book = prototypes.prototypes
            f_a = torch.softmax(torch.stack([a @ row for row in book]) / 16**0.5, 0) @ book
            sets = []
            for t, (i, j, k) in enumerate(axes):
                plane, line = (grid_values(made.values, grid, 16) for grid in layout.products[3 * s + t])
                in_plane = interpolate(plane, places[n][[i, j]])
                sets.append(in_plane * interpolate(line, places[n][[k]]) * f_a)
            if fusion == "concat":
                f += sets
            else:
                f.append(sum(sets) if fusion == "add" else sets[0] * sets[1] * sets[2])
        rows.append(torch.cat(f))
    return torch.stack(rows)


def test_the_defaults_are_the_papers():
    config = AudioPlaneConfig()
    assert (config.resolution, config.features, config.scales) == (64, 16, (1, 2, 3, 4))
    assert (config.fusion, config.selector, config.width) == ("concat", "attention", 192)
    made = make_field(config, gaussians(), generator=generator())
    assert [len(grid.prototypes) for grid in made.prototypes] == [64, 128, 192, 256]
    planes = 3 * (1 + 4 + 9 + 16) * 64 * 64 * 16
    assert made.layout.count == planes + 3 * (1 + 2 + 3 + 4) * 64 * 16


@pytest.mark.parametrize("fusion", ["concat", "add", "multiply"])
def test_features_are_those_of_equation_6(fusion):
    made = field(fusion=fusion).double()
    means = gaussians().means[:6].double()
    now = condition()
    now = type(now)(now.mouth.double(), now.controls.double(), now.pose.double(), None)
    torch.testing.assert_close(made.features(means, now), equation_6(made, means, now))


@pytest.mark.parametrize(
    ("fusion", "representation"),
    [*all_of(("concat", "add", "multiply"), ("audio_plane",)), ("concat", "concat")],
)
def test_folding_changes_nothing(fusion, representation):
    made = field(fusion=fusion, representation=representation)
    means, now = gaussians().means, condition()
    hidden = torch.relu(made.first(made.features(means, now)))
    dynamism = torch.sigmoid(made.dynamism(hidden[:, 64:]))
    movement = made(means, now)
    torch.testing.assert_close(movement.dynamism, dynamism[:, 0])
    wanted = dynamism * made.deltas(hidden[:, :64]) * made.units  # equation 7
    torch.testing.assert_close(movement.deltas, wanted, rtol=1e-4, atol=1e-5)


def test_equation_4_is_attention_over_the_prototypes():
    grid = PrototypeGrid(8, AudioPlaneConfig(), generator())
    a = torch.randn(16)
    theirs = torch.nn.functional.scaled_dot_product_attention(a[None], grid.prototypes, grid.prototypes)
    torch.testing.assert_close(grid(a), theirs[0])
    sharp = grid.weights(grid.prototypes[3] * 100)
    assert sharp.argmax() == 3 or sharp.max() > 0.99


def test_picking_by_mlp_also_adds_up_to_one():
    grid = PrototypeGrid(8, AudioPlaneConfig(selector="mlp"), generator())
    weights = grid.weights(torch.randn(16))
    assert weights.shape == (8,)
    torch.testing.assert_close(weights.sum(), torch.tensor(1.0))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"fusion": "add"},
        {"fusion": "multiply"},
        {"selector": "mlp"},
        {"representation": "concat"},
        {"dynamism": "off"},
        {"representation": "concat", "dynamism": "off", "fusion": "add"},
        {"scales": (1,)},
        {"controls": False},
        {"deltas": ("mean",)},
        {"conditioning": ConditioningConfig(drive="sound")},
    ],
)
def test_every_switch_gives_movement_and_gradients(changes):
    made = field(**changes)
    movement = made(gaussians().means, condition())
    assert movement.deltas.shape == (COUNT, 14)
    movement.deltas.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in made.parameters())
    if "dynamism" in changes:
        assert movement.dynamism is None
    else:
        assert ((movement.dynamism > 0) & (movement.dynamism < 1)).all()


def test_a_new_field_moves_nothing_and_is_undecided():
    made = make_field(small_planes(), gaussians(), generator=generator())
    movement = made(gaussians().means, condition())
    assert not movement.deltas.any()
    torch.testing.assert_close(movement.dynamism, torch.full((COUNT,), 0.5))


def test_without_controls_blinks_are_not_heard():
    made, means = field(controls=False), gaussians().means
    first, second = condition(0), condition(1)
    same_mouth = type(first)(first.mouth, second.controls, second.pose, None)
    torch.testing.assert_close(made(means, first).deltas, made(means, same_mouth).deltas)


def test_rows_alone_and_places_once_give_the_same():
    made, means = field(), gaussians().means
    rows = torch.tensor([5, 2, 30])
    whole = made(means, condition())
    some = made(means, condition(), rows)
    torch.testing.assert_close(some.deltas, whole.deltas[rows])
    torch.testing.assert_close(some.dynamism, whole.dynamism[rows])
    torch.testing.assert_close(made.bind_positions(means)(condition()).deltas, whole.deltas)


def test_gradients_reach_places_and_agree_with_differences():
    made = field(scales=(1,)).double()
    means = gaussians().means[:3].double().requires_grad_()
    now = condition()
    now = type(now)(now.mouth.double(), now.controls.double(), now.pose.double(), None)
    assert torch.autograd.gradcheck(lambda m: made(m, now).deltas, (means,))


def test_it_learns_a_movement():
    means = gaussians(100).means
    made = make_field(small_planes(scales=(1, 2)), gaussians(100), generator=generator())
    assert learn(made, means, jaw(means)) < 0.1


def test_dynamism_can_be_taught():
    means = gaussians(100).means
    made = make_field(small_planes(scales=(1, 2)), gaussians(100), generator=generator())
    optimiser = torch.optim.Adam(made.parameters(), lr=2e-2)
    mouth = means[:, 1] > 0
    for _ in range(60):
        loss = (made(means, condition()).dynamism - mouth.float()).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    dynamism = made(means, condition()).dynamism.detach()
    assert dynamism[mouth].mean() > dynamism[~mouth].mean() + 0.5


def test_what_cannot_be_is_refused():
    with pytest.raises(TrainingError, match="selector: expected one of attention, mlp, found 'gate'"):
        AudioPlaneConfig(selector="gate")
    with pytest.raises(TrainingError, match="scales: expected different whole numbers"):
        AudioPlaneConfig(scales=(1, 1))
