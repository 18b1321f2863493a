# SPDX-License-Identifier: Apache-2.0
"""Charts (matplotlib), video clips and HTML pieces (jinja2) of a report that needs no network."""

import io
import tempfile
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from splatface.models.errors import TrainingError
from splatface.models.typing import FloatArray, UInt8Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "ChartLabels",
    "Curve",
    "VideoClip",
    "chart",
    "charts",
    "details",
    "difference",
    "encode_clip",
    "facts",
    "film_player",
    "grid",
    "header",
    "page",
    "paragraph",
    "picture",
    "section",
    "side_by_side",
    "table",
    "video_player",
]

_TEMPLATE = "report.html.jinja"
_CHART_INCHES = (6.4, 2.4)
_COLORS = ("#2f6fb3", "#c8553d", "#3a8a5f", "#8a5fb0")
_TEXT_COLOR, _GRID_COLOR = "#7a7a80", "#9a9aa255"  # readable on light and on dark paper
_KINDS = (("vp09", "mp4"), ("VP80", "webm"))  # free of patents, and every browser plays them
_GAIN = 4.0  # a difference of a quarter of the scale is shown as the whole


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One line of a chart; what is not finite is left out."""

    name: str
    x: FloatArray  # [n] rising
    y: FloatArray  # [n]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartLabels:
    """Title and axes of a chart."""

    title: str
    x_name: str
    logarithmic: bool = False  # y axis; what is not above 0 is left out


def chart(curves: Sequence[Curve], labels: ChartLabels) -> Markup:
    """Return an embedded SVG image of up to four curves; without values it says so."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "report", "font.size": 8}):
        figure = Figure(figsize=_CHART_INCHES, layout="constrained")
        axes = figure.add_subplot()
        _style(axes, labels)
        drawn = [finite for curve in curves if len((finite := _finite(curve, labels.logarithmic)).x)]
        for curve, color in zip(drawn, _COLORS, strict=False):
            axes.plot(
                curve.x, curve.y, "." if len(curve.x) == 1 else "-", color=color, lw=1.2, label=curve.name
            )
        if labels.logarithmic and drawn:
            axes.set_yscale("log")
        if len(drawn) > 1:
            axes.legend(frameon=False, labelcolor=_TEXT_COLOR, loc="best")
        if not drawn:
            axes.text(0.5, 0.5, "nothing measured", color=_TEXT_COLOR, ha="center", transform=axes.transAxes)
        content = io.BytesIO()
        figure.savefig(content, format="svg", transparent=True, metadata={"Date": None})
    return _render("chart", _data_url("image/svg+xml", content.getvalue()), labels.title)


def _style(axes: "Axes", labels: ChartLabels) -> None:
    axes.set_title(labels.title, loc="left", color=_TEXT_COLOR, fontweight="bold")
    axes.set_xlabel(labels.x_name, color=_TEXT_COLOR)
    axes.tick_params(colors=_TEXT_COLOR, length=0)
    axes.grid(axis="y", color=_GRID_COLOR)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _finite(curve: Curve, logarithmic: bool) -> Curve:
    x, y = np.asarray(curve.x, np.float64), np.asarray(curve.y, np.float64)
    kept = np.isfinite(x) & np.isfinite(y) & ((y > 0) | (not logarithmic))
    return Curve(curve.name, x[kept], y[kept])


@dataclass(frozen=True, slots=True, eq=False)
class VideoClip:
    """A video in a format that browsers play."""

    content: bytes
    mime: str  # "video/mp4", "video/webm" or "image/webp"


def difference(shown: UInt8Array, truth: UInt8Array) -> UInt8Array:
    """Return the difference of two images, amplified by four: black where they agree."""
    apart = np.abs(shown.astype(np.float32) - truth.astype(np.float32)).mean(axis=2) * _GAIN
    return np.asarray(cv2.applyColorMap(np.clip(apart, 0, 255).astype(np.uint8), cv2.COLORMAP_INFERNO))[
        ..., ::-1
    ]


