"""When is the face to fall silent for a person who speaks into its words."""

from splatface.models.audio.listening import UserSpeechDetector
from splatface.models.messages import NS_PER_S

__all__ = ["BargeIn"]

AGAIN_NS = NS_PER_S  # a face that did not fall silent is asked once more after this


class BargeIn:
    """Decides from what is heard; each decision is made once."""

    def __init__(self) -> None:
        self._asked: tuple[int, int] | None = None  # (utterance, when), media clock

    def due(self, listening: UserSpeechDetector, voiced_ms: float) -> bool:
        """Whether the face is to be interrupted now: it speaks, and there was so much of a person's voice."""
        if listening.person.voiced_ms < voiced_ms or not listening.face_speaks():
            return False
        utterance, time_ns = listening.face.utterance, listening.time_ns
        asked = self._asked
        if asked is not None and asked[0] == utterance and abs(time_ns - asked[1]) < AGAIN_NS:
            return False
        self._asked = utterance, time_ns
        return True
