"""Charts, video clips and the HTML page of a report, in one file without network access."""

import math
import tempfile
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import TrainingError
from splatface.models.typing import FloatArray, UInt8Array

__all__ = [
    "Axes",
    "Curve",
    "VideoClip",
    "chart",
    "details",
    "difference",
    "encode_clip",
    "facts",
    "film_player",
    "page",
    "picture",
    "row_of",
    "section",
    "side_by_side",
    "table",
]

_KINDS = (("vp09", "mp4"), ("VP80", "webm"))  # free of patents, and every browser plays them
_GAIN = 4.0  # a difference of a quarter of the scale is shown as the whole


@dataclass(frozen=True, slots=True, eq=False)
class VideoClip:
    """A film as a browser takes it."""

    content: bytes
    mime: str  # "video/mp4", "video/webm" or "image/webp"


def difference(shown: UInt8Array, truth: UInt8Array) -> UInt8Array:
    """Where two pictures differ, four times as strongly: black where they agree."""
    apart = np.abs(shown.astype(np.float32) - truth.astype(np.float32)).mean(axis=2) * _GAIN
    return np.asarray(cv2.applyColorMap(np.clip(apart, 0, 255).astype(np.uint8), cv2.COLORMAP_INFERNO))[
        ..., ::-1
    ]


