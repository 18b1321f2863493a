"""What the face's voice sounds like now, from what it will play: how loud, around which moment."""

from collections import deque
from dataclasses import dataclass

from splatface.models.audio.voice import SILENCE_DBFS, level_dbfs
from splatface.models.messages import NS_PER_S, AudioChunk

__all__ = ["PlaybackLevelTracker"]

KEPT_NS = 3 * NS_PER_S


@dataclass(frozen=True, slots=True)
class _Piece:
    start_ns: int  # played, media clock
    end_ns: int
    level_dbfs: float
    utterance: int


class PlaybackLevelTracker:
    """Levels of the chunks of a stream, at the moments when they are played.

    A newer utterance takes back what was not played when it came.
    """

    def __init__(self) -> None:
        self.utterance = 0
        self._pieces: deque[_Piece] = deque()

    def push(self, chunk: AudioChunk, delay_ns: int, now_ns: int) -> None:
        """Take in a chunk that comes now. One of an older utterance than the newest is late: ignored.

        Args:
            chunk: of the face's voice.
            delay_ns: the speaker's presentation_delay.
            now_ns: media clock.
        """
        start_ns, end_ns = chunk.start_ns + delay_ns, chunk.end_ns + delay_ns
        last_ns = self._pieces[-1].end_ns if self._pieces else 0
        if chunk.utterance < self.utterance and start_ns < last_ns + NS_PER_S:
            return
        if chunk.utterance != self.utterance:
            self.utterance = chunk.utterance
            while self._pieces and self._pieces[-1].start_ns > now_ns:
                self._pieces.pop()
        self._pieces.append(_Piece(start_ns, end_ns, level_dbfs(chunk.samples), chunk.utterance))
        while self._pieces[0].end_ns < end_ns - KEPT_NS:
            self._pieces.popleft()

    def level_dbfs(self, begin_ns: int, end_ns: int, *, newest: bool = False) -> float:
        """The loudest chunk that is played between two moments; -100 where none is.

        Args:
            newest: only of the newest utterance.
        """
        levels = (
            piece.level_dbfs
            for piece in self._pieces
            if piece.end_ns > begin_ns and piece.start_ns < end_ns
            if not newest or piece.utterance == self.utterance
        )
        return max(levels, default=SILENCE_DBFS)
