"""How much each number of each Gaussian shows in the picture: what makes an error of movement visible."""

import numpy as np
import torch
from numpy.typing import NDArray

from splatface.models.training.optimization.performer import DatasetRenderer, DeformationSource

__all__ = ["image_sensitivity"]


def image_sensitivity(
    performer: DeformationSource, stage: DatasetRenderer, rows: NDArray[np.int64], *, probes: int, seed: int
) -> NDArray[np.float32]:
    """Root of the summed squared change of the picture per unit of each delta [N, 14], mean over rows.

    To first order a movement wrong by e costs (effect * e)^2 in the picture's squared error: the diagonal
    of the Gauss-Newton matrix J^T J. It is found as the mean of squared slopes for random signs v on
    the pixels, E[(J^T v)^2] = diag(J^T J) (Hutchinson 1990; Bekas et al. 2007): what is hidden, faint,
    small or of one color with what lies behind counts little, without any rule of thumb.
    """
    generator = torch.Generator().manual_seed(seed)
    squares = torch.zeros(len(performer.table), 14, dtype=torch.float64)
    for row in rows.tolist():
        deltas = performer.deltas(row).detach().clone().requires_grad_()
        image = stage.picture(performer.table, deltas, row)
        for _ in range(probes):
            signs = torch.randint(0, 2, image.shape, generator=generator, dtype=torch.float32) * 2 - 1
            (slopes,) = torch.autograd.grad(image, deltas, signs, retain_graph=True)
            squares += slopes.double() ** 2
    effect: NDArray[np.float32] = (squares / max(1, len(rows) * probes)).sqrt().numpy().astype(np.float32)
    return effect
