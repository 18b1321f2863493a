"""Whatever stands in a head folder: HeadError in words, or a sound head. Never a crash, never much memory."""

import contextlib
import hashlib
import json
import os
import tracemalloc

import numpy as np
import pytest
import yaml

from splatface.models.errors import HeadError
from splatface.models.head.head_file import load_head, save_head
from splatface.models.head.head_yaml import FORMAT_VERSION
from splatface.models.head.validation import check_head

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(make_head, tmp_path):
    save_head(make_head(count=20, moving=6, sh=1), tmp_path / "a", None)
    return tmp_path / "a"


def put_tensors(folder, content):
    """Exchange the tensors and make head.yaml agree, as an attacker would."""
    (folder / "head.safetensors").write_bytes(content)
    text = yaml.safe_load((folder / "head.yaml").read_text())
    text["tensors"] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "head.yaml").write_text(yaml.safe_dump(text))


def put_yaml(folder, **changes):
    text = yaml.safe_load((folder / "head.yaml").read_text()) | changes
    (folder / "head.yaml").write_text(yaml.safe_dump(text))


def split(content):
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined(header, body):
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def refused(folder):
    with pytest.raises(HeadError, match=r"expected.*found.*:") as caught:
        load_head(folder)
    assert len(str(caught.value)) < 1000
    return str(caught.value)


def sound_or_refused(folder):
    with contextlib.suppress(HeadError):
        check_head(load_head(folder))


def test_missing_parts(folder, tmp_path):
    refused(tmp_path / "nobody")
    refused(folder / "head.yaml")
    (folder / "head.safetensors").unlink()
    assert "head.safetensors" in refused(folder)


def test_one_changed_bit_or_lost_byte_is_noticed(folder):
    content = (folder / "head.safetensors").read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(content), 20):
        broken = bytearray(content)
        broken[place] ^= 1 << int(rng.integers(8))
        (folder / "head.safetensors").write_bytes(bytes(broken))
        assert "sha256" in refused(folder)
    for length in (0, 1, 7, 8, 100, len(content) - 1):
        (folder / "head.safetensors").write_bytes(content[:length])
        assert "truncated" in refused(folder)


def test_flipped_bits_with_a_right_sum(folder):
    content = (folder / "head.safetensors").read_bytes()
    header_end = 8 + int.from_bytes(content[:8], "little")
    rng = np.random.default_rng(1)
    for turn in range(250):
        broken = bytearray(content)
        for place in rng.integers(0, header_end if turn % 2 else len(broken), 3):
            broken[place] ^= 1 << int(rng.integers(8))
        put_tensors(folder, bytes(broken))
        sound_or_refused(folder)


def test_truncated_with_a_right_sum(folder):
    content = (folder / "head.safetensors").read_bytes()
    for length in [0, 1, 7, 8, 9, *range(100, len(content), 997)]:
        put_tensors(folder, content[:length])
        refused(folder)


@pytest.mark.parametrize("shape", [[10**18], [2**63, 2], [0, 10**18], [20, 4], [60], [3, 20], []])
def test_wrong_sizes_and_huge_counts(folder, shape):
    header, body = split((folder / "head.safetensors").read_bytes())
    header["means"]["shape"] = shape
    put_tensors(folder, joined(header, body))
    tracemalloc.start()
    refused(folder)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def test_a_header_that_claims_to_be_huge(folder):
    for claim in (2**62, 2**64 - 1, 10**8):
        put_tensors(folder, claim.to_bytes(8, "little") + b"{}")
        refused(folder)
    put_tensors(folder, b"\x02" + bytes(7) + b"{}")
    assert "means" in refused(folder)
    put_tensors(folder, joined({}, b"")[:8] + b"[" * 100_000)
    refused(folder)


