"""A film about hearing: faces side by side, a plot that runs, closures where the words say so."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from splatface.models.audio.encoder import encoder
from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.behavior.controller import HeadMotionController, MotionConfig
from splatface.models.errors import AudioError, SpeechError
from splatface.models.head.head_file import load_head
from splatface.models.render.cpu import CpuRenderer
from splatface.models.talking_head import TalkingHead
from splatface.models.training.report.encoder_comparison import (
    PLOT_HEIGHT,
    SHOWN_S,
    MouthPlot,
    PlotSample,
    comparison_format,
    render_comparison,
)
from splatface.models.training.speech_corpus.forced_alignment import align_phones, closure_at
from splatface.models.training.speech_corpus.phonemes import Phone
from splatface.models.tts.speak import engine
from splatface.models.video.video_audio import audio_from_file
from splatface.models.video.video_frames import render_frames
from splatface.models.video.video_writer import VideoFormat

FPS = Fraction(10)
needs_flite = pytest.mark.skipif(not engine("flite").voices(), reason=engine("flite").INSTALL)


@pytest.fixture(scope="module")
def talker(tiny_head):
    return TalkingHead(load_head(tiny_head), CpuRenderer(), size=(96, 64))


@pytest.fixture
def sound(tmp_path):
    import soundfile

    path = tmp_path / "sound.wav"
    time_s = np.arange(16_000) / 16_000
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * 200 * time_s) * (time_s > 0.5), 16_000)
    return path


def mouth(**modes):
    return np.array([modes.get(mode, 0.0) for mode in MOUTH_MODES], np.float32)


def test_every_encoder_has_a_face_and_it_is_the_one_of_its_own_film(talker, sound):
    film = list(render_comparison(sound, ["fsmn", "logmel"], talker, FPS))
    shape = comparison_format(VideoFormat(96, 64, FPS), 2)
    assert {frame.picture.shape for frame in film} == {(shape.height, shape.width, 3)}
    assert sum(len(frame.samples) for frame in film) == 48_000
    for number, name in enumerate(("fsmn", "logmel")):
        alone = list(
            render_frames(
                audio_from_file(sound), encoder(name), talker, HeadMotionController(MotionConfig()), FPS
            )
        )
        assert len(film) == len(alone) == 10
        for mine, its in zip(film, alone, strict=True):
            face = mine.picture[24:64, 96 * number : 96 * (number + 1)]  # below what is written on it
            np.testing.assert_array_equal(face, its.image[24:])
            np.testing.assert_array_equal(mine.sample.mouths[number], its.mouth)


def test_known_words_add_a_face_that_moves_as_they_do(talker, sound):
    phones = (Phone("m", 0.25, 0.35), Phone("a", 0.4, 0.8))
    film = list(render_comparison(sound, ["logmel"], talker, FPS, phones))
    assert film[0].picture.shape == (64 + PLOT_HEIGHT, 192, 3)
    assert [frame.sample.letter for frame in film] == ["", "", "", "m", "", "", "", "", "", ""]
    opening = [frame.sample.mouths[1][0] for frame in film]
    assert opening[6] > 0.5
    assert opening[3] < 0.1
    still, moved = film[0].picture[24:64, 96:], film[6].picture[24:64, 96:]
    assert np.abs(still.astype(int) - moved).max() > 10


def test_the_plot_runs_and_forgets():
    plot = MouthPlot(400, ["one"])
    pictures = {}
    for number in range(110):
        time_s = number / 10
        heard = mouth(press=1.0) if 5.0 <= time_s < 6.0 else mouth(open=0.5)
        pictures[time_s] = plot.add(PlotSample(time_s, -30.0, (heard,)))
    rows = {time_s: pictures[time_s][PLOT_HEIGHT - 18 - 8 + 5] for time_s in (4.5, 6.5, 10.5)}
    closed = {time_s: int((row != row[0]).any(axis=1).sum()) for time_s, row in rows.items()}
    assert closed[4.5] == closed[10.5] == 0
    assert closed[6.5] == pytest.approx(400 / SHOWN_S, abs=12)  # one second of those shown
    assert {picture.shape for picture in pictures.values()} == {(PLOT_HEIGHT, 400, 3)}


def test_lips_close_for_p_b_m_alone():
    phones = (Phone("p", 0.0, 0.1), Phone("f", 0.1, 0.2), Phone("bʰ", 0.2, 0.3), Phone("", 0.3, 0.4))
    assert [closure_at(phones, t) for t in (0.05, 0.15, 0.25, 0.35, 0.9)] == ["p", "", "b", "", ""]


@needs_flite
def test_words_are_found_in_another_voice_and_other_words_are_not(tmp_path):
    import soundfile

    from splatface.models.training.speech_corpus.forced_alignment import voice_by_name

    words = "My brother bought a map of Birmingham."
    said = voice_by_name("flite/rms")(words)
    path = tmp_path / "said.wav"
    noise = 0.005 * np.random.default_rng(0).normal(size=8000)
    soundfile.write(path, np.concatenate([noise, said.samples, noise]), 16_000)
    found = align_phones(path, words, "flite/slt")
    true = [phone.start_s + 0.5 for phone in said.phones if phone.ipa[:1] in "mbp" and phone.ipa]
    mine = [phone.start_s for phone in found if phone.ipa[:1] in "mbp" and phone.ipa]
    assert len(mine) == len(true)
    assert np.median(np.abs(np.subtract(mine, true))) < 0.04
    with pytest.raises(AudioError, match="check that --words"):
        align_phones(path, "Nothing of this kind was ever uttered here", "flite/slt")
    with pytest.raises(SpeechError):
        align_phones(path, words, "kokoro/af")


def test_a_recording_that_is_not_there(talker):
    with pytest.raises(AudioError):
        next(render_comparison(Path("absent.wav"), ["logmel"], talker, FPS))
