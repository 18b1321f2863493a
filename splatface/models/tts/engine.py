"""Interface of the TTS engines: voices, speech with word and phoneme times, native engines as processes."""

import contextlib
import json
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import SpeechError

__all__ = ["Engine", "EngineProcess", "Phoneme", "RawSpeech", "SpeechAudio", "Voice", "Word", "WordTiming"]


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the text and when it is heard."""

    text: str  # as written
    begin: int  # where it stands in the whole text, characters
    end: int
    start_ns: int  # since the first sample of its sentence
    end_ns: int


@dataclass(frozen=True, slots=True)
class Phoneme:
    """A speech sound and when it is heard."""

    ipa: str  # "" is a pause
    start_ns: int  # since the first sample of its sentence
    end_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class SpeechAudio:
    """A sentence, ready to be played; the pause that follows it is part of the samples."""

    samples: NDArray[np.float32]  # [T], -1..1, 16 kHz
    words: tuple[Word, ...]  # in order
    phonemes: tuple[Phoneme, ...]  # in order, without overlap
    text: str
    end: int  # where the sentence ends in the whole text, characters
    speech_ns: int  # how long it is without the pause
    last: bool = False  # of its text


@dataclass(frozen=True, slots=True)
class WordTiming:
    """A word as an engine dates it."""

    begin: int  # in the sentence, characters
    end: int
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True, eq=False)
class RawSpeech:
    """A sentence as an engine gives it: its own rate and loudness, silence at both ends."""

    samples: NDArray[np.float32]  # [T], -1..1
    sample_rate: int
    tokens: tuple[WordTiming, ...]
    phonemes: tuple[tuple[str, float, float], ...]  # ipa ("" a pause), start s, end s


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice that is installed."""

    name: str  # "engine/voice", such as "flite/slt"
    engine: str
    language: str  # "en-us", "de", ...
    sex: str  # "female", "male" or "" where it is not said
    license: str  # of the voice and its engine
    sample_rate: int  # of the engine; what is spoken comes at 16 kHz


class Engine(Protocol):
    """What each module of `engines` offers."""

    INSTALL: str  # the command that installs it

    def voices(self) -> tuple[Voice, ...]:
        """The voices that are installed, none when the engine is not."""
        ...

    def has_voice(self, voice: str) -> bool:
        """Whether it has a voice of this name (without the engine); more than the listed ones may be."""
        ...

    def say(self, text: str, voice: str, rate: float) -> RawSpeech:
        """Speak one sentence; `voice` is the name without the engine, `rate` 1 is its own pace."""
        ...


WORKER = Path(__file__).with_name("native_worker.py")


class EngineProcess:
    """Started when first asked; started again when it died; ends when this process does.

    Safe to ask from several threads: one question at a time.
    """

    def __init__(self, library: str) -> None:
        self._library = library
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
                f"{self._library}: expected sound, found that its library crashed: leave out "
                f"{str(request.get('text', ''))[:60]!r}, or use another engine"
            )
        head, sound = answer
        if "error" in head:
            raise SpeechError(f"{self._library}: {head['error']}")
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
        command = [sys.executable, "-I", "-S", str(WORKER), self._library]
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
