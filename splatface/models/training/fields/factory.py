# SPDX-License-Identifier: Apache-2.0
"""Make any field by its name."""

import torch
from torch import Tensor, nn

from splatface.models.training.fields.attention_field import AttentionField
from splatface.models.training.fields.audio_conditioning import AudioWindowEncoder
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
    training_features: Tensor | None = None,
    generator: torch.Generator,
) -> nn.Module:
    """Make the Field (a torch module) that `config` describes.

    Args:
        config: its class says which field.
        start: the Gaussians training starts from: the box of the grids, the rows of the basis, F_can's start.
        modes: of points of the person, from which the basis starts.
        bounds: the box of the grids, if not around the Gaussians.
        training_features: [n, D] audio features of the training frames, for `drive: sound`; the field keeps
            their mean and standard deviation per dimension and normalizes by them.
        generator: all weights are rendered from it.

    Raises:
        TrainingError: features are needed and none are given.
    """
    feature_dim = 0 if training_features is None else training_features.shape[1]
    box = bounds or bounding_box(start.means)
    if isinstance(config, AttentionConfig):
        field = AttentionField(config, box, start, feature_dim, generator)
        return _with_normalization(field, training_features)
    if isinstance(config, AudioPlaneConfig):
        return _with_normalization(AudioPlaneField(config, box, feature_dim, generator), training_features)
    basis, dynamic = start_basis(start.means, modes, config.coefficients)
    return BasisField(config, basis, dynamic, len(start.means), generator)


def _with_normalization(field: nn.Module, training_features: Tensor | None) -> nn.Module:
    if training_features is not None:
        for module in field.modules():
            if isinstance(module, AudioWindowEncoder):
                module.fit_normalization(training_features)
    return field
