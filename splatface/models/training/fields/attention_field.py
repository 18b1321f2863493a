# SPDX-License-Identifier: Apache-2.0
"""GaussianTalker's field (arXiv 2404.16012): a triplane, cross-attention on condition tokens, delta heads."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from splatface.models.audio2motion.audio_to_mouth import CONTROLS
from splatface.models.training.fields.audio_conditioning import make_condition_encoder
from splatface.models.training.fields.factorized_planes import make_layout, products
from splatface.models.training.fields.field import Bounds, Box, Condition, Deformation, GaussianTensors
from splatface.models.training.fields.field_config import AttentionConfig, TriplaneConfig
from splatface.models.training.fields.layers import DeltaHeads, linear, mlp

__all__ = [
    "AttentionField",
    "AttentionLayer",
    "CanonicalAttributes",
    "MixingLayer",
    "Tokens",
    "Triplane",
]

PLANE_AXES = ((0, 1), (1, 2), (2, 0))  # P^xy, P^yz, P^zx
INITIAL_RANGE = (0.1, 0.5)  # positive, so that a product of three starts neither at 0 nor with a random sign


class Triplane(nn.Module):
    """f(mu): planes of several resolutions, interpolated and multiplied, scales side by side.

    GaussianTalker section 3.2: f(mu) = concat over scales of the Hadamard product over planes.
    """

    def __init__(self, config: TriplaneConfig, bounds: Bounds, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.box = Box(bounds)
        sizes = [config.resolution * scale for scale in config.scales]
        if config.combine == "product":
            grid_specs = [[(axes, size) for axes in PLANE_AXES] for size in sizes]
        else:
            grid_specs = [[(axes, size)] for size in sizes for axes in PLANE_AXES]
        self.layout = make_layout(config.features, grid_specs)
        low, high = INITIAL_RANGE
        self.values = nn.Parameter(low + (high - low) * torch.rand(self.layout.count, generator=generator))

    def forward(self, means: Tensor) -> Tensor:
        """Return features [N, config.width] at positions [N, 3] m."""
        features = products(self.values, self.layout, self.box(means))
        if self.config.combine == "product":
            return features
        per_scale = features.view(len(means), len(self.config.scales), len(PLANE_AXES), self.config.features)
        return per_scale.sum(2).flatten(1)


class CanonicalAttributes(nn.Module):
    """{s, r, SH, alpha} = F_can(f(mu)): the attributes of a resting head, from its features.

    `residual` adds to the given attributes instead of replacing them. The last layers start at zero: at first
    all Gaussians are alike (see `start_from`), or as given.
    """

    def __init__(
        self,
        width: int,
        parts: tuple[str, ...],
        sh_count: int,
        *,
        residual: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.residual = residual
        sizes = {"scale": 3, "rotation": 4, "sh": 3 * sh_count, "opacity": 1}
        self.heads = nn.ModuleDict({part: mlp((width, width, sizes[part]), generator) for part in parts})
        if not residual and "rotation" in parts:
            self.heads["rotation"][-1].bias.data[0] = 1.0  # no turn

    def start_from(self, gaussians: GaussianTensors) -> None:
        """Initialize with the mean of these Gaussians' attributes; without effect for `residual`."""
        if self.residual:
            return
        for part, name in _NAMES.items():
            if part in self.heads and part != "rotation":
                mean = getattr(gaussians, name).detach().flatten(1 if part != "opacity" else 0).mean(0)
                self.heads[part][-1].bias.data.copy_(mean.reshape(-1))

    def forward(self, features: Tensor, gaussians: GaussianTensors) -> GaussianTensors:
        """Return the Gaussians with the predicted parts in place of (or added to) their own."""
        predicted_values = {}
        for part, head in self.heads.items():
            own_values = getattr(gaussians, _NAMES[part])
            value = head(features).reshape(own_values.shape)
            predicted_values[_NAMES[part]] = own_values + value if self.residual else value
        return replace(gaussians, **predicted_values)


_NAMES = {"scale": "log_scales", "rotation": "quats", "sh": "sh", "opacity": "opacity_logits"}


