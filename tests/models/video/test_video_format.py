from fractions import Fraction

import pytest

from splatface.models.errors import VideoError
from splatface.models.video.video_writer import VideoFormat, parse_video_format

OWN = (512, 512)


@pytest.mark.parametrize(
    ("size", "aspect", "expected"),
    [
        ("", "", (512, 512)),
        ("1280x720", "", (1280, 720)),
        ("64X64", "", (64, 64)),
        ("", "16:9", (910, 512)),
        ("", "9:16", (512, 910)),
        ("", "1:1", (512, 512)),
    ],
)
def test_a_size_or_an_aspect_gives_the_shape(size, aspect, expected):
    shape = parse_video_format(size, aspect, "25", OWN)
    assert shape == VideoFormat(*expected, Fraction(25))
    if aspect == "16:9":
        assert shape.width / shape.height == pytest.approx(16 / 9, rel=0.002)


@pytest.mark.parametrize(
    ("text", "fps"),
    [("25", Fraction(25)), ("29.97", Fraction(2997, 100)), ("30000/1001", Fraction(30000, 1001))],
)
def test_rates_are_fractions(text, fps):
    assert parse_video_format("", "", text, OWN).fps == fps


@pytest.mark.parametrize(
    ("size", "aspect", "fps", "said"),
    [
        ("511x512", "", "25", "size: expected even numbers"),
        ("32x512", "", "25", "size: expected even numbers of 64 to 4096"),
        ("512x8192", "", "25", "size: expected even numbers"),
        ("big", "", "25", "size: expected width x height such as 1280x720, found 'big'"),
        ("512x-2", "", "25", "size: expected width x height"),
        ("", "4:3", "25", "aspect: expected one of 16:9, 9:16, 1:1, found '4:3'"),
        ("", "", "0", "fps: expected 1 to 120"),
        ("", "", "1000", "fps: expected 1 to 120"),
        ("", "", "1/0", "fps: expected 1 to 120"),
        ("", "", "nan", "fps: expected 1 to 120"),
        ("", "", "fast", "fps: expected 1 to 120"),
    ],
)
def test_anything_else_is_refused(size, aspect, fps, said):
    with pytest.raises(VideoError, match=said):
        parse_video_format(size, aspect, fps, OWN)
