# SPDX-License-Identifier: Apache-2.0
"""Which field, with every switch that the ablations of both papers turn."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

from splatface.models.errors import TrainingError
from splatface.models.head.head import MOTION_SIZE

__all__ = [
    "CANONICAL_PARTS",
    "DELTA_PARTS",
    "TOKENS",
    "AttentionConfig",
    "AudioPlaneConfig",
    "BasisConfig",
    "ConditioningConfig",
    "FieldConfig",
    "TriplaneConfig",
    "light_attention",
]

# Parts of a movement, in the order of DELTA_CHANNELS. "color" is SH degree 0.
DELTA_PARTS = ("mean", "rotation", "scale", "opacity", "color")
# Outputs of F_can (GaussianTalker, ablation "attribute conditions for the triplane").
CANONICAL_PARTS = ("scale", "rotation", "sh", "opacity")
# Condition tokens that a Gaussian can attend to (GaussianTalker, ablation "disentangling").
TOKENS = ("audio", "eye", "pose", "null")

SIMD_WIDTH = 16  # features come in groups of 16: one cache line, see products_fast


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditioningConfig:
    """Conversion of audio, or of motion in its place, to one condition vector.

    16 frames of 20 ms and 8 neighbors as in both papers (DeepSpeech windows of VOCA, then AD-NeRF's
    filter); theirs look both ways, ours ends `lookahead_ms` after the image.
    """

    drive: Literal["motion", "sound"] = "motion"
    frames: int = 16  # W feature frames in a window
    windows: int = 8  # S windows that the second smoothing sees
    lookahead_ms: float = 32.0  # center of the newest frame minus time of the image
    smoothing: Literal["attention", "none"] = "attention"  # over the S windows

    def __post_init__(self) -> None:
        _check_choice("conditioning.drive", self.drive, ("motion", "sound"))
        _check_choice("conditioning.smoothing", self.smoothing, ("attention", "none"))
        _check_range("conditioning.frames", self.frames, 2, 64)
        _check_range("conditioning.windows", self.windows, 1, 32)
        _check_range("conditioning.lookahead_ms", self.lookahead_ms, 0, 500)


@dataclass(frozen=True, slots=True, kw_only=True)
class TriplaneConfig:
    """GaussianTalker's triplane: base resolution 64 and twice that, 2 x 32 = 64 features per Gaussian."""

    resolution: int = 64
    scales: tuple[int, ...] = (1, 2)
    features: int = 32  # per plane and scale
    combine: Literal["product", "sum"] = "product"  # of the three planes; scales are put side by side

    def __post_init__(self) -> None:
        _check_range("triplane.resolution", self.resolution, 2, 1024)
        _check_scales("triplane.scales", self.scales)
        _check_simd_width("triplane.features", self.features)
        _check_choice("triplane.combine", self.combine, ("product", "sum"))

    @property
    def width(self) -> int:
        """Number of features per Gaussian."""
        return len(self.scales) * self.features


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionConfig:
    """Settings of GaussianTalker's field (arXiv 2404.16012)."""

    triplane: TriplaneConfig = field(default_factory=TriplaneConfig)
    conditioning: ConditioningConfig = field(default_factory=ConditioningConfig)
    canonical: Literal["predicted", "residual", "free"] = "predicted"  # F_can, added to free ones, or none
    predicted: tuple[str, ...] = CANONICAL_PARTS
    tokens: tuple[str, ...] = TOKENS
    fusion: Literal["attention", "concat", "multiply"] = "attention"
    layers: int = 2
    heads: int = 2
    feed_forward: int = 128
    dropout: float = 0.0  # the authors' settings say 0.2; it slows 16,000 iterations on a CPU
    deltas: tuple[str, ...] = DELTA_PARTS
    regressors: Literal["separate", "shared"] = "separate"  # an MLP per part, or one for all
    hidden: int = 64  # of the regressors

    def __post_init__(self) -> None:
        _check_choice("attention.canonical", self.canonical, ("predicted", "residual", "free"))
        _check_choices("attention.predicted", self.predicted, CANONICAL_PARTS)
        _check_choices("attention.tokens", self.tokens, TOKENS)
        _check_choice("attention.fusion", self.fusion, ("attention", "concat", "multiply"))
        _check_range("attention.layers", self.layers, 1, 8)
        _check_range("attention.feed_forward", self.feed_forward, 1, 4096)
        _check_range("attention.dropout", self.dropout, 0, 0.9)
        _check_choices("attention.deltas", self.deltas, DELTA_PARTS)
        _check_choice("attention.regressors", self.regressors, ("separate", "shared"))
        _check_range("attention.hidden", self.hidden, 1, 1024)
        if not 1 <= self.heads <= self.triplane.width or self.triplane.width % self.heads:
            raise TrainingError(
                f"attention.heads: expected a divisor of the {self.triplane.width} features, "
                f"found {self.heads}: take 1, 2 or 4"
            )


