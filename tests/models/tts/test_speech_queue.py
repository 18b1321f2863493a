import threading

import numpy as np
import pytest

from splatface.models.errors import SpeechError
from splatface.models.tts.engine import SpeechAudio, Word
from splatface.models.tts.speech_queue import SpeechQueue, Synthesis, Utterance

MS = 1_000_000


def sentence(level, ms=100, pause_ms=50, last=False, word="word"):
    samples = np.concatenate([np.full(16 * ms, level, np.float32), np.zeros(16 * pause_ms, np.float32)])
    return SpeechAudio(samples, (Word(word, 0, 5, 10 * MS, ms * MS),), (), word, 10, ms * MS, last)


def running_syntheses():
    return [thread for thread in threading.enumerate() if thread.name == "synthesis"]


def wait_for_synthesis(seconds):
    for thread in running_syntheses():
        thread.join(seconds)


def utterance_of(*sentences, length=10):
    """Return an utterance whose sentences are all ready."""
    utterance = Utterance(Synthesis(iter(sentences)), length)
    utterance.synthesis.start()
    wait_for_synthesis(0.3)
    return utterance


def test_sentences_follow_each_other_to_the_sample():
    speech_queue = SpeechQueue()
    speech_queue.add(utterance_of(sentence(0.1), sentence(0.2, last=True)))
    speech_queue.add(utterance_of(sentence(0.3, last=True)))
    sound = np.concatenate([speech_queue.take(320, start * 20 * MS) for start in range(40)])
    expected = np.concatenate([sentence(level).samples for level in (0.1, 0.2, 0.3)])
    np.testing.assert_array_equal(sound[: len(expected)], expected)
    assert not sound[len(expected) :].any()
    assert speech_queue.gaps == 0
    assert not speech_queue.utterances


def test_words_start_and_the_utterance_ends_on_time():
    speech_queue, utterance = SpeechQueue(), utterance_of(sentence(0.1), sentence(0.2, last=True))
    speech_queue.add(utterance)
    for start in range(15):
        speech_queue.take(320, 1000 * MS + start * 20 * MS)
    assert utterance.start_ns == 1000 * MS
    assert utterance.pop_started_words(1009 * MS) == []
    assert [(h.word, h.progress) for h in utterance.pop_started_words(1010 * MS)] == [("word", 0.5)]
    assert not utterance.is_finished(1249 * MS)
    assert len(utterance.pop_started_words(1300 * MS)) == 1
    assert utterance.is_finished(1250 * MS)  # two sentences of 100 ms, a pause of 50 ms between
    assert utterance.played_s(1120 * MS) == pytest.approx(0.12)
    assert utterance.played_s(9999 * MS) == pytest.approx(0.25)


def test_a_dropped_utterance_gives_no_further_sample_and_the_next_begins():
    speech_queue, first, second = (
        SpeechQueue(),
        utterance_of(sentence(0.1, ms=900)),
        utterance_of(sentence(0.2, last=True)),
    )
    speech_queue.add(first)
    speech_queue.add(second)
    assert (speech_queue.take(320, 0) == np.float32(0.1)).all()
    speech_queue.drop(first)
    assert (speech_queue.take(320, 20 * MS) == np.float32(0.2)).all()
    speech_queue.drop(second)
    assert not speech_queue.take(320, 40 * MS).any()


def test_a_text_that_is_not_ready_gives_silence_and_a_gap_is_counted_once():
    ready = threading.Event()

    def slow():
        yield sentence(0.1, pause_ms=0)
        ready.wait(5)
        yield sentence(0.2, last=True)

    speech_queue = SpeechQueue()
    utterance = Utterance(Synthesis(slow()), 10)
    speech_queue.add(utterance)
    while not speech_queue.take(320, 0).any():
        pass
    for _ in range(20):
        sound = speech_queue.take(320, 0)
    assert not sound.any()
    assert speech_queue.gaps == 1
    ready.set()
    while not speech_queue.take(320, 0).any():
        pass
    assert speech_queue.gaps == 1


def test_a_failing_engine_ends_the_utterance_with_the_reason():
    def failing():
        yield sentence(0.1)
        raise SpeechError("engine: expected sound, found none")

    utterance = Utterance(Synthesis(failing()), 10)
    speech_queue = SpeechQueue()
    speech_queue.add(utterance)
    while not utterance.synthesis.done:
        speech_queue.take(320, 0)
    assert utterance.synthesis.problem == "engine: expected sound, found none"
    assert utterance.is_finished(10_000 * MS)


def test_a_bug_in_an_engine_ends_the_synthesis():
    def broken():
        yield sentence(0.1)
        raise ZeroDivisionError("oops")

    synthesis = Synthesis(broken())
    while not synthesis.done:
        synthesis.take()
    assert "ZeroDivisionError: oops" in synthesis.problem


def test_memory_is_bounded_and_a_canceled_thread_ends():
    made = []

    def endless():
        while True:
            made.append(0)
            yield sentence(0.1)

    synthesis = Synthesis(endless())
    synthesis.start()
    wait_for_synthesis(0.3)
    assert len(made) <= 5
    synthesis.cancel()
    wait_for_synthesis(5)
    assert not running_syntheses()
    assert synthesis.take() is None


def test_only_two_texts_are_synthesized_at_a_time():
    started = []

    def text(index):
        started.append(index)
        yield sentence(0.1, last=True)

    speech_queue = SpeechQueue()
    utterances = [Utterance(Synthesis(text(index)), 10) for index in range(4)]
    for utterance in utterances:
        speech_queue.add(utterance)
    wait_for_synthesis(5)
    assert sorted(started) == [0, 1]
    speech_queue.drop(utterances[0])
    wait_for_synthesis(5)
    assert sorted(started) == [0, 1, 2]
