"""A face is interrupted in the middle of a word: how soon its voice and its mouth are still."""

import argparse
import json
import os
import random
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from bench.av_sync import REST, Mouth, in_step, marks
from bench.clients import BenchClients, ConversationClient, Seen
from bench.face_process import Face, Holding, holdings_below, own_domain, own_port, running_face
from bench.null_sink import FRAGMENT, RATE_HZ, SinkRecording, null_sink
from splatface.cli.launcher.packages import package_share
from splatface.models.errors import SplatfaceError
from splatface.models.messages import NS_PER_S

__all__ = [
    "Interruption",
    "Settings",
    "add_arguments",
    "interrupt_in_mid_word",
    "interrupt_many",
    "interruption_latency",
    "main",
    "measure",
    "table",
]

AUDIBLE = 100  # of 32768: -50 dBFS
TEXT = (
    "I am going to talk for a while, about this and that, and nothing in particular, until you interrupt me."
)


@dataclass(frozen=True, slots=True)
class Interruption:
    """One `interrupt` and what was asked for next."""

    called_ns: int
    answered_ms: float
    next_say_ms: float  # from asking for the next text to its first sound being published
    watched_ns: int  # until when nothing else was said


def first_sound_ms(partner: ConversationClient) -> float:
    """Say something; how long until speech is on its way.

    Raises:
        SplatfaceError: when nothing comes in 10 s.
    """
    count, asked_s = len(partner.chunks), time.monotonic()
    partner.say(TEXT)
    if not partner.wait_for(lambda: partner.loud_since(count), 10.0):
        raise SplatfaceError(f"say: expected sound in 10 s, found none: {partner.health.get('tts')}")
    return 1e3 * (time.monotonic() - asked_s)


def interrupt_in_mid_word(partner: ConversationClient, after_s: float, watch_s: float) -> Interruption:
    """Speak, interrupt, be silent for a while."""
    say_ms = first_sound_ms(partner)
    time.sleep(after_s * random.uniform(0.7, 1.3))
    called_ns, answered_ns = partner.interrupt()
    time.sleep(watch_s)
    return Interruption(called_ns, (answered_ns - called_ns) / 1e6, say_ms, time.time_ns())


def interruption_latency(
    interruptions: list[Interruption], heard: SinkRecording, seen: Seen, mouth: Mouth
) -> dict[str, NDArray[np.float64]]:
    """ms from each call to when its last sound was heard, and to when the mouth had come to rest for good."""
    starts_ns = heard.times_ns()
    audible = np.abs(heard.samples.astype(np.int32)) > AUDIBLE
    audible_ns = _sample_times_ns(starts_ns, np.flatnonzero(audible))
    # A picture is seen until the next one comes.
    open_ns = seen.arrivals_ns[1:][mouth.opening(seen.small)[:-1] > REST]
    return {
        "silent_ms": np.array([_last_ms(audible_ns, one) for one in interruptions]),
        "mouth_at_rest_ms": np.array([_last_ms(open_ns, one) for one in interruptions]),
    }


