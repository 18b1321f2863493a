# SPDX-License-Identifier: Apache-2.0
"""`splatface bench talk`: a conversation with a real sound server, recorded from outside.

It starts a PulseAudio server with a null sink and the nodes of conversation.launch.yaml, lets the face
speak, records the sink and the images of the page, interrupts, and measures the delays.
"""

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

from bench.av_sync import REST_OPENING, MouthDetector, measure_sync, percentiles
from bench.clients import BenchClients, ConversationClient, ReceivedImages
from bench.face_process import (
    LaunchedFace,
    ResourceUsage,
    choose_port,
    launch_face,
    resource_usage,
    set_own_ros_domain,
)
from bench.null_sink import FRAGMENT, RATE_HZ, SinkRecording, null_sink
from splatface.cli.launcher.packages import package_share
from splatface.models.errors import SplatfaceError
from splatface.models.messages import NS_PER_S

__all__ = [
    "Interruption",
    "TalkSettings",
    "add_arguments",
    "format_table",
    "interrupt_in_mid_word",
    "interruption_latency",
    "main",
    "measure",
    "measure_resource_leaks",
]

NAMESPACE = "bench_talk"
_COLUMNS = ("p5", "median", "p95", "max")
WARM_UP_COUNT = 25  # interruptions before the first measurement
SETTLE_S = 8.0  # until results of old goals are deleted and threads have ended
AUDIBLE_LEVEL = 100  # of 32768: -50 dBFS
READY_TIMEOUT_S = 90.0
REST_S = 3.0  # of images of the silent face
OBSERVATION_S = 0.7  # after an interruption
SHORT_TEXT = (
    "I am going to talk for a while, about this and that, and nothing in particular, until you interrupt me."
)
LONG_TEXT = (
    "The north wind and the sun were disputing which was the stronger, when a traveller came along, wrapped "
    "in a warm cloak. They agreed that the one who first made the traveller take his cloak off should be "
    "considered stronger than the other. Then the north wind blew as hard as he could, but the more he blew, "
    "the more closely did the traveller fold his cloak around him."
)
# The mouth is detected by its motion: the head must not move.
NO_HEAD_MOTION = dict.fromkeys(
    ("sway", "nod", "brow", "gaze_variability", "listening", "blink_per_minute"), 0.0
)


@dataclass(frozen=True, kw_only=True)
class TalkSettings:
    """Settings of the benchmark."""

    head: str = "mira"
    size: str = "512x512"
    fps: float = 25.0
    encoder: str = "fsmn"
    latency_ms: int = 100
    delay_s: float = 0.2
    seconds: float = 60.0
    barge_ins: int = 20
    interrupts: int = 100


@dataclass(frozen=True, slots=True)
class Interruption:
    """One interruption and the text after it."""

    called_ns: int
    answered_ms: float
    next_say_ms: float  # from sending the next text to its first audio being published
    observed_until_ns: int  # until when nothing else was spoken


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--head", default=TalkSettings.head, help="a shipped head's name or a head folder")
    parser.add_argument("--size", default=TalkSettings.size, help="width x height in pixels")
    parser.add_argument("--fps", type=float, default=TalkSettings.fps, help="frames per second")
    parser.add_argument("--encoder", default=TalkSettings.encoder, choices=("fsmn", "whisper", "logmel"))
    parser.add_argument(
        "--latency-ms", type=int, default=TalkSettings.latency_ms, help="audio buffered by the loudspeaker"
    )
    parser.add_argument("--delay-s", type=float, default=TalkSettings.delay_s, help="presentation delay, s")
    parser.add_argument(
        "--seconds", type=float, default=TalkSettings.seconds, help="seconds of speech that are measured"
    )
    parser.add_argument(
        "--barge-ins",
        type=int,
        default=TalkSettings.barge_ins,
        help="number of interruptions that are measured",
    )
    parser.add_argument(
        "--interrupts", type=int, default=TalkSettings.interrupts, help="interruptions in a row, 0 for none"
    )


def main(args: argparse.Namespace) -> int:
    """Measure and print; return the exit code."""
    settings = TalkSettings(**{name: getattr(args, name) for name in TalkSettings.__dataclass_fields__})
    result = measure(settings)
    print(json.dumps(result) if args.json else format_table(result))
    return 0


def measure(settings: TalkSettings) -> dict[str, Any]:
    """Start a face with a voice, measure a conversation, and end it.

    Raises:
        SplatfaceError: there is no sound server or no voice, or the face does not start.
    """
    set_own_ros_domain()
    port = choose_port()
    with tempfile.TemporaryDirectory(prefix="splatface_bench_") as folder, null_sink() as environment:
        arguments = _arguments(settings, port, Path(folder) / "params.yaml")
        with launch_face("conversation.launch.yaml", arguments, environment) as face:
            clients = BenchClients.connect(NAMESPACE, environment["PULSE_SERVER"], port, settings.size)
            try:
                return _measure(settings, face, clients)
            finally:
                clients.close()


