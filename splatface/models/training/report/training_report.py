"""report.html: who the head is, how it was trained, how well it does, in one file without network access."""

import io
import json
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import soundfile
from numpy.typing import NDArray

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.errors import EncoderError
from splatface.models.head.head import Head
from splatface.models.messages import NS_PER_S, SAMPLE_RATE
from splatface.models.storage import atomic_write
from splatface.models.training.dataset.dataset_audio import load_audio
from splatface.models.training.dataset.findings import read_findings
from splatface.models.training.dataset.frame_images import read_image as true_picture
from splatface.models.training.dataset.types import TEST, TRAIN, VAL, Dataset
from splatface.models.training.evaluation.live_path import AudioToMouth, LivePath, make_audio_to_mouth
from splatface.models.training.optimization.training_run import RunArtifacts
from splatface.models.training.report.head_inspection import PosedRenderer, held_out_frames
from splatface.models.training.report.report_page import (
    Axes,
    Curve,
    chart,
    details,
    difference,
    encode_clip,
    facts,
    film_player,
    page,
    picture,
    row_of,
    section,
    side_by_side,
    table,
)
from splatface.models.training.report.tracking_video import TRACKING_FILM, TrackingView
from splatface.models.training.tracking.face_fit import TRACKING_FILE

__all__ = ["REFINED_LEGEND", "TRACKING_LEGEND", "refined_section", "tracking_section", "write_report"]

REFINED_LEGEND = (
    "Poses, and from the second round on what mouth and brows do, as the pictures want them, the Gaussians "
    "standing still; those of pictures never trained on are fitted in the same way, their colors are not "
    "learned from. PSNR: of held-out pictures with the same Gaussians, before and after each round's poses, "
    "and with its motion; the last round is for held-out pictures alone. Jitter: what three pictures in a "
    "row do not have in common, with tracked and with refined poses."
)
_NAMES = {
    "step": "step", "psnr_before_db": "PSNR before, dB", "psnr_after_db": "after, dB",
    "psnr_motion_db": "with motion, dB", "mouth_changed": "motion, rms",
    "turned_deg": "turned, °", "shifted_mm": "shifted, mm", "moved_px": "moved, px rms",
    "jitter_before_px": "jitter tracked, px",
    "jitter_after_px": "refined, px", "focal_share": "focal length, share",
}  # fmt: skip


def refined_section(poses: Mapping[str, Any] | None) -> str:
    """Table and curves (HTML) of poses.json; nothing where there is none or it says nothing."""
    rounds = poses.get("rounds") if poses else None
    curves = poses.get("curves") if poses else None
    if not isinstance(rounds, list) or not rounds or not isinstance(curves, dict):
        return ""
    rows = [[_told(line.get(name)) for name in _NAMES] for line in rounds]
    charts = [_chart(curves, unit, title) for unit, title in (("°", "head turned"), ("mm", "head shifted"))]
    return table([*_NAMES.values()], rows) + f'<div class="charts">{"".join(charts)}</div>'


def _told(value: float | None) -> str:
    """Four digits, a step's number whole, and a dash for what a round did not measure."""
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"


def _chart(curves: Mapping[str, Sequence[float]], unit: str, title: str) -> str:
    times = np.array(curves.get("time_s", []), np.float64)
    lines = [
        Curve(name, times, np.array(values, np.float64))
        for name, values in curves.items()
        if name.endswith(f", {unit}") and len(values) == len(times)
    ]
    return chart(lines, Axes(title=f"{title} from where it was tracked, {unit}", x_name="film time, s"))


TRACKING_LEGEND: Final = (
    "Left: landmarks as they were found (dots), the face fitted to them (green), the head's axes, the gaze "
    "(yellow). Right: what each pixel was taken for. Below: loudness, opening of the mouth, lids, turn "
    "of the head. When sound and lips do not fit, or the green lines leave the face, the head cannot be good."
)
_STILLS = 6
_LARGEST = 64 << 20  # bytes of a film that is put into the page
_SPANS = 8


