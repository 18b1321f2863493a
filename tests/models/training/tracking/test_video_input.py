"""Videos of any rate become upright frames at a fixed rate, HDR becomes SDR, audio keeps its time."""

from itertools import islice

import av
import numpy as np
import pytest
import soundfile
from clips import RATE, at_rate, gray_steps, number_of, write_film

from splatface.models.errors import TrackingError
from splatface.models.training.tracking.video_input import (
    hdr_to_sdr,
    iter_frames,
    probe_video,
    read_audio,
    target_fps,
)


def read_frames(path, **options):
    info = probe_video(path)
    return info, list(iter_frames(path, info, target_fps(info), **options))


@pytest.mark.parametrize("fps", [15.0, 25.0, 30000 / 1001, 30.0])
def test_a_fixed_rate_is_kept_and_every_picture_with_it(tmp_path, fps):
    info, frames = read_frames(write_film(tmp_path / "clip.mp4", gray_steps(30), at_rate(30, fps)))
    assert not info.variable_rate
    assert target_fps(info) == pytest.approx(fps, abs=0.01)
    assert [number_of(frame.image) for frame in frames] == list(range(30))
    assert max(abs(frame.time_error_s) for frame in frames) < 0.002
    assert info.duration_s == pytest.approx(30 / fps, abs=0.01)


def test_of_fifty_pictures_a_second_every_other_one_is_kept(tmp_path):
    info, frames = read_frames(write_film(tmp_path / "clip.mp4", gray_steps(40), at_rate(40, 50.0)))
    assert target_fps(info) == pytest.approx(25.0, abs=0.01)
    assert [number_of(frame.image) for frame in frames] == list(range(0, 40, 2))


def test_a_variable_rate_is_resampled_by_time(tmp_path):
    rng = np.random.default_rng(0)
    times_s = np.cumsum(rng.uniform(0.015, 0.06, 50))
    times_s[30:] += 0.3  # a stall
    times_s -= times_s[0]
    info, frames = read_frames(write_film(tmp_path / "clip.mkv", gray_steps(50), times_s))
    assert info.variable_rate
    fps = target_fps(info)
    assert fps in (25.0, 30.0)
    for frame in frames:
        nearest = np.abs(times_s - frame.index / fps).min()
        assert abs(times_s[number_of(frame.image)] - frame.index / fps) <= nearest + 0.002
    stalled = [frame.index / fps for frame in frames if frame.repeated]
    assert any(times_s[29] < at < times_s[30] for at in stalled)


def test_times_count_from_the_first_picture(tmp_path):
    path = write_film(tmp_path / "clip.mkv", gray_steps(20), [3.0 + t for t in at_rate(20, 25.0)])
    _, frames = read_frames(path)
    assert [frame.index for frame in frames] == list(range(20))
    assert number_of(frames[0].image) == 0


@pytest.mark.parametrize(
    ("rotation_deg", "corner"), [(0, (0, 0)), (-90, (0, -1)), (180, (-1, -1)), (90, (-1, 0))]
)
def test_a_rotated_film_is_set_upright(tmp_path, rotation_deg, corner):
    picture = np.full((64, 96, 3), 40, np.uint8)
    picture[:20, :20] = 230  # in the corner at the top left, as the sensor sees it
    path = write_film(tmp_path / "clip.mp4", [picture] * 5, at_rate(5, 25.0), rotation_deg=rotation_deg)
    info, frames = read_frames(path)
    sideways = rotation_deg % 180 != 0
    assert (info.width, info.height) == ((64, 96) if sideways else (96, 64))
    assert frames[0].image.shape == (info.height, info.width, 3)
    assert frames[0].image[corner][0] > 200
    assert (frames[0].image > 200).mean() < 0.1


def test_beginning_later_gives_the_same_pictures(tmp_path):
    path = write_film(tmp_path / "clip.mp4", gray_steps(50), at_rate(50, 25.0))
    info = probe_video(path)
    later = list(iter_frames(path, info, 25.0, first=33))
    assert [frame.index for frame in later] == list(range(33, 50))
    assert [number_of(frame.image) for frame in later] == list(range(33, 50))