def _measure(settings: TalkSettings, face: LaunchedFace, clients: BenchClients) -> dict[str, Any]:
    conversation, viewer = clients.conversation, clients.viewer
    face.wait_until(
        lambda: conversation.ready and viewer.count > 10 and _is_playing(conversation), READY_TIMEOUT_S
    )
    ready_s = face.age_s
    time.sleep(1.0)
    viewer.clear()
    time.sleep(REST_S)
    resting = viewer.received()
    result: dict[str, Any] = {"settings": asdict(settings), "ready_s": round(ready_s, 2)}
    clients.clear()
    before = conversation.diagnostic_values("audio_player")
    _speak_without_pause(face, clients, settings.seconds)
    published, recording, images = list(conversation.chunks), clients.monitor.recording(), viewer.received()
    result["speaker"] = _player_figures(before, conversation.diagnostic_values("audio_player"))
    mouth = MouthDetector(resting.small, images.small)
    result |= measure_sync(published, recording, images, mouth, 1e3 * settings.delay_s)
    clients.clear()
    interruptions = [
        interrupt_in_mid_word(conversation, 0.6, OBSERVATION_S) for _ in range(settings.barge_ins)
    ]
    result["barge_in"] = _barge_in_figures(interruptions, clients, mouth)
    if settings.interrupts:
        result["in_a_row"] = measure_resource_leaks(conversation, face.pid, settings.interrupts)
    return result


def _speak_without_pause(face: LaunchedFace, clients: BenchClients, seconds: float) -> None:
    """Let the face speak for some seconds without a pause, then interrupt it."""
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        if not face.is_running or clients.conversation.rejected:
            raise SplatfaceError("bench talk: the face has ended or cannot speak: see its log without --json")
        if clients.conversation.open_goals < 2:
            clients.conversation.say(LONG_TEXT)
        time.sleep(0.1)
    clients.conversation.interrupt()
    time.sleep(2.0)  # diagnostics come once a second


def _is_playing(conversation: ConversationClient) -> bool:
    return conversation.diagnostics.get("audio_player", ("", {}))[0] == "playing"


def _player_figures(before: dict[str, str], after: dict[str, str]) -> dict[str, float]:
    counted = ("underruns", "device_underflows", "jumps")
    counts: dict[str, float] = {name: int(after[name]) - int(before.get(name, 0)) for name in counted}
    return counts | {name: float(after[name]) for name in ("drift_ppm", "device_ms")}


def _barge_in_figures(
    interruptions: list[Interruption], clients: BenchClients, mouth: MouthDetector
) -> dict[str, Any]:
    latencies = interruption_latency(
        interruptions, clients.monitor.recording(), clients.viewer.received(), mouth
    )
    latencies["answered_ms"] = np.array([one.answered_ms for one in interruptions])
    latencies["next_say_ms"] = np.array([one.next_say_ms for one in interruptions[1:]])
    return {
        "count": len(interruptions),
        **{
            name: {**percentiles(values), "max": round(float(values.max(initial=0.0)), 2)}
            for name, values in latencies.items()
        },
    }


def _arguments(settings: TalkSettings, port: int, path: Path) -> dict[str, object]:
    shipped = package_share("splatface", os.environ) / "launch" / "params" / "conversation.yaml"
    params = yaml.safe_load(shipped.read_text())
    params.setdefault("/**/head_controller", {}).setdefault("ros__parameters", {}).update(NO_HEAD_MOTION)
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


def first_sound_ms(conversation: ConversationClient) -> float:
    """Send a text; return the time until its first audio is published, ms.

    Raises:
        SplatfaceError: no audio is published within 10 s.
    """
    count, sent_s = len(conversation.chunks), time.monotonic()
    conversation.say(SHORT_TEXT)
    if not conversation.wait_for(lambda: conversation.has_speech_since(count), 10.0):
        raise SplatfaceError(
            f"say: expected audio within 10 s, found none: {conversation.diagnostics.get('tts')}"
        )
    return 1e3 * (time.monotonic() - sent_s)


def interrupt_in_mid_word(
    conversation: ConversationClient, after_s: float, observation_s: float
) -> Interruption:
    """Speak, interrupt, and wait for some seconds."""
    say_ms = first_sound_ms(conversation)
    time.sleep(after_s * random.uniform(0.7, 1.3))
    called_ns, answered_ns = conversation.interrupt()
    time.sleep(observation_s)
    return Interruption(called_ns, (answered_ns - called_ns) / 1e6, say_ms, time.time_ns())


def interruption_latency(
    interruptions: list[Interruption], recording: SinkRecording, images: ReceivedImages, mouth: MouthDetector
) -> dict[str, NDArray[np.float64]]:
    """Return ms from each call to its last audible sound, and to when the mouth has come to rest."""
    starts_ns = recording.times_ns()
    audible = np.abs(recording.samples.astype(np.int32)) > AUDIBLE_LEVEL
    audible_ns = _sample_times_ns(starts_ns, np.flatnonzero(audible))
    # An image is visible until the next one arrives.
    open_ns = images.arrivals_ns[1:][mouth.opening(images.small)[:-1] > REST_OPENING]
    return {
        "silent_ms": np.array([_last_ms(audible_ns, one) for one in interruptions]),
        "mouth_at_rest_ms": np.array([_last_ms(open_ns, one) for one in interruptions]),
    }


