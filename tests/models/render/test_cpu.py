"""The CPU renderer against the definition, and the laws of drawing."""

from dataclasses import replace

import numpy as np
import pytest

from bench.render_benchmark import bench_camera, bench_splats
from splatface.models.camera import Camera
from splatface.models.errors import RenderError
from splatface.models.head.head import Splats
from splatface.models.render.cpu import CpuRenderer
from splatface.models.render.render import render, renderer

WHITE = np.ones(3, np.float32)


def psnr(a, b):
    return -10 * np.log10(np.mean((np.asarray(a, np.float64) - b) ** 2) + 1e-30)


def some(splats, index):
    return Splats(
        *(
            np.ascontiguousarray(getattr(splats, n)[index])
            for n in ("means", "quats", "scales", "opacities", "sh")
        )
    )


def tilted(camera):
    c, s = np.cos(0.3), np.sin(0.3)
    pose = np.array([[c, -s, 0, 0.01], [s, c, 0, -0.02], [0, 0, 1, 0.4], [0, 0, 0, 1]])
    turn = np.array([[c, 0, s, 0], [0, 1, 0, 0], [-s, 0, c, 0], [0, 0, 0, 1]])
    return replace(camera, T_camera_world=pose @ turn)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize(("width", "height"), [(160, 96), (97, 61), (3, 130)])
def test_picture_agrees_with_the_definition(degree, width, height):
    splats, camera = bench_splats(1500, sh_degree=degree), tilted(bench_camera(width, height))
    extra = np.random.default_rng(0).uniform(size=(1500, 2)).astype(np.float32)
    drawn = CpuRenderer().draw(splats, camera, (0.2, 0.5, 0.9), extra)
    wanted = renderer("reference").draw(splats, camera, (0.2, 0.5, 0.9), extra)
    assert psnr(drawn.image, wanted.image) >= 60
    assert psnr(drawn.transmittance, wanted.transmittance) >= 60
    assert psnr(drawn.extra, wanted.extra) >= 60
    assert drawn.image.std() > 0.02


def test_full_size_picture_is_far_above_the_limit():
    splats, camera = bench_splats(2500), bench_camera(160, 120)
    wanted = render(splats, camera, WHITE, backend="reference")
    assert psnr(render(splats, camera, WHITE).image, wanted.image) >= 90


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_draw_the_same_picture_bit_for_bit(threads):
    splats, camera = bench_splats(1500), bench_camera(200, 150)
    one, many = CpuRenderer(), CpuRenderer(threads)
    for _ in range(3):
        assert np.array_equal(one.draw_uint8(splats, camera, WHITE), many.draw_uint8(splats, camera, WHITE))


def test_bytes_are_the_rounded_floats():
    splats, camera = bench_splats(1500), bench_camera(102, 70)
    picture = np.random.default_rng(0).uniform(-0.2, 1.2, (70, 102, 3)).astype(np.float32)
    for background in (WHITE, np.array([0.3, 1.4, -1.0]), picture):
        drawn = CpuRenderer().draw(splats, camera, background).image
        wanted = np.floor(np.clip(drawn.astype(np.float64), 0, 1) * 255 + 0.5)
        assert np.abs(CpuRenderer().draw_uint8(splats, camera, background).astype(int) - wanted).max() <= 1


def test_background_shows_where_nothing_is():
    camera = bench_camera(64, 40)
    picture = np.random.default_rng(0).uniform(size=(40, 64, 3)).astype(np.float32)
    nothing = some(bench_splats(4), slice(0, 0))
    drawn = CpuRenderer().draw(nothing, camera, picture)
    assert np.array_equal(drawn.image, picture)
    assert np.all(drawn.transmittance == 1)


def test_transparent_pictures_are_premultiplied():
    splats, camera = bench_splats(1500), bench_camera(101, 64)
    rgba = CpuRenderer().draw_rgba_uint8(splats, camera).astype(float) / 255
    over = rgba[..., :3] + (1 - rgba[..., 3:]) * np.array([0.2, 0.4, 0.8])
    assert np.abs(over - CpuRenderer().draw(splats, camera, (0.2, 0.4, 0.8)).image).max() < 1.5 / 255
    assert np.all(rgba[..., :3] <= rgba[..., 3:] + 1 / 255)


def test_supersampling_is_the_mean_of_a_double_size_picture():
    splats, camera = bench_splats(1500), bench_camera(83, 51)
    fine = CpuRenderer().draw(splats, camera.scaled_to(166, 102), WHITE)
    drawn = CpuRenderer(supersample=2).draw(splats, camera, WHITE)
    assert np.allclose(drawn.image, fine.image.reshape(51, 2, 83, 2, 3).mean(axis=(1, 3)), atol=1e-5)
    by_definition = renderer("reference", supersample=2).draw(splats, camera, WHITE)
    assert psnr(drawn.image, by_definition.image) >= 60
    assert CpuRenderer(supersample=2).draw_uint8(splats, camera, WHITE).shape == (51, 83, 3)


def test_order_of_the_gaussians_does_not_matter():
    splats, camera = bench_splats(1500), bench_camera(128, 96)
    shuffled = some(splats, np.random.default_rng(0).permutation(1500))
    assert (
        psnr(
            CpuRenderer().draw(shuffled, camera, WHITE).image, CpuRenderer().draw(splats, camera, WHITE).image
        )
        > 60
    )


