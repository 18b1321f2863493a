"""Gaps between head and shoulders: none in a head that ships, found where some were cut."""

from dataclasses import replace

import numpy as np

from splatface.models.head.head_file import head_folder, load_head
from splatface.models.training.evaluation.neck_gap import worst_neck_gap


def test_a_shipped_head_holds_together():
    assert worst_neck_gap(load_head(head_folder("robin"))).gap_px == 0


def test_a_hole_in_the_neck_is_found():
    head = load_head(head_folder("robin"))
    means = head.gaussians.means
    neck = (head.skinning_weight > 0.1) & (head.skinning_weight < 0.9) & (head.gaussians.opacity_logits > 0)
    front = neck & (means[:, 2] < np.median(means[neck, 2]))
    middle = means[front].mean(axis=0)
    cut = np.linalg.norm(means[:, :2] - middle[:2], axis=1) < 0.02  # m, from front to back
    faint = np.where(cut, np.float32(-20), head.gaussians.opacity_logits)
    holed = replace(head, gaussians=replace(head.gaussians, opacity_logits=faint))
    found = worst_neck_gap(holed)
    assert found.gap_px > 100
    assert abs(found.yaw_deg) <= 20
