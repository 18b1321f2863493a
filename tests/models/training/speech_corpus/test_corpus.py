import itertools
import shutil

import numpy as np
import pytest

from splatface.models.errors import TrainingError
from splatface.models.training.audio_to_mouth import encoded_clips
from splatface.models.training.audio_to_mouth.encoded_clips import (
    Clips,
    corpus_clips,
    delay_modes,
    train_and_validation_clips,
)
from splatface.models.training.speech_corpus.augmentation import simulate_nonspeech, simulate_recording
from splatface.models.training.speech_corpus.corpus import (
    is_test,
    is_training,
    is_validation,
    read_sentence,
    write_sentence,
)
from splatface.models.training.speech_corpus.corpus_voices import phones_from_durations, trim_pauses
from splatface.models.training.speech_corpus.phonemes import LabeledSpeech, Phone, is_vowel
from splatface.models.training.speech_corpus.sentences import SENTENCES
from splatface.models.tts.text_frontend import romaji_to_ipa

needs_espeak = pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")
needs_flite = pytest.mark.skipif(not shutil.which("flite"), reason="flite is not installed")


def tone_speech(voice="test/tone"):
    """Half a second of sound, then half a second of nothing, all of it called a."""
    t = np.arange(16000) / 16000
    sound = 0.5 * np.sin(2 * np.pi * 220 * t) * (t < 0.5)
    return LabeledSpeech(sound.astype(np.float32), (Phone("a", 0.0, 1.0),), voice, "en")


def test_pauses_are_trimmed_by_level():
    (phone,) = trim_pauses(tone_speech()).phones
    assert phone.start_s == 0
    assert phone.end_s == pytest.approx(0.5, abs=0.02)


def test_phones_follow_the_speed_of_a_simulated_recording():
    rng = np.random.default_rng(3)
    for _ in range(20):
        said = trim_pauses(tone_speech())
        there = simulate_recording(said, [said], rng)
        start, end = (round(x * 16000) for x in (there.phones[0].start_s, there.phones[0].end_s))
        inside = np.square(there.samples[start:end]).mean()
        assert inside > 2 * np.square(there.samples[: max(start - 800, 1)]).mean()
        assert np.abs(there.samples).max() <= 1


def test_simulated_nonspeech_has_no_phones_and_is_finite():
    rng = np.random.default_rng(0)
    for _ in range(20):
        clip = simulate_nonspeech(1.0, [tone_speech()], rng)
        assert clip.phones == ()
        assert len(clip.samples) == 16000
        assert np.isfinite(clip.samples).all()


def test_a_written_sentence_reads_back(tmp_path):
    write_sentence(tmp_path, "test_00007", tone_speech())
    back = read_sentence(tmp_path / "test_00007.npz")
    assert back.phones == tone_speech().phones
    assert back.voice == "test/tone"
    assert np.allclose(back.samples, tone_speech().samples, atol=1e-4)


def test_held_out_voices_are_known():
    assert is_test(tone_speech("flite/awb"))
    assert is_test(tone_speech("librivox/austen"))
    assert not is_test(tone_speech())


@pytest.mark.parametrize("voice", ["flite/awb", "flite/rms", "flite/slt", "test/tone"])
def test_every_sentence_is_in_one_split(voice):
    said = tone_speech(voice)
    assert is_test(said) + is_validation(said) + is_training(said) == 1


def test_encoded_clips_are_cached(tmp_path):
    write_sentence(tmp_path, "a", tone_speech())
    write_sentence(tmp_path, "b", tone_speech("flite/rms"))
    clips, validation = train_and_validation_clips(tmp_path, "logmel", copies=1)
    assert clips.values.shape[1] == 120
    assert len(validation.starts) >= 2
    again, _ = train_and_validation_clips(tmp_path, "logmel", copies=1, extractor=not_called)
    assert np.array_equal(again.values, clips.values)


def not_called(encoder, samples):
    raise AssertionError("encoded again")


