"""Fields of places in training: what they feel of their motion, against differences."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from splatface.models.training.dataset.body_poses import with_motion_offset
from splatface.models.training.optimization.initialization import build_trainer
from splatface.models.training.optimization.optimizer import DEFORMATION, ScheduleState
from splatface.models.training.optimization.render_loss import Gradients
from splatface.models.training.optimization.train_config import preset

ROW, PACE = 8, ScheduleState(DEFORMATION, 0.5, 1.0, False)


@pytest.mark.parametrize("kind", ["attention", "audio_plane"])
def test_a_field_of_places_feels_what_its_motion_should_have_been(tiny, kind):
    trainer = build_trainer(tiny, replace(preset(kind), threads=1))
    mover, table = trainer.state.mover, trainer.state.table
    generator = np.random.default_rng(2)
    with torch.no_grad():  # fields begin without movement
        for parameter in mover.field.parameters():
            parameter += torch.from_numpy(generator.normal(size=parameter.shape) * 0.05).float()
    above = generator.normal(size=(len(table), 14)).astype(np.float32)

    def value(mode, off):
        change = np.zeros((len(tiny.frames), 16))
        change[:, mode] = off
        mover.set_motion(with_motion_offset(tiny, change, tiny.frames.time_ns))
        return float((mover.forward_eval(table, ROW, PACE).deltas.astype(np.float64) * above).sum())

    none = np.zeros((2, 16), np.float32)
    felt = mover.motion_grad(table, ROW, Gradients(0.0, 0.0, table, above, None, none, none))
    step = 5e-4  # the fields bend: planes between cells, nets where a unit switches on
    asked = [0, 2, 15]
    true = np.array([(value(k, step) - value(k, -step)) / (2 * step) for k in asked])
    assert np.abs(true).max() > 0
    assert np.allclose(felt[asked], true, atol=0.08 * np.abs(true).max())
