import cv2
import numpy as np
import pytest

from splatface.models.errors import RenderError
from splatface.models.provenance.watermark import SYNTHETIC, Watermark, detect


def picture(kind, width=512, height=512):
    rng = np.random.default_rng(3)
    image = np.full((height, width, 3), 230, np.uint8)
    if kind == "black":
        image[:] = 0
    if kind == "white":
        image[:] = 255
    if kind == "face":
        cv2.ellipse(
            image,
            (width // 2, height // 2),
            (width // 4, height // 3),
            0,
            0,
            360,
            (205, 160, 140),
            -1,
            cv2.LINE_AA,
        )
        cv2.rectangle(image, (width // 8, height * 4 // 5), (width * 7 // 8, height), (40, 50, 80), -1)
        strands = rng.normal(0, 12, (height // 3, width, 1))
        image[: height // 3] = np.clip(image[: height // 3] * 0.3 + strands, 0, 255)
    return image


def marked(image, identity=SYNTHETIC):
    copy = image.copy()
    Watermark(image.shape[1], image.shape[0], identity).mark(copy)
    return copy


def jpeg(image, quality=85):
    return cv2.imdecode(cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1)[
        ..., ::-1
    ]


@pytest.mark.parametrize("kind", ["gray", "black", "white", "face"])
def test_the_mark_is_invisible_and_survives_jpeg(kind):
    image = picture(kind)
    found = marked(image)
    assert np.abs(found.astype(int) - image).max() == 1
    for seen in (found, jpeg(found, 85), jpeg(found, 75)):
        detection = detect(seen)
        assert detection.found
        assert detection.identity == SYNTHETIC


@pytest.mark.parametrize("kind", ["gray", "black", "white", "face"])
def test_no_mark_is_found_where_there_is_none(kind):
    assert not detect(picture(kind)).found
    assert not detect(jpeg(picture(kind))).found


def test_chance_is_not_taken_for_a_mark():
    rng = np.random.default_rng(0)
    scores = []
    for sigma in (1, 3, 10, 40, 3, 1):
        noise = np.clip(rng.normal(128, sigma, (256, 256, 3)), 0, 255).astype(np.uint8)
        scores.append(detect(noise))
    assert not any(detection.found for detection in scores)


def test_a_cropped_picture_still_tells():
    assert detect(jpeg(np.ascontiguousarray(marked(picture("face"))[37:411, 51:466]))).found


@pytest.mark.parametrize(("width", "height"), [(256, 256), (640, 360), (333, 517)])
def test_any_size(width, height):
    assert detect(jpeg(marked(picture("face", width, height)))).found


def test_another_identity_is_read_and_not_mistaken():
    seen = marked(picture("face"), 0xDEADBEEF)
    assert detect(seen).identity == 0xDEADBEEF
    assert not detect(seen).found
    assert detect(seen, 0xDEADBEEF).found


def test_pictures_of_another_size_are_refused():
    with pytest.raises(RenderError, match="expected"):
        Watermark(64, 64).mark(np.zeros((64, 65, 3), np.uint8))
