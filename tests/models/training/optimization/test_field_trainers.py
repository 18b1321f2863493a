"""Field trainers: hand-written gradients of the basis, torch fields, saved state."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from training_scene import some_rows

from splatface.models.render.jit import Workers
from splatface.models.training.dataset.body_poses import with_motion_offset
from splatface.models.training.dataset.types import EYES, FACE, HAIR, LIPS, TORSO
from splatface.models.training.fields.field import Condition
from splatface.models.training.fields.field_config import BasisConfig
from splatface.models.training.optimization.densification import DensificationResult
from splatface.models.training.optimization.field_trainers import BasisFieldTrainer
from splatface.models.training.optimization.initialization import (
    InitialGaussians,
    build_trainer,
    initialize_basis_field,
)
from splatface.models.training.optimization.optimizer import CANONICAL, DEFORMATION, ScheduleState
from splatface.models.training.optimization.render_loss import Gradients
from splatface.models.training.optimization.train_config import RegularizationConfig, preset

ROW, WHOLE_STAGE = 8, ScheduleState(DEFORMATION, 0.5, 1.0, False)


@pytest.mark.parametrize("kind", ["attention", "audio_plane"])
def test_a_field_of_places_feels_what_its_motion_should_have_been(tiny, kind):
    trainer = build_trainer(tiny, replace(preset(kind), threads=1))
    field_trainer, table = trainer.state.field_trainer, trainer.state.table
    generator = np.random.default_rng(2)
    with torch.no_grad():  # fields begin without movement
        for parameter in field_trainer.field.parameters():
            parameter += torch.from_numpy(generator.normal(size=parameter.shape) * 0.05).float()
    above = generator.normal(size=(len(table), 14)).astype(np.float32)

    def value(mode, off):
        change = np.zeros((len(tiny.frames), 16))
        change[:, mode] = off
        field_trainer.set_motion(with_motion_offset(tiny, change, tiny.frames.time_ns))
        return float(
            (field_trainer.forward_eval(table, ROW, WHOLE_STAGE).deltas.astype(np.float64) * above).sum()
        )

    none = np.zeros((2, 16), np.float32)
    felt = field_trainer.motion_grad(table, ROW, Gradients(0.0, 0.0, table, above, None, none, none))
    step = 5e-4  # the fields bend: planes between cells, nets where a unit switches on
    asked = [0, 2, 15]
    true = np.array([(value(k, step) - value(k, -step)) / (2 * step) for k in asked])
    assert np.abs(true).max() > 0
    assert np.allclose(felt[asked], true, atol=0.08 * np.abs(true).max())


COUNT, PACE = 30, ScheduleState(DEFORMATION, 0.3, 1.0, False)
EXACT = RegularizationConfig(motion_noise_std=0.0, basis_weight_decay=0.0, residual_init_scale=1.0)


def a_start(generator):
    labels = np.resize(np.array([TORSO, HAIR, FACE, EYES, LIPS], np.uint8), COUNT)
    modes = np.zeros((COUNT, 16, 3), np.float32)
    modes[labels == LIPS] = generator.normal(size=(6, 16, 3)) * 0.01
    return InitialGaussians(some_rows(COUNT), labels, modes)


def a_motion(generator, count=40):
    motion = generator.random((count, 16)).astype(np.float32) ** 2
    motion[0] = 0
    return motion


def make_basis_trainer(generator, *, dynamism="learned"):
    start, motion = a_start(generator), a_motion(generator)
    config = BasisConfig(coefficients=20, hidden=8, dynamism=dynamism)
    field = initialize_basis_field(config, start, motion, max_dynamic=100, residual_scale=1.0, seed=0)
    with torch.no_grad():
        field.basis += torch.from_numpy(generator.normal(size=field.basis.shape)).float() * 0.01
    config = replace(preset("basis"), regularization=EXACT)
    return BasisFieldTrainer(field, motion, config, Workers(1)), start, motion


@pytest.fixture
def generator():
    return np.random.default_rng(7)


def test_it_starts_with_the_known_modes_and_rests_at_rest(generator):
    start, motion = a_start(generator), a_motion(generator)
    field = initialize_basis_field(BasisConfig(), start, motion, max_dynamic=100, residual_scale=1.0, seed=0)
    for row in (0, 3):
        x = torch.from_numpy(motion[row])
        deltas = field(torch.zeros(COUNT, 3), Condition(x[:8], x[8:], torch.zeros(6), None)).deltas
        expected = np.einsum("k,nkd->nd", motion[row], start.modes)
        assert np.allclose(deltas[:, :3].detach(), expected, atol=1e-6)
        assert not deltas[:, 3:].any()
    c = field.motion_map()(np.zeros(8, np.float32), np.zeros(8, np.float32))
    assert np.abs(c).max() < 1e-6


def test_coefficients_are_of_like_size(generator):
    motion = a_motion(generator)
    motion[:, 10] *= 0.1
    field = initialize_basis_field(
        BasisConfig(), a_start(generator), motion, max_dynamic=100, residual_scale=1.0, seed=0
    )
    c = np.stack([field.motion_map()(x[:8], x[8:]) for x in motion])
    assert np.allclose(c[:, :16].std(0), np.minimum(1, motion.std(0) / 0.05), rtol=1e-3)
    assert 0.2 < c[:, 16].std() < 2


def test_the_cap_keeps_what_moves_most(generator):
    start, motion = a_start(generator), a_motion(generator)
    field = initialize_basis_field(BasisConfig(), start, motion, max_dynamic=8, residual_scale=1.0, seed=0)
    assert len(field.dynamic) == 8
    assert (start.labels[field.dynamic.numpy()] == LIPS).sum() == 6


@pytest.mark.parametrize("dynamism", ["learned", "off"])
def test_movement_and_step_are_those_of_the_field(generator, dynamism):
    field_trainer, start, motion = make_basis_trainer(generator, dynamism=dynamism)
    field = field_trainer.field
    x = torch.from_numpy(motion[5])
    movement = field(torch.zeros(COUNT, 3), Condition(x[:8], x[8:], torch.zeros(6), None))
    above = generator.normal(size=(COUNT, 14)).astype(np.float32)
    before = {name: p.detach().clone() for name, p in field.named_parameters()}
    (movement.deltas * torch.from_numpy(above)).sum().backward()
    true = {name: p.grad.clone() for name, p in field.named_parameters()}

    deformed = field_trainer.forward_train(start.table, 5, PACE)
    assert np.allclose(deformed.deltas, movement.deltas.detach().numpy()[deformed.indices], atol=1e-6)
    assert deformed.dynamism is None  # only every fourth picture
    none = np.zeros((2, 16), np.float32)
    field_trainer.backward_and_step(
        Gradients(0.0, 0.0, start.table, above[deformed.indices], None, none, none), PACE, 1.0
    )
    for name, parameter in field.named_parameters():
        step = (parameter.detach() - before[name]).numpy()
        clear = true[name].abs().numpy() > 1e-4 * true[name].abs().max().item()
        # The first step of Adam is the rate, against the sign of the gradient.
        assert np.array_equal(np.sign(step[clear]), -np.sign(true[name].numpy()[clear])), name
        assert (step[true[name].numpy() == 0] == 0).all()


def test_it_feels_what_its_motion_should_have_been(generator):
    field_trainer, start, motion = make_basis_trainer(generator)
    above = generator.normal(size=(COUNT, 14)).astype(np.float32)
    x = torch.from_numpy(motion[5]).requires_grad_()
    movement = field_trainer.field(torch.zeros(COUNT, 3), Condition(x[:8], x[8:], torch.zeros(6), None))
    (movement.deltas * torch.from_numpy(above)).sum().backward()
    rows = field_trainer.forward_eval(start.table, 5, PACE).indices
    none = np.zeros((2, 16), np.float32)
    felt = field_trainer.motion_grad(
        start.table, 5, Gradients(0.0, 0.0, start.table, above[rows], None, none, none)
    )
    assert np.allclose(felt, x.grad, rtol=1e-3, atol=1e-4 * np.abs(x.grad).max())


def test_motion_is_reported_a_little_off_and_what_is_not_asked_for_fades(generator):
    start, motion = a_start(generator), a_motion(generator)
    field = initialize_basis_field(
        BasisConfig(dynamism="off"), start, motion, max_dynamic=100, residual_scale=1.0, seed=0
    )
    with torch.no_grad():
        field.basis[:, 11:] = 1.0
    config = replace(
        preset("basis"), regularization=RegularizationConfig(motion_noise_std=0.1, basis_weight_decay=0.5)
    )
    field_trainer = BasisFieldTrainer(field, motion, config, Workers(1))
    shown = field_trainer.forward_eval(start.table, 5, PACE).deltas
    noisy = [field_trainer.forward_train(start.table, 5, PACE).deltas for _ in range(2)]
    assert np.array_equal(field_trainer.forward_eval(start.table, 5, PACE).deltas, shown)
    assert not np.allclose(noisy[0], noisy[1])
    assert np.abs(noisy[0][:, 0] - shown[:, 0]).max() < np.abs(shown[:, 0]).max()
    before, none = field.basis.detach().clone(), np.zeros((2, 16), np.float32)
    nothing = Gradients(0.0, 0.0, start.table, np.zeros_like(shown), None, none, none)
    field_trainer.backward_and_step(nothing, PACE, 1.0)
    assert torch.equal(field.basis[:, :3, :16], before[:, :3, :16])
    assert (field.basis[:, 11:] < 0.9).all()


def test_in_the_canonical_stage_nothing_is_learned(generator):
    field_trainer, start, _ = make_basis_trainer(generator)
    before = field_trainer.field.basis.detach().clone()
    still = ScheduleState(CANONICAL, 0.0, 1.0, False)
    deformed = field_trainer.forward_train(start.table, 5, still)
    none = np.zeros((2, 16), np.float32)
    grads = Gradients(0.0, 0.0, start.table, deformed.deltas, None, none, none)
    assert field_trainer.backward_and_step(grads, still, 1.0) is start.table
    assert np.array_equal(field_trainer.field.basis.detach(), before)


def test_halves_move_as_the_whole_did(generator):
    field_trainer, start, _ = make_basis_trainer(generator)
    before = field_trainer.forward_train(start.table, 5, PACE)
    whole = np.zeros((COUNT, 14), np.float32)
    whole[before.indices] = before.deltas
    sources = np.concatenate([np.arange(3, COUNT), [4, 4, 9, 9]])
    field_trainer.remap_gaussians(
        DensificationResult(start.table[sources], sources, np.arange(len(sources)) >= COUNT - 3)
    )
    after = field_trainer.forward_train(start.table[sources], 5, PACE)
    found = np.zeros((len(sources), 14), np.float32)
    found[after.indices] = after.deltas
    assert np.allclose(found, whole[sources], atol=1e-7)


def test_arrays_bring_everything_back(generator):
    field_trainer, start, _ = make_basis_trainer(generator)
    none = np.zeros((2, 16), np.float32)

    def step():
        deformed = field_trainer.forward_train(start.table, 5, PACE)
        above = np.sin(np.arange(deformed.deltas.size, dtype=np.float32)).reshape(deformed.deltas.shape)
        field_trainer.backward_and_step(
            Gradients(0.0, 0.0, start.table, above, deformed.dynamism, none, none), PACE, 1.0
        )
        return field_trainer.forward_train(start.table, 5, PACE).deltas

    step()
    kept = {name: np.array(array) for name, array in field_trainer.state_dict().items()}
    once = step()
    field_trainer.load_state_dict(kept)
    assert np.array_equal(step(), once)
