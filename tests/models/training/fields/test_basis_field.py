import pytest
import torch
from fields_fixture import COUNT, condition, gaussians, generator, learn, points, shaken, small_basis, still

from splatface.models.errors import TrainingError
from splatface.models.training.fields.basis_field import BasisField, PointModes, apply_basis, start_basis
from splatface.models.training.fields.factory import make_field
from splatface.models.training.fields.field_config import BasisConfig, ConditioningConfig


def field(**changes):
    means = gaussians().means
    return make_field(small_basis(**changes), gaussians(), modes=points(means), generator=generator())


def test_it_starts_with_the_modes_of_the_points():
    made, means = field(), gaussians().means
    open_mouth = still()
    open_mouth.mouth[0] = 0.5
    open_mouth.controls[0] = 1.0
    wanted = torch.zeros(COUNT, 14)
    wanted[: COUNT // 2, 1] = 0.5 * 0.01
    wanted[:3, 1] += 0.004
    movement = made(means, open_mouth)
    torch.testing.assert_close(movement.deltas, wanted)
    assert made.dynamic.tolist() == list(range(COUNT // 2))
    assert (movement.dynamism[COUNT // 2 :] == 0).all()
    torch.testing.assert_close(movement.dynamism[: COUNT // 2], torch.full((COUNT // 2,), 2.0).sigmoid())


def test_lips_are_dynamic_even_where_nothing_moves_them():
    means = gaussians().means
    person = points(means)
    person.dynamic[-1] = True
    _, dynamic = start_basis(means, person, 20)
    assert dynamic.tolist() == [*range(COUNT // 2), COUNT - 1]


def test_without_points_all_may_move_and_nothing_does():
    made = make_field(small_basis(), gaussians(), generator=generator())
    assert len(made.dynamic) == COUNT
    assert not made(gaussians().means, condition()).deltas.any()


def test_rest_stays_at_rest_whatever_was_learned():
    deltas = shaken(field())(gaussians().means, still()).deltas
    assert deltas.abs().max() < 1e-6


def test_arrays_of_the_motion_map_say_the_same():
    made = shaken(field())
    now = condition()
    motion_map = made.motion_map()
    found = torch.from_numpy(motion_map(now.mouth.numpy(), now.controls.numpy()))
    torch.testing.assert_close(found, made.motion(now).detach(), rtol=1e-4, atol=1e-5)


def test_spare_coefficients_listen_from_the_start():
    c = field().motion(condition())
    now = condition()
    torch.testing.assert_close(c[:16], torch.cat([now.mouth, now.controls]))
    assert c[16:].abs().min() > 1e-3


def test_the_linear_basis_is_what_the_field_does():
    made = shaken(field())
    dynamic, basis = made.linear_basis()
    now = condition()
    wanted = torch.zeros(COUNT, 14)
    wanted[dynamic] = basis @ made.motion(now)
    torch.testing.assert_close(made(gaussians().means, now).deltas, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("changes", [{}, {"dynamism": "off"}, {"deltas": ("mean", "color")}])
def test_every_switch_gives_movement_and_gradients(changes):
    made = shaken(field(**changes))
    movement = made(gaussians().means, condition())
    movement.deltas.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in made.parameters())
    assert (movement.dynamism is None) == ("dynamism" in changes)
    if "deltas" in changes:
        assert not movement.deltas[:, 3:11].any()


def test_rows_alone_give_the_same():
    made, means = shaken(field()), gaussians().means
    rows = torch.tensor([30, 2, 5])
    whole = made(means, condition())
    some = made.bind_positions(means, rows)(condition())
    torch.testing.assert_close(some.deltas, whole.deltas[rows])
    torch.testing.assert_close(some.dynamism, whole.dynamism[rows])


def test_the_product_has_right_gradients():
    basis = torch.randn(3, 14, 4, dtype=torch.float64, requires_grad=True)
    c = torch.randn(4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(apply_basis, (basis, c))


def test_the_field_has_right_gradients():
    made = shaken(field()).double()
    means = gaussians().means
    x = torch.randn(16, dtype=torch.float64, requires_grad=True)

    def deltas(x):
        now = type(condition())(x[:8], x[8:], torch.zeros(6), None)
        return made(means, now).deltas

    assert torch.autograd.gradcheck(deltas, (x,))


def test_split_and_removed_gaussians_keep_their_movement():
    made = shaken(field())
    before = made(gaussians().means, condition())
    source = torch.tensor([0, 1, 1, 25, 7, 39, 39])  # 1 was split, 39 too, others are gone
    taken = made.remap_gaussians(source)
    after = made(gaussians().means[source], condition())
    torch.testing.assert_close(after.deltas, before.deltas[source])
    torch.testing.assert_close(after.dynamism, before.dynamism[source])
    assert taken.tolist() == [0, 1, 1, 7]
    assert made.basis.requires_grad
    with pytest.raises(TrainingError, match="expected 7 Gaussians, found 40: call remap_gaussians"):
        made(gaussians().means, condition())


def test_it_learns_a_movement():
    start = gaussians(100)
    made = make_field(small_basis(), start, generator=generator())

    def wanted(now):  # not linear: the bend has to help
        return start.means * now.mouth[0] * (1 + now.controls[0])

    assert learn(made, start.means, wanted, steps=120, rate=2e-2) < 0.01


def test_what_cannot_be_is_refused():
    with pytest.raises(TrainingError, match="expected motion, found sound"):
        BasisConfig(conditioning=ConditioningConfig(drive="sound"))
    with pytest.raises(TrainingError, match=r"coefficients: expected 16\.\.256, found 8"):
        BasisConfig(coefficients=8)
    with pytest.raises(TrainingError, match=r"expected \[4, 14, 18\], found \[4, 14, 3\]"):
        BasisField(small_basis(), torch.zeros(4, 14, 3), torch.arange(4), 4, generator())
    person = points(gaussians().means)
    with pytest.raises(TrainingError, match="point modes: expected"):
        PointModes(person.means, person.mouth_modes, person.control_modes[:, :7], person.dynamic)