def side_by_side(pictures: Sequence[UInt8Array], height: int) -> UInt8Array:
    """Pictures of one size in a row, scaled to `height` (even, as encoders want it)."""
    tall, wide = pictures[0].shape[:2]
    size = (2 * round(wide * height / tall / 2), 2 * (height // 2))
    way = cv2.INTER_AREA if height < tall else cv2.INTER_LINEAR
    return np.hstack([np.asarray(cv2.resize(p, size, interpolation=way), np.uint8) for p in pictures])


def encode_clip(pictures: Iterable[UInt8Array], fps: float) -> VideoClip:
    """Encode pictures of one even size: VP9, VP8 or, where OpenCV can neither, animated WebP.

    Raises:
        TrainingError: when there is no picture.
    """
    moving = iter(pictures)
    first = next(moving, None)
    if first is None:
        raise TrainingError("film: expected one or more pictures, found none: give frames to show")
    with tempfile.TemporaryDirectory(prefix="splatface-film-") as folder:
        for kind, ending in _KINDS:
            path = Path(folder) / f"film.{ending}"
            writer = _writer(path, kind, fps, first)
            if writer is not None:
                for picture in chain([first], moving):
                    writer.write(picture[..., ::-1])
                writer.release()
                return VideoClip(path.read_bytes(), f"video/{ending}")
    return _webp(chain([first], moving), fps)


def _writer(path: Path, kind: str, fps: float, first: UInt8Array) -> "cv2.VideoWriter | None":
    """A writer of this kind; None where OpenCV cannot."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # it tells of each kind it lacks
    try:
        size = (first.shape[1], first.shape[0])
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*kind), fps, size)
        return writer if writer.isOpened() else None
    finally:
        cv2.utils.logging.setLogLevel(level)


def _webp(pictures: Iterator[UInt8Array], fps: float) -> VideoClip:
    animation = cv2.Animation()
    animation.frames = [np.ascontiguousarray(picture[..., ::-1]) for picture in pictures]
    animation.durations = [round(1000 / fps)] * len(animation.frames)
    done, content = cv2.imencodeanimation(".webp", animation, [cv2.IMWRITE_WEBP_QUALITY, 80])
    if not done:
        raise TrainingError("film: expected OpenCV to write WebP, found it cannot: pip install opencv-python")
    return VideoClip(content.tobytes(), "image/webp")


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


_STYLE = """
:root{color-scheme:light dark;--paper:#fbfaf8;--card:#fff;--ink:#1d1d1f;--soft:#6b6b70;--line:#dddad4;
--a:#2f6fb3;--b:#c8553d;--c:#3a8a5f;--d:#8a5fb0}
@media(prefers-color-scheme:dark){:root{--paper:#161618;--card:#1f1f22;--ink:#ececee;--soft:#9a9aa2;
--line:#37373c;--a:#6fb1f5;--b:#f08a70;--c:#74c69a;--d:#c09be6}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:1120px;margin:0 auto;padding:24px 20px 64px}
header{display:flex;gap:24px;align-items:center;flex-wrap:wrap}
header img{width:176px;border-radius:16px}
h1{margin:0;font-size:30px}h2{margin:36px 0 10px;font-size:19px}
p{margin:6px 0;color:var(--soft);max-width:75ch}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:14px}
.chart,table,pre,.film,dl{background:var(--card);border:1px solid var(--line);border-radius:10px}
.chart{width:100%;display:block}
.chart text{font:12px system-ui,sans-serif;fill:var(--soft)}
.chart .title{font-weight:600;fill:var(--ink)}.chart .grid{stroke:var(--line)}
.chart .x,.chart .none{text-anchor:middle}.chart .y{text-anchor:end}
.scroll{overflow-x:auto}
table{border-collapse:separate;border-spacing:0;font-variant-numeric:tabular-nums}
th,td{padding:5px 14px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child{text-align:left}tr:last-child td{border-bottom:0}
th{color:var(--soft);font-weight:500}
dl{display:grid;grid-template-columns:max-content 1fr;gap:3px 18px;padding:12px 16px;margin:0}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
.row{display:grid;gap:8px}.row img{width:100%;border-radius:8px;display:block}
figure{margin:0}figcaption{font-size:13px;color:var(--soft);text-align:center;padding-top:2px}
.film{padding:10px}.film video,.film img{width:100%;display:block;border-radius:6px}
.names{display:grid;text-align:center;font-size:13px;color:var(--soft)}
pre{padding:12px 16px;overflow-x:auto;font-size:13px}summary{cursor:pointer;margin:12px 0 8px}
"""
# Sound is a file of its own: browsers play it in step with the film.
_IN_STEP = """<script>(()=>{const f=document.querySelector('.film');
const v=f.querySelector('video'),a=f.querySelector('audio');
if(!v||!a)return;const at=()=>{if(Math.abs(a.currentTime-v.currentTime)>.08)a.currentTime=v.currentTime};
v.onplay=()=>{at();a.play()};v.onpause=()=>a.pause();v.onseeked=at;v.ontimeupdate=at;
v.onratechange=()=>a.playbackRate=v.playbackRate;v.onended=()=>{v.currentTime=0;v.play()}})()</script>"""


def page(title: str, body: Sequence[str]) -> str:
    """The whole document; what stands in `body` is HTML already."""
    head = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style></head>'
    )
    return f"{head}<body><main>{''.join(body)}</main></body></html>\n"


def section(title: str, *content: str, says: str = "") -> str:
    """A heading, what one sees there, and the content (HTML); nothing where there is no content."""
    if not any(content):
        return ""
    return f"<h2>{escape(title)}</h2>{f'<p>{escape(says)}</p>' if says else ''}{''.join(content)}"


def facts(rows: Mapping[str, object]) -> str:
    """Names and values, one a line."""
    lines = (f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in rows.items())
    return f"<dl>{''.join(lines)}</dl>"


def table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of texts; the first column names the rows."""
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{escape(c)}</td>' for c in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def details(title: str, text: str) -> str:
    """Text that one may unfold."""
    return f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>"


def picture(image: NDArray[np.uint8], caption: str = "", *, quality: int = 90) -> str:
    """A picture [H, W, 3] RGB within the page."""
    content = cv2.imencode(
        ".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )[1]
    data = b64encode(content.tobytes()).decode()
    image_tag = f'<img src="data:image/jpeg;base64,{data}" alt="{escape(caption)}">'
    return f"<figure>{image_tag}<figcaption>{escape(caption)}</figcaption></figure>" if caption else image_tag


def row_of(figures: Sequence[str], columns: int) -> str:
    """Figures (HTML) in rows of `columns`."""
    return f'<div class="row" style="grid-template-columns:repeat({columns},1fr)">{"".join(figures)}</div>'


def film_player(film: VideoClip, names: Sequence[str], sound: bytes | None) -> str:
    """A film within the page, its columns named, with the sound (Ogg) in step where there is one."""
    source = f"data:{film.mime};base64,{b64encode(film.content).decode()}"
    columns = "".join(f"<span>{escape(name)}</span>" for name in names)
    above = f'<div class="names" style="grid-template-columns:repeat({len(names)},1fr)">{columns}</div>'
    if film.mime.startswith("image/"):
        return f'<div class="film">{above}<img src="{source}" alt="film"></div>'
    heard = (
        "" if sound is None else f'<audio src="data:audio/ogg;base64,{b64encode(sound).decode()}"></audio>'
    )
    shown = f'<video src="{source}" controls muted playsinline></video>'
    return f'<div class="film">{above}{shown}{heard}</div>{_IN_STEP if heard else ""}'