def tracking_section(dataset: Dataset) -> str:
    """HTML of a tracked film; nothing for other data sets.

    Raises:
        TrackingError: when what tracking kept is damaged.
        DatasetError: when a picture is.
    """
    findings = read_findings(dataset.folder)
    if not (dataset.folder / TRACKING_FILE).is_file():
        return ""
    view = TrackingView(dataset, findings)
    rows = np.unique(np.linspace(0, len(dataset.frames) - 1, _STILLS).astype(int))
    times_s = (dataset.frames.time_ns[rows] / NS_PER_S).tolist()
    stills = [picture(np.vstack(view.panels(time_s)), f"{time_s:.1f} s") for time_s in times_s]
    lines = [
        [finding.subject, finding.observation, finding.action, _when(finding.spans_s), finding.level]
        for finding in findings
    ]
    odd = table(["", "found", "what was done", "when", ""], lines) if lines else "<p>Nothing odd.</p>"
    return odd + _player(dataset.folder / TRACKING_FILM) + row_of(stills, _STILLS)


def _player(path: Path) -> str:
    if not path.is_file() or path.stat().st_size > _LARGEST:
        return ""
    source = f"data:video/mp4;base64,{b64encode(path.read_bytes()).decode()}"
    return f'<div class="film"><video src="{source}" controls playsinline></video></div>'


def _when(spans_s: tuple[tuple[float, float], ...]) -> str:
    shown = ", ".join(f"{begin:.1f}–{end:.1f} s" for begin, end in spans_s[:_SPANS])
    return shown + (f" and {len(spans_s) - _SPANS} more" if len(spans_s) > _SPANS else "")


_FILM_ROWS = 250
_NOT_FIGURES = ("mode_correlations", "motion")  # of hearing; None where nothing is heard
_FILM_HEIGHT = 288
_TURNS_DEG = ((-20, 0), (20, 0), (0, -15), (0, 15), (-20, -15), (20, 15))  # yaw, pitch
_UNITS = {
    "psnr": "dB", "psnr_mouth": "dB", "lmd_px": "px", "opening_lag_ms": "ms", "jitter_px": "px",
}  # fmt: skip


def write_report(
    head: Head, dataset: Dataset, artifacts: RunArtifacts, file: Path, *, encoder: str | None = None
) -> None:
    """Write the page.

    Args:
        head: what was trained.
        dataset: what it was trained on; its last part is played beside the truth.
        story: see `read_story`.
        file: report.html; replaced as a whole.
        encoder: whose net is heard in the film; the head's first when left out.
    """
    posed = PosedRenderer(head, dataset.camera, dataset.background)
    seen = _seen(head, dataset, encoder or next(iter(head.nets), ""))
    body = [
        _header(posed),
        section("Quality", _metrics(artifacts.evaluation), says="On the film's last part, never trained on."),
        section(
            "Beside the truth",
            _film(seen),
            says="Difference: by motion against the truth, four times as strong.",
        ),
        section("The mouth over time", _charts([*_lip_charts(artifacts.openings), *_mouth_charts(seen)])),
        section("Training", _charts(_curves(artifacts.log))),
        section("Poses", refined_section(artifacts.poses), says=REFINED_LEGEND),
        section("Turned", _turned(posed), says="Neutral but for the turn; also beyond what training saw."),
        section("On the way", _validation(artifacts.validation)),
        section("Head", facts(_head_facts(head))),
        section("Data set", facts(_dataset_facts(dataset))),
        section("Tracking", tracking_section(dataset), says=TRACKING_LEGEND),
        section("Settings", details("config.yaml", artifacts.config) if artifacts.config else ""),
    ]
    atomic_write(file, page(f"{head.info.name}: report", body).encode())


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """The part of the film that is played."""

    dataset: Dataset
    rows: NDArray[np.int64]
    live: LivePath
    encoder: str  # "" where nothing is heard
    heard: NDArray[np.float32]  # [n, 8] or [0, 8]


def _seen(head: Head, dataset: Dataset, encoder: str) -> _Seen:
    rows, live = held_out_frames(dataset, _FILM_ROWS), LivePath(head, dataset, threads=1)
    times = dataset.frames.time_ns[rows]
    deaf = _Seen(dataset, rows, live, "", np.zeros((0, len(MOUTH_MODES)), np.float32))
    if not encoder or not len(rows):
        return deaf
    try:
        hearing: AudioToMouth = make_audio_to_mouth(head, dataset, encoder, (int(times[0]), int(times[-1])))
    except EncoderError:  # its weights are not installed here: the report does without
        return deaf
    return _Seen(dataset, rows, live, encoder, np.stack([hearing(int(time)) for time in times]))


