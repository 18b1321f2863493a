# SPDX-License-Identifier: Apache-2.0
"""Settings of a training: one frozen value, stored as YAML in the run folder.

Settings had other names until version 0.1: `_OLD_NAMES` lists them, and both YAML and `--set` accept them.
"""

import dataclasses
import logging
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, get_type_hints

import yaml

from splatface.models.errors import SplatfaceError, TrainingError
from splatface.models.training.fields.field_config import (
    AttentionConfig,
    AudioPlaneConfig,
    BasisConfig,
    FieldConfig,
    light_attention,
)

__all__ = [
    "FIELDS",
    "MAX_COLOR_DEVIATION",
    "PRESETS",
    "DensifyConfig",
    "GaussianConstraints",
    "LearningRates",
    "LossConfig",
    "RefineConfig",
    "RegularizationConfig",
    "StageConfig",
    "TrainConfig",
    "config_from_yaml",
    "config_to_yaml",
    "current_setting_name",
    "field_kind",
    "preset",
]

FIELDS: dict[str, type[FieldConfig]] = {
    "basis": BasisConfig,
    "attention": AttentionConfig,
    "audio_plane": AudioPlaneConfig,
}
PRESETS = (*FIELDS, "attention_light")

MAX_COLOR_DEVIATION = 0.12  # of colors 0..1 from the colors that the frames show

_OLD_SECTIONS = {"shape": "constraints", "steady": "regularization"}
_OLD_NAMES = {
    "rates.colour": "rates.sh_dc_lr",
    "rates.shading": "rates.sh_rest_lr",
    "rates.last": "rates.final_lr_ratio",
    "rates.last_means": "rates.final_lr_ratio_means",
    "losses.outside": "losses.background_opacity_weight",
    "losses.inside": "losses.foreground_transparency_weight",
    "densify.threshold": "densify.grow_grad2d",
    "densify.first": "densify.start_fraction",
    "densify.last": "densify.stop_fraction",
    "densify.most": "densify.max_gaussians",
    "densify.growth": "densify.max_growth_ratio",
    "densify.least_opacity": "densify.prune_opacity",
    "shape.longest_m": "constraints.max_scale_m",
    "shape.shortest_m": "constraints.min_scale_m",
    "shape.ratio": "constraints.max_anisotropy",
    "shape.depth_hold": "constraints.depth_anchor_rate",
    "shape.mouth_hold": "constraints.mouth_anchor_rate",
    "shape.skin_hold": "constraints.skinning_anchor_rate",
    "shape.shading_hold": "constraints.sh_rest_decay",
    "shape.colour_reach": "constraints.max_color_deviation",
    "steady.jitter": "regularization.motion_noise_std",
    "steady.forget": "regularization.basis_weight_decay",
    "steady.bends": "regularization.residual_init_scale",
    "refine.sweeps": "refine.iterations",
    "refine.last": "refine.last_round_fraction",
    "refine.most": "refine.max_frames",
    "refine.turn_deg": "refine.rotation_sigma_deg",
    "refine.shift_m": "refine.translation_sigma_m",
    "refine.turn_rad_s2": "refine.angular_accel_sigma",
    "refine.shift_m_s2": "refine.linear_accel_sigma",
    "refine.motion": "refine.motion_sigma",
    "refine.focal": "refine.focal_sigma",
    "refine.centre_px": "refine.center_sigma_px",
    "field.listening": "field.conditioning",
}
_OLD_DELTA_PARTS = {"colour": "color"}  # values of field.deltas

_log = logging.getLogger(__name__)


def _require(fits: bool, name: str, expected: str, found: object) -> None:
    if not fits:
        raise TrainingError(f"config {name}: expected {expected}, found {found}: correct it in config.yaml")


