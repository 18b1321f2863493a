"""What a config accepts, and that YAML keeps all of it."""

from dataclasses import replace

import pytest

from splatface.models.errors import TrainingError
from splatface.models.training.fields.field_config import AttentionConfig, AudioPlaneConfig, BasisConfig
from splatface.models.training.optimization.train_config import (
    FIELDS,
    DensifyConfig,
    GaussianConstraints,
    LearningRates,
    LossConfig,
    RefineConfig,
    RegularizationConfig,
    StageConfig,
    TrainConfig,
    config_from_yaml,
    config_to_yaml,
    current_setting_name,
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


OLD_YAML = """\
field: {kind: attention, deltas: [mean, colour]}
rates: {colour: 0.1, shading: 0.2, last: 0.3, last_means: 0.4, means: 0.5}
losses: {outside: 0.1, inside: 0.2, l1: 0.3}
densify: {threshold: 0.1, first: 0.2, last: 0.3, most: 400, growth: 0.5, least_opacity: 0.6, interval: 7}
shape: {longest_m: 0.9, shortest_m: 0.1, ratio: 2.0, depth_hold: 0.3, mouth_hold: 0.4, skin_hold: 0.5,
  shading_hold: 0.6, colour_reach: 0.7}
steady: {jitter: 0.1, forget: 0.2, bends: 0.3}
refine: {rounds: 1, sweeps: 2, last: 0.3, most: 4, turn_deg: 5.0, shift_m: 6.0, turn_rad_s2: 7.0,
  shift_m_s2: 8.0, motion: 9.0, focal: 10.0, centre_px: 11.0}
"""


def test_names_of_version_0_1_still_load(caplog):
    config = config_from_yaml(OLD_YAML)
    assert config.field.deltas == ("mean", "color")
    assert config.rates == LearningRates(
        sh_dc_lr=0.1, sh_rest_lr=0.2, final_lr_ratio=0.3, final_lr_ratio_means=0.4, means=0.5
    )
    assert config.losses == LossConfig(
        background_opacity_weight=0.1, foreground_transparency_weight=0.2, l1=0.3
    )
    assert config.densify == DensifyConfig(
        grow_grad2d=0.1, start_fraction=0.2, stop_fraction=0.3, max_gaussians=400, max_growth_ratio=0.5,
        prune_opacity=0.6, interval=7,
    )  # fmt: skip
    assert config.constraints == GaussianConstraints(
        max_scale_m=0.9, min_scale_m=0.1, max_anisotropy=2.0, depth_anchor_rate=0.3, mouth_anchor_rate=0.4,
        skinning_anchor_rate=0.5, sh_rest_decay=0.6, max_color_deviation=0.7,
    )  # fmt: skip
    assert config.regularization == RegularizationConfig(
        motion_noise_std=0.1, basis_weight_decay=0.2, residual_init_scale=0.3
    )
    assert config.refine == RefineConfig(
        rounds=1, iterations=2, last_round_fraction=0.3, max_frames=4, rotation_sigma_deg=5.0,
        translation_sigma_m=6.0, angular_accel_sigma=7.0, linear_accel_sigma=8.0, motion_sigma=9.0,
        focal_sigma=10.0, center_sigma_px=11.0,
    )  # fmt: skip
    assert "densify.most is now called densify.max_gaussians" in caplog.text


def test_current_names_are_not_reported(caplog):
    config_from_yaml(config_to_yaml(preset("basis")))
    assert not caplog.records


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("densify.most", "densify.max_gaussians"),
        ("shape.max_scale_m", "constraints.max_scale_m"),
        ("densify.interval", "densify.interval"),
        ("seed", "seed"),
        ("field.listening.drive", "field.conditioning.drive"),
    ],
)
def test_setting_names_are_mapped_to_current_ones(old, new):
    assert current_setting_name(old) == new


@pytest.mark.parametrize(
    "make",
    [
        lambda: StageConfig(canonical_steps=0, deformation_steps=0),
        lambda: StageConfig(minutes=0.0),
        lambda: DensifyConfig(start_fraction=0.5, stop_fraction=0.2),
        lambda: LossConfig(mask_margin=1.0),
        lambda: replace(preset("basis"), device="tpu"),
        lambda: replace(preset("basis"), sh_degree=2),
        lambda: preset("nerf"),
    ],
)
def test_values_that_do_not_fit_are_refused(make):
    with pytest.raises(TrainingError, match=r"expected .* found"):
        make()