def test_moving_camera_and_world_together_changes_nothing():
    splats, camera = bench_splats(1500), bench_camera(128, 96)
    away = np.eye(4)
    away[:3, 3] = (1.0, -2.0, 0.5)
    moved = replace(splats, means=splats.means - away[:3, 3].astype(np.float32))
    follow = replace(camera, T_camera_world=camera.T_camera_world @ away)
    assert (
        psnr(CpuRenderer().draw(moved, follow, WHITE).image, CpuRenderer().draw(splats, camera, WHITE).image)
        > 55
    )


def test_what_is_behind_the_camera_or_beside_the_picture_is_not_drawn():
    splats, camera = bench_splats(500), bench_camera(64, 64)
    for shift in ((0, 0, -5), (50, 0, 0), (0, -50, 0)):
        gone = replace(splats, means=splats.means + np.array(shift, np.float32))
        assert np.all(CpuRenderer().draw(gone, camera, WHITE).transmittance == 1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.0, 1e30, -1e30])
@pytest.mark.parametrize("name", ["means", "quats", "scales", "opacities", "sh"])
def test_broken_numbers_never_crash(name, value):
    splats, camera = bench_splats(300), bench_camera(70, 50)
    broken = getattr(splats, name).copy()
    broken[::7] = value
    for threads in (1, 2):
        CpuRenderer(threads, supersample=threads).draw_uint8(replace(splats, **{name: broken}), camera, WHITE)


def test_one_renderer_draws_scenes_of_all_sizes():
    drawer = CpuRenderer()
    for count, width, height in ((300, 64, 64), (2000, 640, 360), (10, 20, 700), (0, 5, 5)):
        splats, camera = some(bench_splats(2000), slice(0, count)), bench_camera(width, height)
        assert np.array_equal(
            drawer.draw(splats, camera, WHITE).image, CpuRenderer().draw(splats, camera, WHITE).image
        )


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        ({"means": np.zeros((10, 2), np.float32)}, "splats.means"),
        ({"quats": np.zeros((10, 4), np.float64)}, "float64"),
        ({"opacities": np.zeros((10, 1), np.float32)}, "splats.opacities"),
        ({"scales": np.zeros((20, 3), np.float32)[::2]}, "contiguous"),
        ({"sh": np.zeros((10, 5, 3), np.float32)}, "splats.sh"),
    ],
)
def test_wrong_shapes_are_refused_by_name(broken, complaint):
    with pytest.raises(RenderError, match=complaint):
        CpuRenderer().draw(replace(bench_splats(10), **broken), bench_camera(8, 8), WHITE)


def test_wrong_settings_are_refused():
    splats, camera = bench_splats(10), bench_camera(8, 8)
    with pytest.raises(RenderError, match="background"):
        CpuRenderer().draw(splats, camera, np.zeros((4, 8, 3)))
    with pytest.raises(RenderError, match="extra"):
        CpuRenderer().draw(splats, camera, WHITE, np.zeros((3, 1), np.float32))
    with pytest.raises(RenderError, match="out"):
        CpuRenderer().draw_uint8(splats, camera, WHITE, np.zeros((8, 8, 4), np.uint8))
    with pytest.raises(RenderError, match="threads"):
        CpuRenderer(0)
    with pytest.raises(RenderError, match="supersample"):
        CpuRenderer(supersample=3)


def test_camera_scaled_to_another_shape_keeps_the_head_round():
    splats = bench_splats(1500)
    tall, wide = bench_camera(100, 200), bench_camera(200, 100)
    seen = [1 - CpuRenderer().draw(splats, camera, WHITE).transmittance for camera in (tall, wide)]
    assert tall.fx == pytest.approx(tall.fy)
    # Blocks lie differently in the two pictures, and each closes where less than 1e-4 shines through.
    assert np.abs(seen[0][50:150] - seen[1][:, 50:150]).max() < 2e-4


def test_one_gaussian_is_the_formula():
    camera = Camera(32, 32, 100.0, 100.0, 16.0, 16.0)
    one = Splats(
        means=np.array([[0, 0, 1]], np.float32),
        quats=np.array([[3, 0, 0, 0]], np.float32),
        scales=np.array([[0.03, 0.02, 0.01]], np.float32),
        opacities=np.array([0.8], np.float32),
        sh=np.zeros((1, 1, 3), np.float32),
    )
    x = np.arange(32) + 0.5 - 16
    alpha = 0.8 * np.exp(-0.5 * (x[None] ** 2 / 9.3 + x[:, None] ** 2 / 4.3))
    alpha[alpha < 1 / 255] = 0
    drawn = CpuRenderer().draw(one, camera, WHITE)
    assert np.abs(1 - drawn.transmittance - alpha).max() < 1e-5
    assert np.abs(drawn.image[..., 0] - (alpha * 0.5 + 1 - alpha)).max() < 1e-5


def test_long_thin_gaussians_across_many_tiles():
    few = bench_splats(60, seed=5)
    long = replace(few, scales=few.scales * np.array([6, 0.3, 1], np.float32))
    camera = tilted(bench_camera(300, 200))
    assert (
        psnr(
            CpuRenderer().draw(long, camera, WHITE).image,
            render(long, camera, WHITE, backend="reference").image,
        )
        > 80
    )
