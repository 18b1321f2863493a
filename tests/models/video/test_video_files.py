"""From sound to a decoded film: every picture and every sample stands where it belongs."""

import math
import resource
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile

from splatface.models.audio.audio_file import read_sound
from splatface.models.audio.encoder import encoder
from splatface.models.behavior.controller import HeadMotionController, MotionConfig
from splatface.models.errors import AudioError, SpeechError, VideoError
from splatface.models.head.head_file import load_head
from splatface.models.messages import AudioChunk
from splatface.models.provenance.watermark import detect
from splatface.models.render.cpu import CpuRenderer
from splatface.models.talking_head import TalkingHead
from splatface.models.tts.speak import engine
from splatface.models.video.video_audio import (
    VIDEO_HZ,
    Sound,
    audio_from_file,
    audio_from_text,
    resample_for_video_and_encoder,
)
from splatface.models.video.video_frames import render_frames
from splatface.models.video.video_writer import VideoFileWriter, VideoFormat, metadata_tags

pytestmark = pytest.mark.slow

av = pytest.importorskip("av")
GREETING = Path(__file__).parents[3] / "launch" / "sounds" / "greeting.flac"
SECONDS = 3.0
FPS = Fraction(25)


@pytest.fixture(scope="module")
def talker(tiny_head):
    return TalkingHead(load_head(tiny_head), CpuRenderer(), size=(256, 256))


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """3 s of speech at 48 kHz, in stereo, of which a click in the left channel is 2.345 s from the start."""
    samples, rate = soundfile.read(GREETING, dtype="float32", always_2d=True)
    import soxr

    mono = soxr.resample(samples.mean(axis=1), rate, VIDEO_HZ)[: round(SECONDS * VIDEO_HZ)].astype(np.float32)
    path = tmp_path_factory.mktemp("film") / "speech.wav"
    soundfile.write(path, np.stack([0.5 * mono, 0.5 * mono], 1), VIDEO_HZ, subtype="FLOAT")
    return path


def shot(sound, talker, fps=FPS, seed=3):
    return render_frames(sound, encoder("fsmn"), talker, HeadMotionController(MotionConfig(seed=seed)), fps)


@pytest.fixture(scope="module")
def taken(speech, talker):
    return list(shot(audio_from_file(speech), talker))


@pytest.mark.parametrize("fps", [Fraction(24), Fraction(30000, 1001), Fraction(60)])
def test_a_longer_sound_is_a_longer_film_to_the_frame(talker, fps):
    for count in (1, 799, 48_000, 48_001, 51_200):
        blocks = iter([(np.full((count, 1), 0.1, np.float32), 1.0)])
        film = list(shot(Sound(VIDEO_HZ, 1, blocks), talker, fps))
        assert len(film) == math.ceil(count * fps / VIDEO_HZ)
        assert sum(len(moment.samples) for moment in film) == count


def test_every_picture_is_the_one_a_live_face_shows_at_its_time(taken, speech, talker):
    # Heard at once here, in steps there; drawn here in any order.
    chunk = AudioChunk(np.concatenate([read_sound(speech), np.zeros(16_000, np.float32)]), 16_000, 0)
    frames = encoder("fsmn").push(chunk)
    controller = HeadMotionController(MotionConfig(seed=3))
    for frame in frames:
        controller.push_speech(frame, frame.center_ns)
    assert len(taken) == 75
    for index in (0, 1, 17, 33, 52, 74):
        time_ns = index * 40_000_000
        near = [frame for frame in frames if abs(frame.center_ns - time_ns) < 10**9]
        expected = talker.render(near, controller.control_at(time_ns), time_ns)
        np.testing.assert_array_equal(taken[index].image, expected)


def test_how_the_sound_was_cut_changes_nothing(taken, speech, talker):
    whole, _ = soundfile.read(speech, dtype="float32", always_2d=True)
    for size in (len(whole), 7_001):
        cuts = (
            (whole[at : at + size], min(at + size, len(whole)) / len(whole))
            for at in range(0, len(whole), size)
        )
        film = list(shot(Sound(VIDEO_HZ, 2, cuts), talker))
        np.testing.assert_array_equal([m.image for m in film[::9]], [m.image for m in taken[::9]])
        np.testing.assert_array_equal(np.concatenate([m.samples for m in film]), whole)
        assert [m.fraction for m in film] == sorted(m.fraction for m in film)
        assert film[-1].fraction == pytest.approx(1.0)


