"""Text to IPA by the program espeak-ng, with the punctuation kept where a pause belongs."""

import re
import subprocess

__all__ = ["PAUSES", "ipa_of_romaji", "ipa_of_text"]

PAUSES = ",.;:!?"
_PIECES = re.compile(r"([^,.;:!?।，。？！]+)([,.;:!?।，。？！]*)")
_WIDE = str.maketrans("।，。？！", ".,.?!")
# fmt: off
_ROMAJI = (
    ("ssh", "ɕɕ"), ("cch", "ʨʨ"), ("sh", "ɕ"), ("ch", "ʨ"), ("tts", "tʦ"), ("ts", "ʦ"), ("j", "ʥ"),
    ("f", "ɸ"), ("y", "j"), ("r", "ɾ"), ("g", "ɡ"), ("u", "ɯ"),
)
# fmt: on


def ipa_of_text(text: str, espeak_voice: str, *, tie: bool = False) -> str:
    """IPA of a text; `tie` joins the two halves of affricates and diphthongs by ^."""
    out = []
    for words, mark in _PIECES.findall(text.replace("Mr.", "Mister").replace("Mrs.", "Missis")):
        command = ["espeak-ng", "-q", "--ipa", "-v", espeak_voice, *(["--tie=^"] if tie else []), words]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        said = re.sub(r"\([^)]*\)", "", " ".join(said.split()))  # espeak marks a change of language by (en)
        out.append(said + mark.translate(_WIDE)[:1])
    return " ".join(out)


def ipa_of_romaji(text: str) -> str:
    """Japanese in Latin letters (long vowels written twice) to the IPA that Kokoro's voices know."""
    for latin, ipa in _ROMAJI:
        text = text.replace(latin, ipa)
    return re.sub(r"n(?![aieoɯj])", "ɴ", text)