def _require_positive(config: object, *names: str, zero: bool = True) -> None:
    """Check that each named number is finite and >= 0 (> 0 where zero is not allowed)."""
    for name in names:
        value = getattr(config, name)
        fits = value == value and value < float("inf") and (value >= 0 if zero else value > 0)
        _require(fits, name, "a finite number >= 0" if zero else "a finite number > 0", value)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageConfig:
    """Length of the two stages. A budget of minutes, if given, ends the run sooner.

    The learning rates follow whichever is further, steps or minutes, so they have also decayed in a run
    that its budget cuts short.
    """

    canonical_steps: int = 3000
    deformation_steps: int = 22000
    minutes: float | None = None  # wall clock of the whole run

    def __post_init__(self) -> None:
        _require_positive(self, "canonical_steps", "deformation_steps")
        _require(self.canonical_steps + self.deformation_steps > 0, "stages", "at least one step", 0)
        if self.minutes is not None:
            _require_positive(self, "minutes", zero=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningRates:
    """Initial learning rates of Adam; they decay to `final_lr_ratio`, those of means to their own ratio.

    Values of 3DGS (Kerbl et al. 2023), with means in meters of a head instead of scene extents.
    """

    means: float = 3e-4  # m
    quats: float = 1e-3
    log_scales: float = 5e-3
    opacity: float = 3e-2  # of the logit
    sh_dc_lr: float = 5e-3  # SH degree 0
    sh_rest_lr: float = 1.5e-3  # SH degree 1 and above
    skin: float = 2e-3  # of the logit
    basis: float = 0.15  # of the rates above, for the basis
    field: float = 1e-3  # networks of a field and the motion map
    planes: float = 5e-3  # feature grids of a field
    final_lr_ratio: float = 0.05
    final_lr_ratio_means: float = 0.01

    def __post_init__(self) -> None:
        _require_positive(self, *(f.name for f in fields(self)))


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """Weights of the loss terms, see image_loss.py."""

    l1: float = 0.8
    dssim: float = 0.2
    lips: float = 0.0  # GaussianTalker's extra L1 on the lips, 0.8 in the paper
    mask: float = 0.1  # Audio-Plane, eq. 9: dynamism against the dilated mouth and eyes
    mask_margin: float = 0.2
    background_opacity_weight: float = 0.05  # of opacity where only the background is
    foreground_transparency_weight: float = 0.05  # of transmittance where the person is
    perceptual: float = 0.0  # 0.01 GaussianTalker, 0.05 Audio-Plane; about 1 s a step on a CPU core
    perceptual_weights: str = ""  # a user's LPIPS file; without one ST-LPIPS of its package
    background: float = 0.35  # weight of a pixel by region
    person: float = 1.0
    eyes: float = 2.0
    mouth: float = 4.0

    def __post_init__(self) -> None:
        _require_positive(self, *(f.name for f in fields(self) if f.name != "perceptual_weights"))
        _require(self.dssim <= 1, "dssim", "0..1", self.dssim)
        _require(self.mask_margin < 1, "mask_margin", "0..1", self.mask_margin)


@dataclass(frozen=True, slots=True, kw_only=True)
class DensifyConfig:
    """Adding, splitting and pruning of Gaussians between two fractions of the run."""

    grow_grad2d: float = 2e-4  # mean loss gradient per half image width, as 3DGS counts it
    interval: int = 200  # steps
    start_fraction: float = 0.02
    stop_fraction: float = 0.6
    max_gaussians: int = 20_000
    max_growth_ratio: float = 0.05  # of the count, at once
    prune_opacity: float = 0.03  # Gaussians below it are removed

    def __post_init__(self) -> None:
        _require_positive(self, "grow_grad2d", "max_growth_ratio", "start_fraction", "stop_fraction")
        _require_positive(self, "interval", "max_gaussians", zero=False)
        _require(
            self.start_fraction <= self.stop_fraction <= 1,
            "densify",
            "0 <= start_fraction <= stop_fraction <= 1",
            (self.start_fraction, self.stop_fraction),
        )
        _require(0 <= self.prune_opacity < 1, "prune_opacity", "0..1", self.prune_opacity)


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianConstraints:
    """Limits on size, depth and color of Gaussians, against streaks and specks in unseen views."""

    max_scale_m: float = 0.03
    min_scale_m: float = 0.0002
    max_anisotropy: float = 6.0  # longest axis to the middle one
    depth_anchor_rate: float = 5e-3  # fraction of the way back to the first depth, per step at full rate
    mouth_anchor_rate: float = 5e-2  # the same for teeth and the inside of the mouth
    skinning_anchor_rate: float = 0.0  # the same for the logit of the skinning weight
    # The same for SH above degree 0: fitted to a few degrees of rotation, it would glow in other views.
    sh_rest_decay: float = 1e-3
    # Largest deviation (0..1) of a rest color from the colors that the frames show at its Gaussian, once
    # densification is over: a color that compensates for another one is a spot in other views. 1: no limit.
    max_color_deviation: float = MAX_COLOR_DEVIATION

    def __post_init__(self) -> None:
        _require_positive(self, "max_scale_m", "min_scale_m", zero=False)
        _require(
            self.min_scale_m < self.max_scale_m, "min_scale_m", "less than max_scale_m", self.min_scale_m
        )
        _require(self.max_anisotropy >= 1, "max_anisotropy", "1 or more", self.max_anisotropy)
        deviation = self.max_color_deviation
        _require(0 < deviation <= 1, "max_color_deviation", "above 0, at most 1", deviation)
        for name in ("depth_anchor_rate", "mouth_anchor_rate", "skinning_anchor_rate", "sh_rest_decay"):
            _require(0 <= getattr(self, name) < 1, name, "0..1", getattr(self, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class RegularizationConfig:
    """Regularization of a motion basis, against overfitting to a few hundred frames."""

    motion_noise_std: float = 0.1  # noise on mouth and controls, fraction of their standard deviation
    basis_weight_decay: float = 1e-3  # of a basis beyond the known modes, per step at full rate
    residual_init_scale: float = 0.3  # initial size of coefficients beyond the first 16, those being 1

    def __post_init__(self) -> None:
        _require_positive(self, "motion_noise_std", "residual_init_scale")
        _require(0 <= self.basis_weight_decay < 1, "basis_weight_decay", "0..1", self.basis_weight_decay)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefineConfig:
    """Refinement of poses, intrinsics and motion through the renderer; round 1 follows the canonical fit."""

    rounds: int = 0  # 0 keeps the tracked poses
    iterations: int = 3  # over the frames, per round
    last_round_fraction: float = 0.6  # of the run, at which the last round begins
    max_frames: int = 600  # rendered; those between them are interpolated
    rotation_sigma_deg: float = 1.0  # of tracking; half of it for the torso
    translation_sigma_m: float = 4e-3
    angular_accel_sigma: float = 4.0  # rad/s^2 of a head; half of it for the torso
    linear_accel_sigma: float = 0.5  # m/s^2
    motion_sigma: float = 0.012  # of landmarks, in a mouth mode; 0 keeps their motion
    # Of the focal length, relative; 0 keeps it: on a real clip its refinement gained nothing.
    focal_sigma: float = 0.0
    center_sigma_px: float = 0.0  # the same for the principal point

    def __post_init__(self) -> None:
        _require_positive(self, "rounds", "motion_sigma", "focal_sigma", "center_sigma_px")
        _require_positive(self, "iterations", "max_frames", zero=False)
        _require_positive(self, "rotation_sigma_deg", "translation_sigma_m", zero=False)
        _require_positive(self, "angular_accel_sigma", "linear_accel_sigma", zero=False)
        fraction = self.last_round_fraction
        _require(0 <= fraction <= 1, "refine.last_round_fraction", "0..1", fraction)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Everything a run depends on besides its data set."""

    field: FieldConfig
    seed: int = 0
    encoder: str = ""  # whose features drive the field; "" for fields driven by motion
    sh_degree: int = 1
    random_points: int = 4000  # where the data set brings no points
    dynamic: int = 8000  # Gaussians that speech or eyes may move
    stages: StageConfig = dataclasses.field(default_factory=StageConfig)
    rates: LearningRates = dataclasses.field(default_factory=LearningRates)
    losses: LossConfig = dataclasses.field(default_factory=LossConfig)
    densify: DensifyConfig = dataclasses.field(default_factory=DensifyConfig)
    constraints: GaussianConstraints = dataclasses.field(default_factory=GaussianConstraints)
    regularization: RegularizationConfig = dataclasses.field(default_factory=RegularizationConfig)
    refine: RefineConfig = dataclasses.field(default_factory=RefineConfig)
    threads: int = 2
    device: str = "cpu"
    cache_gb: float = 2.0  # GB (1e9 bytes) of decoded frames kept in memory
    checkpoint_s: float = 60.0
    report_every: int = 100  # steps
    validate_every: int = 2000  # steps

    def __post_init__(self) -> None:
        known = isinstance(self.field, tuple(FIELDS.values()))
        _require(known, "field", "the config of a field", type(self.field).__name__)
        _require(self.seed >= 0, "seed", "0 or more", self.seed)
        _require(self.sh_degree in (0, 1), "sh_degree", "0 or 1", self.sh_degree)
        _require(self.device.split(":")[0] in ("cpu", "cuda"), "device", "cpu or cuda", self.device)
        _require_positive(self, "random_points", "dynamic", "threads", zero=False)
        _require_positive(self, "report_every", "validate_every", zero=False)
        _require_positive(self, "cache_gb", "checkpoint_s")


def preset(field_kind: str) -> TrainConfig:
    """Return the default settings of training a kind of field.

    "basis": <= 30 minutes on two cores. "attention": 8,000 + 8,000 steps (GaussianTalker);
    "attention_light": the same with one layer and one regressor for all deltas.
    "audio_plane": 1,000 random points, 3,000 + 100,000 steps (Audio-Plane). Raises TrainingError for
    another name.
    """
    if field_kind not in PRESETS:
        raise TrainingError(
            f"field: expected one of {', '.join(PRESETS)}, found {field_kind!r}: choose one of them"
        )
    if field_kind in ("attention", "attention_light"):
        return TrainConfig(
            field=AttentionConfig() if field_kind == "attention" else light_attention(),
            stages=StageConfig(canonical_steps=8000, deformation_steps=8000),
            losses=LossConfig(lips=0.8, mask=0.0),
        )
    if field_kind == "audio_plane":
        return TrainConfig(
            field=AudioPlaneConfig(),
            random_points=1000,
            stages=StageConfig(canonical_steps=3000, deformation_steps=100_000),
            losses=LossConfig(l1=1.0, dssim=0.0, mask=0.1),
        )
    return TrainConfig(field=BasisConfig(), stages=StageConfig(minutes=25.0))


def field_kind(config: FieldConfig) -> str:
    """Return the name of a field config in FIELDS."""
    return next(name for name, kind in FIELDS.items() if isinstance(config, kind))


def config_to_yaml(config: TrainConfig) -> str:
    """Return the whole config as YAML."""
    text: str = yaml.safe_dump(_plain(config), sort_keys=False)
    return text


def config_from_yaml(text: str) -> TrainConfig:
    """Read what `config_to_yaml` wrote; what is left out has its default.

    Old names (see `_OLD_NAMES`) are accepted and logged, one line each.

    Raises:
        TrainingError: for what is no YAML, an unknown name or a value that does not fit.
    """
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise TrainingError(f"config: expected YAML, found {error}: correct the line") from error
    if isinstance(data, dict):
        data = _with_current_names(data)
    config: TrainConfig = _read(TrainConfig, data, "config")
    return config


def current_setting_name(name: str) -> str:
    """Return the current dotted name of a setting (as in `--set`), given its current or old one."""
    for old, new in _OLD_NAMES.items():
        if f"{name}.".startswith(f"{old}."):
            return new + name[len(old) :]
    section, dot, key = name.partition(".")
    return f"{_OLD_SECTIONS.get(section, section)}{dot}{key}"


def _with_current_names(data: dict[str, Any]) -> dict[str, Any]:
    """Return nested settings with old names replaced by current ones."""
    renamed: dict[str, Any] = {}
    for section, content in data.items():
        if not isinstance(content, dict):
            renamed[section] = content
            continue
        target = renamed.setdefault(_OLD_SECTIONS.get(section, section), {})
        for key, value in content.items():
            old = f"{section}.{key}"
            new = current_setting_name(old)
            if new != old:
                _log.warning("config: %s is now called %s", old, new)
            if isinstance(value, list):
                value = [
                    _OLD_DELTA_PARTS.get(item, item) if isinstance(item, str) else item for item in value
                ]
            target[new.partition(".")[2]] = value
    return renamed


def _plain(value: Any) -> Any:
    """Return a config as dicts, lists and scalars."""
    if is_dataclass(value) and not isinstance(value, type):
        kind = {}
        if isinstance(value, AttentionConfig | AudioPlaneConfig | BasisConfig):
            kind = {"kind": field_kind(value)}
        return kind | {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    return list(value) if isinstance(value, tuple) else value


def _read(kind: Any, data: Any, path: str) -> Any:
    """Build a dataclass from plain data; numbers, texts and tuples are checked against the annotation."""
    _require(isinstance(data, dict), path, "names and values", data)
    hints = get_type_hints(kind)
    unknown = sorted(set(map(str, data)) - set(hints))
    _require(not unknown, path, f"names among {', '.join(hints)}", ", ".join(unknown))
    values = {name: _read_value(hints[name], value, f"{path}.{name}") for name, value in data.items()}
    try:
        return kind(**values)
    except SplatfaceError as error:
        raise TrainingError(str(error)) from error
    except TypeError as error:
        raise TrainingError(f"{path}: expected all names without a default, found {error}") from error


def _read_value(hint: Any, value: Any, path: str) -> Any:
    if hint == FieldConfig:
        kind = value.get("kind") if isinstance(value, dict) else value
        _require(kind in FIELDS, f"{path}.kind", f"one of {', '.join(FIELDS)}", kind)
        return _read(FIELDS[str(kind)], {k: v for k, v in value.items() if k != "kind"}, path)
    if is_dataclass(hint):
        return _read(hint, value, path)
    if hint in (int, float, str, bool):
        numeric = hint is float and isinstance(value, int) and not isinstance(value, bool)
        fits = numeric or (isinstance(value, hint) and (hint is bool or not isinstance(value, bool)))
        _require(fits, path, hint.__name__, repr(value))
        return float(value) if numeric else value
    return tuple(value) if isinstance(value, list) else value