def rgb(frame):
    """By the definition of BT.709: swscale's quick way makes pictures two levels darker."""
    assert (frame.format.name, int(frame.colorspace), int(frame.color_range)) == ("yuv420p", 1, 1)
    planes, height, width = frame.to_ndarray().astype(float), frame.height, frame.width
    chroma = planes[height:].reshape(2, height // 2, width // 2).repeat(2, axis=1).repeat(2, axis=2)
    y, (blue, red) = (planes[:height] - 16) / 219, (chroma - 128) / 224
    r, b = y + 1.5748 * red, y + 1.8556 * blue
    image = np.stack([r, (y - 0.2126 * r - 0.0722 * b) / 0.7152, b], -1)
    return np.clip(np.rint(255 * image), 0, 255).astype(np.uint8)


def opening(pictures):
    """How far the mouth is open, as the darkness of the lips' middle."""
    stack = np.array(pictures)[:, 155:181, 107:149].astype(float)
    return -stack.mean(axis=(1, 2, 3))


def lag_of(signal, reference):
    """By how many (fractional) pictures `signal` is late."""
    a, b = signal - signal.mean(), reference - reference.mean()
    score = [np.dot(np.roll(b, k), a) for k in range(-4, 5)]
    best = int(np.argmax(score[1:-1])) + 1
    left, middle, right = score[best - 1 : best + 2]
    return best - 4 + 0.5 * (left - right) / (left - 2 * middle + right)


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_picture_and_sound_stand_where_they_belong_in_the_decoded_film(taken, talker, tmp_path, suffix):
    path = tmp_path / f"film{suffix}"
    clicks = (37_123, 112_560)
    with VideoFileWriter(path, VideoFormat(256, 256, FPS), 2, metadata_tags(talker.head.info)) as film:
        at = 0
        for moment in taken:
            samples = np.zeros_like(moment.samples)
            for click in clicks:
                if at <= click < at + len(samples):
                    samples[click - at] = 0.9
            film.add(moment.image, samples)
            at += len(samples)
    with av.open(str(path)) as decoded:
        shown = [(frame.time, rgb(frame)) for frame in decoded.decode(video=0)]
        metadata = {key.lower(): value for key, value in decoded.metadata.items()}
        assert decoded.duration == pytest.approx(SECONDS * 1e6, abs=25_000)
    with av.open(str(path)) as decoded:
        heard = [(frame.time, frame.to_ndarray()) for frame in decoded.decode(audio=0)]
    np.testing.assert_allclose([time for time, _ in shown], np.arange(75) / 25, atol=0.0006)
    assert abs(lag_of(opening([image for _, image in shown]), opening([m.image for m in taken]))) < 0.15
    error = np.array([image for _, image in shown]).astype(float) - [moment.image for moment in taken]
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 33
    assert np.abs(error.mean(axis=(0, 1, 2))).max() < 0.7  # colors keep their place
    sound = np.concatenate([values[0] for _, values in heard], axis=-1)
    first = round(heard[0][0] * VIDEO_HZ)
    for click in clicks:
        around = np.abs(sound[click - first - 2000 : click - first + 2000])
        assert abs(int(np.argmax(around)) - 2000) <= 1
    assert np.mean([detect(image).found for _, image in shown]) > 0.9
    assert "synthetic" in metadata["title"]
    assert "trainedAlgorithmicMedia" in metadata["comment"]
    assert list(tmp_path.iterdir()) == [path]


def test_the_same_film_again_byte_for_byte(taken, tmp_path):
    for name in ("a.mp4", "b.mp4"):
        with VideoFileWriter(tmp_path / name, VideoFormat(256, 256, FPS), 2, {"title": "x"}) as film:
            for moment in taken[:20]:
                film.add(moment.image, moment.samples)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_a_film_that_is_given_up_leaves_nothing_and_keeps_the_old_one(taken, tmp_path):
    path = tmp_path / "film.mp4"
    path.write_bytes(b"an older film")

    def give_up():
        with VideoFileWriter(path, VideoFormat(256, 256, FPS), 2, {}) as film:
            film.add(taken[0].image, taken[0].samples)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        give_up()
    with VideoFileWriter(path, VideoFormat(256, 256, FPS), 2, {}):
        pass  # no picture, no film
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"an older film"


def test_what_cannot_be_written_says_why(tmp_path, monkeypatch):
    shape = VideoFormat(256, 256, FPS)
    with pytest.raises(VideoError, match=r"expected a name that ends in \.mp4 or \.webm"):
        VideoFileWriter(tmp_path / "film.avi", shape, 1, {})
    with pytest.raises(VideoError, match="expected a file in a folder that is there"):
        VideoFileWriter(tmp_path / "nowhere" / "film.mp4", shape, 1, {})
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(VideoError, match=r"pip install splatface\[film\]"):
        VideoFileWriter(tmp_path / "film.mp4", shape, 1, {})
    assert not list(tmp_path.iterdir())


FULL = """
import resource, signal, sys
from fractions import Fraction
from pathlib import Path
import numpy as np
from splatface.models.errors import VideoError
from splatface.models.video.video_writer import VideoFormat
from splatface.models.video.video_writer import VideoFileWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
noise = np.random.default_rng(0)
try:
    with VideoFileWriter(Path(sys.argv[1]), VideoFormat(256, 256, Fraction(25)), 1, {}) as film:
        for _ in range(200):
            film.add(noise.integers(0, 255, (256, 256, 3), dtype=np.uint8), np.zeros((1920, 1), np.float32))
except VideoError as error:
    print(error)
"""


def test_a_full_disk_is_one_clear_line_and_leaves_nothing(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "film.mp4")], capture_output=True, text=True, timeout=100
    )
    assert result.returncode == 0, result.stderr
    assert "film.mp4: expected to write a film, found: " in result.stdout
    assert "free space" in result.stdout
    assert not list(tmp_path.iterdir())


