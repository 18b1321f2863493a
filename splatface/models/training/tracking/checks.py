"""What is odd about a clip, when, and what is done about it; refused is only what no head can come of."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import TrackingError
from splatface.models.training.tracking.choose_face import CropWindow
from splatface.models.training.tracking.plate import Plate
from splatface.models.training.tracking.scan import LOOK_EVERY_S, Scan
from splatface.models.training.tracking.sound import Loudness, Offset
from splatface.models.training.tracking.story import ShotSelection
from splatface.models.training.tracking.video import VideoInfo

__all__ = [
    "FEWEST_S",
    "MENDED",
    "NOTE",
    "REFUSED",
    "Finding",
    "applied_shift_ms",
    "camera_moves",
    "check_film",
    "check_landmarks",
    "check_plate",
    "check_sound",
    "check_upscaling",
    "raise_if_rejected",
    "replaces_background",
    "spans_s",
]

NOTE, MENDED, REFUSED = "note", "mended", "refused"
FEWEST_S = 5.0
_ROUNDING_S = 0.25  # a film of "5 seconds" may lack some pictures
_SHORT_S, _GOOD_S, _LONG_S = 20.0, 60.0, 600.0
_SMALLEST_FACE_PX, _SMALL_FACE_PX = 40, 160
_STEP_MOVES, _MANY_MOVE = 0.004, 0.2  # of the picture's width in half a second; share of such looks
_DRIFTS = 0.03
_BACKGROUND_MOVES = 0.15  # share of its pixels
_SILENT_DBFS, _QUIET_DBFS = -55.0, -40.0  # of the loudest second
_NO_SPEECH, _LITTLE_SPEECH = 0.04, 0.25  # share of the time
_WORTH_MS = 20.0  # an offset below half a picture is none

Spans = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table."""

    level: str  # NOTE, MENDED or REFUSED
    subject: str
    found: str
    done: str  # about it; of what is refused: what to do
    spans_s: Spans = ()  # when, film time


def raise_if_rejected(findings: Sequence[Finding]) -> None:
    """Raise TrackingError when a finding is REFUSED; it names all of them."""
    bad = [finding for finding in findings if finding.level == REFUSED]
    if bad:
        raise TrackingError("; ".join(f"{f.subject}: {f.found}: {f.done}" for f in bad))


