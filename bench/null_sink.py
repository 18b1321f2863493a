# SPDX-License-Identifier: Apache-2.0
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
MONITOR = f"{SINK}.monitor"  # source that carries the sound of the sink
START_TIMEOUT_S = 15.0
INSTALL = "apt-get install pulseaudio libasound2-plugins libportaudio2"


@contextmanager
def null_sink() -> Iterator[dict[str, str]]:
    """Run a PulseAudio server with a null sink; yield the environment of programs that play to it.

    Raises:
        AudioError: PulseAudio is not installed or does not start.
    """
    if shutil.which("pulseaudio") is None:
        raise AudioError(f"sound server: expected PulseAudio, found none: {INSTALL}")
    with tempfile.TemporaryDirectory(prefix="splatface_sound_") as temporary:
        folder = Path(temporary)
        environment = _environment(folder)
        log = folder / "log"
        with log.open("w") as output:
            server = subprocess.Popen(_command(folder), env=environment, stdout=output, stderr=output)
        try:
            _wait_for(folder / "socket", server, log)
            yield environment
        finally:
            server.terminate()
            server.wait(10)


def _environment(folder: Path) -> dict[str, str]:
    # The system's ALSA, with the server as its default device; files in the home folder are not read.
    (folder / "asound.conf").write_text("</usr/share/alsa/alsa.conf>\npcm.!default { type pulse }\n")
    return {
        **os.environ,
        "ALSA_CONFIG_PATH": str(folder / "asound.conf"),
        "PULSE_SERVER": f"unix:{folder / 'socket'}",
        "PULSE_RUNTIME_PATH": str(folder),
        "PULSE_STATE_PATH": str(folder),
        "PULSE_COOKIE": str(folder / "cookie"),
    }


def _command(folder: Path) -> list[str]:
    command = ["pulseaudio", "--daemonize=no", "--exit-idle-time=-1", "--disable-shm=1", "-n"]
    for module in (
        f"module-native-protocol-unix auth-anonymous=1 socket={folder / 'socket'}",
        f"module-null-sink sink_name={SINK} rate=48000 channels=2",
    ):
        command += ["-L", module]
    return command


def _wait_for(socket: Path, server: "subprocess.Popen[bytes]", log: Path) -> None:
    end_s = time.monotonic() + START_TIMEOUT_S
    while not socket.exists():
        if server.poll() is not None or time.monotonic() > end_s:
            raise AudioError(
                f"sound server: expected PulseAudio to start, found: {log.read_text().strip()[-300:]!r}: "
                f"try it by hand, or {INSTALL}"
            )
        time.sleep(0.05)


RATE_HZ = 48_000
FRAGMENT = 240  # samples
_S16LE, _RECORD, _DEFAULT = 3, 2, 0xFFFFFFFF
_SMOOTHING_FRAGMENTS = 200  # the clock of the sink is steady, our wake-up times are not


class _Format(ctypes.Structure):
    _fields_ = (("format", ctypes.c_int), ("rate", ctypes.c_uint32), ("channels", ctypes.c_uint8))


class _Buffer(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_uint32) for name in ("maxlength", "tlength", "prebuf", "minreq", "fragsize")
    )


@dataclass(frozen=True, slots=True)
class SinkRecording:
    """Sound that left the sink during a recording."""

    samples: NDArray[np.int16]  # [T]
    arrivals_ns: NDArray[np.int64]  # [T / FRAGMENT], arrival of each fragment

    def times_ns(self) -> NDArray[np.int64]:
        """Return the time at which the first sample of each fragment was played, [T / FRAGMENT].

        A null sink mixes a block, as long as our fragments, when its first sample is due, and its monitor
        delivers it at once. Where in a fragment blocks begin is not known: this is the middle, accurate to
        half a fragment, 2.5 ms. Late wake-ups are removed by medians over a second.
        """
        half_ns = FRAGMENT * NS_PER_S // RATE_HZ // 2
        grid_ns = np.arange(len(self.arrivals_ns)) * (FRAGMENT * NS_PER_S // RATE_HZ)
        late_ns = self.arrivals_ns - grid_ns
        edges = range(0, len(late_ns), _SMOOTHING_FRAGMENTS)
        medians = [np.median(late_ns[first : first + _SMOOTHING_FRAGMENTS]) for first in edges]
        middles = [first + min(_SMOOTHING_FRAGMENTS, len(late_ns) - first) / 2 for first in edges]
        base = int(late_ns[0]) if len(late_ns) else 0  # float64 cannot hold ROS time
        smooth = np.interp(np.arange(len(late_ns)), middles, np.array(medians, np.int64) - base)
        return grid_ns + base - half_ns + np.rint(smooth).astype(np.int64)


class Monitor(threading.Thread):
    """Recorder of a PulseAudio source, in a thread; starts when it is created.

    It uses libpulse through ctypes: PortAudio cannot play and record in one process, and reports no times.

    Args:
        server: PULSE_SERVER.
        source: monitor of the sink.

    Raises AudioError where libpulse or the source is missing.
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
        sample_format = _Format(_S16LE, RATE_HZ, 1)
        buffer = _Buffer(_DEFAULT, _DEFAULT, _DEFAULT, _DEFAULT, 2 * FRAGMENT)
        name = b"splatface bench"
        stream: int | None = self._pulse.pa_simple_new(
            server.encode(),
            name,
            _RECORD,
            source.encode(),
            name,
            ctypes.byref(sample_format),
            None,
            ctypes.byref(buffer),
            None,
        )
        return stream

    def run(self) -> None:
        """Record every fragment and its arrival."""
        data = ctypes.create_string_buffer(2 * FRAGMENT)
        size = ctypes.c_size_t(2 * FRAGMENT)
        while not self._ending and self._pulse.pa_simple_read(self._stream, data, size, None) >= 0:
            self._fragments.append((time.time_ns(), np.frombuffer(data.raw, np.int16)))
        self._pulse.pa_simple_free(self._stream)

    def recording(self) -> SinkRecording:
        """Return the recording so far."""
        fragments = list(self._fragments)
        samples = [piece for _, piece in fragments] or [np.zeros(0, np.int16)]
        return SinkRecording(
            np.concatenate(samples), np.array([arrival_ns for arrival_ns, _ in fragments], np.int64)
        )

    def clear(self) -> None:
        """Forget what was recorded."""
        self._fragments = []

    def close(self) -> None:
        """End the recording."""
        self._ending = True
        self.join(5.0)