def test_only_wanted_frames_are_converted(tmp_path):
    path = write_film(tmp_path / "clip.mp4", gray_steps(30), at_rate(30, 25.0))
    frames = iter_frames(path, probe_video(path), 25.0, wanted={3, 17}.__contains__)
    assert [number_of(frame.image) for frame in frames] == [3, 17]


def test_a_large_film_is_scaled_down_while_it_is_read(tmp_path):
    large = np.full((2160, 3840, 3), 90, np.uint8)
    path = write_film(tmp_path / "clip.mp4", [large] * 2, at_rate(2, 25.0))
    info = probe_video(path)
    assert (info.width, info.height) == (3840, 2160)
    (first,) = islice(iter_frames(path, info, 25.0, max_side_px=640), 1)
    assert first.image.shape == (360, 640, 3)


def test_red_stays_red_in_high_definition(tmp_path):
    red = np.zeros((720, 1280, 3), np.uint8)
    red[...] = (200, 30, 30)
    path = write_film(tmp_path / "clip.mp4", [red] * 2, at_rate(2, 25.0))
    (first,) = islice(iter_frames(path, probe_video(path), 25.0), 1)
    # Written as BT.601 and untagged; read as BT.709, as players do, reds shift a little but stay red.
    assert first.image.reshape(-1, 3).mean(axis=0) == pytest.approx([200, 30, 30], abs=40)


def test_a_film_cut_off_ends_early(tmp_path):
    rng = np.random.default_rng(1)
    noise = [rng.integers(0, 255, (96, 128, 3), np.uint8) for _ in range(50)]
    path = write_film(tmp_path / "clip.mkv", noise, at_rate(50, 25.0))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    info, frames = read_frames(path)
    assert 10 < len(frames) < 40
    assert info.frame_count < 40


@pytest.mark.parametrize("share", [0.0, 0.1, 0.9])
def test_a_file_without_its_index_is_refused_in_words(tmp_path, share):
    path = write_film(tmp_path / "clip.mp4", gray_steps(10), at_rate(10, 25.0))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(TrackingError, match="cannot be read"):
        probe_video(path)


def test_what_is_no_film_is_refused_in_words(tmp_path):
    text = tmp_path / "clip.mp4"
    text.write_text("a letter\n" * 100)
    with pytest.raises(TrackingError, match="expected a video file"):
        probe_video(text)
    with pytest.raises(TrackingError, match="found none"):
        probe_video(tmp_path / "missing.mp4")
    with pytest.raises(TrackingError, match="expected a video file"):
        probe_video(tmp_path)


def click(at_s, seconds):
    sound = np.zeros(round(seconds * RATE), np.float32)
    sound[round(at_s * RATE) : round(at_s * RATE) + 32] = 0.8
    return sound


def click_time_s(sound):
    return float(np.argmax(np.abs(sound) > 0.3)) / RATE


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_click_is_heard_when_it_was_made(tmp_path, suffix):
    path = write_film(tmp_path / f"clip{suffix}", gray_steps(50), at_rate(50, 25.0), sound=click(1.2, 2.0))
    sound = read_audio(path, probe_video(path))
    assert click_time_s(sound) == pytest.approx(1.2, abs=0.004)
    assert len(sound) == pytest.approx(2.0 * RATE, abs=700)


def test_sound_that_begins_later_stays_later(tmp_path):
    path = write_film(
        tmp_path / "clip.mkv", gray_steps(50), at_rate(50, 25.0), sound=click(0.2, 1.0), sound_from_s=0.5
    )
    sound = read_audio(path, probe_video(path))
    assert click_time_s(sound) == pytest.approx(0.7, abs=0.004)
    assert np.abs(sound[: round(0.4 * RATE)]).max() < 1e-3
    assert len(sound) == pytest.approx(2.0 * RATE, abs=700)


def test_pictures_that_begin_later_take_sound_away(tmp_path):
    path = write_film(
        tmp_path / "clip.mkv", gray_steps(25), [0.4 + t for t in at_rate(25, 25.0)], sound=click(0.9, 1.6)
    )
    assert click_time_s(read_audio(path, probe_video(path))) == pytest.approx(0.5, abs=0.004)