def _header(posed: PosedRenderer) -> str:
    info = posed.head.info
    words = "".join(f"<p>{escape(text)}</p>" for text in (info.person, info.consent, info.license))
    shown = picture(posed.render_image())
    return f"<header>{shown}<div><h1>{escape(info.name)}</h1>{words}</div></header>"


def _charts(charts: list[str]) -> str:
    return f'<div class="charts">{"".join(charts)}</div>' if charts else ""


def _metrics(evaluation: Mapping[str, Any] | None) -> str:
    if not evaluation:
        return ""
    there = [name for name in ("by_motion", "by_sound") if isinstance(evaluation.get(name), dict)]
    groups = [name for name in there if any(isinstance(v, int | float) for v in evaluation[name].values())]
    keys = (key for group in groups for key, value in evaluation[group].items() if not _nested(value))
    names = list(dict.fromkeys(key for key in keys if key not in _NOT_FIGURES))
    rows = [[_named(name), *(_said(evaluation[group].get(name)) for group in groups)] for name in names]
    drawn = table(["", *(group.replace("_", " ") for group in groups)], rows) if rows else ""
    return drawn + "".join(_unmeasured(name, evaluation[name]) for name in there if name not in groups)


def _unmeasured(group: str, figures: Mapping[str, Any]) -> str:
    reasons = dict.fromkeys(map(str, (figures.get("not_available") or {}).values()))
    return f"<p>{group.replace('_', ' ')}: not measured: {escape('; '.join(reasons))}</p>"


def _nested(value: object) -> bool:
    return isinstance(value, dict | list)


def _named(metric: str) -> str:
    unit = _UNITS.get(metric)
    bare = metric.removesuffix(f"_{unit}") if unit else metric
    return bare.replace("_", " ") + (f", {unit}" if unit else "")


