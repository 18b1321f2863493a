"""Text to IPA by the program espeak-ng, with the punctuation kept where a pause belongs."""

import re
import subprocess
from dataclasses import dataclass

from splatface.models.errors import SpeechError
from splatface.models.tts.sentences import is_full_stop

__all__ = ["PAUSES", "Phrase", "ipa_of_romaji", "ipa_of_text", "phrases"]

PAUSES = ",.;:!?"
_MARK = re.compile(r"(?:[,.;:!?…]+(?=\W|$)|[।，。？！、；：]+)")
_WIDE = str.maketrans("।，。？！、；：…", ".,.?!,;:.")
# fmt: off
_ROMAJI = (
    ("ssh", "ɕɕ"), ("cch", "ʨʨ"), ("sh", "ɕ"), ("ch", "ʨ"), ("tts", "tʦ"), ("ts", "ʦ"), ("j", "ʥ"),
    ("f", "ɸ"), ("y", "j"), ("r", "ɾ"), ("g", "ɡ"), ("u", "ɯ"),
)
# fmt: on


@dataclass(frozen=True, slots=True)
class Phrase:
    """What stands between two pauses."""

    ipa: str  # words parted by spaces
    mark: str  # the punctuation behind it, one of PAUSES or ""
    begin: int  # in the text, characters
    end: int


def phrases(text: str, espeak_voice: str, *, tie: bool = False) -> list[Phrase]:
    """The phrases of a text; `tie` joins the two halves of affricates and diphthongs by ^.

    Raises:
        SpeechError: when the program espeak-ng is absent or refuses.
    """
    out, begin = [], 0
    for found in [*_MARK.finditer(text), None]:
        end = found.start() if found else len(text)
        mark = found.group().translate(_WIDE) if found else ""
        if mark == "." and not is_full_stop(text, end):
            continue
        if any(letter.isalnum() for letter in text[begin:end]):
            out.append(Phrase(_ipa(text[begin:end], espeak_voice, tie), mark[:1], begin, end))
        begin = found.end() if found else end
    return out


def _ipa(words: str, espeak_voice: str, tie: bool) -> str:
    # On stdin, because a text may begin with a dash.
    command = ["espeak-ng", "-q", "--ipa", "-v", espeak_voice, "--stdin", *(["--tie=^"] if tie else [])]
    try:
        done = subprocess.run(command, input=words.encode(), capture_output=True, check=True)
    except FileNotFoundError:
        raise SpeechError(
            "expected the program espeak-ng, which reads text for this voice, found none: "
            "apt-get install espeak-ng"
        ) from None
    except subprocess.CalledProcessError as error:
        raise SpeechError(f"espeak-ng: {error.stderr.decode(errors='replace').strip()}") from None
    # espeak marks a change of language by (en)
    return re.sub(r"\([^)]*\)", "", " ".join(done.stdout.decode().split()))


def ipa_of_text(text: str, espeak_voice: str, *, tie: bool = False) -> str:
    """IPA of a text with its punctuation."""
    return " ".join(phrase.ipa + phrase.mark for phrase in phrases(text, espeak_voice, tie=tie))


def ipa_of_romaji(text: str) -> str:
    """Japanese in Latin letters (long vowels written twice) to the IPA that Kokoro's voices know."""
    for latin, ipa in _ROMAJI:
        text = text.replace(latin, ipa)
    return re.sub(r"n(?![aieoɯj])", "ɴ", text)
