"""Visible colors, color bounds and inpainting of colors that no frame shows."""

import numpy as np

from splatface.models.camera import Camera
from splatface.models.head.head import Gaussians, Splats
from splatface.models.render.conventions import SH_0
from splatface.models.render.cpu import CpuRenderer
from splatface.models.training.optimization.visible_colors import (
    ColorBounds,
    accumulate_visible_colors,
    color_bounds_from_sums,
    inpaint_unseen_colors,
    visibility,
)

NOTHING, HEAD = np.zeros((50, 5)), np.ones(50, np.float32)
CAMERA = Camera(64, 64, 100.0, 100.0, 32.0, 32.0)


def ball(z, opacity=0.9):
    return {
        "means": np.array([[0.0, 0.0, z]], np.float32),
        "quats": np.array([[1.0, 0, 0, 0]], np.float32),
        "scales": np.full((1, 3), 0.05, np.float32),
        "opacities": np.array([opacity], np.float32),
        "sh": np.zeros((1, 1, 3), np.float32),
    }


def splats(*balls):
    return Splats(**{name: np.concatenate([one[name] for one in balls]) for name in balls[0]})


def test_what_stands_free_shows_and_what_is_behind_does_not():
    front, hidden, beside = ball(1.0), ball(1.1), ball(1.0)
    beside["means"] = np.array([[0.2, 0.0, 1.0]], np.float32)
    shares = visibility(splats(front, hidden, beside), CAMERA, CpuRenderer(1))
    assert 0.85 < shares[0] < 1.05
    assert abs(shares[2] - shares[0]) < 0.1
    # The integral of one Gaussian through another, that is 1.1 times as large: 1 - 0.9 / (1 + 1 / 1.1^2).
    assert abs(shares[1] - 0.507) < 0.05
    alone = visibility(splats(hidden), CAMERA, CpuRenderer(1))
    assert 0.85 < alone[0] < 1.05


def cloud(count, sh):
    rng = np.random.default_rng(0)
    return Gaussians(
        means=rng.normal(size=(count, 3)).astype(np.float32) * 0.01,
        quats=np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1)),
        log_scales=np.full((count, 3), -5, np.float32),
        opacity_logits=np.ones(count, np.float32),
        sh=sh,
    )


def test_hidden_colors_come_from_their_neighbors_and_lose_their_shading():
    sh = np.zeros((50, 4, 3), np.float32)
    sh[:, 0], sh[:, 1:] = (0.5, -0.2, 0.1), 0.3
    sh[7] = 40.0
    shown = np.ones(50, np.float32)
    shown[7] = 0.0
    found = inpaint_unseen_colors(cloud(50, sh), HEAD, shown, NOTHING).sh
    np.testing.assert_allclose(found[7, 0], (0.5, -0.2, 0.1), atol=1e-5)
    assert not found[7, 1:].any()
    others = np.arange(50) != 7
    np.testing.assert_array_equal(found[others], sh[others])


def test_where_nothing_is_known_all_stays():
    sh = np.ones((50, 4, 3), np.float32)
    assert inpaint_unseen_colors(cloud(50, sh), HEAD, np.zeros(50, np.float32), NOTHING).sh is sh


def test_what_shines_through_skin_from_the_back_of_the_head_takes_the_skins_color():
    skin, cloth, gray = (0.8, 0.6, 0.5), HEAD * 0, (0.5, 0.5, 0.5)
    sh = np.zeros((50, 1, 3), np.float32)
    sh[7] = -1.0
    shown = np.ones(50, np.float32)
    shown[7] = 0.0
    gaussians = cloud(50, sh)
    gaussians.means[:, 0] = np.linspace(-0.09, 0.09, 50)
    # Behind a cheek and staying there, near it, coming out beside the head when it turns, of the shoulders.
    for x_m, behind_m, bone, wanted in (
        (0.01, 0.15, HEAD, skin),
        (0.01, 0.01, HEAD, gray),
        (0.06, 0.15, HEAD, gray),
        (0.01, 0.15, cloth, gray),
    ):
        gaussians.means[7, 0] = x_m
        sums = np.tile([30.0, 0.0, 0.0, 30.0, 0.0], (50, 1))
        sums[7] = np.array([*skin, 1.0, behind_m]) * 20
        found = inpaint_unseen_colors(gaussians, bone, shown, sums).sh[7, 0] * SH_0 + 0.5
        np.testing.assert_allclose(found, wanted, atol=1e-5)


RED, BLUE = (0.8, 0.2, 0.1), (0.1, 0.3, 0.9)


def _halves():
    """A picture, red on the left and blue on the right; the person is the left half."""
    size = (CAMERA.height, CAMERA.width)
    left = np.arange(size[1]) < size[1] // 2
    picture = np.where(np.broadcast_to(left, size)[..., None], np.float32(RED), np.float32(BLUE))
    return picture.astype(np.float32), np.broadcast_to(left, size).copy()


def test_a_gaussian_sees_the_person_where_it_shows_and_nothing_of_the_wall():
    picture, person = _halves()
    front, hidden = ball(1.0), ball(1.1)
    sums = accumulate_visible_colors(splats(front, hidden), CAMERA, CpuRenderer(1), picture, person)
    np.testing.assert_allclose(sums[:, :3] / sums[:, 3:4], [RED, RED], atol=1e-3)  # though over both halves
    everywhere = accumulate_visible_colors(
        splats(front, hidden), CAMERA, CpuRenderer(1), picture, np.ones_like(person)
    )
    np.testing.assert_allclose(sums[:, 3], everywhere[:, 3] / 2, rtol=0.02)
    assert 1 < sums[1, 3] < 0.6 * sums[0, 3]  # the one behind shows less
    behind_m = sums[:, 4] / sums[:, 3]
    assert -0.05 < behind_m[0] < 0 < 0.05 < behind_m[1] < 0.1  # what is seen is a mixture


def test_colors_are_brought_back_where_something_was_seen():
    seen = np.array([[80.0, 20.0, 10.0, 100.0, 0.0], [0.4, 0.1, 0.0, 0.5, 0.0]])
    bounds = color_bounds_from_sums(seen, 0.1)
    orange = (np.array([[1.0, 0.6, 0.15]] * 2) - 0.5) / SH_0
    colors = orange.astype(np.float32)
    bounds.clamp_(colors)
    np.testing.assert_allclose(colors[0] * SH_0 + 0.5, (0.9, 0.3, 0.15), atol=1e-5)
    np.testing.assert_allclose(colors[1], orange[1], rtol=1e-6)  # half a pixel says nothing


def test_no_bounds_change_nothing():
    colors = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    before = colors.copy()
    ColorBounds(np.float32(-np.inf), np.float32(np.inf)).clamp_(colors)
    np.testing.assert_array_equal(colors, before)
