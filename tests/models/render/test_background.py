import cv2
import numpy as np
import pytest

from splatface.models.errors import RenderError
from splatface.models.render.render import parse_background


def test_nothing_is_the_heads_own():
    assert parse_background("", (64, 64)) is None


def test_a_color():
    np.testing.assert_allclose(parse_background("#ff8000", (64, 64)), [1.0, 128 / 255, 0.0])


@pytest.mark.parametrize("size", [(64, 64), (90, 160), (160, 90), (33, 17)])
def test_a_picture_covers_the_canvas_and_keeps_its_middle(tmp_path, size):
    picture = np.zeros((120, 200, 3), np.uint8)
    picture[:, 90:110] = (0, 0, 255)  # a red stripe down the middle, BGR
    cv2.imwrite(str(tmp_path / "wall.png"), picture)
    background = parse_background(str(tmp_path / "wall.png"), size)
    assert background.shape == (size[1], size[0], 3)
    assert background.dtype == np.float32
    middle = background[size[1] // 2, size[0] // 2]
    assert middle[0] > 0.9
    assert middle[2] < 0.1


@pytest.mark.parametrize("text", ["#12", "#gggggg", "/no/such/wall.png", "blue"])
def test_what_is_neither(text):
    with pytest.raises(RenderError, match="expected a color such as #2a3b4c"):
        parse_background(text, (64, 64))
