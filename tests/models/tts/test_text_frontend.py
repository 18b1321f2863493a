import pytest

from splatface.models.errors import SpeechError
from splatface.models.tts.text_frontend import MAX_TEXT, check_text, split_sentences


def cut(text):
    return [sentence.text for sentence in split_sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello. How are you? Fine!", ["Hello.", "How are you?", "Fine!"]),
        ("Dr. Smith paid $3.50 to J. R. Jones.", ["Dr. Smith paid $3.50 to J. R. Jones."]),
        ("Am 3. Mai kam Hr. Müller z.B. nach Bonn. Dann ging er.", None),
        ("He said “Yes.” Then he left…", ["He said “Yes.”", "Then he left…"]),
        ("今日は。元気ですか？はい。", ["今日は。", "元気ですか？", "はい。"]),
        ("नमस्ते। आप कैसे हैं।", ["नमस्ते।", "आप कैसे हैं।"]),
        ("هل أنت بخير؟ نعم.", ["هل أنت بخير؟", "نعم."]),
        ("¿Qué tal? ¡Muy bien!", ["¿Qué tal?", "¡Muy bien!"]),
        ("A line\n\nanother\n- first\n- second", ["A line", "another", "- first", "- second"]),
        ("Version 2.1.3 is at example.com now", ["Version 2.1.3 is at example.com now"]),
        ("No. ... !!! 🙂 Yes, see No. 5.", ["No.", "🙂 Yes, see No. 5."]),
        ("  \n word \t", ["word"]),
    ],
)
def test_sentences_of_many_languages(text, expected):
    if expected is None:
        expected = ["Am 3. Mai kam Hr. Müller z.B. nach Bonn.", "Dann ging er."]
    assert cut(text) == expected


def test_each_sentence_has_its_position():
    text = "One.\n\nTwo, three; four!  (Five?) " + "and so on, " * 60
    units = list(split_sentences(text))
    assert all(text[s.begin : s.end] == s.text for s in units)
    assert [s.last for s in units] == [False] * (len(units) - 1) + [True]


def test_nothing_but_white_space_and_marks_is_lost():
    text = "word " * 300 + "x" * 700 + ". " + "clause, " * 100
    joined = "".join(cut(text))
    assert sum(map(str.isalnum, joined)) == sum(map(str.isalnum, text))
    assert max(map(len, cut(text))) <= 220


def test_the_first_unit_is_short_where_a_comma_allows_it():
    text = "While the long sentence goes on for quite some time, the face begins early, so that nobody waits."
    assert cut(text)[0] == "While the long sentence goes on for quite some time,"
    assert len(cut("Ah, this sentence goes on for quite some time without any comma in it.")) == 1


def test_pauses_follow_the_punctuation():
    pauses = [
        s.pause_ms
        for s in split_sentences("While it goes on and on for a long time, it ends soon enough.\n\nB. C")
    ]
    clause, sentence = pauses[0], pauses[1]
    assert 0 < clause < sentence
    one, two = (s.pause_ms for s in split_sentences("One.\n\nTwo."))
    assert one > two


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "found none"),
        (" \n\t ", "found none"),
        ("?!", "a letter or a digit"),
        ("🙂🙂", "a letter or a digit"),
        ("PK\x03\x04\x00", "binary"),
        ("caf\ufffd", "binary"),
        ("a" * (MAX_TEXT + 1), "several goals"),
    ],
)
def test_unreadable_text_is_refused(text, why):
    with pytest.raises(SpeechError, match=why):
        check_text(text)


@pytest.mark.parametrize("text", ["a", "5", "日", "naïve – café… “ok”", "tab\tand\r\nline"])
def test_text_is_text(text):
    check_text(text)
