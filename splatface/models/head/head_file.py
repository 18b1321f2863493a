# SPDX-License-Identifier: Apache-2.0
"""A head on disk: a folder with head.yaml, head.safetensors and preview.png."""

import hashlib
import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from splatface.models.audio2motion.audio_to_mouth import AudioToMouthNet, net_from_tensors, net_to_tensors
from splatface.models.errors import HeadError
from splatface.models.head.head import Gaussians, Head, motion_map_from_tensors, motion_map_tensors
from splatface.models.head.head_yaml import (
    MAX_YAML_BYTES,
    RATE_HZ,
    StrictMapping,
    describe,
    head_info_from_yaml,
    read_yaml,
    yaml_text,
)
from splatface.models.head.migrations import Tensors, format_version, migrate
from splatface.models.head.validation import check_head
from splatface.models.storage import atomic_write

__all__ = ["head_folder", "load_head", "save_head", "shipped_heads"]

YAML, TENSORS, PREVIEW = "head.yaml", "head.safetensors", "preview.png"
MAX_TENSOR_BYTES = 2**30
_GAUSSIANS = ("means", "quats", "log_scales", "opacity_logits", "sh")
_OTHERS = ("skin", "dynamic", "basis")
INTACT = "take an intact copy of the head"


def save_head(head: Head, folder: str | os.PathLike[str], preview: NDArray[np.uint8] | None) -> None:
    """Write a head so that the folder holds all of it or stays unchanged.

    Args:
        head: checked before anything is written.
        folder: made, or replaced if it already holds a head.
        preview: [H, W, 3] RGB, or None for none.

    Raises:
        HeadError: when the head is not sound, carries no consent, or the disk refuses.
    """
    check_head(head)
    target = Path(folder)
    if target.is_symlink() or (target.exists() and not _is_head_or_empty(target)):
        raise HeadError(
            f"{target}: expected a new folder, an empty one or a head, found something else: "
            "choose another place"
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    except OSError as error:
        raise _disk_error(target, error) from error
    try:
        _write(head, temporary, preview)
        temporary.chmod(0o755)
        _replace_folder(temporary, target)
    except OSError as error:
        raise _disk_error(target, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load_head(folder: str | os.PathLike[str]) -> Head:
    """Read a head, check all of it and migrate it to the current format version.

    Raises:
        HeadError: when a file is missing, damaged, hostile or of a newer version, in words a user
            can act on. Memory stays within a few times the size of the file.
    """
    path = Path(folder)
    try:
        return _load(path)
    except HeadError as error:
        raise HeadError(f"{path}: {error}") from error
    except OSError as error:
        raise HeadError(
            f"{path}: expected a readable head, found {error.strerror or error}: "
            "check the path and its rights"
        ) from error


def _load(path: Path) -> Head:
    description = read_yaml(_read_file(path, YAML, MAX_YAML_BYTES), path / YAML)
    format_version(description)
    stored = StrictMapping(description).inner("tensors")
    content = _read_file(path, TENSORS, MAX_TENSOR_BYTES)
    if len(content) != stored.whole("bytes") or hashlib.sha256(content).hexdigest() != stored.text("sha256"):
        raise HeadError(
            f"{TENSORS}: expected the {stored.whole('bytes')} bytes that {YAML} names by their sha256, "
            f"found {len(content)} others: the file is truncated or changed, {INTACT}"
        )
    description, tensors = migrate(description, _read_tensors(content))
    head = _assemble(StrictMapping(description), tensors)
    check_head(head)
    return head


def _assemble(fields: StrictMapping, tensors: Tensors) -> Head:
    missing = [name for name in (*_GAUSSIANS, *_OTHERS) if name not in tensors]
    if missing:
        raise HeadError(
            f"{TENSORS}: expected {', '.join((*_GAUSSIANS, *_OTHERS))}, found none called "
            f"{', '.join(missing)}: {INTACT}"
        )
    parts: dict[str, Any] = dict(tensors)
    head = Head(
        gaussians=Gaussians(**{name: parts[name] for name in _GAUSSIANS}),
        motion_map=motion_map_from_tensors(parts),
        nets=_nets_from_tensors(fields, parts),
        info=head_info_from_yaml(fields),
        skinning_weight=parts["skin"],
        dynamic=parts["dynamic"],
        basis=parts["basis"],
    )
    found = (head.gaussians.means.shape[:1], head.dynamic.shape[:1])
    expected = (fields.whole("gaussians"), fields.whole("dynamic"))
    if found != ((expected[0],), (expected[1],)):
        raise HeadError(
            f"{YAML}: expected {expected[0]} Gaussians of which {expected[1]} are dynamic, found "
            f"{found[0]} and {found[1]} in {TENSORS}: {INTACT}"
        )
    return head


def _nets_from_tensors(fields: StrictMapping, tensors: dict[str, Any]) -> dict[str, AudioToMouthNet]:
    nets = {}
    for entry in fields.items("encoders"):
        encoder = StrictMapping(entry, "encoders.")
        name = encoder.text("name")
        net = net_from_tensors(name, encoder.number("lookahead_ms"), tensors)
        found = (net.feature_dim, net.window, RATE_HZ)
        expected = (encoder.whole("dim"), encoder.whole("window"), encoder.number("rate_hz"))
        if found != expected:
            raise HeadError(
                f"{YAML}: encoder {name!r:.40}: expected {expected[0]} features, {expected[1]} frames at "
                f"{expected[2]:g} Hz, found a net for {found[0]}, {found[1]} at {found[2]:g} Hz: {INTACT}"
            )
        nets[name] = net
    return nets


def _read_file(folder: Path, name: str, limit: int) -> bytes:
    """Read a plain file that lies in the folder itself and is not larger than the limit."""
    path = folder / name
    if not folder.is_dir() or not path.exists():
        raise HeadError(f"{name}: expected a file, found none: give the folder of a head ({YAML}, {TENSORS})")
    if path.resolve().parent != folder.resolve():
        raise HeadError(
            f"{name}: expected a file in the folder, found a link out of it: copy the file itself there"
        )
    # Without O_NONBLOCK opening a pipe would wait for its other end for ever.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        status = os.fstat(file.fileno())
        plain = stat.S_ISREG(status.st_mode)
        if not plain or status.st_size > limit:
            found = f"{status.st_size} bytes" if plain else "something else"
            raise HeadError(f"{name}: expected a file of at most {limit} bytes, found {found}: {INTACT}")
        return file.read(status.st_size)  # read(limit) would reserve the limit


def _read_tensors(content: bytes) -> Tensors:
    """Read all tensors of a safetensors file; its reader checks every size against the file."""
    try:
        loaded = safetensors.numpy.load(content)
        return {name: _to_float32(array) for name, array in loaded.items()}
    # Kinds numpy lacks end as KeyError or TypeError, odd shapes as ValueError.
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise HeadError(f"{TENSORS}: expected safetensors, found {str(error)[:120]}: {INTACT}") from error


def _to_float32(array: NDArray[np.generic]) -> NDArray[np.generic]:
    return np.array(array, np.float32 if array.dtype == np.float16 else array.dtype)


def _to_lossless_float16(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return float16 where that loses nothing: the maker of a head decides by rounding to it."""
    if array.dtype != np.float32:
        return np.ascontiguousarray(array)
    with np.errstate(over="ignore"):
        half = np.ascontiguousarray(array.astype(np.float16))
    return half if np.array_equal(half.astype(np.float32), array) else np.ascontiguousarray(array)


def _write(head: Head, folder: Path, preview: NDArray[np.uint8] | None) -> None:
    tensors = {name: getattr(head.gaussians, name) for name in _GAUSSIANS}
    tensors |= {"skin": head.skinning_weight, "dynamic": head.dynamic, "basis": head.basis}
    tensors |= motion_map_tensors(head.motion_map)
    for net in head.nets.values():
        tensors |= net_to_tensors(net)
    content = safetensors.numpy.save({name: _to_lossless_float16(array) for name, array in tensors.items()})
    description = describe(head)
    description["tensors"] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    if len(content) > MAX_TENSOR_BYTES:
        raise HeadError(
            f"{TENSORS}: expected at most {MAX_TENSOR_BYTES} bytes, found {len(content)}: "
            "use fewer Gaussians or coefficients"
        )
    atomic_write(folder / YAML, yaml_text(description).encode())
    atomic_write(folder / TENSORS, content)
    if preview is not None:
        atomic_write(folder / PREVIEW, _png(preview))


def _png(image: NDArray[np.uint8]) -> bytes:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise HeadError(
            f"preview: expected [H, W, 3] uint8, found {list(image.shape)} {image.dtype}: "
            "give an RGB picture or None"
        )
    return bytes(cv2.imencode(".png", image[..., ::-1])[1])


def _replace_folder(temporary: Path, target: Path) -> None:
    if not target.exists():
        temporary.rename(target)
        return
    old_folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.old."))
    try:
        target.rename(old_folder)  # an empty folder may be renamed over
        try:
            temporary.rename(target)
        except OSError:
            old_folder.rename(target)
            raise
    finally:
        shutil.rmtree(old_folder, ignore_errors=True)


def _is_head_or_empty(folder: Path) -> bool:
    return folder.is_dir() and ((folder / YAML).is_file() or not any(folder.iterdir()))


def _disk_error(target: Path, error: OSError) -> HeadError:
    return HeadError(
        f"{target}: expected to write a head, found {error.strerror or error}: nothing was changed, "
        "free space or choose another place"
    )


def _search_paths() -> list[Path]:
    prefixes = [*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]
    return [Path(prefix) / "share" / "splatface" / "heads" for prefix in prefixes if prefix]


def shipped_heads() -> dict[str, Path]:
    """Return name and folder of every installed head."""
    found: dict[str, Path] = {}
    for prefix_heads in _search_paths():
        for info in sorted(prefix_heads.glob("*/head.yaml")):
            # colcon --symlink-install links each file: the head is where they really are.
            found.setdefault(info.parent.name, info.resolve().parent)
    return found


def head_folder(name_or_path: str) -> Path:
    """Return the folder of a shipped head by its name, or of any head by its path.

    Raises:
        HeadError: when there is neither.
    """
    path = Path(name_or_path).expanduser()
    if (path / "head.yaml").is_file():
        return path
    shipped = shipped_heads()
    if name_or_path in shipped:
        return shipped[name_or_path]
    raise HeadError(
        f"head: expected a folder with a head.yaml or one of {', '.join(shipped) or '(none installed)'}, "
        f"found {name_or_path!r}: check the path, or leave head out for the default"
    )
