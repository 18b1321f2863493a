"""PulseAudio server for a test, and search of a played sound in a recording."""

import os
import shutil
import subprocess
import time
from contextlib import contextmanager

import numpy as np
import pytest

PULSE_MODULES = (
    "module-native-protocol-unix auth-anonymous=1 socket={socket}",
    "module-null-sink sink_name=vspk rate=48000 channels=2",
    "module-always-sink",
)


@contextmanager
def pulseaudio(folder):
    """Run a PulseAudio server with a null sink, its own files and its own ALSA configuration."""
    if not (shutil.which("pulseaudio") and shutil.which("paplay")):
        pytest.skip(
            "no pulseaudio: apt-get install pulseaudio pulseaudio-utils libasound2-plugins libportaudio2"
        )
    for name in ("home", "run", "state"):
        (folder / name).mkdir(exist_ok=True, mode=0o700)
    socket = folder / "run" / "socket"
    environment = {
        "HOME": str(folder / "home"),
        "XDG_RUNTIME_DIR": str(folder / "run"),
        "XDG_CONFIG_HOME": str(folder / "home"),
        "PULSE_STATE_PATH": str(folder / "state"),
        "PULSE_RUNTIME_PATH": str(folder / "run"),
        "PULSE_SERVER": f"unix:{socket}",
        "PULSE_SOURCE": "vspk.monitor",
    }
    (folder / "home" / ".asoundrc").write_text("pcm.!default { type pulse }\nctl.!default { type pulse }\n")
    command = ["pulseaudio", "--daemonize=no", "--exit-idle-time=-1", "--disable-shm=1", "-n"]
    for module in PULSE_MODULES:
        command += ["-L", module.format(socket=socket)]
    with (folder / "pulse.log").open("a") as log:
        server = subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=log)
    try:
        until = time.monotonic() + 15
        while not socket.exists():
            assert server.poll() is None, (folder / "pulse.log").read_text()
            assert time.monotonic() < until
            time.sleep(0.05)
        yield environment
    finally:
        server.terminate()
        server.wait(10)
        socket.unlink(missing_ok=True)


def play(path, environment):
    return subprocess.Popen(["paplay", "--device=vspk", str(path)], env={**os.environ, **environment})


def best_correlation(recording, expected):
    """Return the highest correlation of `expected` with a part of `recording`, and its first sample.

    The search has a resolution of an eighth of a sample, as two clocks never agree to a sample.
    """
    size = len(recording) + len(expected)
    spectra = np.fft.rfft(recording, size) * np.conj(np.fft.rfft(expected, size))
    products = 8 * np.fft.irfft(spectra, 8 * size)[: 8 * (len(recording) - len(expected))]
    at = int(np.argmax(products))
    stretch = np.fft.irfft(np.fft.rfft(recording), 8 * len(recording))[at::8][: len(expected)]
    return np.corrcoef(stretch, expected)[0, 1], at // 8
