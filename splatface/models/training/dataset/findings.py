"""What is good and what is odd about a data set: the table of `splatface dataset check`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import DatasetError
from splatface.models.messages import NS_PER_S, SAMPLE_RATE
from splatface.models.training.dataset.dataset_audio import load_audio
from splatface.models.training.dataset.dataset_io import points
from splatface.models.training.dataset.file_format import (
    DIGESTS,
    plain_path,
    read_regular_file,
    sha256_of,
)
from splatface.models.training.dataset.frame_images import (
    box_of,
    eyes_mask,
    face_mask,
    labels,
    mouth_mask,
    person_mask,
    picture,
)
from splatface.models.training.dataset.types import EYES, LIPS, TEST, TRAIN, VAL, Dataset, rows_of
from splatface.models.typing import FloatArray

__all__ = ["BAD", "FINE", "ODD", "Finding", "findings"]

FINE, ODD, BAD = "fine", "odd", "bad"
LOOKED_AT = 24  # pictures whose labels are looked at
_MAX_LIST_BYTES = 1 << 28
_FEWEST_TRAIN = 30
_FASTEST_RAD_S = 6.0  # a head shaken as fast as can be
_HITS, _REACH = 0.7, 0.03  # of lips and eyes must lie so near to theirs, share of the picture's height
_LIPS_MISS = 0.6  # mouth landmarks and mouth label may differ by this share of the label's width


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table."""

    level: str  # FINE, ODD or BAD
    subject: str
    found: str  # and, where it is not fine, what to do


def findings(dataset: Dataset, progress: Callable[[int, int], None] | None = None) -> Iterator[Finding]:
    """Look at everything, files first; never raises for what is only odd.

    Args:
        dataset: as `load_dataset` gave it (tables and sound then are whole already).
        progress: told (files read, files in all).
    """
    yield _pictures(dataset, progress)
    yield _split(dataset)
    yield from _sound(dataset)
    yield _known(dataset, "mouth", dataset.motion.mouth)
    yield _known(dataset, "controls", dataset.motion.controls)
    yield _poses(dataset)
    try:
        yield from _labels(dataset)
        yield _points(dataset)
    except DatasetError as error:
        yield Finding(BAD, "labels", str(error))


def _pictures(dataset: Dataset, progress: Callable[[int, int], None] | None) -> Finding:
    """Every picture has the digest in pictures.sha256."""
    lines = (
        read_regular_file(dataset.folder, DIGESTS, _MAX_LIST_BYTES).decode("utf-8", "replace").splitlines()
    )
    changed = []
    for done, line in enumerate(lines, 1):
        digest, _, name = line.partition("  ")
        try:
            changed += [name] if sha256_of(plain_path(dataset.folder, name)) != digest else []
        except DatasetError:
            changed.append(name)
        if progress:
            progress(done, len(lines))
    if len(lines) != 2 * len(dataset.frames):
        return Finding(
            BAD, "pictures", f"{len(lines)} listed for {len(dataset.frames)} rows: make them again"
        )
    if changed:
        return Finding(
            BAD, "pictures", f"{len(changed)} of {len(lines)} changed, first {changed[0]}: restore them"
        )
    return Finding(
        FINE, "pictures", f"{len(dataset.frames)} with labels, none changed since they were written"
    )


def _split(dataset: Dataset) -> Finding:
    counts = {name: len(rows_of(dataset.frames, part)) for name, part in _PARTS.items()}
    found = ", ".join(f"{count} {name}" for name, count in counts.items())
    if not counts["test"]:
        return Finding(ODD, "split", f"{found}: nothing can be measured, split by time")
    if counts["train"] < _FEWEST_TRAIN:
        return Finding(ODD, "split", f"{found}: too few to train on")
    gaps = np.diff(dataset.frames.time_ns[rows_of(dataset.frames, TEST)]) * dataset.fps / NS_PER_S
    if len(gaps) and gaps.max() > 1.5:
        return Finding(ODD, "split", f"{found}: the test part has gaps, jitter and lag cannot be measured")
    return Finding(FINE, "split", found)


_PARTS = {"train": TRAIN, "val": VAL, "test": TEST}


def _sound(dataset: Dataset) -> Iterator[Finding]:
    samples = load_audio(dataset)
    seconds, last_s = len(samples) / SAMPLE_RATE, float(dataset.motion.time_ns[-1]) / NS_PER_S
    found = f"{seconds:.2f} s, film until {last_s:.2f} s"
    # The last picture is shown for its own time too; containers round sound up and down by some frames.
    if not -0.2 < seconds - last_s < 1.0:
        yield Finding(ODD, "sound", f"{found}: do they belong together?")
    else:
        yield Finding(FINE, "sound", found)
    clipped = float((np.abs(samples) > 0.999).mean())
    level_dbfs = 10 * np.log10(max(float((samples.astype(np.float64) ** 2).mean()), 1e-10))
    heard = f"{level_dbfs:.1f} dBFS, {100 * clipped:.2g} % clipped"
    if level_dbfs < -50 or clipped > 1e-3:
        yield Finding(ODD, "level", f"{heard}: bring the speech to about -25 dBFS without clipping")
    else:
        yield Finding(FINE, "level", heard)


