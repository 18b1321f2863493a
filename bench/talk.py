"""`splatface bench talk`: a conversation with a real sound server, heard and seen from outside.

It starts a PulseAudio server with a null sink and the nodes of conversation.launch.yaml, lets the face
speak, listens to the sink's monitor, looks at the page's pictures, interrupts, and says how late what was.
"""

import argparse
import json
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bench.barge_in import Interruption, interrupt_in_mid_word, interruption_latency
from bench.face import Face, own_domain, own_port, running_face
from bench.leftovers import interrupt_many
from bench.mouth import Mouth
from bench.offsets import marks
from bench.senses import BenchClients
from bench.sound_server import null_sink
from bench.talk_table import table
from bench.training_step import in_step
from splatface.cli.launcher.packages import package_share
from splatface.models.errors import SplatfaceError
from splatface.nodes.partner import ConversationClient

__all__ = ["Settings", "add_arguments", "main", "measure"]

NAMESPACE = "bench_talk"
READY_S = 90.0
REST_S = 3.0  # the silent face is looked at so long
WATCH_S = 0.7  # after an interruption
STORY = (
    "The north wind and the sun were disputing which was the stronger, when a traveller came along, wrapped "
    "in a warm cloak. They agreed that the one who first made the traveller take his cloak off should be "
    "considered stronger than the other. Then the north wind blew as hard as he could, but the more he blew, "
    "the more closely did the traveller fold his cloak around him."
)
# The mouth is measured by what moves: the head keeps still.
STILL = dict.fromkeys(("sway", "nod", "brow", "wander", "listening", "blink_per_minute"), 0.0)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is measured."""

    head: str = "mira"
    size: str = "512x512"
    fps: float = 25.0
    encoder: str = "fsmn"
    latency_ms: int = 100
    delay_s: float = 0.2
    seconds: float = 60.0
    barge_ins: int = 20
    interrupts: int = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--head", default=Settings.head, help="a shipped head's name or a head folder")
    parser.add_argument("--size", default=Settings.size, help="width x height")
    parser.add_argument("--fps", type=float, default=Settings.fps, help="pictures per second")
    parser.add_argument("--encoder", default=Settings.encoder, choices=("fsmn", "whisper", "logmel"))
    parser.add_argument("--latency-ms", type=int, default=Settings.latency_ms, help="the speaker's")
    parser.add_argument("--delay-s", type=float, default=Settings.delay_s, help="presentation delay, s")
    parser.add_argument("--seconds", type=float, default=Settings.seconds, help="of speech, heard and seen")
    parser.add_argument("--barge-ins", type=int, default=Settings.barge_ins, help="interruptions watched")
    parser.add_argument(
        "--interrupts", type=int, default=Settings.interrupts, help="interruptions in a row, 0 for none"
    )


def main(args: argparse.Namespace) -> int:
    """Measure and print."""
    settings = Settings(**{name: getattr(args, name) for name in Settings.__dataclass_fields__})
    result = measure(settings)
    print(json.dumps(result) if args.json else table(result))
    return 0


def measure(settings: Settings) -> dict[str, Any]:
    """Start a face with a voice, talk to it, end it.

    Raises:
        SplatfaceError: when there is no sound server or no voice, or the face does not come up.
    """
    own_domain()
    port = own_port()
    with tempfile.TemporaryDirectory(prefix="splatface_bench_") as folder, null_sink() as environment:
        arguments = _arguments(settings, port, Path(folder) / "params.yaml")
        with running_face("conversation.launch.yaml", arguments, environment) as face:
            senses = BenchClients.of(NAMESPACE, environment["PULSE_SERVER"], port, settings.size)
            try:
                return _measure(settings, face, senses)
            finally:
                senses.close()


def _measure(settings: Settings, face: Face, senses: BenchClients) -> dict[str, Any]:
    partner, viewer = senses.partner, senses.viewer
    face.wait_until(lambda: partner.ready and viewer.count > 10 and _plays(partner), READY_S)
    ready_s = face.age_s
    time.sleep(1.0)
    viewer.forget()
    time.sleep(REST_S)
    resting = viewer.so_far()
    result: dict[str, Any] = {"settings": asdict(settings), "ready_s": round(ready_s, 2)}
    senses.forget()
    before = partner.values_of("speaker")
    _tell_stories(face, senses, settings.seconds)
    said, heard, seen = list(partner.chunks), senses.monitor.so_far(), viewer.so_far()
    result["speaker"] = _speaker(before, partner.values_of("speaker"))
    mouth = Mouth(resting.small, seen.small)
    result |= in_step(said, heard, seen, mouth, 1e3 * settings.delay_s)
    senses.forget()
    cuts = [interrupt_in_mid_word(partner, 0.6, WATCH_S) for _ in range(settings.barge_ins)]
    result["barge_in"] = _barge_in(cuts, senses, mouth)
    if settings.interrupts:
        result["in_a_row"] = interrupt_many(partner, face.pid, settings.interrupts)
    return result


def _tell_stories(face: Face, senses: BenchClients, seconds: float) -> None:
    """Let the face speak without a pause for so long, then be silent."""
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        if not face.alive or senses.partner.refused:
            raise SplatfaceError(
                "bench talk: the face has ended or cannot speak: see its log with --json off"
            )
        if senses.partner.open_goals < 2:
            senses.partner.say(STORY)
        time.sleep(0.1)
    senses.partner.interrupt()
    time.sleep(2.0)  # diagnostics come once a second


def _plays(partner: ConversationClient) -> bool:
    return partner.health.get("speaker", ("", {}))[0] == "playing"


def _speaker(before: dict[str, str], after: dict[str, str]) -> dict[str, float]:
    counted = ("underruns", "device_underflows", "jumps")
    counts: dict[str, float] = {name: int(after[name]) - int(before.get(name, 0)) for name in counted}
    return counts | {name: float(after[name]) for name in ("drift_ppm", "device_ms")}


def _barge_in(cuts: list[Interruption], senses: BenchClients, mouth: Mouth) -> dict[str, Any]:
    still = interruption_latency(cuts, senses.monitor.so_far(), senses.viewer.so_far(), mouth)
    still["answered_ms"] = np.array([one.answered_ms for one in cuts])
    still["next_say_ms"] = np.array([one.next_say_ms for one in cuts[1:]])
    return {
        "count": len(cuts),
        **{
            name: {**marks(values), "max": round(float(values.max(initial=0.0)), 2)}
            for name, values in still.items()
        },
    }


def _arguments(settings: Settings, port: int, path: Path) -> dict[str, object]:
    shipped = package_share("splatface", os.environ) / "launch" / "params" / "conversation.yaml"
    params = yaml.safe_load(shipped.read_text())
    params.setdefault("/**/head_controller", {}).setdefault("ros__parameters", {}).update(STILL)
    path.write_text(yaml.safe_dump(params))
    return {
        "namespace": NAMESPACE,
        "port": port,
        "bot": "false",
        "params": path,
        "head": settings.head,
        "size": settings.size,
        "fps": settings.fps,
        "encoder": settings.encoder,
        "latency_ms": settings.latency_ms,
        "delay": settings.delay_s,
    }