def _sample_times_ns(starts_ns: NDArray[np.int64], index: NDArray[np.int64]) -> NDArray[np.int64]:
    out: NDArray[np.int64] = starts_ns[index // FRAGMENT] + index % FRAGMENT * NS_PER_S // RATE_HZ
    return out


def _last_ms(times_ns: NDArray[np.int64], one: Interruption) -> float:
    """Return ms from the call to the last of these times (rising) in the observation, 0 if there is none."""
    last = int(np.searchsorted(times_ns, one.observed_until_ns)) - 1
    return max(int(times_ns[last]) - one.called_ns, 0) / 1e6 if last >= 0 else 0.0


def measure_resource_leaks(conversation: ConversationClient, pid: int, count: int) -> dict[str, Any]:
    """Interrupt `count` times; return the resources of each node before and after.

    Args:
        conversation: client of the face.
        pid: of the launcher.
        count: number of interruptions, each when the first audio is published or shortly after.

    Raises SplatfaceError if a text is not spoken.
    """
    _interrupt_repeatedly(conversation, min(WARM_UP_COUNT, count))
    before = _usage_at_rest(conversation, pid)
    say_ms = _interrupt_repeatedly(conversation, count)
    after = _usage_at_rest(conversation, pid)
    return {
        "count": count,
        "next_say_ms": {**percentiles(np.array(say_ms)), "max": round(max(say_ms), 2)},
        "open_goals": conversation.open_goals,
        "refused": conversation.rejected,
        "nodes": {
            name: {
                what: [getattr(before[name], what), getattr(after[name], what)]
                for what in ResourceUsage.__dataclass_fields__
            }
            for name in sorted(before.keys() & after.keys())
        },
    }


def _interrupt_repeatedly(conversation: ConversationClient, count: int) -> list[float]:
    say_ms = []
    for _ in range(count):
        conversation.chunks.clear()
        say_ms.append(first_sound_ms(conversation))
        time.sleep(random.choice((0.0, 0.05, 0.2)))
        conversation.interrupt()
    return say_ms


def _usage_at_rest(conversation: ConversationClient, pid: int) -> dict[str, ResourceUsage]:
    conversation.wait_for(lambda: conversation.open_goals == 0, SETTLE_S)
    time.sleep(SETTLE_S)
    return resource_usage(pid)


def format_table(result: dict[str, Any]) -> str:
    """Return the result as text."""
    player, lips = result["speaker"], result["lips_after_voice_ms"]
    rows = {
        "image after its sound": result["offset_ms"],
        "sound after its stamp": result["sound_late_ms"],
        "image after its stamp": result["picture_late_ms"],
        **{
            f"barge-in: {name.removesuffix('_ms').replace('_', ' ')}": values
            for name, values in result["barge_in"].items()
            if name != "count"
        },
    }
    lines = [
        f"{result['seconds_heard']} s of speech recorded, {result['pictures']} images received, "
        f"{result['barge_in']['count']} interruptions; the face was ready after {result['ready_s']} s",
        f"drift of the image against the sound: {result['drift_ms_per_minute']} ms per minute",
        f"lips after the voice: {lips['live']:.0f} ms as recorded, {lips['by_stamps']:.0f} by stamps",
        f"audio player: {player['underruns']} underruns, {player['device_underflows']} of the device, "
        f"{player['jumps']} jumps, device {player['drift_ppm']:.0f} ppm slow",
        "",
        f"{'ms':28s} " + " ".join(f"{mark:>8s}" for mark in _COLUMNS),
    ]
    lines += [_row(name, values) for name, values in rows.items()]
    return "\n".join([*lines, *_leak_lines(result.get("in_a_row"))])


def _row(name: str, values: dict[str, float | None]) -> str:
    cells = ("" if values.get(mark) is None else f"{values[mark]:.1f}" for mark in _COLUMNS)
    return f"{name:28s} " + " ".join(f"{text:>8s}" for text in cells)


def _leak_lines(leaks: dict[str, Any] | None) -> list[str]:
    if leaks is None:
        return []
    lines = [
        "",
        f"{leaks['count']} interruptions in a row, before -> after: {leaks['open_goals']} goals left open",
        _row("first audio of the next text", leaks["next_say_ms"]),
        f"{'process':16s} {'memory MB':>18s} {'threads':>12s} {'files':>12s}",
    ]
    for name, usage in leaks["nodes"].items():
        memory, threads, files = (
            f"{before} -> {after}" for before, after in (usage["memory_mb"], usage["threads"], usage["files"])
        )
        lines.append(f"{name:16s} {memory:>18s} {threads:>12s} {files:>12s}")
    return lines
