import contextlib
from dataclasses import fields, replace

import numpy as np
import pytest

from splatface.models.errors import HeadError
from splatface.models.head.head import Gaussians
from splatface.models.head.ply import ply_bytes, ply_of_bytes, read_ply, write_ply


@pytest.mark.parametrize("sh", [1, 4, 9, 16])
def test_round_trip_is_exact(make_head, tmp_path, sh):
    gaussians = make_head(sh=sh).gaussians
    write_ply(gaussians, tmp_path / "head.ply")
    again = read_ply(tmp_path / "head.ply")
    for field in fields(Gaussians):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(gaussians, field.name))
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


def test_other_properties_orders_and_types_are_read(make_head):
    g = make_head(count=2, moving=1, sh=1).gaussians
    names = ["red", "rot_3", "rot_2", "rot_1", "rot_0", "scale_2", "scale_1", "scale_0", "opacity",
             "f_dc_2", "f_dc_1", "f_dc_0", "z", "y", "x"]  # fmt: skip
    lines = [
        "ply",
        "format binary_little_endian 1.0",
        "comment hello",
        "element vertex 2",
        "property uchar red",
    ]
    lines += [f"property double {name}" for name in names[1:]]
    lines += ["element face 0", "property list uchar int vertex_index", "end_header", ""]
    rows = np.zeros(2, [("red", "u1"), *((name, "<f8") for name in names[1:])])
    for part, prefix in (
        (g.means, "xyz"),
        (g.sh[:, 0], "f_dc_"),
        (g.log_scales, "scale_"),
        (g.quats, "rot_"),
    ):
        for i in range(part.shape[1]):
            rows["xyz"[i] if prefix == "xyz" else f"{prefix}{i}"] = part[:, i]
    rows["opacity"] = g.opacity_logits
    again = ply_of_bytes("\n".join(lines).encode() + rows.tobytes())
    for field in fields(Gaussians):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(g, field.name))


HEADER = "ply\nformat {}\nelement vertex {}\n{}end_header\n"
LAYOUT = "".join(f"property float {name}\n" for name in ["x", "y", "z"])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"ply",
        b"PK\x03\x04" + bytes(100),
        b"ply\nend_header\n",
        HEADER.format("ascii 1.0", 3, LAYOUT).encode(),
        HEADER.format("binary_little_endian 1.0", "9" * 5000, LAYOUT).encode(),
        HEADER.format("binary_little_endian 1.0", 4_000_000_000, LAYOUT).encode(),
        HEADER.format("binary_little_endian 1.0", 3_999_999, LAYOUT).encode(),
        HEADER.format("binary_little_endian 1.0", -1, LAYOUT).encode(),
        HEADER.format("binary_little_endian 1.0", 0, LAYOUT).encode(),
        HEADER.format("binary_little_endian 1.0", "²", LAYOUT).encode(),
        HEADER.format("binary_little_endian 1.0", 1, LAYOUT).encode() + bytes(12),
        HEADER.format("binary_little_endian 1.0", 1, LAYOUT + LAYOUT).encode() + bytes(24),
        HEADER.format("binary_little_endian 1.0", 1, "property quad x\n").encode() + bytes(24),
        HEADER.format("binary_little_endian 1.0", 1, "").encode() + bytes(24),
        HEADER.format("binary_little_endian 1.0", 1, "property list uchar int x\n").encode() + bytes(24),
        b"ply\n" + b"comment x\n" * 100_000,
    ],
)
def test_hostile_files_are_refused(content):
    with pytest.raises(HeadError, match="expected"):
        ply_of_bytes(content)


def test_truncated_and_flipped_files_never_crash(make_head):
    content = ply_bytes(make_head(count=20, moving=1).gaussians)
    rng = np.random.default_rng(0)
    for length in range(0, len(content), 97):
        with pytest.raises(HeadError):
            ply_of_bytes(content[:length])
    for _ in range(400):
        broken = bytearray(content)
        for place in rng.integers(0, len(broken), 4):
            broken[place] ^= 1 << int(rng.integers(8))
        with contextlib.suppress(HeadError):
            assert np.isfinite(ply_of_bytes(bytes(broken)).means).all()


def test_not_a_number_is_not_written(head, tmp_path):
    means = head.gaussians.means.copy()
    means[3, 1] = np.nan
    with pytest.raises(HeadError, match="means"):
        write_ply(replace(head.gaussians, means=means), tmp_path / "x.ply")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", ["missing.ply", ".", "/dev/zero", "/dev/null", "nul\0.ply"])
def test_what_is_no_file_is_refused(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HeadError, match="expected"):
        read_ply(path)
