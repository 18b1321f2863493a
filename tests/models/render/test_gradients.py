"""The backward pass against autograd of the float64 definition and against finite differences."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from bench.render_benchmark import bench_camera, bench_splats
from splatface.models.camera import Camera
from splatface.models.render.autograd import DifferentiableRenderer
from splatface.models.render.reference import SplatTensors, draw_reference

NAMES = [field.name for field in fields(SplatTensors)]
WIDTH, HEIGHT = 75, 50  # neither divides into tiles nor into blocks


def tensors(count=300, degree=3, seed=3, opaque=False):
    splats = bench_splats(count, sh_degree=degree, seed=seed)
    generator = np.random.default_rng(1)
    lengths = generator.uniform(0.5, 2, (count, 1)).astype(np.float32)
    opacities = np.minimum(splats.opacities + 0.3, 1) if opaque else splats.opacities
    return SplatTensors(
        means=torch.from_numpy(splats.means),
        quats=torch.from_numpy(splats.quats * lengths),
        scales=torch.from_numpy(splats.scales),
        opacities=torch.from_numpy(opacities),
        sh=torch.from_numpy(splats.sh),
        extra=torch.from_numpy(generator.uniform(size=(count, 2)).astype(np.float32)),
    )


def turned_camera():
    """Seen from the side and above, close enough for Gaussians outside the picture."""
    camera = bench_camera(WIDTH, HEIGHT)
    c, s = np.cos(0.4), np.sin(0.4)
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = turn, (0.02, 0.01, 0.3)
    return Camera(WIDTH, HEIGHT, camera.fx, camera.fy * 1.1, camera.cx, camera.cy, pose)


def weights(*shape):
    return torch.from_numpy(np.random.default_rng(7).normal(size=shape))


def loss_of(image, through, extra):
    """A fixed random sum of all that is drawn."""
    planes = (image, through, extra)
    return sum((plane.double() * weights(*plane.shape)).sum() for plane in planes)


def gradients(splats, draw, dtype):
    leaves = {name: getattr(splats, name).clone().to(dtype).requires_grad_() for name in NAMES}
    background = weights(HEIGHT, WIDTH, 3).clone().to(dtype).detach().requires_grad_()
    loss = loss_of(*draw(SplatTensors(**leaves), background))
    loss.backward()
    return {
        **{name: leaf.grad.double() for name, leaf in leaves.items()},
        "background": background.grad.double(),
    }


def draw_cpu(camera, threads=1):
    renderer = DifferentiableRenderer(threads)

    def draw(splats, background):
        drawn = renderer.draw(splats, camera, background)
        return drawn.image, drawn.transmittance, drawn.extra

    return draw


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_gradients_follow_the_definition(degree):
    camera, splats = turned_camera(), tensors(degree=degree)
    found = gradients(splats, draw_cpu(camera, threads=2), torch.float32)
    wanted = gradients(splats, lambda s, b: draw_reference(s, camera, b), torch.float64)
    for name, gradient in wanted.items():
        assert torch.linalg.norm(found[name] - gradient) <= 2e-3 * torch.linalg.norm(gradient), name


def test_gradients_through_many_opaque_layers():
    camera, splats = bench_camera(WIDTH, HEIGHT), tensors(2500, degree=0, opaque=True)
    found = gradients(splats, draw_cpu(camera), torch.float32)
    wanted = gradients(splats, lambda s, b: draw_reference(s, camera, b), torch.float64)
    for name, gradient in wanted.items():
        assert torch.linalg.norm(found[name] - gradient) <= 5e-3 * torch.linalg.norm(gradient), name


@pytest.mark.parametrize("name", NAMES)
def test_gradients_match_finite_differences(name):
    camera, splats = turned_camera(), tensors()
    found = gradients(splats, draw_cpu(camera), torch.float32)[name]
    doubles = SplatTensors(**{n: getattr(splats, n).double() for n in NAMES})
    background = weights(HEIGHT, WIDTH, 3)
    errors = []
    for place in np.random.default_rng(2).choice(found.numel(), 7, replace=False):
        value = getattr(doubles, name).reshape(-1)[place]
        step = 1e-5 * max(1e-2, abs(float(value)))
        losses = []
        for sign in (1, -1):
            moved = getattr(doubles, name).clone()
            moved.reshape(-1)[place] += sign * step
            with torch.no_grad():
                losses.append(loss_of(*draw_reference(replace(doubles, **{name: moved}), camera, background)))
        slope = (losses[0] - losses[1]) / (2 * step)
        errors.append(float(abs(slope - found.reshape(-1)[place]) / found.abs().max()))
    # A pixel that crosses the alpha cut within the step, or two depths that swap, spoil single ones.
    assert np.median(errors) < 1e-3


def test_a_picture_keeps_its_gradients_while_others_are_drawn():
    camera, splats = bench_camera(WIDTH, HEIGHT), tensors(degree=0)
    draw, background = draw_cpu(camera), torch.zeros(3)
    leaf = splats.opacities.clone().requires_grad_()
    first = loss_of(*draw(replace(splats, opacities=leaf), background))
    draw(tensors(100, degree=0), background)
    first.backward()
    again = splats.opacities.clone().requires_grad_()
    loss_of(*draw(replace(splats, opacities=again), background)).backward()
    assert torch.equal(leaf.grad, again.grad)