def test_the_two_rates_of_a_sound_are_one_line(tmp_path):
    rng = np.random.default_rng(0)
    samples = np.cumsum(rng.normal(size=(44_100, 3)), axis=0).astype(np.float32) / 1000
    soundfile.write(tmp_path / "three.wav", samples, 44_100, subtype="FLOAT")
    sound = audio_from_file(tmp_path / "three.wav")
    assert (sound.rate_hz, sound.channels) == (44_100, 1)
    pieces = list(resample_for_video_and_encoder(sound))
    film = np.concatenate([piece.video_samples for piece in pieces])
    heard = np.concatenate([piece.encoder_samples for piece in pieces])
    assert film.shape == (48_000, 1)
    np.testing.assert_array_equal(heard, read_sound(tmp_path / "three.wav"))
    np.testing.assert_allclose(film[3000:-3000:3, 0], heard[1000:-1000], atol=2e-3)


def test_what_cannot_be_heard_or_said_is_refused_before_the_film(tmp_path):
    with pytest.raises(AudioError, match="found nothing there"):
        audio_from_file(tmp_path / "none.wav")
    with pytest.raises(SpeechError):
        audio_from_text("...")


@pytest.mark.skipif(not engine("flite").voices(), reason=engine("flite").INSTALL)
def test_a_text_begins_and_ends_at_rest():
    blocks = list(audio_from_text("One. Two. Three.", "flite/slt").blocks)
    assert not blocks[0][0].any()
    assert not blocks[-1][0].any()
    shares = [share for _, share in blocks]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_memory_does_not_grow_with_the_film(talker):
    def blocks():
        for index in range(40):
            yield np.full((VIDEO_HZ, 1), 0.1, np.float32), (index + 1) / 40

    peaks = []
    for index, _ in enumerate(shot(Sound(VIDEO_HZ, 1, blocks()), talker, Fraction(5))):
        if index in (50, 199):
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # KiB
    assert peaks[1] - peaks[0] < 3_000
