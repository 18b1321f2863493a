"""A foreign library in a process of its own: asked by a line, answered by a line and samples."""

import contextlib
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import SpeechError

__all__ = ["EngineProcess"]

FOLDER = Path(__file__).parent / "children"


class EngineProcess:
    """Started when first asked; started again when it died; ends when this process does.

    Safe to ask from several threads: one question at a time.
    """

    def __init__(self, program: str) -> None:
        self._path = FOLDER / f"{program}.py"
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def ask(self, **request: Any) -> tuple[dict[str, Any], NDArray[np.float32]]:
        """The answer and its samples (empty when it has none), -1..1.

        Raises:
            SpeechError: when the library is absent, refuses, or dies twice over the same question.
        """
        line = json.dumps(request).encode() + b"\n"
        with self._lock:
            answer = self._exchange(line) or self._exchange(line)
        if answer is None:
            raise SpeechError(
                f"{self._path.stem}: expected sound, found that its library crashed: leave out "
                f"{str(request.get('text', ''))[:60]!r}, or use another engine"
            )
        head, sound = answer
        if "error" in head:
            raise SpeechError(f"{self._path.stem}: {head['error']}")
        return head, np.frombuffer(sound, np.int16).astype(np.float32) / np.float32(32768)

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _exchange(self, line: bytes) -> tuple[dict[str, Any], bytes] | None:
        process = self._process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(line)
            process.stdin.flush()
            head = json.loads(process.stdout.readline())
            sound = process.stdout.read(2 * head.get("samples", 0))
        except (OSError, ValueError):
            self._end()
            return None
        if len(sound) < 2 * head.get("samples", 0):
            self._end()
            return None
        return head, sound

    def _start(self) -> "subprocess.Popen[bytes]":
        # -I -S: neither the user's packages nor ours are needed, and it starts in 20 ms.
        command = [sys.executable, "-I", "-S", str(self._path)]
        pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nowhere)

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        process.kill()
        process.wait()
