"""Curves as SVG text: sharp at any size, in the colors of the page around them, no plotting library."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from splatface.models.typing import FloatArray

__all__ = ["Axes", "Curve", "chart"]


_WIDTH, _HEIGHT = 640, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 14, 28, 36
_MOST_POINTS = 1200  # a curve of more is thinned: each stretch keeps its lowest and highest
_COLORS = ("var(--a)", "var(--b)", "var(--c)", "var(--d)")


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One line of a chart; what is not finite is left out."""

    name: str
    x: FloatArray  # [n] rising
    y: FloatArray  # [n]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """What stands on a chart's edges."""

    title: str
    x_name: str
    y_name: str = ""
    logarithmic: bool = False  # of y; what is not above 0 is left out


def chart(curves: Sequence[Curve], axes: Axes) -> str:
    """An `<svg>` of up to four curves; the page sets the colors --a --b --c --d, --ink and --line.

    Nothing to show gives a chart that says so.
    """
    drawn = [thinned for curve in curves if len((thinned := _finite(curve, axes)).x)]
    head = (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(axes.title)}">'
        f'<text x="{_LEFT}" y="16" class="title">{escape(axes.title)}</text>'
    )
    if not drawn:
        return f'{head}<text x="{_WIDTH / 2}" y="{_HEIGHT / 2}" class="none">nothing measured</text></svg>'
    x_ticks = _ticks(*_range([curve.x for curve in drawn]), 7)
    low, high = _range([curve.y for curve in drawn])
    y_ticks = _powers(low, high) if axes.logarithmic else _ticks(low, high, 5)
    frame = _Frame((min(x_ticks[0], drawn[0].x[0]), x_ticks[-1]), (y_ticks[0], y_ticks[-1]), axes.logarithmic)
    parts = [head, *_grid(frame, x_ticks, y_ticks), _names(axes), *_legend([curve.name for curve in drawn])]
    parts += [_line(frame, curve, color) for curve, color in zip(drawn, _COLORS, strict=False)]
    return "".join([*parts, "</svg>"])


@dataclass(frozen=True, slots=True)
class _Frame:
    x: tuple[float, float]
    y: tuple[float, float]
    logarithmic: bool

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Place in the picture, px."""
        bottom, top = (math.log10(v) for v in self.y) if self.logarithmic else self.y
        value = math.log10(y) if self.logarithmic else y
        across = (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1.0)
        up = (value - bottom) / ((top - bottom) or 1.0)
        return (
            _LEFT + across * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM),
        )


def _finite(curve: Curve, axes: Axes) -> Curve:
    x, y = np.asarray(curve.x, np.float64), np.asarray(curve.y, np.float64)
    kept = np.isfinite(x) & np.isfinite(y) & ((y > 0) | (not axes.logarithmic))
    x, y = x[kept], y[kept]
    if len(x) > _MOST_POINTS:
        stretches = np.array_split(np.arange(len(x)), _MOST_POINTS // 2)
        ends = [sorted((s[np.argmin(y[s])], s[np.argmax(y[s])])) for s in stretches]
        at = np.unique(np.concatenate(ends))
        x, y = x[at], y[at]
    return Curve(curve.name, x, y)


def _range(values: list[FloatArray]) -> tuple[float, float]:
    return min(float(v.min()) for v in values), max(float(v.max()) for v in values)


def _ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers that span low..high."""
    span = (high - low) or abs(high) or 1.0
    raw = span / about
    size = 10 ** math.floor(math.log10(raw))
    step = next(size * m for m in (1, 2, 5, 10) if size * m >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, max(last, first + 1) + 1)]


def _powers(low: float, high: float) -> list[float]:
    """1, 2, 5 x powers of ten that span low..high, low > 0."""
    steps = [m * 10.0**p for p in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
             for m in (1, 2, 5)]  # fmt: skip
    first = max(i for i, step in enumerate(steps) if step <= low)
    last = next((i for i, step in enumerate(steps) if step >= high), len(steps) - 1)
    chosen = steps[first : max(last, first + 1) + 1]
    return chosen if len(chosen) <= 8 else [chosen[0], *chosen[1:-1:3], chosen[-1]]


def _grid(frame: _Frame, x_ticks: list[float], y_ticks: list[float]) -> list[str]:
    parts = []
    for y in y_ticks:
        _, py = frame.at(frame.x[0], y)
        parts.append(f'<path class="grid" d="M{_LEFT} {py:.1f}H{_WIDTH - _RIGHT}"/>')
        parts.append(f'<text class="y" x="{_LEFT - 6}" y="{py + 4:.1f}">{_number(y)}</text>')
    for x in x_ticks:
        px, _ = frame.at(x, y_ticks[0])
        if px >= _LEFT - 1:
            parts.append(f'<text class="x" x="{px:.1f}" y="{_HEIGHT - 20}">{_number(x)}</text>')
    return parts


def _names(axes: Axes) -> str:
    name = f'<text class="x" x="{(_LEFT + _WIDTH) / 2}" y="{_HEIGHT - 4}">{escape(axes.x_name)}</text>'
    return name + (f'<text class="unit" x="4" y="16">{escape(axes.y_name)}</text>' if axes.y_name else "")


def _legend(names: list[str]) -> list[str]:
    if len(names) == 1:
        return []
    parts, x = [], _WIDTH - _RIGHT
    for name, color in reversed(list(zip(names, _COLORS, strict=False))):
        x -= 7 * len(name) + 22
        parts.append(f'<path d="M{x} 12h14" stroke="{color}" stroke-width="3"/>')
        parts.append(f'<text x="{x + 18}" y="16">{escape(name)}</text>')
    return parts


def _line(frame: _Frame, curve: Curve, color: str) -> str:
    points = [frame.at(x, y) for x, y in zip(curve.x.tolist(), curve.y.tolist(), strict=True)]
    if len(points) == 1:
        return f'<circle cx="{points[0][0]:.1f}" cy="{points[0][1]:.1f}" r="3" fill="{color}"/>'
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f'<path d="M{path}" fill="none" stroke="{color}" stroke-width="1.6"/>'


def _number(value: float) -> str:
    if value and (abs(value) >= 1e6 or abs(value) < 1e-3):
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{round(value, 6):,.10g}".replace(",", " ")