def test_a_film_without_sound_has_none(tmp_path):
    path = write_film(tmp_path / "clip.mp4", gray_steps(10), at_rate(10, 25.0))
    info = probe_video(path)
    assert not info.has_sound
    assert read_audio(path, info) is None


def test_a_song_without_pictures_is_no_film(tmp_path):
    soundfile.write(tmp_path / "song.wav", click(0.5, 1.0), RATE)
    with pytest.raises(TrackingError, match="pictures"):
        probe_video(tmp_path / "song.wav")


TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
LUMA = np.array([0.2627, 0.678, 0.0593])
COLORS = [(198, 134, 100), (120, 70, 50), (40, 44, 60), (20, 160, 40), (30, 60, 180), (128, 128, 128)]


def light_of(srgb):
    x = np.asarray(srgb) / 255
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def as_hlg(srgb):
    """sRGB colors [..., 3] at 203 cd/m2 as HLG values, by ITU-R BT.2100 and BT.2408, in float64."""
    shown = light_of(srgb) @ TO_2020.T * 203 / 1000
    scene = shown * np.maximum(shown @ LUMA, 1e-9)[..., None] ** (1 / 1.2 - 1)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c)


def as_pq(srgb):
    """The same as PQ values."""
    y = (light_of(srgb) @ TO_2020.T * 203 / 10000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * y) / (1 + 2392 / 128 * y)) ** (2523 / 32)


def codes(values):
    return np.round(65535 * np.asarray(values)).astype(np.uint16)


@pytest.mark.parametrize(("transfer", "coded"), [("HLG", as_hlg), ("PQ", as_pq)])
def test_colors_come_back(transfer, coded):
    colors = np.array(COLORS, float)[None]
    found = hdr_to_sdr(codes(coded(colors)), transfer)
    np.testing.assert_allclose(found, colors, atol=2)


def test_what_is_brighter_than_white_is_rolled_off_and_keeps_its_hue():
    gray = np.repeat(np.linspace(0.5, 1.0, 60)[None, :, None], 3, axis=2)
    found = hdr_to_sdr(codes(gray), "HLG").astype(int)
    assert (np.ptp(found, axis=2) <= 1).all()
    assert (np.diff(found[0, :, 0]) >= 0).all()
    assert found[0, -1, 0] >= 254
    white = hdr_to_sdr(codes(np.full((1, 1, 3), 0.75)), "HLG")  # reference white of BT.2408
    assert 240 <= white[0, 0, 0] <= 250


def hdr_clip(path, values):
    """A second of one picture of HLG values [H, W, 3], as a telephone writes it."""
    with av.open(str(path), "w") as container:
        tags = "log-level=none:colorprim=bt2020:transfer=arib-std-b67:colormatrix=bt2020nc"
        stream = container.add_stream("libx265", rate=25, options={"crf": "4", "x265-params": tags})
        stream.height, stream.width = values.shape[:2]
        stream.pix_fmt = "yuv420p10le"
        stream.codec_context.color_trc, stream.codec_context.color_primaries = 18, 9
        stream.codec_context.colorspace, stream.codec_context.color_range = 9, 1
        for _ in range(25):
            frame = av.VideoFrame.from_ndarray(codes(values), format="rgb48le")
            container.mux(
                stream.encode(frame.reformat(format="yuv420p10le", dst_colorspace=9, dst_color_range=1))
            )
        container.mux(stream.encode())
    return path


def test_a_telephones_film_of_high_dynamic_range_is_read_in_ordinary_colors(tmp_path):
    patches = np.repeat(np.repeat(np.array(COLORS, float).reshape(2, 3, 3), 48, axis=0), 48, axis=1)
    path = hdr_clip(tmp_path / "phone.mov", as_hlg(patches))
    info = probe_video(path)
    assert info.hdr_transfer == "HLG"
    image = next(iter_frames(path, info, target_fps(info))).image
    for row, column in np.ndindex(2, 3):
        middle = np.s_[48 * row + 16 : 48 * row + 32, 48 * column + 16 : 48 * column + 32]
        np.testing.assert_allclose(image[middle].mean((0, 1)), patches[middle].mean((0, 1)), atol=6)
