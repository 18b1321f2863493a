import pytest
import torch

from splatface.models.errors import TrainingError
from splatface.models.training.fields.factorized_planes import (
    grid_values,
    make_layout,
    products,
    products_reference,
)
from splatface.models.training.fields.field import Bounds, Box, bounding_box

LAYOUT = make_layout(32, [[((0, 1), 6), ((2, 0), 5)], [((2,), 7)], [((1, 2), 3), ((0,), 4), ((2, 1), 9)]])


def draw(dtype=torch.float64, count=60):
    g = torch.Generator().manual_seed(4)
    values = torch.rand(LAYOUT.count, generator=g, dtype=dtype)
    places = torch.rand(count, 3, generator=g, dtype=dtype) * 1.4 - 0.2  # some lie outside
    return values.requires_grad_(), places.requires_grad_()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_node_gives_the_value_stored_there(dtype):
    layout = make_layout(16, [[((0, 1), 5)], [((2,), 5)]])
    values = torch.rand(layout.count, dtype=dtype)
    plane, line = (grid_values(values, product[0], 16) for product in layout.products)
    places = torch.tensor([[2 / 4, 3 / 4, 1.0], [0.0, 1.0, 0.25]], dtype=dtype)
    found = products(values, layout, places)
    expected = torch.stack([torch.cat([plane[2, 3], line[4]]), torch.cat([plane[0, 4], line[1]])])
    torch.testing.assert_close(found, expected)


def test_between_nodes_it_is_linear():
    layout = make_layout(16, [[((1,), 3)]])
    values = torch.rand(layout.count)
    line = grid_values(values, layout.products[0][0], 16)
    found = products(values, layout, torch.tensor([[0.9, 0.125, 0.9]]))
    torch.testing.assert_close(found[0], 0.75 * line[0] + 0.25 * line[1])


def test_it_agrees_with_grid_sample():
    layout = make_layout(16, [[((0, 1), 7)]])
    values, places = torch.rand(layout.count), torch.rand(50, 3) * 1.2 - 0.1
    plane = grid_values(values, layout.products[0][0], 16)
    at = places[None, None, :, [1, 0]] * 2 - 1  # grid_sample wants (column, row)
    theirs = torch.nn.functional.grid_sample(
        plane.permute(2, 0, 1)[None], at, padding_mode="border", align_corners=True
    )
    torch.testing.assert_close(products(values, layout, places), theirs[0, :, 0].T)


def test_outside_counts_the_border():
    values, _ = draw(torch.float32)
    outside = torch.tensor([[-3.0, 0.5, 2.0]])
    torch.testing.assert_close(
        products(values, LAYOUT, outside), products(values, LAYOUT, outside.clamp(0, 1))
    )


def test_broken_places_read_nothing_foreign():
    values, _ = draw(torch.float32)
    places = torch.tensor([[torch.nan, torch.inf, -torch.inf], [1e30, -1e30, 0.5]])
    border = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.5]])
    torch.testing.assert_close(products(values, LAYOUT, places), products(values, LAYOUT, border))


def test_the_definition_has_right_gradients():
    layout = make_layout(16, [[((0, 1), 3), ((2,), 4)]])
    values = torch.rand(layout.count, dtype=torch.float64, requires_grad=True)
    places = (torch.rand(4, 3, dtype=torch.float64) * 0.9 + 0.03).requires_grad_()
    assert torch.autograd.gradcheck(lambda v, p: products_reference(v, layout, p), (values, places))


@pytest.mark.parametrize("threads", [1, 2])
def test_the_fast_twin_has_the_same_values_and_gradients(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        exact, fast = draw(), draw(torch.float32)
        fast[0].data.copy_(exact[0])
        fast[1].data.copy_(exact[1])
        weights = torch.rand(60, 96, dtype=torch.float64)
        expected = products_reference(*(exact[0], LAYOUT, exact[1]))
        found = products(fast[0], LAYOUT, fast[1])
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
        (expected * weights).sum().backward()
        (found * weights.float()).sum().backward()
        for mine, theirs in zip(fast, exact, strict=True):
            torch.testing.assert_close(mine.grad.double(), theirs.grad, rtol=1e-4, atol=1e-4)
    finally:
        torch.set_num_threads(before)


def test_places_without_gradient_change_nothing_else():
    values, places = draw(torch.float32)
    products(values, LAYOUT, places).sum().backward()
    both = values.grad.clone()
    values.grad = None
    products(values, LAYOUT, places.detach()).sum().backward()
    torch.testing.assert_close(values.grad, both)


def test_the_box_maps_its_corners():
    box = Box(Bounds((-1.0, 0.0, 2.0), (1.0, 4.0, 3.0)))
    corners = torch.tensor([[-1.0, 0.0, 2.0], [1.0, 4.0, 3.0], [0.0, 2.0, 2.5]])
    torch.testing.assert_close(box(corners), torch.tensor([[0.0] * 3, [1.0] * 3, [0.5] * 3]))


def test_bounds_hold_all_points_even_a_flat_set():
    means = torch.rand(20, 3) * torch.tensor([1.0, 2.0, 0.0])
    inside = Box(bounding_box(means))(means)
    assert ((inside > 0) & (inside < 1)).all()


def test_bounds_without_volume_are_refused():
    with pytest.raises(TrainingError, match="expected low < high"):
        Bounds((0.0, 0.0, 0.0), (1.0, 0.0, 1.0))
