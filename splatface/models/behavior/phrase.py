"""Where phrases begin and end: stretches of speech between pauses."""

from dataclasses import dataclass

from splatface.models.behavior.accent import SPEAKING
from splatface.models.messages import NS_PER_S, AudioFrame

__all__ = ["PhraseBegin", "PhraseDetector", "PhraseEnd"]

# Stops such as p, t, k are silent for up to 120 ms: a pause is longer (Goldman-Eisler 1968 counts from 250).
PAUSE_S = 0.16
CERTAIN_S = 0.04  # a click is shorter
QUIET_DB = 22.0  # below the speaker's loud syllables
FORGET_DB_PER_S = 3.0  # how fast what is loud is forgotten
SILENT_DBFS = -60.0


@dataclass(frozen=True, slots=True)
class PhraseBegin:
    """Speech after a pause."""

    at_s: float
    pause_s: float  # how long it was silent before, at most a minute


@dataclass(frozen=True, slots=True)
class PhraseEnd:
    """A pause, known PAUSE_S after it began."""

    at_s: float  # the last sound
    length_s: float  # of the phrase


class PhraseDetector:
    """Frames in, beginnings and ends out, in turn."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget what was heard."""
        self._loud_db = SILENT_DBFS
        self._heard_s: float | None = None  # the last sound
        self._since_s: float | None = None  # sound without a pause, not yet certain
        self._begun_s: float | None = None
        self._latest_s: float | None = None

    def hear(self, frame: AudioFrame) -> PhraseBegin | PhraseEnd | None:
        """Take in the next 20 ms."""
        now_s = frame.center_ns / NS_PER_S
        step_s = 0.0 if self._latest_s is None else min(now_s - self._latest_s, 1.0)
        self._latest_s = now_s
        self._loud_db = max(self._loud_db - FORGET_DB_PER_S * step_s, SILENT_DBFS)
        voiced = frame.voice_probability >= SPEAKING
        if voiced:
            self._loud_db = max(self._loud_db, frame.level_dbfs)
        if voiced and frame.level_dbfs > self._loud_db - QUIET_DB:
            return self._sound(now_s)
        self._since_s = None
        return self._quiet(now_s)

    def _sound(self, now_s: float) -> PhraseBegin | None:
        if self._since_s is None:
            self._since_s = now_s
        if self._begun_s is not None:
            self._heard_s = now_s
            return None
        if now_s - self._since_s < CERTAIN_S - 1e-6:
            return None
        pause_s = 60.0 if self._heard_s is None else min(self._since_s - self._heard_s, 60.0)
        self._begun_s, self._heard_s = self._since_s, now_s
        return PhraseBegin(self._begun_s, pause_s)

    def _quiet(self, now_s: float) -> PhraseEnd | None:
        if self._begun_s is None or self._heard_s is None or now_s - self._heard_s < PAUSE_S - 1e-6:
            return None
        begun_s, self._begun_s = self._begun_s, None
        return PhraseEnd(self._heard_s, self._heard_s - begun_s)
