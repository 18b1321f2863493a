# SPDX-License-Identifier: Apache-2.0
"""report.html: who the head is, how it was trained, how well it does, in one file without network access."""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import soundfile
from markupsafe import Markup

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
from splatface.models.training.optimization.dataset_statistics import subsample_evenly
from splatface.models.training.optimization.training_run import RunArtifacts
from splatface.models.training.report.head_inspection import PosedRenderer, held_out_frames
from splatface.models.training.report.report_page import (
    ChartLabels,
    Curve,
    chart,
    charts,
    details,
    difference,
    encode_clip,
    facts,
    film_player,
    grid,
    header,
    page,
    paragraph,
    picture,
    section,
    side_by_side,
    table,
    video_player,
)
from splatface.models.training.report.tracking_video import TRACKING_FILM, TrackingView
from splatface.models.training.tracking.face_fit import TRACKING_FILE
from splatface.models.typing import Float32Array, Float64Array, Int64Array, UInt8Array

__all__ = ["REFINED_LEGEND", "TRACKING_LEGEND", "refined_section", "tracking_section", "write_report"]

_VIDEO_FRAMES = 250
_NO_METRICS = ("mode_correlations", "motion")  # groups of the evaluation; None without audio
_VIDEO_HEIGHT = 288
_VALIDATION_IMAGES = 4
_TURNS_DEG = ((-20, 0), (20, 0), (0, -15), (0, 15), (-20, -15), (20, 15))  # yaw, pitch
_UNITS = {
    "psnr": "dB", "psnr_mouth": "dB", "lmd_px": "px", "opening_lag_ms": "ms", "jitter_px": "px",
}  # fmt: skip

REFINED_LEGEND = (
    "Poses, and from the second round on what mouth and brows do, as the pictures want them, the Gaussians "
    "standing still; those of pictures never trained on are fitted in the same way, their colors are not "
    "learned from. PSNR: of held-out pictures with the same Gaussians, before and after each round's poses, "
    "and with its motion; the last round is for held-out pictures alone. Jitter: what three pictures in a "
    "row do not have in common, with tracked and with refined poses."
)
_REFINEMENT_NAMES = {
    "step": "step", "psnr_before_db": "PSNR before, dB", "psnr_after_db": "after, dB",
    "psnr_motion_db": "with motion, dB", "mouth_changed": "motion, rms",
    "turned_deg": "turned, °", "shifted_mm": "shifted, mm", "moved_px": "moved, px rms",
    "jitter_before_px": "jitter tracked, px",
    "jitter_after_px": "refined, px", "focal_share": "focal length, share",
}  # fmt: skip
TRACKING_LEGEND: Final = (
    "Left: landmarks as they were found (dots), the face fitted to them (green), the head's axes, the gaze "
    "(yellow). Right: what each pixel was taken for. Below: loudness, opening of the mouth, lids, turn "
    "of the head. When sound and lips do not fit, or the green lines leave the face, the head cannot be good."
)
_STILLS = 6
_MAX_VIDEO_BYTES = 64 << 20  # of a video that is put into the page
_MAX_SPANS = 8


def write_report(
    head: Head, dataset: Dataset, artifacts: RunArtifacts, file: Path, *, encoder: str | None = None
) -> None:
    """Write the report page of a head.

    Args:
        head: the trained one.
        dataset: it was trained on; its last part is shown beside the truth.
        artifacts: of the run, see `load_run_artifacts`.
        file: report.html; replaced as a whole.
        encoder: of the head's network that drives the mouth from audio; the head's first when left out.
    """
    posed = PosedRenderer(head, dataset.camera, dataset.background)
    held_out = _held_out_part(head, dataset, encoder or next(iter(head.nets), ""))
    body = [
        _header(posed),
        section(
            "Quality", _metrics(artifacts.evaluation), legend="On the film's last part, never trained on."
        ),
        section(
            "Beside the truth",
            _video(held_out),
            legend="Difference: by motion against the truth, four times as strong.",
        ),
        section("The mouth over time", charts([*_lip_charts(artifacts.openings), *_mouth_charts(held_out)])),
        section("Training", charts(_training_curves(artifacts.log))),
        section("Poses", refined_section(artifacts.poses), legend=REFINED_LEGEND),
        section("Turned", _turned(posed), legend="Neutral but for the turn; also beyond what training saw."),
        section("On the way", _validation(artifacts.validation)),
        section("Head", facts(_head_facts(head))),
        section("Data set", facts(_dataset_facts(dataset))),
        section("Tracking", tracking_section(dataset), legend=TRACKING_LEGEND),
        section("Settings", details("config.yaml", artifacts.config) if artifacts.config else Markup()),
    ]
    atomic_write(file, page(f"{head.info.name}: report", body).encode())


