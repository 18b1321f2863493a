# SPDX-License-Identifier: Apache-2.0
"""`splatface bench graph`: latency from audio to image, with real processes, real DDS and a real viewer."""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench import talk_benchmark
from bench.clients import Viewer
from bench.face_process import (
    ProcessCost,
    choose_port,
    launch_face,
    machine_name,
    process_costs,
    set_own_ros_domain,
)
from splatface.models.errors import SplatfaceError
from splatface.nodes.observer import Observation, observe

__all__ = ["add_arguments", "main", "measure"]

NAMESPACE = "bench_graph"
READY_TIMEOUT_S = 60.0
BARGE_INS = 10


@dataclass(frozen=True, kw_only=True)
class GraphSettings:
    """Settings of the benchmark."""

    speech: str
    encoder: str
    head: str
    fps: float
    size: str
    seconds: float
    talk_seconds: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--speech", default="", help="sound file; default: the shipped greeting in a loop")
    parser.add_argument("--encoder", default="fsmn", choices=("fsmn", "whisper", "logmel"))
    parser.add_argument("--head", default="mira", help="a shipped head's name or the path of a head folder")
    parser.add_argument("--fps", type=float, default=25.0, help="frames per second")
    parser.add_argument("--size", default="512x512", help="width x height in pixels")
    parser.add_argument("--seconds", type=float, default=20.0, help="seconds that are measured")
    parser.add_argument(
        "--talk-seconds",
        type=float,
        default=20.0,
        help="seconds of a conversation with a loudspeaker; 0 for none",
    )


def main(args: argparse.Namespace) -> int:
    """Measure and print; return the exit code."""
    settings = GraphSettings(
        speech=args.speech,
        encoder=args.encoder,
        head=args.head,
        fps=args.fps,
        size=args.size,
        seconds=args.seconds,
        talk_seconds=args.talk_seconds,
    )
    result = measure(settings)
    print(json.dumps(result) if args.json else _table(result))
    return 0


def measure(settings: GraphSettings) -> dict[str, Any]:
    """Start a kiosk, view its page, measure for some seconds, and end it.

    Raises:
        SplatfaceError: the face does not start.
    """
    set_own_ros_domain()
    port = choose_port()
    arguments = {"namespace": NAMESPACE, "port": port, "encoder": settings.encoder}
    arguments |= {"head": settings.head, "fps": settings.fps, "size": settings.size}
    if settings.speech:
        arguments["source"] = Path(settings.speech).absolute()
    with launch_face("kiosk.launch.yaml", arguments) as face:
        viewer = Viewer(port)
        try:
            observe(NAMESPACE, READY_TIMEOUT_S, lambda found: len(found.displayed) < 3 and face.is_running)
            ready_s = face.age_s
            if not face.is_running or ready_s > READY_TIMEOUT_S:
                raise SplatfaceError(f"bench graph: the face did not start:\n{face.log_end}")
            # Discovery and first uses are over after a second.
            observe(NAMESPACE, 1.0, lambda found: True)
            before = process_costs(face.pid)
            span_ns = settings.seconds * 1e9
            longest_s = settings.seconds + READY_TIMEOUT_S
            observation = observe(
                NAMESPACE, longest_s, lambda found: face.is_running and _span_ns(found) < span_ns
            )
            after = process_costs(face.pid)
        finally:
            viewer.close()
    result = {
        **_summary(observation, settings),
        "ready_s": round(ready_s, 2),
        "processes": _costs(before, after),
    }
    return result | ({"talk": _talk(settings)} if settings.talk_seconds else {})


def _talk(settings: GraphSettings) -> dict[str, Any]:
    """Return the figures of a conversation, or the reason why there are none."""
    shared = {name: getattr(settings, name) for name in ("head", "encoder", "fps", "size")}
    try:
        return talk_benchmark.measure(
            talk_benchmark.TalkSettings(
                **shared, seconds=settings.talk_seconds, barge_ins=BARGE_INS, interrupts=0
            )
        )
    except SplatfaceError as error:
        return {"left_out": str(error)}


def _span_ns(observation: Observation) -> int:
    return max(observation.displayed) - min(observation.displayed) if observation.displayed else 0


def _percentiles(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    found = np.percentile(values, [50, 95, 99])
    return {name: round(float(value), 2) for name, value in zip(("p50", "p95", "p99"), found, strict=True)}


def _summary(observation: Observation, settings: GraphSettings) -> dict[str, Any]:
    rendered, displayed = observation.rendered, observation.displayed
    both = sorted(rendered.keys() & displayed.keys())
    grid_ns = 1e9 / settings.fps
    expected = round((both[-1] - both[0]) / grid_ns) + 1 if both else 0
    span_s = expected / settings.fps
    hops = {
        "capture": observation.audio_ms,
        "features": observation.features_ms,
        "wait": [rendered[t].feature_ms for t in both],
        "render": [rendered[t].render_ms for t in both],
        "publish": [rendered[t].publish_ms for t in both],
        "transport": [displayed[t].age_ms - displayed[t].publish_ms - rendered[t].age_ms for t in both],
        "display": [displayed[t].publish_ms for t in both],
    }
    return {
        "settings": {key: getattr(settings, key) for key in GraphSettings.__dataclass_fields__},
        "machine": machine_name(),
        "seconds": round(span_s, 2),
        "pictures": len(both),
        "pictures_per_second": round(len(both) / span_s, 3) if span_s else 0.0,
        "dropped": expected - len(both),
        "hops": {name: _percentiles(values) for name, values in hops.items()},
        "end_to_end_ms": _percentiles([displayed[t].age_ms for t in both]),
    }


def _costs(before: dict[str, ProcessCost], after: dict[str, ProcessCost]) -> dict[str, dict[str, float]]:
    return {
        name: {
            "cpu_s": round(cost.cpu_s - (before[name].cpu_s if name in before else 0.0), 2),
            "peak_memory_mb": round(cost.peak_mb, 1),
        }
        for name, cost in sorted(after.items())
    }


def _table(result: dict[str, Any]) -> str:
    lines = [
        f"{result['machine']}",
        f"{result['pictures_per_second']} images per second, {result['pictures']} in {result['seconds']} s",
        f"{result['dropped']} dropped, the first image {result['ready_s']} s after the start",
        "",
        f"{'hop':12s} {'p50':>8s} {'p95':>8s} {'p99':>8s}  ms",
    ]
    for name, marks in {**result["hops"], "end to end": result["end_to_end_ms"]}.items():
        lines.append(
            f"{name:12s} " + " ".join(f"{marks.get(q, float('nan')):8.2f}" for q in ("p50", "p95", "p99"))
        )
    lines += ["", f"{'process':16s} {'CPU s':>8s} {'peak MB':>8s}"]
    for name, cost in result["processes"].items():
        lines.append(f"{name:16s} {cost['cpu_s']:8.2f} {cost['peak_memory_mb']:8.1f}")
    talk = result.get("talk", {})
    if "left_out" in talk:
        lines += ["", f"no conversation: {talk['left_out']}"]
    elif talk:
        lines += ["", "a conversation:", talk_benchmark.format_table(talk)]
    return "\n".join(lines)