def _said(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "not available" if value is None else str(value)[:40]
    return f"{value:.4g}" if np.isfinite(value) else "not available"


def _film(seen: _Seen) -> str:
    data, rows = seen.dataset, seen.rows
    if len(rows) < 2:
        return ""
    by_sound = [f"by sound ({seen.encoder})"] if seen.encoder else []
    times = data.frames.time_ns[rows]
    fps = float(np.clip(NS_PER_S / np.median(np.diff(times)), 1.0, 120.0))
    film = encode_clip(_strips(seen), fps)
    names = ["truth", "by motion", *by_sound, "difference"]
    return film_player(film, names, _ogg(data, int(times[0]), len(rows) / fps))


def _strips(seen: _Seen) -> Iterator[NDArray[np.uint8]]:
    for i, row in enumerate(seen.rows.tolist()):
        truth = true_picture(seen.dataset, row)
        moved = seen.live.render_with_tracked_mouth(row)
        spoken = [seen.live.render_with_mouth(row, seen.heard[i])] if seen.encoder else []
        yield side_by_side([truth, moved, *spoken, difference(moved, truth)], _FILM_HEIGHT)


def _ogg(dataset: Dataset, start_ns: int, seconds: float) -> bytes | None:
    samples = load_audio(dataset)
    first = round(start_ns * SAMPLE_RATE / NS_PER_S)
    heard = samples[max(first, 0) : max(first, 0) + round(seconds * SAMPLE_RATE)]
    if not len(heard):
        return None
    content = io.BytesIO()
    soundfile.write(content, heard, SAMPLE_RATE, format="OGG", subtype="VORBIS")
    return content.getvalue()


def _mouth_charts(seen: _Seen) -> list[str]:
    if len(seen.rows) < 2:
        return []
    frames = seen.dataset.frames
    seconds = frames.time_ns[seen.rows] / NS_PER_S
    charts = []
    for mode in ("open", "wide", "round", "press"):
        at = MOUTH_MODES.index(mode)
        curves = [Curve("truth", seconds, frames.mouth[seen.rows, at])]
        curves += [Curve(f"heard ({seen.encoder})", seconds, seen.heard[:, at])] if seen.encoder else []
        charts.append(chart(curves, Axes(title=mode, x_name="film time, s")))
    return charts


def _lip_charts(openings: Mapping[str, Any] | None) -> list[str]:
    """The opening as a face finder sees it in the pictures."""
    if not openings or "time_s" not in openings:
        return []
    times = np.array(openings["time_s"], np.float64)
    named = {name: np.array(values, np.float64) for name, values in openings.items() if name != "time_s"}
    curves = [Curve(name, times, values) for name, values in named.items() if len(values) == len(times)]
    return [chart(curves, Axes(title="opening seen in the pictures", x_name="film time, s"))]


def _curves(log: tuple[Mapping[str, Any], ...]) -> list[str]:
    if not log:
        return []

    def column(name: str) -> NDArray[np.float64]:
        values = [line.get(name) for line in log]
        return np.array([float(v) if isinstance(v, int | float) else np.nan for v in values])

    minutes = column("seconds") / 60
    by = "minutes" if np.isfinite(minutes).any() and np.nanmax(minutes) > 0 else "step"
    x = minutes if by == "minutes" else column("step")
    psnr = [Curve("trained on", x, column("psnr_db")), Curve("validation", x, column("validation_psnr_db"))]
    return [
        chart([Curve("loss", x, column("loss"))], Axes(title="loss", x_name=by, logarithmic=True)),
        chart(psnr, Axes(title="PSNR, dB", x_name=by)),
        chart([Curve("Gaussians", x, column("gaussians"))], Axes(title="Gaussians", x_name=by)),
        chart([Curve("ms", x, column("ms_per_step"))], Axes(title="time of a step, ms", x_name=by)),
    ]


def _turned(posed: PosedRenderer) -> str:
    views = [
        picture(posed.render_image(yaw_deg=yaw, pitch_deg=pitch), f"yaw {yaw:+d}°, pitch {pitch:+d}°")
        for yaw, pitch in _TURNS_DEG
    ]
    return row_of(views, 3)


def _validation(files: tuple[Path, ...]) -> str:
    shown = (
        [files[i] for i in np.unique(np.linspace(0, len(files) - 1, 4).round().astype(int))] if files else []
    )
    pictures = [(file, cv2.imread(str(file))) for file in shown]
    return row_of([picture(p[..., ::-1], file.stem) for file, p in pictures if p is not None], 1)


def _head_facts(head: Head) -> dict[str, object]:
    moving, _, ways = head.basis.shape
    limits = head.info.pose_limits
    degrees = {
        axis: " to ".join(f"{np.degrees(v):+.0f}°" for v in getattr(limits, f"{axis}_rad"))
        for axis in ("yaw", "pitch", "roll")
    }
    nets = ", ".join(f"{n.encoder} (looks {n.lookahead_ms:g} ms ahead)" for n in head.nets.values())
    told = {name: json.dumps(text) for name, text in head.info.reports.items() if name != "evaluation"}
    return {
        "Gaussians": f"{len(head.gaussians)}, of which {moving} move in {ways} directions",
        "hears with": nets or "nothing",
        "turns": ", ".join(f"{axis} {span}" for axis, span in degrees.items()),
        "torso follows": "{:.0%} of the turn, {:.0%} of the way".format(*head.info.torso_follow),
        **told,
    }


def _dataset_facts(dataset: Dataset) -> dict[str, object]:
    split, track, camera = dataset.frames.split, dataset.motion, dataset.camera
    parts = ", ".join(
        f"{int((split == part).sum())} {name}"
        for name, part in (("train", TRAIN), ("val", VAL), ("test", TEST))
    )
    length = float(track.time_ns[-1] - track.time_ns[0]) / NS_PER_S if len(track.time_ns) else 0.0
    return {
        "name": dataset.name,
        "source": dataset.source,
        "pictures": f"{parts}; {camera.width}x{camera.height} at {dataset.fps:g} per second",
        "film": f"{length:.1f} s",
        "landmarks": dataset.landmark_scheme,
        "license": dataset.license,
        "consent": dataset.consent,
    }
