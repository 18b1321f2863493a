"""Between samples: where a curve is highest."""

__all__ = ["parabolic_peak_offset"]


def parabolic_peak_offset(left: float, top: float, right: float) -> float:
    """Where the parabola through three neighbors, the middle one highest, peaks: steps from it, -1/2..1/2.

    0 where they lie on a line, or one of them is no number.
    """
    bend = left - 2 * top + right
    return 0.5 * (left - right) / bend if bend < 0 else 0.0