@dataclass(frozen=True, slots=True, eq=False)
class _HeldOutPart:
    """Frames that were not trained on, and the mouth as predicted from audio."""

    dataset: Dataset
    frame_indices: Int64Array
    live: LivePath
    encoder: str  # "" without audio or network
    mouth: Float32Array  # [n, 8] or [0, 8]


def _held_out_part(head: Head, dataset: Dataset, encoder: str) -> _HeldOutPart:
    frame_indices, live = held_out_frames(dataset, _VIDEO_FRAMES), LivePath(head, dataset, threads=1)
    times = dataset.frames.time_ns[frame_indices]
    without_audio = _HeldOutPart(
        dataset, frame_indices, live, "", np.zeros((0, len(MOUTH_MODES)), np.float32)
    )
    if not encoder or not len(frame_indices):
        return without_audio
    try:
        audio_to_mouth: AudioToMouth = make_audio_to_mouth(
            head, dataset, encoder, (int(times[0]), int(times[-1]))
        )
    except EncoderError:  # its weights are not installed here: the report does without
        return without_audio
    mouth = np.stack([audio_to_mouth(int(time)) for time in times])
    return _HeldOutPart(dataset, frame_indices, live, encoder, mouth)


def _header(posed: PosedRenderer) -> Markup:
    info = posed.head.info
    return header(info.name, picture(posed.render_image()), (info.person, info.consent, info.license))


def _metrics(evaluation: Mapping[str, Any] | None) -> Markup:
    if not evaluation:
        return Markup()
    available = [name for name in ("by_motion", "by_sound") if isinstance(evaluation.get(name), dict)]
    groups = [
        name for name in available if any(isinstance(v, int | float) for v in evaluation[name].values())
    ]
    keys = (key for group in groups for key, value in evaluation[group].items() if not _nested(value))
    names = list(dict.fromkeys(key for key in keys if key not in _NO_METRICS))
    rows = [
        [_metric_name(name), *(_metric_value(evaluation[group].get(name)) for group in groups)]
        for name in names
    ]
    metrics = table(["", *(group.replace("_", " ") for group in groups)], rows) if rows else Markup()
    return metrics + Markup().join(
        _unmeasured(name, evaluation[name]) for name in available if name not in groups
    )


def _unmeasured(group: str, figures: Mapping[str, Any]) -> Markup:
    reasons = dict.fromkeys(map(str, (figures.get("not_available") or {}).values()))
    return paragraph(f"{group.replace('_', ' ')}: not measured: {'; '.join(reasons)}")


def _nested(value: object) -> bool:
    return isinstance(value, dict | list)


def _metric_name(metric: str) -> str:
    unit = _UNITS.get(metric)
    bare = metric.removesuffix(f"_{unit}") if unit else metric
    return bare.replace("_", " ") + (f", {unit}" if unit else "")


