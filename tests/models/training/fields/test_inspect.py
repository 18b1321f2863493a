import torch
from fields_fixture import condition, gaussians, generator, small_attention

from splatface.models.training.fields.factory import make_field
from splatface.models.training.fields.inspect import (
    attention_colors,
    color_map,
    displacement_colors,
    dynamism_colors,
    plane_picture,
)


def test_colors_run_from_blue_to_red():
    low, middle, high = color_map(torch.tensor([0.15, 0.5, 0.85]))
    assert low.argmax() == 2
    assert middle.argmax() == 1
    assert high.argmax() == 0


def test_colors_stay_in_range_and_bad_numbers_are_the_lowest():
    colors = color_map(torch.tensor([-3.0, 0.0, 1.0, 9.0, torch.nan]))
    assert ((colors >= 0) & (colors <= 1)).all()
    torch.testing.assert_close(colors[0], colors[1])
    torch.testing.assert_close(colors[2], colors[3])
    torch.testing.assert_close(colors[4], colors[0])


def test_colors_change_without_jumps():
    steps = color_map(torch.linspace(0, 1, 200)).diff(dim=0)
    assert steps.abs().max() < 0.03


def test_maps_become_a_color_per_gaussian():
    start = gaussians()
    field = make_field(small_attention(), start, generator=generator())
    colors = attention_colors(field.attention_maps(start.means, condition()))
    assert set(colors) == set(field.config.tokens)
    assert all(c.shape == (len(start.means), 3) for c in colors.values())
    assert dynamism_colors(torch.rand(5)).shape == (5, 3)


def test_movement_is_colored_by_distance():
    deltas = torch.zeros(2, 14)
    deltas[1, :3] = torch.tensor([0.006, 0.008, 0.0])
    torch.testing.assert_close(displacement_colors(deltas), color_map(torch.tensor([0.0, 1.0])))


def test_a_planes_strongest_direction_is_seen():
    plane = torch.zeros(10, 6, 16)
    plane[5:, :, 3] = 1.0  # to the right half of an xy plane
    picture = plane_picture(plane)
    assert picture.shape == (6, 10, 3)
    red = picture[:, :, 0]
    assert (red[:, 5:] - red[:, :5]).abs().min() > 0.9
