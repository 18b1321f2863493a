"""`splatface bench graph`: the real processes, real DDS and a real viewer, timed from sound to picture."""

import argparse
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench import talk_benchmark
from bench.clients import Viewer
from bench.face_process import Cost, costs_below, own_domain, own_port, running_face
from splatface.models.errors import SplatfaceError
from splatface.nodes.observer import Observation, observe

__all__ = ["add_arguments", "main", "measure"]

NAMESPACE = "bench_graph"
READY_S = 60.0
BARGE_INS = 10


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is measured."""

    speech: str
    encoder: str
    head: str
    fps: float
    size: str
    seconds: float
    talk_seconds: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--speech", default="", help="sound file; default: the shipped greeting in a loop")
    parser.add_argument("--encoder", default="fsmn", choices=("fsmn", "whisper", "logmel"))
    parser.add_argument("--head", default="mira", help="a shipped head's name or the path of a head folder")
    parser.add_argument("--fps", type=float, default=25.0, help="pictures per second")
    parser.add_argument("--size", default="512x512", help="width x height")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long, after everything runs")
    parser.add_argument(
        "--talk-seconds", type=float, default=20.0, help="of a conversation with a loudspeaker; 0 for none"
    )


def main(args: argparse.Namespace) -> int:
    """Measure and print."""
    settings = Settings(
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


def measure(settings: Settings) -> dict[str, Any]:
    """Start a kiosk of its own, look at its page, listen for a while, end it.

    Raises:
        SplatfaceError: when the face does not come up.
    """
    own_domain()
    port = own_port()
    arguments = {"namespace": NAMESPACE, "port": port, "encoder": settings.encoder}
    arguments |= {"head": settings.head, "fps": settings.fps, "size": settings.size}
    if settings.speech:
        arguments["source"] = Path(settings.speech).absolute()
    with running_face("kiosk.launch.yaml", arguments) as face:
        viewer = Viewer(port)
        try:
            observe(NAMESPACE, READY_S, lambda seen: len(seen.displayed) < 3 and face.alive)
            ready_s = face.age_s
            if not face.alive or ready_s > READY_S:
                raise SplatfaceError(f"bench graph: the face did not come up:\n{face.last_words}")
            # Discovery and first uses are over after a second.
            observe(NAMESPACE, 1.0, lambda seen: True)
            before = costs_below(face.pid)
            span_ns = settings.seconds * 1e9
            longest_s = settings.seconds + READY_S
            seen = observe(NAMESPACE, longest_s, lambda seen: face.alive and _span_ns(seen) < span_ns)
            after = costs_below(face.pid)
        finally:
            viewer.close()
    result = {**_summary(seen, settings), "ready_s": round(ready_s, 2), "processes": _costs(before, after)}
    return result | ({"talk": _talk(settings)} if settings.talk_seconds else {})


def _talk(settings: Settings) -> dict[str, Any]:
    """The figures of a conversation, or why there are none."""
    same = {name: getattr(settings, name) for name in ("head", "encoder", "fps", "size")}
    try:
        return talk_benchmark.measure(
            talk_benchmark.Settings(**same, seconds=settings.talk_seconds, barge_ins=BARGE_INS, interrupts=0)
        )
    except SplatfaceError as error:
        return {"left_out": str(error)}


def _span_ns(seen: Observation) -> int:
    return max(seen.displayed) - min(seen.displayed) if seen.displayed else 0


def _marks(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    marks = np.percentile(values, [50, 95, 99])
    return {name: round(float(mark), 2) for name, mark in zip(("p50", "p95", "p99"), marks, strict=True)}


def _summary(seen: Observation, settings: Settings) -> dict[str, Any]:
    drawn, shown = seen.rendered, seen.displayed
    both = sorted(drawn.keys() & shown.keys())
    grid_ns = 1e9 / settings.fps
    expected = round((both[-1] - both[0]) / grid_ns) + 1 if both else 0
    span_s = expected / settings.fps
    hops = {
        "capture": seen.audio_ms,
        "features": seen.features_ms,
        "wait": [drawn[t].feature_ms for t in both],
        "render": [drawn[t].render_ms for t in both],
        "publish": [drawn[t].publish_ms for t in both],
        "transport": [shown[t].age_ms - shown[t].publish_ms - drawn[t].age_ms for t in both],
        "display": [shown[t].publish_ms for t in both],
    }
    return {
        "settings": {key: getattr(settings, key) for key in Settings.__dataclass_fields__},
        "machine": _machine(),
        "seconds": round(span_s, 2),
        "pictures": len(both),
        "pictures_per_second": round(len(both) / span_s, 3) if span_s else 0.0,
        "dropped": expected - len(both),
        "hops": {name: _marks(values) for name, values in hops.items()},
        "end_to_end_ms": _marks([shown[t].age_ms for t in both]),
    }


def _machine() -> str:
    models = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    ]
    name = models[0].split(":", 1)[1].strip() if models else "unknown processor"
    return f"{name}, {len(os.sched_getaffinity(0))} cores"


def _costs(before: dict[str, Cost], after: dict[str, Cost]) -> dict[str, dict[str, float]]:
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
        f"{result['pictures_per_second']} pictures per second, {result['pictures']} in {result['seconds']} s",
        f"{result['dropped']} dropped, the first picture {result['ready_s']} s after the start",
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
        lines += ["", "a conversation:", talk_benchmark.table(talk)]
    return "\n".join(lines)
