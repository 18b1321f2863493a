"""What a field does, as colors: one per Gaussian, to be rendered as its own, or a plane as an image."""

import torch
from torch import Tensor

__all__ = ["attention_colors", "color_map", "displacement_colors", "dynamism_colors", "plane_picture"]

# Blue (0) over cyan, green and yellow to red (1), dark at both ends: control points of our own.
_STOPS = (
    (0.19, 0.11, 0.30),
    (0.22, 0.36, 0.88),
    (0.12, 0.66, 0.93),
    (0.18, 0.89, 0.65),
    (0.62, 0.97, 0.25),
    (0.96, 0.79, 0.18),
    (0.96, 0.45, 0.10),
    (0.78, 0.16, 0.05),
    (0.48, 0.02, 0.02),
)
MOVEMENT_M = 0.01  # rendered in the last color


def color_map(values: Tensor) -> Tensor:
    """RGB [..., 3] in 0..1 for values [...] in 0..1; what lies outside takes the end's color."""
    stops = torch.tensor(_STOPS, dtype=values.dtype, device=values.device)
    at = values.nan_to_num(0.0).clamp(0, 1) * (len(stops) - 1)
    first = at.floor().long().clamp(max=len(stops) - 2)
    share = (at - first)[..., None]
    return stops[first] * (1 - share) + stops[first + 1] * share


def attention_colors(maps: dict[str, Tensor]) -> dict[str, Tensor]:
    """{token: RGB [N, 3]} of `AttentionField.attention_maps`: all tokens on one scale, 0..1."""
    return {token: color_map(weights) for token, weights in maps.items()}


def dynamism_colors(dynamism: Tensor) -> Tensor:
    """RGB [N, 3] of `dynamism_map`."""
    return color_map(dynamism)


def displacement_colors(deltas: Tensor, largest_m: float = MOVEMENT_M) -> Tensor:
    """RGB [N, 3] by how far each Gaussian moves, 0 to `largest_m`, of deltas [N, 14]."""
    return color_map(deltas.detach()[:, :3].norm(dim=1) / largest_m)


def plane_picture(plane: Tensor) -> Tensor:
    """A plane of features [R, R', C] as RGB [R', R, 3] in 0..1: its three strongest directions.

    The second axis points down: for an xy plane that is how the head stands in the image.
    """
    flat = plane.detach().reshape(-1, plane.shape[-1]).double()
    centerd = flat - flat.mean(0)
    values, directions = torch.linalg.eigh(centerd.T @ centerd)
    strongest = directions[:, values.argsort(descending=True)[:3]]
    # An eigenvector's sign is free: its largest part is positive, so that the same plane looks the same.
    strongest = strongest * torch.sign(strongest.gather(0, strongest.abs().argmax(0, keepdim=True)))
    seen = centerd @ strongest
    low, high = seen.quantile(0.02, dim=0), seen.quantile(0.98, dim=0)
    seen = ((seen - low) / (high - low).clamp(min=1e-9)).clamp(0, 1)
    return seen.reshape(*plane.shape[:2], 3).transpose(0, 1).float()
