"""Size and rate of a film, from what a user writes."""

from dataclasses import dataclass
from fractions import Fraction

from splatface.models.errors import FilmError

__all__ = ["ASPECTS", "VideoFormat", "shape_of"]

ASPECTS = {"16:9": (16, 9), "9:16": (9, 16), "1:1": (1, 1)}
SMALLEST, LARGEST = 64, 4096
SLOWEST, FASTEST = 1, 120


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """Of every picture of a film."""

    width: int  # px, even: color is stored for two pixels at a time
    height: int  # px, even
    fps: Fraction


def shape_of(size: str, aspect: str, fps: str, own: tuple[int, int]) -> VideoFormat:
    """The shape that was asked for.

    Args:
        size: such as 1280x720; empty to follow the aspect.
        aspect: one of ASPECTS; empty for the size the head was made for.
        fps: pictures per second, such as 25, 29.97 or 30000/1001.
        own: width and height of the head's own camera; with an aspect its shorter side is kept.

    Raises:
        FilmError: for anything else, or an odd size.
    """
    width, height = _size(size) if size else _even(_fitted(aspect, own))
    fits = min(width, height) >= SMALLEST and max(width, height) <= LARGEST
    if width % 2 or height % 2 or not fits:
        raise FilmError(
            f"size: expected even numbers of {SMALLEST} to {LARGEST} such as 512x512, found "
            f"{width}x{height}: choose another"
        )
    return VideoFormat(width, height, _rate(fps))


def _size(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
        raise FilmError(f"size: expected width x height such as 1280x720, found {text!r}")
    return int(parts[0]), int(parts[1])


def _fitted(aspect: str, own: tuple[int, int]) -> tuple[float, float]:
    if not aspect:
        return own
    if aspect not in ASPECTS:
        raise FilmError(f"aspect: expected one of {', '.join(ASPECTS)}, found {aspect!r}")
    across, down = ASPECTS[aspect]
    unit = min(own) / min(across, down)
    return across * unit, down * unit


def _even(size: tuple[float, float]) -> tuple[int, int]:
    return 2 * round(size[0] / 2), 2 * round(size[1] / 2)


def _rate(text: str) -> Fraction:
    try:
        fps = Fraction(text).limit_denominator(1001)
    except (ValueError, ZeroDivisionError):
        fps = Fraction(0)
    if not SLOWEST <= fps <= FASTEST:
        raise FilmError(f"fps: expected {SLOWEST} to {FASTEST} pictures per second, found {text!r}")
    return fps
