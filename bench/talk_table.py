"""What `splatface bench talk` found, to be read."""

from typing import Any

__all__ = ["table"]

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