def light_attention() -> AttentionConfig:
    """Return GaussianTalker*, the faster variant: one layer, and (ours) one regressor for all parts."""
    return AttentionConfig(layers=1, regressors="shared")


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioPlaneConfig:
    """Settings of Audio-Plane's field (Shen et al. 2025)."""

    conditioning: ConditioningConfig = field(default_factory=ConditioningConfig)
    representation: Literal["audio_plane", "concat"] = (
        "audio_plane"  # table 1, "w/o A": a beside the position
    )
    resolution: int = 64  # H
    scales: tuple[int, ...] = (1, 2, 3, 4)  # s
    features: int = 16  # D
    fusion: Literal["concat", "add", "multiply"] = "concat"  # of the three (i, j, k), table 2
    selector: Literal["attention", "mlp"] = "attention"  # of prototypes, table 2
    dynamism: Literal["learned", "off"] = "learned"  # table 1, "w/o D"
    controls: bool = True  # whether the query includes blinks and gaze; the paper's has audio only
    deltas: tuple[str, ...] = DELTA_PARTS
    hidden: int = 64  # of D1

    def __post_init__(self) -> None:
        _check_choice("audio_plane.representation", self.representation, ("audio_plane", "concat"))
        _check_range("audio_plane.resolution", self.resolution, 2, 512)
        _check_scales("audio_plane.scales", self.scales)
        _check_simd_width("audio_plane.features", self.features)
        _check_choice("audio_plane.fusion", self.fusion, ("concat", "add", "multiply"))
        _check_choice("audio_plane.selector", self.selector, ("attention", "mlp"))
        _check_choice("audio_plane.dynamism", self.dynamism, ("learned", "off"))
        _check_choices("audio_plane.deltas", self.deltas, DELTA_PARTS)
        _check_range("audio_plane.hidden", self.hidden, 1, 1024)

    @property
    def width(self) -> int:
        """Number of features per Gaussian."""
        return len(self.scales) * self.features * (3 if self.fusion == "concat" else 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class BasisConfig:
    """Settings of our linear basis, driven by the motion space through a motion map."""

    conditioning: ConditioningConfig = field(default_factory=ConditioningConfig)
    coefficients: int = 32  # K; the first 16 start as the mouth modes and the controls
    hidden: int = 32  # H of the motion map's bend, 0: a line
    dynamism: Literal["learned", "off"] = "learned"
    deltas: tuple[str, ...] = DELTA_PARTS

    def __post_init__(self) -> None:
        _check_range("basis.coefficients", self.coefficients, MOTION_SIZE, 256)
        _check_range("basis.hidden", self.hidden, 0, 1024)
        _check_choice("basis.dynamism", self.dynamism, ("learned", "off"))
        _check_choices("basis.deltas", self.deltas, DELTA_PARTS)
        if self.conditioning.drive != "motion":
            raise TrainingError(
                "basis.conditioning.drive: expected motion, found sound: the basis is driven by the motion "
                "space; hearing learns that space (splatface hear), or take field attention or audio_plane"
            )


FieldConfig = AttentionConfig | AudioPlaneConfig | BasisConfig


def _check_choice(name: str, value: str, allowed: Collection[str]) -> None:
    if value not in allowed:
        raise TrainingError(f"{name}: expected one of {', '.join(allowed)}, found {value!r}: correct it")


def _check_choices(name: str, values: tuple[str, ...], allowed: Collection[str]) -> None:
    if not values or len(set(values)) != len(values) or not set(values) <= set(allowed):
        raise TrainingError(
            f"{name}: expected one or more of {', '.join(allowed)}, each once, "
            f"found {', '.join(map(str, values)) or 'none'}: correct it"
        )


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise TrainingError(f"{name}: expected {low:g}..{high:g}, found {value}: correct it")


def _check_scales(name: str, scales: tuple[int, ...]) -> None:
    if not scales or any(not 1 <= scale <= 16 for scale in scales) or len(set(scales)) != len(scales):
        raise TrainingError(f"{name}: expected different whole numbers in 1..16, found {scales}: try (1, 2)")


def _check_simd_width(name: str, features: int) -> None:
    if features < SIMD_WIDTH or features % SIMD_WIDTH:
        raise TrainingError(
            f"{name}: expected a multiple of {SIMD_WIDTH}, found {features}: take 16, 32 or 64"
        )
