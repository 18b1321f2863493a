"""The bones of a report page: one file of HTML that asks nothing of any network."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape

import cv2
import numpy as np
from numpy.typing import NDArray

from splatface.models.training.report.film_strip import Film

__all__ = ["details", "facts", "film_player", "page", "picture", "row_of", "section", "table"]

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


def film_player(film: Film, names: Sequence[str], sound: bytes | None) -> str:
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