def _known(dataset: Dataset, name: str, track: FloatArray) -> Finding:
    unknown = 100 * np.isnan(track).mean(axis=0)
    if unknown.max() == 0:
        low, high = track.min(), track.max()
        level = FINE if low >= -1.0 and high <= 2.0 else ODD
        return Finding(level, name, f"known at all {len(track)} moments, {low:.2f}..{high:.2f}")
    some = f"{int((unknown > 0).sum())} of {track.shape[1]} unknown at up to {unknown.max():.0f} % of moments"
    return Finding(ODD, name, f"{some}: splatface track fills them in")


def _poses(dataset: Dataset) -> Finding:
    """Fastest turn between neighboring moments."""
    turns = dataset.motion.T_world_head[:, :3, :3]
    between = np.einsum("fij,fik->fjk", turns[:-1], turns[1:])
    angles = np.arccos(np.clip((np.trace(between, axis1=1, axis2=2) - 1) / 2, -1, 1))
    speeds = angles / (np.diff(dataset.motion.time_ns) / NS_PER_S)
    widest = np.degrees(np.arccos(np.clip((np.trace(turns, axis1=1, axis2=2) - 1) / 2, -1, 1)).max())
    found = (
        f"turned by up to {widest:.0f} degrees, {np.degrees(speeds.max(initial=0.0)):.0f} degrees a second"
    )
    if speeds.max(initial=0.0) > _FASTEST_RAD_S:
        return Finding(
            ODD, "poses", f"{found} at moment {int(speeds.argmax())}: the tracker may have slipped"
        )
    return Finding(FINE, "poses", found)


def _labels(dataset: Dataset) -> Iterator[Finding]:
    """Some pictures decode, show somebody, and their landmarks lie where their labels do."""
    rows = np.unique(np.linspace(0, len(dataset.frames) - 1, LOOKED_AT).astype(int))
    shares, misses = [], []
    for row in rows:
        picture(dataset, int(row))
        shown = labels(dataset, int(row))
        shares.append([mask(shown).mean() for mask in (person_mask, face_mask, mouth_mask)])
        misses.append(_lip_label_distance(dataset, int(row), shown))
    person, face, mouth = np.mean(shares, axis=0)
    found = f"person {100 * person:.0f} %, face {100 * face:.0f} %, mouth {100 * mouth:.1f} % of a picture"
    good = 0.05 < face < 0.7 and mouth > 5e-4 and person > face
    yield Finding(FINE if good else ODD, "labels", found if good else f"{found}: look at --sheet")
    if np.isfinite(misses).any():
        miss = float(np.nanmedian(misses))
        text = f"{dataset.landmark_scheme}, lips off their label by {100 * miss:.0f} % of its width"
        yield Finding(FINE if miss < _LIPS_MISS else ODD, "landmarks", text)


def _lip_label_distance(dataset: Dataset, row: int, shown: NDArray[np.uint8]) -> float:
    """Distance between the middles of lip landmarks and mouth label, in widths of the label."""
    box = box_of(mouth_mask(shown))
    if dataset.landmark_scheme != "ibug68" or box is None:
        return float("nan")
    middle = dataset.frames.landmarks_px[row, 48:60].mean(axis=0)
    top, bottom, left, right = box
    apart = np.hypot(middle[0] - (left + right) / 2, middle[1] - (top + bottom) / 2)
    return float(apart / max(right - left, 1))


def _points(dataset: Dataset) -> Finding:
    """Lips and eyes, posed and projected, must fall on lips and eyes: one look at all conventions."""
    found = points(dataset)
    if found is None:
        return Finding(FINE, "points", "none: training starts from points of its own")
    camera, row = dataset.camera, 0
    T = camera.T_camera_world @ dataset.frames.T_world_head[row]
    seen = found.means @ T[:3, :3].T + T[:3, 3]
    at = seen[:, :2] / np.maximum(seen[:, 2:], 1e-3) * (camera.fx, camera.fy) + (camera.cx, camera.cy)
    column, line = np.clip(at, 0, (camera.width - 1, camera.height - 1)).astype(int).T
    shown, reach_px = labels(dataset, row), _REACH * camera.height
    hits = [
        mask(shown, reach_px)[line[chosen], column[chosen]]
        for mask, chosen in ((mouth_mask, found.labels == LIPS), (eyes_mask, found.labels == EYES))
    ]
    if not sum(len(part) for part in hits):
        return Finding(ODD, "points", f"{len(found.means)} without lips or eyes: the pose cannot be checked")
    share = float(np.concatenate(hits).mean())
    text = f"{len(found.means)}, {100 * share:.0f} % of lips and eyes lie on theirs in picture {row}"
    return Finding(FINE, "points", text) if share > _HITS else Finding(ODD, "points", f"{text}: wrong pose?")
