"""How a Gaussian's features meet the tokens: cross-attention, or (ablations) plain mixing."""

import torch
from torch import Tensor, nn

from splatface.models.training.fields.config import AttentionConfig
from splatface.models.training.fields.weights import linear, mlp

__all__ = ["AttentionLayer", "MixingLayer", "cross_attention_reference"]


class AttentionLayer(nn.Module):
    """One layer of the spatial-audio attention (GaussianTalker, section 3.3).

    z' = LN(z + CA(z, tokens)); z'' = LN(z' + FFN(z')), the Gaussians' features being the queries and the
    tokens keys and values.

    All Gaussians share the tokens, so keys fold into the query weights and values into the output weights:
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
        """[N, width] from features [N, width] and tokens [T, width]."""
        weights = self.weights(features, tokens)
        # [heads, T, width]: what each token adds through each head's share of the output weights.
        values = torch.einsum(
            "thd,ohd->hto", self._by_head(self.value(tokens)), self._by_head(self.out.weight)
        )
        attended = torch.addmm(self.out.bias, weights.flatten(0, 1).T, values.flatten(0, 1))
        z = self.norm_attention(features + self.dropout(attended))
        result: Tensor = self.norm_forward(z + self.dropout(self.feed_forward(z)))
        return result

    def weights(self, features: Tensor, tokens: Tensor) -> Tensor:
        """Attention [heads, T, N], adding up to 1 over tokens: softmax(QK^T / sqrt(d)).

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


def cross_attention_reference(layer: AttentionLayer, features: Tensor, tokens: Tensor) -> Tensor:
    """CA(z, tokens) [N, width] as textbooks write it: the definition that the folded form must equal."""
    heads, width = layer.heads, features.shape[1]
    q = layer.query(features).view(-1, heads, width // heads)
    k = layer.key(tokens).view(-1, heads, width // heads)
    v = layer.value(tokens).view(-1, heads, width // heads)
    weights = torch.softmax(torch.einsum("nhd,thd->nht", q, k) / (width // heads) ** 0.5, dim=-1)
    mixed: Tensor = layer.out(torch.einsum("nht,thd->nhd", weights, v).flatten(1))
    return mixed


class MixingLayer(nn.Module):
    """What came before attention, for comparison: tokens beside the features, or multiplied onto them."""

    def __init__(self, config: AttentionConfig, generator: torch.Generator) -> None:
        super().__init__()
        width = config.triplane.width
        self.multiply = config.fusion == "multiply"
        self.tokens = linear(width * len(config.tokens), width, generator)
        self.features = linear(width, width, generator)
        self.feed_forward = mlp((width, config.feed_forward, width), generator, zero=False)
        self.norm_attention, self.norm_forward = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, features: Tensor, tokens: Tensor) -> Tensor:
        """[N, width] from features [N, width] and tokens [T, width]."""
        heard = self.tokens(tokens.flatten())
        own = self.features(features)
        # A linear layer over [features, tokens] side by side is the sum of two linear layers.
        mixed = torch.relu(own * heard if self.multiply else own + heard)
        z = self.norm_attention(features + mixed)
        result: Tensor = self.norm_forward(z + self.feed_forward(z))
        return result