def spans_s(marked: NDArray[np.bool_], step_s: float) -> Spans:
    """Begin and end of each run of marked moments [n] that lie `step_s` apart."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]]).astype(np.int8)))
    return tuple((round(float(a) * step_s, 2), round(float(b) * step_s, 2)) for a, b in edges.reshape(-1, 2))


def check_film(info: VideoInfo, fps: float, scan: Scan, story: ShotSelection) -> list[Finding]:
    """What the first look says, before any work is done."""
    return [
        *_file(info, fps, scan),
        *_duration(float(story.used.sum()) / fps),
        *_shots(fps, story),
        *_face(story),
        *_people(story),
        *_camera(scan, story),
        *_hands(story),
    ]


def check_plate(plate: Plate, moving_camera: bool) -> list[Finding]:
    """What is behind the person."""
    found = []
    if plate.moving > _BACKGROUND_MOVES and not moving_camera:
        found.append(
            Finding(
                MENDED,
                "background",
                f"{100 * plate.moving:.0f} % of it moves",
                "its median over time replaces it in all pictures",
            )
        )
    if plate.seen < 0.1:
        found.append(
            Finding(NOTE, "background", f"{100 * plate.seen:.0f} % of it is ever seen", "the rest is made up")
        )
    return found


def check_landmarks(known: NDArray[np.bool_], used: NDArray[np.bool_], fps: float) -> list[Finding]:
    """Whether the face was found in the pictures [F] that are used."""
    lost = used & ~known
    seen_s = float((used & known).sum()) / fps
    if seen_s < FEWEST_S - 1.0:
        return [
            Finding(
                REFUSED,
                "face",
                f"seen for {seen_s:.1f} s",
                f"give a film that shows one face from the front for {FEWEST_S:g} s or more",
            )
        ]
    if not lost.any():
        return []
    text = f"lost in {int(lost.sum())} of {int(used.sum())} pictures"
    return [Finding(MENDED, "face", text, "these pictures are left out", spans_s(lost, 1 / fps))]


def check_sound(info: VideoInfo, heard: Loudness | None, offset: Offset) -> list[Finding]:
    """Whether there is speech, and whether it fits the lips."""
    silent = "the head is made; its mouth is moved by the shared voice model, not set to this person"
    if heard is None:
        found = "it cannot be decoded" if info.has_sound else "the film has none"
        return [Finding(NOTE, "sound", found, silent)]
    if heard.loudest_dbfs < _SILENT_DBFS:
        return [Finding(NOTE, "sound", f"silence ({heard.level_dbfs:.0f} dBFS)", silent)]
    if heard.speech < _NO_SPEECH:
        return [Finding(NOTE, "sound", "music or noise, no speech", silent)]
    odd = []
    if heard.loudest_dbfs < _QUIET_DBFS:
        odd.append(Finding(NOTE, "sound", f"quiet ({heard.level_dbfs:.0f} dBFS)", "used as it is"))
    if heard.speech < _LITTLE_SPEECH:
        odd.append(Finding(NOTE, "sound", f"speech {100 * heard.speech:.0f} % of the time", "used as it is"))
    return [*odd, _offset(offset)]


def applied_shift_ms(offset: Offset) -> float:
    """By how much the sound is moved earlier."""
    return offset.audio_delay_ms if offset.reliable and abs(offset.audio_delay_ms) >= _WORTH_MS else 0.0


def replaces_background(plate: Plate, moving_camera: bool) -> bool:
    """Whether the plate should stand in for a background that moves."""
    return moving_camera or plate.moving > _BACKGROUND_MOVES


def camera_moves(scan: Scan, story: ShotSelection) -> bool:
    """Whether the background shifts between looks within the shots that are used."""
    steps = scan.background_motion[story.sampled & ~story.begins]
    steps = steps[np.isfinite(steps).all(axis=1)]
    if len(steps) < 4:
        return False
    moved = np.hypot(steps[:, 0], steps[:, 1]) > _STEP_MOVES
    drift = np.ptp(np.cumsum(np.where(np.abs(steps) > _STEP_MOVES / 4, steps, 0), axis=0), axis=0).max()
    return bool(moved.mean() > _MANY_MOVE or drift > _DRIFTS)


def _offset(offset: Offset) -> Finding:
    if not offset.reliable:
        return Finding(
            NOTE,
            "sound offset",
            f"no clear peak (correlation {offset.correlation:.2f})",
            "sound stays where it is; the film may be dubbed, or another person speaks",
        )
    text = f"{abs(offset.audio_delay_ms):.0f} ms {'late' if offset.audio_delay_ms > 0 else 'early'}"
    gain = f"correlation with the lips {offset.correlation_at_zero:.2f} -> {offset.correlation:.2f}"
    if applied_shift_ms(offset) == 0.0:
        return Finding(NOTE, "sound offset", f"{text}, correlation {offset.correlation:.2f}", "none needed")
    return Finding(MENDED, "sound offset", text, f"sound moved: {gain}")


def _file(info: VideoInfo, fps: float, scan: Scan) -> list[Finding]:
    found = []
    read_s = len(scan.frame_difference) / fps
    promised = max(info.duration_s, min(info.container_duration_s, 1e6))
    if read_s < promised - 1.0:
        found.append(
            Finding(
                MENDED,
                "file",
                f"pictures end after {read_s:.1f} s of {promised:.1f} s: cut off or damaged",
                "what is there is used",
                ((round(read_s, 2), round(promised, 2)),),
            )
        )
    if info.variable:
        found.append(
            Finding(
                MENDED,
                "rate",
                f"varies, {info.pictures / max(info.duration_s, 1e-3):.1f} pictures a second on average",
                f"resampled by time to {fps:g}; moments without a picture are left out",
                spans_s(scan.repeated, 1 / fps)[:20],
            )
        )
    elif info.rate < 20:
        found.append(Finding(NOTE, "rate", f"{info.rate:.1f} pictures a second", "fast lips are missed"))
    if info.hdr_transfer:
        found.append(
            Finding(MENDED, "colors", f"high dynamic range ({info.hdr_transfer})", "brought to ordinary ones")
        )
    return found


def _duration(used_s: float) -> list[Finding]:
    text = f"{used_s:.1f} s of one person"
    if used_s < FEWEST_S - _ROUNDING_S:
        todo = f"give a film of at least {FEWEST_S:g} s, best 1 to 5 minutes"
        return [Finding(REFUSED, "duration", text, todo)]
    if used_s < _SHORT_S:
        return [
            Finding(NOTE, "duration", text, "short: training regularises strongly, expect a plainer head")
        ]
    if used_s < _GOOD_S:
        return [Finding(NOTE, "duration", text, "enough; 1 to 5 minutes give a better mouth")]
    if used_s > _LONG_S:
        return [Finding(NOTE, "duration", text, "pictures are chosen evenly from it")]
    return []


def _shots(fps: float, story: ShotSelection) -> list[Finding]:
    if story.shots < 2:
        return []
    out = spans_s(~story.used, 1 / fps)
    text = f"{story.shots} shots"
    if not out:
        return [Finding(NOTE, "cuts", text, "all show the same view and are used", ())]
    return [Finding(MENDED, "cuts", text, "others than the longest view are left out", out)]


def _face(story: ShotSelection) -> list[Finding]:
    tall = story.face_px
    text = f"{tall:.0f} px from forehead to chin"
    if tall < _SMALLEST_FACE_PX:
        todo = f"film nearer: {_SMALLEST_FACE_PX} px are the least, {_SMALL_FACE_PX} or more are good"
        return [Finding(REFUSED, "face size", text, todo)]
    if tall < _SMALL_FACE_PX:
        return [Finding(NOTE, "face size", text, "enlarged; the head will be soft")]
    return []


def _people(story: ShotSelection) -> list[Finding]:
    if not story.others.any():
        return []
    when = spans_s(story.others, LOOK_EVERY_S)
    return [Finding(MENDED, "people", "more than one face", "the largest is followed", when)]


def _camera(scan: Scan, story: ShotSelection) -> list[Finding]:
    if not camera_moves(scan, story):
        return []
    done = "the head's pose takes up the movement; a still background replaces the real one"
    return [Finding(MENDED, "camera", "it moves", done)]


def _hands(story: ShotSelection) -> list[Finding]:
    if not story.hands.any():
        return []
    when = spans_s(story.hands, LOOK_EVERY_S)
    return [Finding(MENDED, "hands", "over the face", "these pictures are left out", when)]


def check_upscaling(window: CropWindow, side_px: int) -> list[Finding]:
    """Whether the window had to be enlarged."""
    if window.side >= 0.75 * side_px:
        return []
    text = f"{window.side} px around head and shoulders"
    return [Finding(NOTE, "resolution", text, f"enlarged to {side_px} px")]