@pytest.mark.parametrize("kind", ["F64", "F16", "BF16", "I32", "F8_E4M3", "nonsense"])
def test_other_kinds_of_numbers(folder, kind):
    header, body = split((folder / "head.safetensors").read_bytes())
    header["means"]["dtype"] = kind
    put_tensors(folder, joined(header, body))
    refused(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [("means", np.nan), ("quats", 0.0), ("basis", np.inf), ("skin", 7.0), ("log_scales", 1e30)],
)
def test_numbers_that_cannot_be(folder, name, value):
    header, body = split((folder / "head.safetensors").read_bytes())
    begin, end = header[name]["data_offsets"]
    bad = np.full((end - begin) // 4, value, np.float32).tobytes()
    put_tensors(folder, joined(header, body[:begin] + bad + body[end:]))
    assert name in refused(folder)


def test_tensors_that_share_or_overlap(folder):
    header, body = split((folder / "head.safetensors").read_bytes())
    header["quats"]["data_offsets"] = header["basis"]["data_offsets"]
    put_tensors(folder, joined(header, body))
    refused(folder)


BOMB = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefghijk", "bcdefghijkl", strict=True)
)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"\x00", b"\xff\xfe", b"- 1", b"3", b"{", b"a: b: c", b"&a [*a]", BOMB.encode(),
        b"[" * 300, b"{a: " * 20_000, b"x" * 300_000,
        b"!!python/object/apply:os.system ['touch hacked']", b"!!int ''", b"!!bool perhaps",
        b"!!timestamp later", b"!!float ''", b"? [a]\n: b", b"9" * 10_000, b"2024-99-99", b"!!binary x",
        b"<<: 3", b"? {a: b}\n: c",
    ],
    ids=lambda text: repr(text[:16]),
)  # fmt: skip
def test_yaml_from_strangers(folder, text):
    (folder / "head.yaml").write_bytes(text)
    tracemalloc.start()
    refused(folder)
    assert tracemalloc.get_traced_memory()[1] < 60e6
    tracemalloc.stop()
    assert not os.path.exists("hacked")


VALUES = [
    None,
    True,
    -1,
    0,
    10**30,
    0xF << 50_000,
    float("nan"),
    float("inf"),
    "",
    "x",
    "../..",
    [],
    {},
    [[]],
    [None] * 4,
]


def test_every_line_changed_to_everything(folder):
    """Each field of head.yaml, at any depth, replaced by values of every kind."""
    text = yaml.safe_load((folder / "head.yaml").read_text())

    def places(node):
        for key in node if isinstance(node, dict) else range(len(node)):
            yield node, key
            if isinstance(node[key], dict | list):
                yield from places(node[key])

    dump = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    rng = np.random.default_rng(0)
    for node, key in list(places(text)):
        kept = node[key]
        for value in [VALUES[i] for i in rng.choice(len(VALUES), 3, replace=False)]:
            node[key] = hex(value) if isinstance(value, int) and value > 10**40 else value
            content = yaml.dump(text, Dumper=dump)
            (folder / "head.yaml").write_text(content)
            sound_or_refused(folder)
        node[key] = kept


def test_every_line_lost(folder):
    text = yaml.safe_load((folder / "head.yaml").read_text())
    for key in text:
        (folder / "head.yaml").write_text(yaml.safe_dump({k: v for k, v in text.items() if k != key}))
        assert key in refused(folder)


def test_a_number_of_a_hundred_thousand_digits(folder):
    text = (folder / "head.yaml").read_text()
    (folder / "head.yaml").write_text(text.replace("fps: 25.0", "fps: 0x" + "f" * 100_000))
    assert "fps" in refused(folder)


def test_paths_that_lead_elsewhere(folder, tmp_path):
    put_yaml(folder, name="../../outside")
    assert "name" in refused(folder)
    put_yaml(
        folder, name="a", encoders=[{"name": "../x", "dim": 1, "window": 1, "rate_hz": 50, "lookahead_ms": 0}]
    )
    refused(folder)
    (folder / "head.yaml").unlink()
    (folder / "head.yaml").symlink_to("/dev/zero")
    assert "link out" in refused(folder)
    (folder / "head.yaml").unlink()
    (folder / "head.yaml").symlink_to("head.yaml")
    refused(folder)
    (folder / "head.yaml").unlink()
    (folder / "head.yaml").mkdir()
    refused(folder)


def test_a_pipe_is_not_waited_for(folder):
    (folder / "head.yaml").unlink()
    os.mkfifo(folder / "head.yaml")
    refused(folder)


def test_another_format_or_version(folder):
    put_yaml(folder, version=FORMAT_VERSION + 1)
    assert "newer splatface" in refused(folder)
    put_yaml(folder, version="1")
    refused(folder)
    put_yaml(folder, format="something")
    assert "no splatface head" in refused(folder)
