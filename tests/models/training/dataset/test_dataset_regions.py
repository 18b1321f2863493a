import numpy as np
import pytest

from splatface.models.errors import DatasetError
from splatface.models.training.dataset.frame_images import (
    LossWeights,
    box_of,
    eyes_mask,
    face_mask,
    loss_weights,
    mouth_mask,
    person_mask,
    read_labels,
)
from splatface.models.training.dataset.types import (
    BACKGROUND,
    EYES,
    FACE,
    HAIR,
    LIPS,
    MOUTH,
    NECK,
    TEST,
    TORSO,
    TRAIN,
    VAL,
    frames_in_split,
    split_by_time,
)

FRAME_NS = 40_000_000


def test_the_last_tenth_is_tested_and_what_lies_before_it_validates():
    split = split_by_time(np.arange(1000) * FRAME_NS)
    assert np.bincount(split).tolist() == [850, 50, 100]
    assert (np.diff(split.astype(int)) >= 0).all()


def test_the_split_is_by_time_not_by_count():
    """Pictures chosen ten times as densely in the first second move no border."""
    time_ns = np.unique(np.concatenate([np.arange(0, 1000, 4), np.arange(1000, 10_001, 40)])) * 1_000_000
    split = split_by_time(time_ns)
    assert time_ns[split == TEST].min() == 9000 * 1_000_000
    assert time_ns[split == VAL].min() >= 8500 * 1_000_000


def test_there_is_always_something_to_train_on_and_to_test():
    for count in (2, 3, 10):
        split = split_by_time(np.arange(count) * FRAME_NS)
        assert split[0] == TRAIN
        assert split[-1] == TEST
    for count, share in ((1, 0.1), (10, 1.0), (10, -0.1)):
        with pytest.raises(DatasetError, match="split"):
            split_by_time(np.arange(count) * FRAME_NS, test_fraction=share)


def test_rows_of_all_parts_make_up_the_film(tiny):
    rows = np.concatenate([frames_in_split(tiny.frames, part) for part in (TRAIN, VAL, TEST)])
    assert rows.tolist() == list(range(len(tiny.frames)))


@pytest.fixture
def shown():
    """A face of 9x9: lips around a mouth, eyes, hair above, neck, torso, background."""
    picture = np.full((9, 9), BACKGROUND, np.uint8)
    picture[0, 2:7], picture[1:7, 2:7], picture[7, 3:6], picture[8] = HAIR, FACE, NECK, TORSO
    picture[2, 3], picture[2, 5] = EYES, EYES
    picture[5, 3:6], picture[5, 4] = LIPS, MOUTH
    return picture


def test_regions(shown):
    assert person_mask(shown).sum() == 5 + 30 + 3 + 9
    assert face_mask(shown).sum() == 30
    assert eyes_mask(shown).sum() == 2
    assert mouth_mask(shown).sum() == 3


def test_a_region_grows_by_the_radius_in_every_direction(shown):
    one = np.zeros((15, 15), np.uint8)
    one[7, 7] = MOUTH
    y, x = np.mgrid[-7:8, -7:8]
    for radius in (1.0, 1.5, 3.0, 4.2):
        assert np.array_equal(mouth_mask(one, radius), np.hypot(x, y) <= radius)
    assert not mouth_mask(np.zeros((5, 5), np.uint8), 2.0).any()


def test_weights_have_a_mean_of_one_and_favour_the_mouth(shown):
    weights = LossWeights(background=0.5, person=1.0, face=1.0, eyes=2.0, mouth=4.0, mouth_dilation_px=0.0)
    picture = loss_weights(shown, weights)
    assert picture.mean() == pytest.approx(1.0)
    relative = picture / picture[8, 0]
    assert relative[0, 0] == pytest.approx(0.5)
    assert relative[2, 3] == pytest.approx(2.0)
    assert relative[5, 3] == relative[5, 4] == pytest.approx(4.0)
    flat = loss_weights(shown, LossWeights(background=1.0, eyes=1.0, mouth=1.0))
    assert flat == pytest.approx(1.0)
    assert loss_weights(shown).dtype == np.float32


def test_boxes(shown):
    assert box_of(mouth_mask(shown)) == (5, 6, 3, 6)
    assert box_of(mouth_mask(shown), 5) == (0, 9, 0, 9)
    assert box_of(shown > 7) is None


def test_a_rendered_face_has_all_regions_in_their_order(tiny):
    parts = read_labels(tiny, 0)

    def height(mask):
        return np.argwhere(mask)[:, 0].mean()

    heights = [
        height(parts == HAIR),
        height(eyes_mask(parts)),
        height(mouth_mask(parts)),
        height(parts == NECK),
        height(parts == TORSO),
    ]
    assert heights == sorted(heights)
