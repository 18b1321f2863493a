"""Adam against torch's, and the bounds of a Gaussian's shape."""

import numpy as np
import pytest
import torch
from training_scene import some_rows

from splatface.models.render.jit import Workers
from splatface.models.training.optimization.gaussian_skinning import DEPTH, SH_DC, SH_REST, SKIN
from splatface.models.training.optimization.optimizer import (
    LowRankGradient,
    ParameterAnchors,
    apply_constraints,
    step_array,
    step_basis,
    step_table,
    zero_adam_state,
)
from splatface.models.training.optimization.train_config import GaussianConstraints


def torchs(values, grads, rate):
    """Torch's Adam after a step for each gradient."""
    leaf = torch.from_numpy(values.copy()).double().requires_grad_()
    optimiser = torch.optim.Adam([leaf], lr=rate, eps=1e-15)
    for grad in grads:
        leaf.grad = torch.from_numpy(grad).double()
        optimiser.step()
    return leaf.detach().numpy()


@pytest.mark.parametrize("threads", [1, 2])
def test_tables_and_arrays_step_as_torch_does(threads):
    generator = np.random.default_rng(0)
    table = generator.normal(size=(31, 24)).astype(np.float32)
    grads = generator.normal(size=(5, 31, 24)).astype(np.float32)
    true = torchs(table, grads, 0.01)
    array, rates = table.copy(), np.full(24, 0.01, np.float32)
    moments, others = zero_adam_state(table), zero_adam_state(array)
    for steps, grad in enumerate(grads, 1):
        step_table(table, grad, moments, rates, steps, Workers(threads))
        step_array(array, grad, others, 0.01, steps)
    assert np.allclose(table, true, atol=1e-5)
    assert np.allclose(array, true, atol=1e-5)


def test_a_basis_steps_as_if_its_gradient_had_been_made():
    generator = np.random.default_rng(0)
    basis = generator.normal(size=(9, 14, 6)).astype(np.float32)
    grads = generator.normal(size=(4, 9, 14)).astype(np.float32)
    weights = generator.normal(size=(4, 6)).astype(np.float32)
    true = torchs(basis, grads[..., None] * weights[:, None, None], 0.02)
    moments = zero_adam_state(basis)
    for steps, (grad, c) in enumerate(zip(grads, weights, strict=True), 1):
        step = LowRankGradient(grad, c, np.full(14, 0.02, np.float32), steps)
        step_basis(basis, moments, step, Workers(2))
    assert np.allclose(basis, true, atol=1e-5)


def test_shapes_are_held():
    table = some_rows(50)
    table[0, 7:10] = np.log([1.0, 0.01, 0.001])  # a streak
    table[1, 7:10] = np.log([1e-6, 0.01, 0.01])
    held = [DEPTH, SKIN]
    before = table[:, held].copy()
    shape = GaussianConstraints(max_scale_m=0.1, min_scale_m=0.0005, max_anisotropy=4.0)
    holds = np.where(np.arange(50) < 25, 0.25, 0.5).astype(np.float32)
    shading = table[:, SH_REST:].copy()
    color = table[:, SH_DC].copy()
    apply_constraints(table, ParameterAnchors(before + np.float32(1), holds, 0.125, 0.25), shape, Workers(1))
    assert np.allclose(table[:, SH_REST:], 0.75 * shading, atol=1e-6)
    assert (table[:, SH_DC] == color).all()
    assert np.allclose(np.linalg.norm(table[:, 3:7], axis=1), 1, atol=1e-6)
    sizes = np.sort(np.exp(table[:, 7:10]), axis=1)
    assert sizes.max() <= 0.1 * 1.0001
    assert sizes.min() >= 0.0005 * 0.9999
    assert (sizes[:, 2] <= 4.0001 * sizes[:, 1]).all()
    assert np.allclose(sizes[0], [0.001, 0.01, 0.04], rtol=1e-4)
    moved = table[:, held] - before
    assert np.allclose(moved[:, 0], holds, atol=1e-6)
    assert np.allclose(moved[:, 1], 0.125, atol=1e-6)