def _metric_value(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "not available" if value is None else str(value)[:40]
    return f"{value:.4g}" if np.isfinite(value) else "not available"


def _video(part: _HeldOutPart) -> Markup:
    dataset, frame_indices = part.dataset, part.frame_indices
    if len(frame_indices) < 2:
        return Markup()
    by_sound = [f"by sound ({part.encoder})"] if part.encoder else []
    times = dataset.frames.time_ns[frame_indices]
    fps = float(np.clip(NS_PER_S / np.median(np.diff(times)), 1.0, 120.0))
    clip = encode_clip(_strips(part), fps)
    names = ["truth", "by motion", *by_sound, "difference"]
    return film_player(clip, names, _ogg(dataset, int(times[0]), len(frame_indices) / fps))


def _strips(part: _HeldOutPart) -> Iterator[UInt8Array]:
    for i, frame_index in enumerate(part.frame_indices.tolist()):
        truth = true_picture(part.dataset, frame_index)
        by_motion = part.live.render_with_tracked_mouth(frame_index)
        by_sound = [part.live.render_with_mouth(frame_index, part.mouth[i])] if part.encoder else []
        yield side_by_side([truth, by_motion, *by_sound, difference(by_motion, truth)], _VIDEO_HEIGHT)


def _ogg(dataset: Dataset, start_ns: int, seconds: float) -> bytes | None:
    samples = load_audio(dataset)
    first = round(start_ns * SAMPLE_RATE / NS_PER_S)
    part = samples[max(first, 0) : max(first, 0) + round(seconds * SAMPLE_RATE)]
    if not len(part):
        return None
    content = io.BytesIO()
    soundfile.write(content, part, SAMPLE_RATE, format="OGG", subtype="VORBIS")
    return content.getvalue()


def _mouth_charts(part: _HeldOutPart) -> list[Markup]:
    if len(part.frame_indices) < 2:
        return []
    frames = part.dataset.frames
    seconds = frames.time_ns[part.frame_indices] / NS_PER_S
    images = []
    for mode in ("open", "wide", "round", "press"):
        k = MOUTH_MODES.index(mode)
        curves = [Curve("truth", seconds, frames.mouth[part.frame_indices, k])]
        if part.encoder:
            curves.append(Curve(f"by sound ({part.encoder})", seconds, part.mouth[:, k]))
        images.append(chart(curves, ChartLabels(title=mode, x_name="video time, s")))
    return images


def _lip_charts(openings: Mapping[str, Any] | None) -> list[Markup]:
    """Return the mouth opening measured by landmarks in true and rendered images."""
    if not openings or "time_s" not in openings:
        return []
    times = np.array(openings["time_s"], np.float64)
    series = {name: np.array(values, np.float64) for name, values in openings.items() if name != "time_s"}
    curves = [Curve(name, times, values) for name, values in series.items() if len(values) == len(times)]
    return [chart(curves, ChartLabels(title="mouth opening measured in the images", x_name="video time, s"))]


def _training_curves(log: tuple[Mapping[str, Any], ...]) -> list[Markup]:
    if not log:
        return []

    def column(name: str) -> Float64Array:
        values = [line.get(name) for line in log]
        return np.array([float(v) if isinstance(v, int | float) else np.nan for v in values])

    minutes = column("seconds") / 60
    by = "minutes" if np.isfinite(minutes).any() and np.nanmax(minutes) > 0 else "step"
    x = minutes if by == "minutes" else column("step")
    psnr = [Curve("trained on", x, column("psnr_db")), Curve("validation", x, column("validation_psnr_db"))]
    return [
        chart([Curve("loss", x, column("loss"))], ChartLabels(title="loss", x_name=by, logarithmic=True)),
        chart(psnr, ChartLabels(title="PSNR, dB", x_name=by)),
        chart([Curve("Gaussians", x, column("gaussians"))], ChartLabels(title="Gaussians", x_name=by)),
        chart([Curve("ms", x, column("ms_per_step"))], ChartLabels(title="time of a step, ms", x_name=by)),
    ]


def _turned(posed: PosedRenderer) -> Markup:
    views = [
        picture(posed.render_image(yaw_deg=yaw, pitch_deg=pitch), f"yaw {yaw:+d}°, pitch {pitch:+d}°")
        for yaw, pitch in _TURNS_DEG
    ]
    return grid(views, 3)


def _validation(files: tuple[Path, ...]) -> Markup:
    selected = subsample_evenly(np.arange(len(files)), _VALIDATION_IMAGES).tolist() if files else []
    images = [(files[i].stem, cv2.imread(str(files[i]))) for i in selected]
    return grid([picture(bgr[..., ::-1], name) for name, bgr in images if bgr is not None], 1)


def _head_facts(head: Head) -> dict[str, object]:
    dynamic, _, coefficients = head.basis.shape
    limits = head.info.pose_limits
    degrees = {
        axis: " to ".join(f"{np.degrees(v):+.0f}°" for v in getattr(limits, f"{axis}_rad"))
        for axis in ("yaw", "pitch", "roll")
    }
    nets = ", ".join(f"{n.encoder} ({n.lookahead_ms:g} ms look-ahead)" for n in head.nets.values())
    reports = {name: json.dumps(text) for name, text in head.info.reports.items() if name != "evaluation"}
    return {
        "Gaussians": f"{len(head.gaussians)}, of which {dynamic} move in {coefficients} directions",
        "audio networks": nets or "none",
        "turns": ", ".join(f"{axis} {span}" for axis, span in degrees.items()),
        "torso follows": "{:.0%} of the turn, {:.0%} of the way".format(*head.info.torso_follow),
        **reports,
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


def refined_section(poses: Mapping[str, Any] | None) -> Markup:
    """Return table and curves of poses.json; nothing where there is none or it is empty."""
    rounds = poses.get("rounds") if poses else None
    curves = poses.get("curves") if poses else None
    if not isinstance(rounds, list) or not rounds or not isinstance(curves, dict):
        return Markup()
    rows = [[_refinement_value(line.get(name)) for name in _REFINEMENT_NAMES] for line in rounds]
    images = [
        _pose_chart(curves, unit, title) for unit, title in (("°", "head turned"), ("mm", "head shifted"))
    ]
    return table([*_REFINEMENT_NAMES.values()], rows) + charts(images)


def _refinement_value(value: float | None) -> str:
    """Return four digits, large numbers whole, and a dash for what a round did not measure."""
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"


def _pose_chart(curves: Mapping[str, Sequence[float]], unit: str, title: str) -> Markup:
    times = np.array(curves.get("time_s", []), np.float64)
    lines = [
        Curve(name, times, np.array(values, np.float64))
        for name, values in curves.items()
        if name.endswith(f", {unit}") and len(values) == len(times)
    ]
    return chart(
        lines, ChartLabels(title=f"{title} from where it was tracked, {unit}", x_name="video time, s")
    )


def tracking_section(dataset: Dataset) -> Markup:
    """Return findings, video and stills of a tracked video; nothing for other data sets.

    Raises:
        TrackingError: when what tracking kept is damaged.
        DatasetError: when a picture is.
    """
    findings = read_findings(dataset.folder)
    if not (dataset.folder / TRACKING_FILE).is_file():
        return Markup()
    view = TrackingView(dataset, findings)
    frame_indices = subsample_evenly(np.arange(len(dataset.frames)), _STILLS, floor=True)
    times_s = (dataset.frames.time_ns[frame_indices] / NS_PER_S).tolist()
    stills = [picture(np.vstack(view.panels(time_s)), f"{time_s:.1f} s") for time_s in times_s]
    lines = [
        [finding.subject, finding.observation, finding.action, _format_spans(finding.spans_s), finding.level]
        for finding in findings
    ]
    names = ["", "found", "what was done", "when", ""]
    listed = table(names, lines) if lines else paragraph("Nothing odd.")
    return listed + _tracking_player(dataset.folder / TRACKING_FILM) + grid(stills, _STILLS)


def _tracking_player(path: Path) -> Markup:
    if not path.is_file() or path.stat().st_size > _MAX_VIDEO_BYTES:
        return Markup()
    return video_player(path.read_bytes())


def _format_spans(spans_s: tuple[tuple[float, float], ...]) -> str:
    text = ", ".join(f"{begin:.1f}–{end:.1f} s" for begin, end in spans_s[:_MAX_SPANS])
    return text + (f" and {len(spans_s) - _MAX_SPANS} more" if len(spans_s) > _MAX_SPANS else "")