def side_by_side(pictures: Sequence[UInt8Array], height: int) -> UInt8Array:
    """Return images of one size side by side, scaled to `height` (rounded to even, for encoders)."""
    tall, wide = pictures[0].shape[:2]
    size = (2 * round(wide * height / tall / 2), 2 * (height // 2))
    interpolation = cv2.INTER_AREA if height < tall else cv2.INTER_LINEAR
    return np.hstack(
        [np.asarray(cv2.resize(p, size, interpolation=interpolation), np.uint8) for p in pictures]
    )


def encode_clip(pictures: Iterable[UInt8Array], fps: float) -> VideoClip:
    """Encode images of one even size: VP9, VP8 or, where OpenCV can neither, animated WebP.

    Raises:
        TrainingError: when there is no picture.
    """
    iterator = iter(pictures)
    first = next(iterator, None)
    if first is None:
        raise TrainingError("film: expected one or more pictures, found none: give frames to show")
    with tempfile.TemporaryDirectory(prefix="splatface-film-") as folder:
        for kind, ending in _KINDS:
            path = Path(folder) / f"film.{ending}"
            writer = _writer(path, kind, fps, first)
            if writer is not None:
                for picture in chain([first], iterator):
                    writer.write(picture[..., ::-1])
                writer.release()
                return VideoClip(path.read_bytes(), f"video/{ending}")
    return _webp(chain([first], iterator), fps)


def _writer(path: Path, kind: str, fps: float, first: UInt8Array) -> "cv2.VideoWriter | None":
    """Return a writer of this kind; None where OpenCV has none."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # it logs each codec it lacks
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


@cache
def _environment() -> Environment:
    folder = Path(__file__).parent
    return Environment(loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined)


def _render(macro: str, *arguments: object) -> Markup:
    """Return HTML of a macro of the template; text arguments are escaped, Markup is not."""
    html: Markup = getattr(_environment().get_template(_TEMPLATE).module, macro)(*arguments)
    return html


def _data_url(mime: str, content: bytes) -> str:
    return f"data:{mime};base64,{b64encode(content).decode()}"


def page(title: str, body: Sequence[Markup]) -> str:
    """Return the whole document."""
    return str(_render("page", title, body)).lstrip()


def header(name: str, image: Markup, texts: Sequence[str]) -> Markup:
    """Return the head of the page: an image, a name, and lines of text."""
    return _render("header", name, image, texts)


def section(title: str, *content: Markup, legend: str = "") -> Markup:
    """Return a heading, a legend and the content; nothing where there is no content."""
    parts = [part for part in content if part]
    return _render("section", title, legend, parts) if parts else Markup()


def paragraph(text: str) -> Markup:
    """Return a paragraph of text."""
    return _render("paragraph", text)


def facts(rows: Mapping[str, object]) -> Markup:
    """Return names and values, one a line."""
    return _render("facts", rows)


def table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """Return a table of texts; the first column names the rows."""
    return _render("table", names, rows)


def details(title: str, text: str) -> Markup:
    """Return text that unfolds on a click."""
    return _render("details", title, text)


def picture(image: UInt8Array, caption: str = "", *, quality: int = 90) -> Markup:
    """Return an embedded image [H, W, 3] RGB."""
    bgr = np.ascontiguousarray(image[..., ::-1])
    content = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return _render("picture", _data_url("image/jpeg", content.tobytes()), caption)


def charts(images: Sequence[Markup]) -> Markup:
    """Return charts side by side; nothing where there are none."""
    return _render("charts", images) if images else Markup()


def grid(figures: Sequence[Markup], columns: int) -> Markup:
    """Return figures in rows of `columns`; nothing where there are none."""
    return _render("grid", figures, columns) if figures else Markup()


def film_player(clip: VideoClip, names: Sequence[str], audio: bytes | None) -> Markup:
    """Return an embedded clip with named columns, and its audio (Ogg) in step where there is one."""
    audio_url = None if audio is None else _data_url("audio/ogg", audio)
    is_image = clip.mime.startswith("image/")
    return _render("player", _data_url(clip.mime, clip.content), names, is_image, audio_url)


def video_player(content: bytes) -> Markup:
    """Return an embedded MP4 video with its own audio."""
    return _render("player", _data_url("video/mp4", content), [], False, None)
