"""Which part of a film is used: shots that show one person in one view, and when something is in the way."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import TrackingError
from splatface.models.training.tracking.choose_face import FaceTrack, choose_face
from splatface.models.training.tracking.scan import Scan, detect_cuts
from splatface.models.typing import BoolArray, Float64Array

__all__ = ["ShotSelection", "select_shots"]


_NEAR, _ALIKE_SIZE = 0.6, 1.3  # faces of one view: middles by their height, ratio of heights
_SAME_SET = 16.0  # levels of 255 by which what is around the face may differ between shots of one view
_COVERS = 0.08  # share of the face's box that a hand's box must cover


@dataclass(frozen=True, slots=True, eq=False)
class ShotSelection:
    """S looks and F pictures of a film, see `Scan`."""

    used: BoolArray  # [F] pictures of shots that are used
    cut: BoolArray  # [F] first pictures of shots
    sampled: BoolArray  # [S] looks in these shots
    begins: BoolArray  # [S] first looks of shots
    boxes: Float64Array  # [S, 4] px of the chosen face, NaN where it is not seen
    others: BoolArray  # [S] another face is seen too
    hands: BoolArray  # [S] a hand is before the face
    shots: int
    face_px: float  # middle height of the face


def select_shots(scan: Scan, fps: float) -> ShotSelection:
    """Choose one face and all shots that show it in the view of the longest.

    Raises:
        TrackingError: when no face is seen.
    """
    starts = np.concatenate([[0], detect_cuts(scan.frame_difference), [len(scan.frame_difference)]])
    at = np.clip(np.round(scan.look_s * fps).astype(int), 0, len(scan.frame_difference) - 1)
    shot_of = np.searchsorted(starts, at, side="right") - 1
    chosen = _by_shot(scan, shot_of)
    if not chosen:
        raise TrackingError(
            "face: expected one in the film, found none: film a person from the front, head and shoulders, "
            "in good light"
        )
    main = max(chosen, key=lambda shot: float(np.nansum(_heights(chosen[shot].boxes))))
    kept = [shot for shot in chosen if shot == main or _same_view(scan, shot_of, chosen, (shot, main))]
    boxes, others = np.full((len(at), 4), np.nan), np.zeros(len(at), bool)
    for shot in kept:
        boxes[shot_of == shot], others[shot_of == shot] = chosen[shot].boxes, chosen[shot].others
    used = np.zeros(len(scan.frame_difference), bool)
    for shot in kept:
        used[starts[shot] : starts[shot + 1]] = True
    cut = np.zeros(len(scan.frame_difference), bool)
    cut[starts[:-1]] = True
    return ShotSelection(
        used=used,
        cut=cut,
        sampled=np.isin(shot_of, kept),
        begins=np.concatenate([[True], np.diff(shot_of) > 0]),
        boxes=boxes,
        others=others,
        hands=_hands_before(boxes, scan.hands),
        shots=len(starts) - 1,
        face_px=float(np.nanmedian(_heights(boxes))),
    )


def _by_shot(scan: Scan, shot_of: NDArray[np.int64]) -> dict[int, FaceTrack]:
    """The face of each shot that has one."""
    found = {}
    for shot in np.unique(shot_of):
        looks = [boxes[np.isfinite(boxes).all(axis=1)] for boxes in scan.boxes[shot_of == shot]]
        if any(len(boxes) for boxes in looks):
            found[int(shot)] = choose_face(looks)
    return found


def _same_view(
    scan: Scan, shot_of: NDArray[np.int64], chosen: dict[int, FaceTrack], pair: tuple[int, int]
) -> bool:
    """Whether two shots have the same set, and a face of the same size in the same place.

    Two people talking in turns have different backgrounds, or sit at different places; a film of one person
    from which breaths were cut has neither.
    """
    one, other = (np.nanmedian(chosen[shot].boxes, axis=0) for shot in pair)
    tall = max(one[3] - one[1], other[3] - other[1])
    ratio = tall / max(min(one[3] - one[1], other[3] - other[1]), 1.0)
    apart = float(np.hypot(*((one[:2] + one[2:] - other[:2] - other[2:]) / 2))) / tall
    first, second = (np.median(scan.thumbs[shot_of == shot], axis=0) for shot in pair)
    differs = np.sort(np.abs(first - second).mean(axis=2).reshape(-1))
    # The quieter half is the set; the person moves in the rest.
    return ratio < _ALIKE_SIZE and apart < _NEAR and float(differs[: len(differs) // 2].mean()) < _SAME_SET


def _heights(boxes: Float64Array) -> Float64Array:
    heights: Float64Array = boxes[:, 3] - boxes[:, 1]
    return heights


def _hands_before(boxes: Float64Array, hands: Float64Array) -> BoolArray:
    """Looks [S] at which a hand's box covers part of the lower two thirds of the face's box."""
    face = boxes[:, None]
    top = face[..., 1] + (face[..., 3] - face[..., 1]) / 3
    wide = np.minimum(face[..., 2], hands[..., 2]) - np.maximum(face[..., 0], hands[..., 0])
    high = np.minimum(face[..., 3], hands[..., 3]) - np.maximum(top, hands[..., 1])
    area = (face[..., 2] - face[..., 0]) * (face[..., 3] - face[..., 1])
    with np.errstate(invalid="ignore"):
        covered = np.where((wide > 0) & (high > 0), wide * high / area, 0.0)
    over: BoolArray = np.nan_to_num(covered).max(axis=1) > _COVERS
    return over
