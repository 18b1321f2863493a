# SPDX-License-Identifier: Apache-2.0
"""Interface of the TTS engines: voices, speech with word and phoneme times, native engines as processes."""

import contextlib
import json
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from splatface.models.audio.chunks import from_pcm
from splatface.models.errors import SpeechError
from splatface.models.typing import Float32Array

__all__ = ["Engine", "EngineProcess", "Phoneme", "RawSpeech", "SpeechAudio", "Voice", "Word", "WordTiming"]

_WORKER = Path(__file__).with_name("native_worker.py")


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice that is installed."""

    name: str  # "engine/voice", such as "flite/slt"
    engine: str
    language: str  # "en-us", "de", ...
    sex: str  # "female", "male" or "" where it is not known
    license: str  # of the voice and its engine
    sample_rate: int  # of the engine; speech is resampled to 16 kHz


@dataclass(frozen=True, slots=True)
class WordTiming:
    """A word with the time that an engine gives it."""

    begin: int  # in the sentence, characters
    end: int
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True, eq=False)
class RawSpeech:
    """A sentence as an engine synthesizes it: its own rate and loudness, silence at both ends."""

    samples: Float32Array  # [T], -1..1
    sample_rate: int
    words: tuple[WordTiming, ...]
    phonemes: tuple[tuple[str, float, float], ...]  # ipa ("" a pause), start s, end s


class Engine(Protocol):
    """Interface of each module `*_engine`."""

    INSTALL: str  # the command that installs it

    def voices(self) -> tuple[Voice, ...]:
        """Return the voices that are installed, none when the engine is not."""
        ...

    def has_voice(self, voice: str) -> bool:
        """Return whether a voice of this name (without the engine) exists; not all are listed."""
        ...

    def say(self, text: str, voice: str, rate: float) -> RawSpeech:
        """Synthesize a sentence; `voice` is the name without the engine, `rate` 1 its normal speed."""
        ...


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the text and when it is spoken."""

    text: str  # as written
    begin: int  # in the whole text, characters
    end: int
    start_ns: int  # since the first sample of its sentence
    end_ns: int


@dataclass(frozen=True, slots=True)
class Phoneme:
    """A phoneme and when it is spoken."""

    ipa: str  # "" is a pause
    start_ns: int  # since the first sample of its sentence
    end_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class SpeechAudio:
    """A sentence, ready to be played; the pause that follows it is part of the samples."""

    samples: Float32Array  # [T], -1..1, 16 kHz
    words: tuple[Word, ...]  # in order
    phonemes: tuple[Phoneme, ...]  # in order, without overlap
    text: str
    end: int  # of the sentence in the whole text, characters
    speech_ns: int  # duration without the pause
    last: bool = False  # of its text


class EngineProcess:
    """A native speech library in a process of its own (native_worker.py).

    It is started at the first request, restarted when it died, and ends when this process does. Requests from
    several threads are handled one at a time.

    Args:
        library: "espeak" or "flite".
    """

    def __init__(self, library: str) -> None:
        self._library = library
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def request(self, **fields: Any) -> tuple[dict[str, Any], Float32Array]:
        """Send a request; return the answer and its samples (empty when it has none), -1..1.

        Raises:
            SpeechError: when the library is absent, refuses, or crashes twice on the same request.
        """
        line = json.dumps(fields).encode() + b"\n"
        with self._lock:
            answer = self._exchange(line) or self._exchange(line)
        if answer is None:
            raise SpeechError(
                f"{self._library}: expected sound, found that its library crashed: leave out "
                f"{str(fields.get('text', ''))[:60]!r}, or use another engine"
            )
        head, pcm = answer
        if "error" in head:
            raise SpeechError(f"{self._library}: {head['error']}")
        return head, from_pcm(pcm)

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
            pcm = process.stdout.read(2 * head.get("samples", 0))
        except (OSError, ValueError):
            self._end()
            return None
        if len(pcm) < 2 * head.get("samples", 0):
            self._end()
            return None
        return head, pcm

    def _start(self) -> "subprocess.Popen[bytes]":
        # -I -S: neither the user's packages nor ours are needed, and it starts in 20 ms.
        command = [sys.executable, "-I", "-S", str(_WORKER), self._library]
        pipe, null = subprocess.PIPE, subprocess.DEVNULL
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=null)

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
