"""A sound server of our own, so that a program can hear what a face plays: PulseAudio with a null sink."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from splatface.models.errors import AudioError

__all__ = ["MONITOR", "null_sink"]

SINK = "bench"
MONITOR = f"{SINK}.monitor"  # what leaves the sink
START_S = 15.0
INSTALL = "apt-get install pulseaudio libasound2-plugins libportaudio2"


@contextmanager
def null_sink() -> Iterator[dict[str, str]]:
    """A PulseAudio server that no one else uses; yields the environment of those who play to it.

    Raises:
        AudioError: when it is not installed or does not start.
    """
    if shutil.which("pulseaudio") is None:
        raise AudioError(f"sound server: expected PulseAudio, found none: {INSTALL}")
    with tempfile.TemporaryDirectory(prefix="splatface_sound_") as folder:
        place = Path(folder)
        environment = _environment(place)
        log = place / "log"
        with log.open("w") as output:
            server = subprocess.Popen(_command(place), env=environment, stdout=output, stderr=output)
        try:
            _wait_for(place / "socket", server, log)
            yield environment
        finally:
            server.terminate()
            server.wait(10)


def _environment(place: Path) -> dict[str, str]:
    # The system's ALSA, with the server as its default device; nobody's home is touched.
    (place / "asound.conf").write_text("</usr/share/alsa/alsa.conf>\npcm.!default { type pulse }\n")
    return {
        **os.environ,
        "ALSA_CONFIG_PATH": str(place / "asound.conf"),
        "PULSE_SERVER": f"unix:{place / 'socket'}",
        "PULSE_RUNTIME_PATH": str(place),
        "PULSE_STATE_PATH": str(place),
        "PULSE_COOKIE": str(place / "cookie"),
    }


def _command(place: Path) -> list[str]:
    command = ["pulseaudio", "--daemonize=no", "--exit-idle-time=-1", "--disable-shm=1", "-n"]
    for module in (
        f"module-native-protocol-unix auth-anonymous=1 socket={place / 'socket'}",
        f"module-null-sink sink_name={SINK} rate=48000 channels=2",
    ):
        command += ["-L", module]
    return command


def _wait_for(socket: Path, server: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + START_S
    while not socket.exists():
        if server.poll() is not None or time.monotonic() > until:
            raise AudioError(
                f"sound server: expected PulseAudio to start, found: {log.read_text().strip()[-300:]!r}: "
                f"try it by hand, or {INSTALL}"
            )
        time.sleep(0.05)
