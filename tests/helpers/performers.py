"""Performers whose movement is known in closed form: the tiny head, and fields made up for it."""

import numpy as np
import torch
from dataset_fixture import tiny_head

from splatface.models.training.fields.field import GaussianTensors
from splatface.models.training.optimization.bake import DeformationSource
from splatface.models.training.optimization.dataset_statistics import motion_at
from splatface.models.training.optimization.gaussian_skinning import pack


def table_of(head):
    g = head.gaussians
    tensors = {name: torch.from_numpy(getattr(g, name).copy()) for name in g.__slots__}
    skin = torch.logit(torch.from_numpy(head.skinning_weight.copy()).clamp(1e-4, 1 - 1e-4))
    return pack(GaussianTensors(**tensors), skin)


def make_deformation_source(head, dataset, codes_of, basis):
    """Deltas = basis [N, 14, R] @ codes_of(motion [16]) [R]."""
    ways = torch.from_numpy(basis.astype(np.float32))

    def deltas(row):
        motion = motion_at(dataset, np.array([row]))[0]
        return ways @ torch.from_numpy(np.asarray(codes_of(motion), np.float32))

    return DeformationSource(table_of(head), deltas)


def true_performer(dataset):
    """The very head that the tiny data set shows."""
    head, _ = tiny_head()
    basis = np.zeros((len(head.gaussians), 14, head.basis.shape[2]), np.float32)
    basis[head.dynamic] = head.basis

    def codes(motion):
        return head.motion_map(motion[:8].astype(np.float32), motion[8:].astype(np.float32))

    return head, make_deformation_source(head, dataset, codes, basis)
