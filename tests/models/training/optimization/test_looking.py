"""Which pictures refinement looks at, and what it makes of a measured curvature."""

import numpy as np

from splatface.models.training.optimization.dataset_statistics import (
    subsample_interior,
    subsample_with_stride,
)
from splatface.models.training.optimization.pose_refinement import nearest_psd


def test_no_more_are_looked_at_than_asked_and_all_of_the_film_is():
    known = np.arange(100, 1100, 2)
    assert subsample_with_stride(known, 500).tolist() == known.tolist()
    for most in (499, 250, 60, 7):
        rows = subsample_with_stride(known, most)
        assert len(rows) <= most
        gaps = np.diff(np.append(rows, known[-1] + 2))
        assert gaps.max() <= 2 * 2 * np.ceil(len(known) / most)


def test_probes_stand_within_the_film():
    rows = np.arange(50, 150)
    few = subsample_interior(rows, 4)
    assert len(few) == 4
    assert few.min() > 60
    assert few.max() < 140
    assert subsample_interior(rows[:2], 4).tolist() == [50]


def test_a_saddle_becomes_a_bowl():
    generator = np.random.default_rng(0)
    basis = np.linalg.qr(generator.standard_normal((5, 5)))[0]
    bowl = (basis * [5.0, 4.0, 3.0, 2.0, 1.0]) @ basis.T
    np.testing.assert_allclose(nearest_psd(bowl), bowl, atol=1e-12)
    saddle = (basis * [5.0, 4.0, 3.0, 2.0, -1.0]) @ basis.T
    lop = generator.standard_normal((5, 5))
    skewed = saddle + lop - lop.T
    found = nearest_psd(skewed)
    np.testing.assert_allclose(found, found.T, atol=1e-12)
    np.testing.assert_allclose(found @ basis[:, :4], saddle @ basis[:, :4], atol=1e-9)
    assert np.linalg.eigvalsh(found).min() > 0
    assert np.linalg.eigvalsh(nearest_psd(-np.eye(3))).min() > 0