def test_an_interrupted_encoding_continues_with_the_missing_part(tmp_path, monkeypatch):
    monkeypatch.setattr(encoded_clips, "SENTENCES_PER_FILE", 2)
    for i in range(5):
        write_sentence(tmp_path, f"{i}", tone_speech())
    whole = corpus_clips(tmp_path, "logmel", "train", copies=1)
    for path in (tmp_path / "heard").glob("*_001_2.npz"):
        path.unlink()
    output = []
    again = corpus_clips(tmp_path, "logmel", "train", copies=1, report=output.append)
    assert output == ["logmel: encoded 4 of 5 sentences to train with"]
    assert np.array_equal(again.values, whole.values)
    assert np.array_equal(again.starts, whole.starts)
    assert len(whole.values) == whole.starts[-1] == len(whole.modes)


def test_fewer_copies_are_the_beginning_of_more(tmp_path, monkeypatch):
    monkeypatch.setattr(encoded_clips, "SENTENCES_PER_FILE", 2)
    for i in range(4):
        write_sentence(tmp_path, f"{i}", tone_speech())
    half = corpus_clips(tmp_path, "logmel", "train", copies=0.5)
    more = corpus_clips(tmp_path, "logmel", "train", copies=1)
    assert np.array_equal(more.values[: len(half.values)], half.values)


def test_an_empty_corpus_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="splatface hear data"):
        train_and_validation_clips(tmp_path, "logmel", copies=1)


def test_modes_are_delayed_within_each_clip():
    modes = np.arange(10, dtype=np.float32)[:, None]
    clips = Clips("x", np.zeros((10, 1), np.float16), modes, np.array([0, 6, 10]))
    assert delay_modes(clips, 2).modes[:, 0].tolist() == [0, 0, 0, 1, 2, 3, 6, 6, 6, 7]
    assert np.array_equal(delay_modes(clips, 0).modes, modes)


def test_durations_become_phones():
    phones = phones_from_durations(["$", "h", "ˈ", "I", "ː", " ", "t", "."], np.full(8, 0.1))
    assert [phone.ipa for phone in phones] == ["", "h", "a", "ɪ", "t", ""]
    assert phones[1].end_s == pytest.approx(0.3)  # the stress mark's time
    assert phones[2].stress > 1
    assert phones[3].end_s == pytest.approx(0.6)  # length mark and seam
    assert all(a.end_s == pytest.approx(b.start_s) for a, b in itertools.pairwise(phones))


def test_romaji():
    assert romaji_to_ipa("shinbun") == "ɕiɴbɯɴ"
    assert romaji_to_ipa("chotto matte") == "ʨotto matte"


def test_ten_languages_and_no_empty_sentence():
    assert len(SENTENCES) >= 10
    assert all(len(text) > 5 for texts in SENTENCES.values() for text in texts)


@needs_espeak
@pytest.mark.parametrize("language", ["en-us", "de", "fr"])
def test_espeak_vowel_times_match_the_level(language):
    from splatface.models.training.speech_corpus.corpus_voices import synthesize_espeak

    louder_in_vowels(synthesize_espeak("Paula Baba Mama", language))


@needs_flite
def test_flite_vowel_times_match_the_level():
    from splatface.models.training.speech_corpus.corpus_voices import synthesize_flite

    louder_in_vowels(synthesize_flite("Bob bought a ball. My mother sat.", "rms"))


def louder_in_vowels(said):
    vowels, others = [], []
    for phone in said.phones:
        span = said.samples[round(phone.start_s * 16000) : round(phone.end_s * 16000)]
        if phone.ipa and len(span):
            (vowels if is_vowel(phone.ipa) else others).append(np.square(span).mean())
    assert len(vowels) >= 5
    assert np.mean(vowels) > 1.5 * np.mean(others)
    assert said.phones[-1].end_s == pytest.approx(len(said.samples) / 16000, abs=0.3)
