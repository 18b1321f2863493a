"""What a config accepts, and that YAML keeps all of it."""

from dataclasses import replace

import pytest

from splatface.models.errors import TrainingError
from splatface.models.training.fields.field_config import AttentionConfig, AudioPlaneConfig, BasisConfig
from splatface.models.training.optimization.train_config import (
    FIELDS,
    DensifyConfig,
    LossConfig,
    StageConfig,
    TrainConfig,
    config_from_yaml,
    config_to_yaml,
    field_kind,
    preset,
)


@pytest.mark.parametrize("kind", FIELDS)
def test_yaml_keeps_every_preset(kind):
    config = preset(kind)
    assert config_from_yaml(config_to_yaml(config)) == config
    assert field_kind(config.field) == kind


def test_presets_have_the_papers_numbers():
    attention, plane, basis = preset("attention"), preset("audio_plane"), preset("basis")
    stages = attention.stages
    assert (stages.canonical_steps, stages.deformation_steps) == (8000, 8000)
    assert (attention.losses.l1, attention.losses.dssim, attention.losses.lips) == (0.8, 0.2, 0.8)
    stages = plane.stages
    assert (stages.canonical_steps, stages.deformation_steps) == (3000, 100_000)
    assert (plane.random_points, plane.losses.mask, plane.losses.mask_margin) == (1000, 0.1, 0.2)
    assert isinstance(plane.field, AudioPlaneConfig)
    assert isinstance(attention.field, AttentionConfig)
    assert basis.field.coefficients == 32
    assert basis.stages.minutes <= 30


def test_what_is_left_out_has_its_default():
    config = config_from_yaml("field: {kind: basis, coefficients: 20}\nstages: {minutes: 3}\n")
    assert config == TrainConfig(field=BasisConfig(coefficients=20), stages=StageConfig(minutes=3.0))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("field: {kind: nerf}", "nerf"),
        ("field: {kind: basis}\nsteps: 3", "steps"),
        ("field: {kind: basis}\nseed: one", "one"),
        ("field: {kind: basis}\nthreads: true", "True"),
        ("field: {kind: basis}\nlosses: {l1: -1}", "-1"),
        ("field: {kind: basis}\nlosses: {l1: .nan}", "nan"),
        ("field: {kind: basis, coefficients: 3}", "3"),
        ("field: [", "line"),
        ("seed: 3", "field"),
        ("7", "7"),
    ],
)
def test_bad_yaml_is_refused_with_what_was_found(text, found):
    with pytest.raises(TrainingError, match=found):
        config_from_yaml(text)


@pytest.mark.parametrize(
    "make",
    [
        lambda: StageConfig(canonical_steps=0, deformation_steps=0),
        lambda: StageConfig(minutes=0.0),
        lambda: DensifyConfig(first=0.5, last=0.2),
        lambda: LossConfig(mask_margin=1.0),
        lambda: replace(preset("basis"), device="tpu"),
        lambda: replace(preset("basis"), sh_degree=2),
        lambda: preset("nerf"),
    ],
)
def test_values_that_do_not_fit_are_refused(make):
    with pytest.raises(TrainingError, match=r"expected .* found"):
        make()
