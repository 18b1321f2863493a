# SPDX-License-Identifier: Apache-2.0
"""Findings about a data set: the table of `splatface dataset check`, and findings.json of tracking."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from splatface.models.errors import DatasetError, TrackingError
from splatface.models.messages import NS_PER_S, SAMPLE_RATE
from splatface.models.storage import atomic_write
from splatface.models.training.dataset.dataset_audio import load_audio
from splatface.models.training.dataset.dataset_io import load_points
from splatface.models.training.dataset.file_format import DIGESTS, plain_path, read_regular_file, sha256_of
from splatface.models.training.dataset.frame_images import (
    box_of,
    eyes_mask,
    face_mask,
    mouth_mask,
    person_mask,
    read_image,
    read_labels,
)
from splatface.models.training.dataset.types import EYES, LIPS, TEST, TRAIN, VAL, Dataset, frames_in_split
from splatface.models.typing import FloatArray, UInt8Array

__all__ = [
    "BAD",
    "CORRECTED",
    "FINDINGS_FILE",
    "FINE",
    "NOTE",
    "ODD",
    "REJECTED",
    "Finding",
    "TimeSpans",
    "inspect_dataset",
    "made_from",
    "read_findings",
    "write_findings",
]

FINE, ODD, BAD = "fine", "odd", "bad"  # levels of a data set's findings
NOTE, CORRECTED, REJECTED = "note", "mended", "refused"  # levels of a video's findings, as in findings.json
FINDINGS_FILE = "findings.json"
CHECKED_IMAGES = 24  # whose labels are checked
_MAX_FINDINGS_BYTES = 1 << 22
_MAX_LIST_BYTES = 1 << 28
_MIN_TRAIN = 30
_MAX_HEAD_SPEED_RAD_S = 6.0  # of a head shaken as fast as possible
# Fraction of lip and eye points that must lie near their label, and how near, fraction of the image's height.
_MIN_ON_LABEL, _LABEL_DILATION = 0.7, 0.03
_MAX_LIP_DISTANCE = 0.6  # of mouth landmarks from the mouth label, fraction of the label's width
_SPLITS = {"train": TRAIN, "val": VAL, "test": TEST}

TimeSpans = tuple[tuple[float, float], ...]  # (begin, end), s


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of a check of a video or a data set."""

    level: str  # of a data set FINE, ODD or BAD; of a video NOTE, CORRECTED or REJECTED
    subject: str
    observation: str
    action: str = ""  # taken by tracking, or, where rejected, for the user to take
    spans_s: TimeSpans = ()  # when, video time


def write_findings(folder: Path, findings: Sequence[Finding], made_from: str) -> None:
    """Write findings.json; `made_from` is the digest of what the data set was made from.

    Raises OSError when the disk refuses.
    """
    rows = [
        {
            "level": f.level,
            "subject": f.subject,
            "found": f.observation,
            "done": f.action,
            "spans_s": f.spans_s,
        }
        for f in findings
    ]
    table = {"made_from": made_from, "findings": rows}
    atomic_write(folder / FINDINGS_FILE, (json.dumps(table, indent=1) + "\n").encode())


