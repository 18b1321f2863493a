"""PulseAudio server with a null sink, and a recording of what leaves that sink."""

import ctypes
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import AudioError
from splatface.models.messages import NS_PER_S

__all__ = ["MONITOR", "RATE_HZ", "Monitor", "SinkRecording", "null_sink"]

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


RATE_HZ = 48_000
FRAGMENT = 240  # samples
_S16LE, _RECORD, _DEFAULT = 3, 2, 0xFFFFFFFF
_SMOOTH = 200  # fragments: the sink's clock is steady, our waking up is not


class _Format(ctypes.Structure):
    _fields_ = (("format", ctypes.c_int), ("rate", ctypes.c_uint32), ("channels", ctypes.c_uint8))


class _Buffer(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_uint32) for name in ("maxlength", "tlength", "prebuf", "minreq", "fragsize")
    )


@dataclass(frozen=True, slots=True)
class SinkRecording:
    """What left the sink while it was listened to."""

    samples: NDArray[np.int16]  # [T]
    arrivals_ns: NDArray[np.int64]  # [T / FRAGMENT], when each fragment came

    def times_ns(self) -> NDArray[np.int64]:
        """When the first sample of each fragment was played, [T / FRAGMENT].

        A null sink mixes a block, as long as our fragments, when its first sample is due, and its monitor
        gives it away at once. Where in a fragment blocks begin is not told: this is the middle, so true to
        within half a fragment, 2.5 ms. How late we woke up is taken out by medians over a second.
        """
        half_ns = FRAGMENT * NS_PER_S // RATE_HZ // 2
        grid_ns = np.arange(len(self.arrivals_ns)) * (FRAGMENT * NS_PER_S // RATE_HZ)
        late_ns = self.arrivals_ns - grid_ns
        edges = range(0, len(late_ns), _SMOOTH)
        medians = [np.median(late_ns[at : at + _SMOOTH]) for at in edges]
        middles = [at + min(_SMOOTH, len(late_ns) - at) / 2 for at in edges]
        base = int(late_ns[0]) if len(late_ns) else 0  # float64 cannot hold ROS time
        smooth = np.interp(np.arange(len(late_ns)), middles, np.array(medians, np.int64) - base)
        return grid_ns + base - half_ns + np.rint(smooth).astype(np.int64)


class Monitor(threading.Thread):
    """Listens from its making until `heard`.

    Args:
        server: PULSE_SERVER.
        source: the sink's monitor.

    Raises AudioError when libpulse or the source cannot be had.
    """

    def __init__(self, server: str, source: str) -> None:
        super().__init__(name="monitor", daemon=True)
        try:
            self._pulse = ctypes.CDLL("libpulse-simple.so.0")
        except OSError as error:
            raise AudioError(
                f"monitor: expected libpulse, found none ({error}): apt-get install libpulse0"
            ) from None
        self._pulse.pa_simple_new.restype = ctypes.c_void_p
        self._stream = ctypes.c_void_p(self._open(server, source))
        if not self._stream:
            raise AudioError(f"monitor: expected source {source} of {server}, found none: is the server up?")
        self._ending = False
        self._fragments: list[tuple[int, NDArray[np.int16]]] = []
        self.start()

    def _open(self, server: str, source: str) -> int | None:
        how = _Format(_S16LE, RATE_HZ, 1)
        buffer = _Buffer(_DEFAULT, _DEFAULT, _DEFAULT, _DEFAULT, 2 * FRAGMENT)
        name = b"splatface bench"
        stream: int | None = self._pulse.pa_simple_new(
            server.encode(),
            name,
            _RECORD,
            source.encode(),
            name,
            ctypes.byref(how),
            None,
            ctypes.byref(buffer),
            None,
        )
        return stream

    def run(self) -> None:
        """Keep every fragment and when it came."""
        data = ctypes.create_string_buffer(2 * FRAGMENT)
        size = ctypes.c_size_t(2 * FRAGMENT)
        while not self._ending and self._pulse.pa_simple_read(self._stream, data, size, None) >= 0:
            self._fragments.append((time.time_ns(), np.frombuffer(data.raw, np.int16)))
        self._pulse.pa_simple_free(self._stream)

    def so_far(self) -> SinkRecording:
        """All that was heard until now."""
        fragments = list(self._fragments)
        samples = [piece for _, piece in fragments] or [np.zeros(0, np.int16)]
        return SinkRecording(np.concatenate(samples), np.array([at_ns for at_ns, _ in fragments], np.int64))

    def forget(self) -> None:
        """Begin anew."""
        self._fragments = []

    def close(self) -> None:
        """End."""
        self._ending = True
        self.join(5.0)
