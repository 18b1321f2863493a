import numpy as np
import pytest

from splatface.models.training.speech_corpus.sentences import HELD_OUT_SENTENCES, SENTENCES, pseudo_sentence


@pytest.mark.parametrize("language", sorted(SENTENCES))
def test_every_language_has_pseudo_sentences(language):
    rng = np.random.default_rng(1)
    said = [pseudo_sentence(language, rng) for _ in range(20)]
    assert len(set(said)) > 10
    letters = set("".join(SENTENCES[language]).lower()) | set(".,?，。 ")
    assert set("".join(said).lower()) <= letters


def test_pseudo_sentences_are_deterministic_for_a_seed():
    one, other = (pseudo_sentence("en", np.random.default_rng(7)) for _ in range(2))
    assert one == other


def test_pseudo_sentences_have_no_held_out_words():
    def words(sentences):
        return {word.strip(".,;:!?").lower() for text in sentences for word in text.split()}

    english = SENTENCES["en"]
    hidden = words(english[-HELD_OUT_SENTENCES:]) - words(english[:-HELD_OUT_SENTENCES])
    hidden = {word for word in hidden if len(word) > 6}
    rng = np.random.default_rng(2)
    said = words(pseudo_sentence("en", rng) for _ in range(500))
    assert hidden
    assert not hidden & said
