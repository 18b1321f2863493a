"""One door to all fields."""

import torch
from torch import nn

from splatface.models.training.fields.attention_field import AttentionField
from splatface.models.training.fields.audio_plane_field import AudioPlaneField
from splatface.models.training.fields.basis_field import BasisField, PointModes, start_basis
from splatface.models.training.fields.field import Bounds, GaussianTensors, bounding_box
from splatface.models.training.fields.field_config import AttentionConfig, AudioPlaneConfig, FieldConfig

__all__ = ["make_field"]


def make_field(
    config: FieldConfig,
    start: GaussianTensors,
    *,
    modes: PointModes | None = None,
    bounds: Bounds | None = None,
    feature_dim: int = 0,
    generator: torch.Generator,
) -> nn.Module:
    """The Field (a torch module) that `config` describes.

    Args:
        config: its class says which field.
        start: the Gaussians training starts from: the box of the grids, the rows of the basis, F_can's start.
        modes: of points of the person, from which the basis starts.
        bounds: the box of the grids, if not around the Gaussians.
        feature_dim: size of a feature frame, for `drive: sound`.
        generator: all weights are rendered from it.

    Raises:
        TrainingError: features are needed and `feature_dim` is 0.
    """
    box = bounds or bounding_box(start.means)
    if isinstance(config, AttentionConfig):
        return AttentionField(config, box, start, feature_dim, generator)
    if isinstance(config, AudioPlaneConfig):
        return AudioPlaneField(config, box, feature_dim, generator)
    basis, dynamic = start_basis(start.means, modes, config.coefficients)
    return BasisField(config, basis, dynamic, len(start.means), generator)
