"""A text being spoken in the background: sentences wait in a short queue until they are played."""

import queue
import threading
from collections.abc import Iterator

from splatface.models.errors import SpeechError
from splatface.models.tts.spoken import SpeechAudio

__all__ = ["Synthesis"]

AHEAD = 3  # sentences: what is held of a text however long it is


class Synthesis:
    """A thread that speaks one text; it waits when it is ahead, and ends when it is abandoned.

    It starts with `begin`, or when the first sentence is asked for.
    """

    def __init__(self, spoken: Iterator[SpeechAudio]) -> None:
        self._spoken = spoken
        self._ready: queue.Queue[SpeechAudio | None] = queue.Queue(AHEAD)
        self._abandoned = threading.Event()
        self.problem = ""  # why it ended before the text did
        self.done = False  # all sentences have been taken
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Start to speak."""
        if self._thread is None and not self._abandoned.is_set():
            self._thread = threading.Thread(target=self._run, name="synthesis", daemon=True)
            self._thread.start()

    def take(self) -> SpeechAudio | None:
        """The next sentence, None when there is none (yet)."""
        if self.done:
            return None
        self.begin()
        try:
            spoken = self._ready.get_nowait()
        except queue.Empty:
            return None
        self.done = spoken is None
        return spoken

    def cancel(self) -> None:
        """End the thread after the sentence it is at; nothing more comes."""
        self._abandoned.set()
        self.done = True

    def _run(self) -> None:
        try:
            for spoken in self._spoken:
                if not self._put(spoken):
                    return
        except SpeechError as error:
            self.problem = str(error)
        except Exception as error:  # a thread that dies unseen would leave the face waiting for ever
            self.problem = f"speech: expected sound, found {type(error).__name__}: {error}"
        self._put(None)

    def _put(self, spoken: SpeechAudio | None) -> bool:
        while not self._abandoned.is_set():
            try:
                self._ready.put(spoken, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False
