from dataclasses import replace

import numpy as np
import pytest

from splatface.models.errors import HeadError
from splatface.models.head.ply import ply_bytes, write_ply


def columns_of(content):
    """Values by property name, as any reader of .ply finds them."""
    header, body = content.split(b"end_header\n", 1)
    names = [line.split()[-1] for line in header.decode().splitlines() if line.startswith("property float")]
    return dict(zip(names, np.frombuffer(body, "<f4").reshape(-1, len(names)).T, strict=True))


@pytest.mark.parametrize("sh", [1, 4, 9, 16])
def test_values_are_exact(make_head, tmp_path, sh):
    gaussians = make_head(sh=sh).gaussians
    write_ply(gaussians, tmp_path / "head.ply")
    found = columns_of((tmp_path / "head.ply").read_bytes())
    for name, values in (
        (("x", "y", "z"), gaussians.means),
        ([f"rot_{i}" for i in range(4)], gaussians.quats),
        ([f"scale_{i}" for i in range(3)], gaussians.log_scales),
        (["opacity"], gaussians.opacity_logits[:, None]),
        ([f"f_dc_{i}" for i in range(3)], gaussians.sh[:, 0]),
        (
            [f"f_rest_{i}" for i in range(3 * (sh - 1))],
            gaussians.sh[:, 1:].transpose(0, 2, 1).reshape(len(gaussians), -1),
        ),
    ):
        np.testing.assert_array_equal(np.array([found[n] for n in name]).T.reshape(values.shape), values)
    assert [path.name for path in tmp_path.iterdir()] == ["head.ply"]


def test_the_header_is_the_one_viewers_know(make_head):
    gaussians = make_head(count=3, moving=1, sh=4).gaussians
    content = ply_bytes(gaussians)
    header, body = content.split(b"end_header\n", 1)
    names = [line.split()[-1] for line in header.decode().splitlines() if line.startswith("property float")]
    assert names[:9] == ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    assert names[9:] == [*(f"f_rest_{i}" for i in range(9)), "opacity", "scale_0", "scale_1", "scale_2",
                         "rot_0", "rot_1", "rot_2", "rot_3"]  # fmt: skip
    row = np.frombuffer(body, "<f4").reshape(3, len(names))[1]
    # f_rest: all of red, then green, then blue (the order of the 3DGS reference's features_rest)
    np.testing.assert_array_equal(row[9:18], gaussians.sh[1, 1:].T.ravel())
    assert row[names.index("opacity")] == gaussians.opacity_logits[1]


def test_not_a_number_is_not_written(head, tmp_path):
    means = head.gaussians.means.copy()
    means[3, 1] = np.nan
    with pytest.raises(HeadError, match="means"):
        write_ply(replace(head.gaussians, means=means), tmp_path / "x.ply")
    assert not list(tmp_path.iterdir())