class AttentionLayer(nn.Module):
    """One layer of the spatial-audio attention (GaussianTalker, section 3.3).

    z' = LN(z + CA(z, tokens)); z'' = LN(z' + FFN(z')), the Gaussians' features being the queries and the
    tokens keys and values.

    All Gaussians fraction the tokens, so keys fold into the query weights and values into the output weights:
    per Gaussian two products with [width, heads * T] instead of two with [width, width].
    """

    def __init__(self, config: AttentionConfig, generator: torch.Generator) -> None:
        super().__init__()
        width = config.triplane.width
        self.heads = config.heads
        self.query, self.key, self.value, self.out = (linear(width, width, generator) for _ in range(4))
        self.feed_forward = mlp((width, config.feed_forward, width), generator, zero=False)
        self.norm_attention, self.norm_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, features: Tensor, tokens: Tensor) -> Tensor:
        """Return features [N, width] after attending to tokens [T, width]."""
        weights = self.weights(features, tokens)
        # [heads, T, width]: what each token adds through each head's fraction of the output weights.
        values = torch.einsum(
            "thd,ohd->hto", self._by_head(self.value(tokens)), self._by_head(self.out.weight)
        )
        attended = torch.addmm(self.out.bias, weights.flatten(0, 1).T, values.flatten(0, 1))
        z = self.norm_attention(features + self.dropout(attended))
        result: Tensor = self.norm_forward(z + self.dropout(self.feed_forward(z)))
        return result

    def weights(self, features: Tensor, tokens: Tensor) -> Tensor:
        """Return attention [heads, T, N], adding up to 1 over tokens: softmax(QK^T / sqrt(d)).

        Gaussians come last: a softmax over four neighboring numbers at a time is slow.
        """
        keys = self._by_head(self.key(tokens)) / (features.shape[1] // self.heads) ** 0.5
        queries = self.query.weight.view(self.heads, -1, features.shape[1])
        folded = torch.einsum("thd,hdi->hti", keys, queries).flatten(0, 1)  # [heads * T, width]
        constant = torch.einsum("thd,hd->ht", keys, self.query.bias.view(self.heads, -1)).flatten()
        scores = torch.addmm(constant[:, None], folded, features.T)
        return torch.softmax(scores.view(self.heads, -1, len(features)), dim=1)

    def _by_head(self, x: Tensor) -> Tensor:
        return x.view(len(x), self.heads, -1)


class MixingLayer(nn.Module):
    """The baseline of the ablations: tokens beside the features, or multiplied onto them."""

    def __init__(self, config: AttentionConfig, generator: torch.Generator) -> None:
        super().__init__()
        width = config.triplane.width
        self.multiply = config.fusion == "multiply"
        self.tokens = linear(width * len(config.tokens), width, generator)
        self.features = linear(width, width, generator)
        self.feed_forward = mlp((width, config.feed_forward, width), generator, zero=False)
        self.norm_attention, self.norm_forward = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, features: Tensor, tokens: Tensor) -> Tensor:
        """Return features [N, width] mixed with tokens [T, width]."""
        token_features = self.tokens(tokens.flatten())
        own_features = self.features(features)
        # A linear layer over [features, tokens] side by side is the sum of two linear layers.
        mixed = torch.relu(own_features * token_features if self.multiply else own_features + token_features)
        z = self.norm_attention(features + mixed)
        result: Tensor = self.norm_forward(z + self.feed_forward(z))
        return result


POSE_SIZE = 6


class Tokens(nn.Module):
    """The condition tokens in the order of the config, each as wide as a Gaussian's features.

    The paper's eye token is AU45 alone; ours sees all controls. The pose is the camera's viewpoint seen from
    the head. The null vector is learned and always the same: it is for what nothing moves.
    """

    def __init__(self, config: AttentionConfig, feature_dim: int, generator: torch.Generator) -> None:
        super().__init__()
        width = config.triplane.width
        self.names = config.tokens
        self.nets = nn.ModuleDict()
        if "audio" in config.tokens:
            self.nets["audio"] = make_condition_encoder(
                config.conditioning, width, feature_dim, generator, controls=False
            )
        if "eye" in config.tokens:
            self.nets["eye"] = mlp((len(CONTROLS), width, width), generator, zero=False)
        if "pose" in config.tokens:
            self.nets["pose"] = mlp((POSE_SIZE, width, width), generator, zero=False)
        if "null" in config.tokens:
            self.null = nn.Parameter(torch.randn(width, generator=generator))

    def forward(self, condition: Condition) -> Tensor:
        """Return tokens [T, width]."""
        return torch.stack([self._token(name, condition) for name in self.names])

    def _token(self, name: str, condition: Condition) -> Tensor:
        if name == "null":
            return self.null
        inputs = {"audio": condition, "eye": condition.controls, "pose": condition.pose}[name]
        token: Tensor = self.nets[name](inputs)
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
        """Return the Gaussians with the attributes that F_can predicts from their positions."""
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
        return lambda condition: self._deform(features, condition)

    def _deform(self, features: Tensor, condition: Condition) -> Deformation:
        tokens = self.tokens(condition)
        for layer in self.layers:
            features = layer(features, tokens)
        return Deformation(deltas=self.regressors(features), dynamism=None)

    @torch.no_grad()
    def attention_maps(self, means: Tensor, condition: Condition) -> dict[str, Tensor]:
        """Return how much each Gaussian attends to each token: {token: [N]}, adding up to 1.

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