def _sample_times_ns(starts_ns: NDArray[np.int64], index: NDArray[np.int64]) -> NDArray[np.int64]:
    out: NDArray[np.int64] = starts_ns[index // FRAGMENT] + index % FRAGMENT * NS_PER_S // RATE_HZ
    return out


def _last_ms(times_ns: NDArray[np.int64], one: Interruption) -> float:
    """The last of these moments (rising) between the call and the end of the watch, 0 when there is none."""
    last = int(np.searchsorted(times_ns, one.watched_ns)) - 1
    return max(int(times_ns[last]) - one.called_ns, 0) / 1e6 if last >= 0 else 0.0


SETTLE_S = (
    8.0  # results of goals that nobody asked for are forgotten, threads that were told to end have ended
)
TRIAL = 25  # interruptions before the first look: what is made once is made


def interrupt_many(partner: ConversationClient, pid: int, count: int) -> dict[str, Any]:
    """Interrupt `count` times, each as soon as speech is on its way or a little later.

    Args:
        partner: who talks to the face.
        pid: of the launch file's process.
        count: how often.

    Raises SplatfaceError when a text finds no voice.
    """
    _interrupt(partner, min(TRIAL, count))
    before = _settled(partner, pid)
    say_ms = _interrupt(partner, count)
    after = _settled(partner, pid)
    return {
        "count": count,
        "next_say_ms": {**marks(np.array(say_ms)), "max": round(max(say_ms), 2)},
        "open_goals": partner.open_goals,
        "refused": partner.refused,
        "nodes": {
            name: {
                what: [getattr(before[name], what), getattr(after[name], what)]
                for what in Holding.__dataclass_fields__
            }
            for name in sorted(before.keys() & after.keys())
        },
    }


def _interrupt(partner: ConversationClient, count: int) -> list[float]:
    say_ms = []
    for _ in range(count):
        partner.chunks.clear()
        say_ms.append(first_sound_ms(partner))
        time.sleep(random.choice((0.0, 0.05, 0.2)))
        partner.interrupt()
    return say_ms


def _settled(partner: ConversationClient, pid: int) -> dict[str, Holding]:
    partner.wait_for(lambda: partner.open_goals == 0, SETTLE_S)
    time.sleep(SETTLE_S)
    return holdings_below(pid)


MARKS = ("p5", "median", "p95", "max")


def table(result: dict[str, Any]) -> str:
    """Several lines."""
    speaker, lips = result["speaker"], result["lips_after_voice_ms"]
    rows = {
        "picture after its sound": result["offset_ms"],
        "sound after its stamp": result["sound_late_ms"],
        "picture after its stamp": result["picture_late_ms"],
        **{
            f"barge-in: {name.removesuffix('_ms').replace('_', ' ')}": values
            for name, values in result["barge_in"].items()
            if name != "count"
        },
    }
    lines = [
        f"{result['seconds_heard']} s of speech heard, {result['pictures']} pictures seen, "
        f"{result['barge_in']['count']} interruptions; the face was ready after {result['ready_s']} s",
        f"drift of the picture against the sound: {result['drift_ms_per_minute']} ms per minute",
        f"lips after the voice: {lips['live']:.0f} ms as seen and heard, {lips['by_stamps']:.0f} by stamps",
        f"speaker: {speaker['underruns']} underruns, {speaker['device_underflows']} of the device, "
        f"{speaker['jumps']} jumps, device {speaker['drift_ppm']:.0f} ppm slow",
        "",
        f"{'ms':28s} " + " ".join(f"{mark:>8s}" for mark in MARKS),
    ]
    lines += [_row(name, values) for name, values in rows.items()]
    return "\n".join([*lines, *_in_a_row(result.get("in_a_row"))])


def _row(name: str, values: dict[str, float | None]) -> str:
    shown = ("" if values.get(mark) is None else f"{values[mark]:.1f}" for mark in MARKS)
    return f"{name:28s} " + " ".join(f"{text:>8s}" for text in shown)


def _in_a_row(many: dict[str, Any] | None) -> list[str]:
    if many is None:
        return []
    lines = [
        "",
        f"{many['count']} interruptions in a row, before -> after: {many['open_goals']} goals left open",
        _row("first sound of the next text", many["next_say_ms"]),
        f"{'process':16s} {'memory MB':>18s} {'threads':>12s} {'files':>12s}",
    ]
    for name, held in many["nodes"].items():
        memory, threads, files = (
            f"{before} -> {after}" for before, after in (held["memory_mb"], held["threads"], held["files"])
        )
        lines.append(f"{name:16s} {memory:>18s} {threads:>12s} {files:>12s}")
    return lines


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
STILL = dict.fromkeys(("sway", "nod", "brow", "gaze_variability", "listening", "blink_per_minute"), 0.0)


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
    before = partner.values_of("audio_player")
    _tell_stories(face, senses, settings.seconds)
    said, heard, seen = list(partner.chunks), senses.monitor.so_far(), viewer.so_far()
    result["speaker"] = _speaker(before, partner.values_of("audio_player"))
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
    return partner.health.get("audio_player", ("", {}))[0] == "playing"


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
