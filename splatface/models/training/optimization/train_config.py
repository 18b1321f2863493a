"""How a head is trained: one frozen value, stored as YAML with the run it made."""

import dataclasses
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
    "COLOR_REACH",
    "FIELDS",
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
    "field_kind",
    "preset",
]

FIELDS: dict[str, type[FieldConfig]] = {
    "basis": BasisConfig,
    "attention": AttentionConfig,
    "audio_plane": AudioPlaneConfig,
}
PRESETS = (*FIELDS, "attention_light")

COLOR_REACH = 0.12  # how far colors 0..1 of what was filmed may be from what pictures show


def field_kind(config: FieldConfig) -> str:
    """The name under which a config's field is asked for."""
    return next(name for name, kind in FIELDS.items() if isinstance(config, kind))


def _require(fits: bool, name: str, expected: str, found: object) -> None:
    if not fits:
        raise TrainingError(f"config {name}: expected {expected}, found {found}: correct it in config.yaml")


def _positive(owner: object, *names: str, zero: bool = True) -> None:
    """Each named number is finite and >= 0 (> 0 where zero is not allowed)."""
    for name in names:
        value = getattr(owner, name)
        fits = value == value and value < float("inf") and (value >= 0 if zero else value > 0)
        _require(fits, name, "a finite number >= 0" if zero else "a finite number > 0", value)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageConfig:
    """How long the two stages last. A budget of minutes, where there is one, ends the run sooner.

    The learning rates follow whatever is further on, steps or minutes, so that a run cut short by its
    budget has cooled down too.
    """

    canonical_steps: int = 3000
    deformation_steps: int = 22000
    minutes: float | None = None  # wall clock of the whole run

    def __post_init__(self) -> None:
        """TrainingError where a value does not fit."""
        _positive(self, "canonical_steps", "deformation_steps")
        _require(self.canonical_steps + self.deformation_steps > 0, "stages", "at least one step", 0)
        if self.minutes is not None:
            _positive(self, "minutes", zero=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningRates:
    """Learning rates of Adam at the start; they fall to `last` of it, the places to `last_means`.

    3DGS (Kerbl et al. 2023) with places in meters of a head instead of scene extents.
    """

    means: float = 3e-4  # m
    quats: float = 1e-3
    log_scales: float = 5e-3
    opacity: float = 3e-2  # of the logit
    sh_dc_lr: float = 5e-3  # SH degree 0
    sh_rest_lr: float = 1.5e-3  # SH degree 1 and above
    skin: float = 2e-3  # of the logit
    basis: float = 0.15  # of the rates above, for the basis
    field: float = 1e-3  # nets of a field and the motion map
    planes: float = 5e-3  # grids of a field
    last: float = 0.05
    final_lr_ratio_means: float = 0.01

    def __post_init__(self) -> None:
        """TrainingError where a value does not fit."""
        _positive(self, *(f.name for f in fields(self)))


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """Weights of the loss; see losses.py for the terms."""

    l1: float = 0.8
    dssim: float = 0.2
    lips: float = 0.0  # GaussianTalker's extra L1 on the lips, 0.8 in the paper
    mask: float = 0.1  # Audio-Plane, eq. 9: dynamism against the dilated mouth and eyes
    mask_margin: float = 0.2
    background_opacity_weight: float = 0.05  # covering the background where only the background is
    foreground_transparency_weight: float = 0.05  # letting the background through where the person is
    perceptual: float = 0.0  # 0.01 GaussianTalker, 0.05 Audio-Plane; a second a step on a processor core
    perceptual_weights: str = ""  # a user's LPIPS file; without one ST-LPIPS of its package
    background: float = 0.35  # how much a pixel of a region counts
    person: float = 1.0
    eyes: float = 2.0
    mouth: float = 4.0

    def __post_init__(self) -> None:
        """TrainingError where a value does not fit."""
        _positive(self, *(f.name for f in fields(self) if f.name != "perceptual_weights"))
        _require(self.dssim <= 1, "dssim", "0..1", self.dssim)
        _require(self.mask_margin < 1, "mask_margin", "0..1", self.mask_margin)


@dataclass(frozen=True, slots=True, kw_only=True)
class DensifyConfig:
    """When Gaussians are added, split and removed; between `first` and `last`, shares of all steps."""

    grow_grad2d: float = 2e-4  # mean slope of the loss per half picture width, as 3DGS counts it
    interval: int = 200  # steps
    first: float = 0.02
    last: float = 0.6
    max_gaussians: int = 20_000  # Gaussians
    max_growth_ratio: float = 0.05  # at most this share more at once
    prune_opacity: float = 0.03  # fainter ones are taken away

    def __post_init__(self) -> None:
        """TrainingError where a value does not fit."""
        _positive(self, "grow_grad2d", "max_growth_ratio", "first", "last")
        _positive(self, "interval", "max_gaussians", zero=False)
        _require(self.first <= self.last <= 1, "densify", "0 <= first <= last <= 1", (self.first, self.last))
        _require(0 <= self.prune_opacity < 1, "prune_opacity", "0..1", self.prune_opacity)


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianConstraints:
    """What keeps Gaussians from becoming streaks and specks where no picture looks."""

    max_scale_m: float = 0.03
    min_scale_m: float = 0.0002
    max_anisotropy: float = 6.0  # longest axis to the middle one
    depth_anchor_rate: float = 5e-3  # share of the way back to the first depth, per step at full rate
    mouth_hold: float = 5e-2  # the same for teeth and what is behind the lips
    skinning_anchor_rate: float = 0.0  # the same for the logit of the skin weight
    # The same for SH above degree 0: what a few degrees do not tell would glow when the head turns.
    sh_rest_decay: float = 1e-3
    # How far, of 0..1, a resting color may be from what pictures show where its Gaussian lies, once no more
    # are added: what makes up for another's color is a spot when the head turns. 1: as far as it likes.
    max_color_deviation: float = COLOR_REACH

    def __post_init__(self) -> None:
        """TrainingError where a value does not fit."""
        _positive(self, "max_scale_m", "min_scale_m", zero=False)
        _require(
            self.min_scale_m < self.max_scale_m, "min_scale_m", "less than max_scale_m", self.min_scale_m
        )
        _require(self.max_anisotropy >= 1, "max_anisotropy", "1 or more", self.max_anisotropy)
        _require(
            0 < self.max_color_deviation <= 1,
            "max_color_deviation",
            "above 0, at most 1",
            self.max_color_deviation,
        )
        for name in ("depth_anchor_rate", "mouth_hold", "skinning_anchor_rate", "sh_rest_decay"):
            _require(0 <= getattr(self, name) < 1, name, "0..1", getattr(self, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class RegularizationConfig:
    """What keeps the movements of a basis from learning a few hundred pictures by heart."""

    motion_noise_std: float = 0.1  # noise on mouth and controls, share of their spread
    basis_weight_decay: float = (
        1e-3  # share that fades of a basis beyond the known modes, per step at full rate
    )
    residual_init_scale: float = (
        0.3  # size of the coefficients beyond the first 16 at the start, those being 1
    )

    def __post_init__(self) -> None:
        """TrainingError where a value does not fit."""
        _positive(self, "motion_noise_std", "residual_init_scale")
        _require(0 <= self.basis_weight_decay < 1, "basis_weight_decay", "0..1", self.basis_weight_decay)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefineConfig:
    """How poses and lens are refined through the renderer; the first round follows the canonical fit."""

    rounds: int = 0  # 0 leaves the tracked poses alone
    iterations: int = 3  # looks at each picture in a round
    last: float = 0.6  # share of the run at which the last round begins
    most: int = 600  # pictures looked at; those between follow
    rotation_sigma_deg: float = 1.0  # how far tracking may be off; half of it for the torso
    translation_sigma_m: float = 4e-3
    angular_accel_sigma: float = 4.0  # how fast heads change their way; half of it for the torso
    shift_m_s2: float = 0.5
    motion: float = 0.012  # how far landmarks may be off in a mouth mode; 0 leaves their motion as it is
    # How far the focal length may be off, share; 0 leaves it alone: on a real clip it gained nothing.
    focal: float = 0.0
    center_px: float = 0.0  # the same for the principal point

    def __post_init__(self) -> None:
        """TrainingError where a value does not fit."""
        _positive(self, "rounds", "motion", "focal", "center_px")
        _positive(
            self,
            "iterations",
            "most",
            "rotation_sigma_deg",
            "translation_sigma_m",
            "angular_accel_sigma",
            "shift_m_s2",
            zero=False,
        )
        _require(0 <= self.last <= 1, "refine.last", "0..1", self.last)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Everything a run depends on besides its data set."""

    field: FieldConfig
    seed: int = 0
    encoder: str = ""  # whose features a field driven by sound hears; "" for fields driven by motion
    sh_degree: int = 1
    random_points: int = 4000  # where the data set brings no points
    dynamic: int = 8000  # Gaussians that speech or eyes may move
    stages: StageConfig = dataclasses.field(default_factory=StageConfig)
    rates: LearningRates = dataclasses.field(default_factory=LearningRates)
    losses: LossConfig = dataclasses.field(default_factory=LossConfig)
    densify: DensifyConfig = dataclasses.field(default_factory=DensifyConfig)
    shape: GaussianConstraints = dataclasses.field(default_factory=GaussianConstraints)
    steady: RegularizationConfig = dataclasses.field(default_factory=RegularizationConfig)
    refine: RefineConfig = dataclasses.field(default_factory=RefineConfig)
    threads: int = 2
    device: str = "cpu"
    cache_gb: float = 2.0  # of pictures kept in memory
    checkpoint_s: float = 60.0
    report_every: int = 100  # steps
    validate_every: int = 2000  # steps

    def __post_init__(self) -> None:
        """TrainingError where a value does not fit."""
        known = isinstance(self.field, tuple(FIELDS.values()))
        _require(known, "field", "the config of a field", type(self.field).__name__)
        _require(self.seed >= 0, "seed", "0 or more", self.seed)
        _require(self.sh_degree in (0, 1), "sh_degree", "0 or 1", self.sh_degree)
        _require(self.device.split(":")[0] in ("cpu", "cuda"), "device", "cpu or cuda", self.device)
        _positive(self, "random_points", "dynamic", "threads", "report_every", "validate_every", zero=False)
        _positive(self, "cache_gb", "checkpoint_s")


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


def config_to_yaml(config: TrainConfig) -> str:
    """The whole config as YAML."""
    text: str = yaml.safe_dump(_plain(config), sort_keys=False)
    return text


def config_from_yaml(text: str) -> TrainConfig:
    """Read what `config_to_yaml` wrote; what is left out has its default.

    Raises TrainingError for what is no YAML, an unknown name or a value that does not fit.
    """
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise TrainingError(f"config: expected YAML, found {error}: correct the line") from error
    config: TrainConfig = _read(TrainConfig, found, "config")
    return config


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        kind = {}
        if isinstance(value, AttentionConfig | AudioPlaneConfig | BasisConfig):
            kind = {"kind": field_kind(value)}
        return kind | {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    return list(value) if isinstance(value, tuple) else value


def _read(kind: Any, found: Any, at: str) -> Any:
    """A dataclass of plain data; numbers, texts and tuples are checked against the annotation."""
    _require(isinstance(found, dict), at, "names and values", found)
    hints = get_type_hints(kind)
    if "conditioning" in hints and "listening" in found:  # the name until 0.2
        found = {"conditioning" if name == "listening" else name: value for name, value in found.items()}
    unknown = sorted(set(map(str, found)) - set(hints))
    _require(not unknown, at, f"names among {', '.join(hints)}", ", ".join(unknown))
    values = {name: _value(hints[name], value, f"{at}.{name}") for name, value in found.items()}
    try:
        return kind(**values)
    except SplatfaceError as error:
        raise TrainingError(str(error)) from error
    except TypeError as error:
        raise TrainingError(f"{at}: expected all names without a default, found {error}") from error


def _value(hint: Any, value: Any, at: str) -> Any:
    if hint == FieldConfig:
        kind = value.get("kind") if isinstance(value, dict) else value
        _require(kind in FIELDS, f"{at}.kind", f"one of {', '.join(FIELDS)}", kind)
        return _read(FIELDS[str(kind)], {k: v for k, v in value.items() if k != "kind"}, at)
    if is_dataclass(hint):
        return _read(hint, value, at)
    if hint in (int, float, str, bool):
        numeric = hint is float and isinstance(value, int) and not isinstance(value, bool)
        fits = numeric or (isinstance(value, hint) and (hint is bool or not isinstance(value, bool)))
        _require(fits, at, hint.__name__, repr(value))
        return float(value) if numeric else value
    return tuple(value) if isinstance(value, list) else value
