"""Every sentence has one purpose: to be trained on, to choose and scale a net, or to measure it."""

from splatface.models.training.speech_corpus.voices.spoken import Spoken

__all__ = [
    "HELD_OUT_LANGUAGES",
    "HELD_OUT_SENTENCES",
    "HELD_OUT_SOURCES",
    "HELD_OUT_VOICES",
    "is_test",
    "is_validation",
    "trained_on",
]

# What measures the nets is never trained on: these voices, these languages, these last English sentences.
HELD_OUT_VOICES = ("kokoro/jf_nezumi", "flite/awb")
HELD_OUT_LANGUAGES = ("it", "fi")
HELD_OUT_SOURCES = ("librivox", "cards")  # real people: the recordings of Debian's pocketsphinx-testdata
HELD_OUT_SENTENCES = 8
# What sets a net's amplitude after training, and is not trained on either.
VALIDATION_VOICES = ("flite/rms",)
VALIDATION_LANGUAGES = ("sv", "tr")


def is_test(said: Spoken) -> bool:
    """Whether a sentence is kept for measuring."""
    source = said.voice.split("/")[0]
    return said.voice in HELD_OUT_VOICES or said.language in HELD_OUT_LANGUAGES or source in HELD_OUT_SOURCES


def is_validation(said: Spoken) -> bool:
    """Whether a sentence is kept for the last step of a training."""
    chosen = said.voice in VALIDATION_VOICES or said.language in VALIDATION_LANGUAGES
    return chosen and not is_test(said)


def trained_on(said: Spoken) -> bool:
    """Whether a sentence is trained on."""
    return not (is_test(said) or is_validation(said))
