"""Films of high dynamic range come out in the colors that an ordinary film has."""

import av
import numpy as np
import pytest

from splatface.models.training.tracking.video_input import hdr_to_sdr, iter_frames, probe_video, target_fps

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


def bright_clip(path, values):
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
    path = bright_clip(tmp_path / "phone.mov", as_hlg(patches))
    info = probe_video(path)
    assert info.hdr_transfer == "HLG"
    picture = next(iter_frames(path, info, target_fps(info))).picture
    for row, column in np.ndindex(2, 3):
        middle = np.s_[48 * row + 16 : 48 * row + 32, 48 * column + 16 : 48 * column + 32]
        np.testing.assert_allclose(picture[middle].mean((0, 1)), patches[middle].mean((0, 1)), atol=6)