def read_findings(folder: Path) -> list[Finding]:
    """Read the findings of tracking; empty when the data set was not made from a video.

    Raises TrackingError when the file is damaged.
    """
    try:
        return [
            Finding(
                level=str(row["level"]),
                subject=str(row["subject"]),
                observation=str(row["found"]),
                action=str(row["done"]),
                spans_s=tuple((float(a), float(b)) for a, b in row["spans_s"]),
            )
            for row in _read_table(folder).get("findings", [])
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise TrackingError(
            f"{folder / FINDINGS_FILE}: expected a table of findings, found {error}: track again"
        ) from error


def made_from(folder: Path) -> str | None:
    """Return the digest of what a tracked data set was made from; None when it was not tracked.

    Raises TrackingError when findings.json is damaged.
    """
    return _read_table(folder).get("made_from")


def _read_table(folder: Path) -> dict[str, Any]:
    path = folder / FINDINGS_FILE
    if not path.is_file():
        return {}
    try:
        table = json.loads(path.read_bytes()[:_MAX_FINDINGS_BYTES])
    except ValueError as error:
        raise TrackingError(f"{path}: expected JSON, found {error}: track again") from error
    return table if isinstance(table, dict) else {}


def inspect_dataset(
    dataset: Dataset, progress: Callable[[int, int], None] | None = None
) -> Iterator[Finding]:
    """Check everything, files first; never raises for what is only odd.

    Args:
        dataset: as `load_dataset` returned it (its tables and sound are intact).
        progress: called with (files read, files in all).
    """
    yield _check_images(dataset, progress)
    yield _check_split(dataset)
    yield from _check_audio(dataset)
    yield _check_known(dataset, "mouth", dataset.motion.mouth)
    yield _check_known(dataset, "controls", dataset.motion.controls)
    yield _check_poses(dataset)
    try:
        yield from _check_labels(dataset)
        yield _check_points(dataset)
    except DatasetError as error:
        yield Finding(BAD, "labels", str(error))


def _check_images(dataset: Dataset, progress: Callable[[int, int], None] | None) -> Finding:
    """Compare every image with its digest in pictures.sha256."""
    content = read_regular_file(dataset.folder, DIGESTS, _MAX_LIST_BYTES)
    lines = content.decode("utf-8", "replace").splitlines()
    changed = []
    for number, line in enumerate(lines, 1):
        digest, _, name = line.partition("  ")
        try:
            changed += [name] if sha256_of(plain_path(dataset.folder, name)) != digest else []
        except DatasetError:
            changed.append(name)
        if progress:
            progress(number, len(lines))
    if len(lines) != 2 * len(dataset.frames):
        text = f"{len(lines)} listed for {len(dataset.frames)} rows: make them again"
        return Finding(BAD, "pictures", text)
    if changed:
        text = f"{len(changed)} of {len(lines)} changed, first {changed[0]}: restore them"
        return Finding(BAD, "pictures", text)
    return Finding(
        FINE, "pictures", f"{len(dataset.frames)} with labels, none changed since they were written"
    )


def _check_split(dataset: Dataset) -> Finding:
    counts = {name: len(frames_in_split(dataset.frames, split)) for name, split in _SPLITS.items()}
    text = ", ".join(f"{count} {name}" for name, count in counts.items())
    if not counts["test"]:
        return Finding(ODD, "split", f"{text}: nothing can be measured, split by time")
    if counts["train"] < _MIN_TRAIN:
        return Finding(ODD, "split", f"{text}: too few to train on")
    gaps = np.diff(dataset.frames.time_ns[frames_in_split(dataset.frames, TEST)]) * dataset.fps / NS_PER_S
    if len(gaps) and gaps.max() > 1.5:
        return Finding(ODD, "split", f"{text}: the test part has gaps, jitter and lag cannot be measured")
    return Finding(FINE, "split", text)


def _check_audio(dataset: Dataset) -> Iterator[Finding]:
    samples = load_audio(dataset)
    seconds, last_s = len(samples) / SAMPLE_RATE, float(dataset.motion.time_ns[-1]) / NS_PER_S
    text = f"{seconds:.2f} s, film until {last_s:.2f} s"
    # The last frame has a duration too; containers round audio up and down by some frames.
    if not -0.2 < seconds - last_s < 1.0:
        yield Finding(ODD, "sound", f"{text}: do they belong together?")
    else:
        yield Finding(FINE, "sound", text)
    clipped = float((np.abs(samples) > 0.999).mean())
    level_dbfs = 10 * np.log10(max(float((samples.astype(np.float64) ** 2).mean()), 1e-10))
    text = f"{level_dbfs:.1f} dBFS, {100 * clipped:.2g} % clipped"
    if level_dbfs < -50 or clipped > 1e-3:
        yield Finding(ODD, "level", f"{text}: bring the speech to about -25 dBFS without clipping")
    else:
        yield Finding(FINE, "level", text)


def _check_known(dataset: Dataset, name: str, track: FloatArray) -> Finding:
    unknown = 100 * np.isnan(track).mean(axis=0)
    if unknown.max() == 0:
        low, high = track.min(), track.max()
        level = FINE if low >= -1.0 and high <= 2.0 else ODD
        return Finding(level, name, f"known at all {len(track)} moments, {low:.2f}..{high:.2f}")
    some = f"{int((unknown > 0).sum())} of {track.shape[1]} unknown at up to {unknown.max():.0f} % of moments"
    return Finding(ODD, name, f"{some}: import it again, which tracks them")


def _check_poses(dataset: Dataset) -> Finding:
    """Find the largest rotation and the fastest one between neighboring moments."""
    rotations = dataset.motion.T_world_head[:, :3, :3]
    steps = np.einsum("fij,fik->fjk", rotations[:-1], rotations[1:])
    angles = np.arccos(np.clip((np.trace(steps, axis1=1, axis2=2) - 1) / 2, -1, 1))
    speeds = angles / (np.diff(dataset.motion.time_ns) / NS_PER_S)
    all_angles = np.arccos(np.clip((np.trace(rotations, axis1=1, axis2=2) - 1) / 2, -1, 1))
    widest, fastest = np.degrees(all_angles.max()), speeds.max(initial=0.0)
    text = f"turned by up to {widest:.0f} degrees, {np.degrees(fastest):.0f} degrees a second"
    if fastest > _MAX_HEAD_SPEED_RAD_S:
        text = f"{text} at moment {int(speeds.argmax())}: the tracker may have slipped"
        return Finding(ODD, "poses", text)
    return Finding(FINE, "poses", text)


def _check_labels(dataset: Dataset) -> Iterator[Finding]:
    """Check that some images decode, show a person, and have their landmarks where their labels are."""
    rows = np.unique(np.linspace(0, len(dataset.frames) - 1, CHECKED_IMAGES).astype(int))
    fractions, distances = [], []
    for row in rows:
        read_image(dataset, int(row))
        label_image = read_labels(dataset, int(row))
        fractions.append([mask(label_image).mean() for mask in (person_mask, face_mask, mouth_mask)])
        distances.append(_lip_label_distance(dataset, int(row), label_image))
    person, face, mouth = np.mean(fractions, axis=0)
    text = f"person {100 * person:.0f} %, face {100 * face:.0f} %, mouth {100 * mouth:.1f} % of a picture"
    good = 0.05 < face < 0.7 and mouth > 5e-4 and person > face
    yield Finding(FINE if good else ODD, "labels", text if good else f"{text}: look at --sheet")
    if np.isfinite(distances).any():
        distance = float(np.nanmedian(distances))
        text = f"{dataset.landmark_scheme}, lips off their label by {100 * distance:.0f} % of its width"
        yield Finding(FINE if distance < _MAX_LIP_DISTANCE else ODD, "landmarks", text)


def _lip_label_distance(dataset: Dataset, row: int, label_image: UInt8Array) -> float:
    """Compute the distance of the lip landmarks from the mouth label, in widths of the label."""
    box = box_of(mouth_mask(label_image))
    if dataset.landmark_scheme != "ibug68" or box is None:
        return float("nan")
    center = dataset.frames.landmarks_px[row, 48:60].mean(axis=0)
    top, bottom, left, right = box
    distance = np.hypot(center[0] - (left + right) / 2, center[1] - (top + bottom) / 2)
    return float(distance / max(right - left, 1))


def _check_points(dataset: Dataset) -> Finding:
    """Check that lip and eye points fall on lips and eyes: one test of all conventions."""
    start = load_points(dataset)
    if start is None:
        return Finding(FINE, "points", "none: training starts from points of its own")
    camera, row = dataset.camera, 0
    T = camera.T_camera_world @ dataset.frames.T_world_head[row]
    in_camera = start.means @ T[:3, :3].T + T[:3, 3]
    px = in_camera[:, :2] / np.maximum(in_camera[:, 2:], 1e-3)
    px = px * np.array([camera.fx, camera.fy]) + np.array([camera.cx, camera.cy])
    column, line = np.clip(px, 0, (camera.width - 1, camera.height - 1)).astype(int).T
    label_image, dilation_px = read_labels(dataset, row), _LABEL_DILATION * camera.height
    hits = [
        mask(label_image, dilation_px)[line[chosen], column[chosen]]
        for mask, chosen in ((mouth_mask, start.labels == LIPS), (eyes_mask, start.labels == EYES))
    ]
    if not sum(len(part) for part in hits):
        return Finding(ODD, "points", f"{len(start.means)} without lips or eyes: the pose cannot be checked")
    fraction = float(np.concatenate(hits).mean())
    text = f"{len(start.means)}, {100 * fraction:.0f} % of lips and eyes lie on theirs in picture {row}"
    if fraction > _MIN_ON_LABEL:
        return Finding(FINE, "points", text)
    return Finding(ODD, "points", f"{text}: wrong pose?")
