"""GaussianTalker's field: every Gaussian attends to what is heard, the eyes, the pose and nothing."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from splatface.models.audio2motion.audio_to_mouth import CONTROLS
from splatface.models.training.fields.bounds import Bounds
from splatface.models.training.fields.config import AttentionConfig
from splatface.models.training.fields.cross_attention import AttentionLayer, MixingLayer
from splatface.models.training.fields.field import Condition, Deformation, GaussianTensors
from splatface.models.training.fields.listening import make_encoder
from splatface.models.training.fields.regress import DeltaHeads
from splatface.models.training.fields.triplane import CanonicalAttributes, Triplane
from splatface.models.training.fields.weights import mlp

__all__ = ["AttentionField", "Tokens"]

POSE_SIZE = 6


class Tokens(nn.Module):
    """What there is to attend to, in the order of the config, each of the width of a Gaussian's features.

    The paper's eye token is AU45 alone; ours sees all controls. The pose is the camera's viewpoint seen from
    the head. The null vector is learned and always the same: it is for what nothing moves.
    """

    def __init__(self, config: AttentionConfig, feature_dim: int, generator: torch.Generator) -> None:
        super().__init__()
        width = config.triplane.width
        self.names = config.tokens
        self.nets = nn.ModuleDict()
        if "audio" in config.tokens:
            self.nets["audio"] = make_encoder(config.listening, width, feature_dim, generator, controls=False)
        if "eye" in config.tokens:
            self.nets["eye"] = mlp((len(CONTROLS), width, width), generator, zero=False)
        if "pose" in config.tokens:
            self.nets["pose"] = mlp((POSE_SIZE, width, width), generator, zero=False)
        if "null" in config.tokens:
            self.null = nn.Parameter(torch.randn(width, generator=generator))

    def forward(self, condition: Condition) -> Tensor:
        """[T, width]."""
        return torch.stack([self._token(name, condition) for name in self.names])

    def _token(self, name: str, condition: Condition) -> Tensor:
        if name == "null":
            return self.null
        seen = {"audio": condition, "eye": condition.controls, "pose": condition.pose}[name]
        token: Tensor = self.nets[name](seen)
        return token


class AttentionField(nn.Module):
    """GaussianTalker (arXiv 2404.16012), sections 3.2 and 3.3, with the switches of its ablations."""

    def __init__(
        self,
        config: AttentionConfig,
        bounds: Bounds,
        start: GaussianTensors,
        feature_dim: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.config = config
        width = config.triplane.width
        self.triplane = Triplane(config.triplane, bounds, generator)
        self.attributes: CanonicalAttributes | None = None
        if config.canonical != "free":
            residual = config.canonical == "residual"
            self.attributes = CanonicalAttributes(
                width, config.predicted, start.sh.shape[1], residual=residual, generator=generator
            )
            self.attributes.start_from(start)
        self.tokens = Tokens(config, feature_dim, generator)
        layer = AttentionLayer if config.fusion == "attention" else MixingLayer
        self.layers = nn.ModuleList(layer(config, generator) for _ in range(config.layers))
        self.regressors = DeltaHeads(
            (width, config.hidden), config.deltas, generator, shared=config.regressors == "shared"
        )

    def canonical(self, gaussians: GaussianTensors) -> GaussianTensors:
        """The Gaussians with the attributes that F_can predicts from their places."""
        if self.attributes is None:
            return gaussians
        predicted: GaussianTensors = self.attributes(self.triplane(gaussians.means), gaussians)
        return predicted

    def forward(self, means: Tensor, condition: Condition, rows: Tensor | None = None) -> Deformation:
        """See Field."""
        return self.bind_positions(means, rows)(condition)

    def bind_positions(self, means: Tensor, rows: Tensor | None = None) -> Callable[[Condition], Deformation]:
        """See Field: the triplane is read once."""
        features = self.triplane(means if rows is None else means[rows])
        return lambda condition: self._moved(features, condition)

    def _moved(self, features: Tensor, condition: Condition) -> Deformation:
        tokens = self.tokens(condition)
        for layer in self.layers:
            features = layer(features, tokens)
        return Deformation(deltas=self.regressors(features), dynamism=None)

    @torch.no_grad()
    def attention_maps(self, means: Tensor, condition: Condition) -> dict[str, Tensor]:
        """How much each Gaussian listens to each token: {token: [N]}, adding up to 1.

        The mean of all heads and layers; {} without attention (fusion concat or multiply).
        """
        if self.config.fusion != "attention":
            return {}
        features, tokens = self.triplane(means), self.tokens(condition)
        total = means.new_zeros(len(self.tokens.names), len(means))
        for layer in self.layers:
            total += layer.weights(features, tokens).mean(0)
            features = layer(features, tokens)
        return dict(zip(self.tokens.names, total / len(self.layers), strict=True))
