from dataclasses import replace

import numpy as np
import pytest
from random_heads import random_head

from splatface.models.errors import HeadError
from splatface.models.messages import AudioFrame, HeadControl
from splatface.models.provenance.watermark import detect
from splatface.models.render.cpu import CpuRenderer
from splatface.models.rotations import quat_from_euler
from splatface.models.talking_head import TalkingHead

START_NS = 1_800_000_000_000_000_007
MS = 1_000_000
LATE_NS = START_NS + 1_000 * MS
BLINK = HeadControl(blink_left=1.0)


def sound(voice=1.0, encoder="logmel", dim=12):
    rng = np.random.default_rng(0)
    return [
        AudioFrame(rng.normal(size=dim).astype(np.float32), encoder, START_NS + i * 20 * MS, voice)
        for i in range(100)
    ]


@pytest.fixture(scope="module")
def drawer():
    return CpuRenderer()


@pytest.fixture(scope="module")
def talker(drawer):
    return TalkingHead(random_head(), drawer)


def rest(talker, time_ns=LATE_NS):
    return talker.render([], HeadControl(), time_ns)


def test_a_picture_is_of_the_heads_size(talker, drawer):
    image = rest(talker)
    assert (image.shape, image.dtype) == ((48, 64, 3), np.uint8)
    wide = TalkingHead(random_head(), drawer, size=(160, 90))
    assert rest(wide).shape == (90, 160, 3)


def test_speech_control_and_expression_move_the_face(talker):
    still = rest(talker)
    turned = HeadControl(quat_world_head=quat_from_euler(np.array([0.3, 0, 0])))
    smile = HeadControl(expression=(("smile", 1.0),))
    for image in (
        talker.render(sound(), HeadControl(), LATE_NS),
        *(talker.render([], control, LATE_NS) for control in (BLINK, turned, smile)),
    ):
        assert np.abs(image.astype(int) - still).max() > 3


def test_silence_is_still(talker):
    still = rest(talker)
    for time_ns in range(LATE_NS, LATE_NS + 200 * MS, 37 * MS):
        np.testing.assert_array_equal(talker.render(sound(voice=0.0), HeadControl(), time_ns), still)


def test_150_ms_after_the_sound_the_mouth_rests(talker):
    np.testing.assert_array_equal(
        talker.render(sound(), HeadControl(), START_NS + 99 * 20 * MS + 150 * MS), rest(talker)
    )


def test_the_same_again_bit_for_bit(talker, drawer):
    times = [LATE_NS + i * 33_333_333 for i in range(6)]
    first = [talker.render(sound(), BLINK, time_ns) for time_ns in times]
    other = TalkingHead(random_head(), drawer)
    for time_ns, image in reversed(list(zip(times, first, strict=True))):
        np.testing.assert_array_equal(other.render(sound(), BLINK, time_ns), image)
        np.testing.assert_array_equal(talker.render(sound()[20:90], BLINK, time_ns), image)


def test_pictures_of_any_rate_lie_on_one_motion(talker):
    slow = [talker.coefficients(sound(), BLINK, LATE_NS + i * 40 * MS) for i in range(5)]
    fast = [talker.coefficients(sound(), BLINK, LATE_NS + i * 10 * MS) for i in range(20)]
    np.testing.assert_array_equal(slow, fast[::4])


def test_the_mark_is_on_unless_it_is_taken_off(drawer):
    head = random_head()
    assert detect(rest(TalkingHead(head, drawer, size=(256, 256)))).found
    assert not detect(rest(TalkingHead(head, drawer, size=(256, 256), watermark=False))).found


def test_the_background_may_be_a_color_or_a_picture(drawer):
    head = replace(random_head(), skinning_weight=np.zeros(150, np.float32))
    picture = np.random.default_rng(0).random((48, 64, 3)).astype(np.float32)
    plain = rest(TalkingHead(head, drawer, background=(0.0, 1.0, 0.0), watermark=False))
    assert plain[0, 0, 1] > plain[0, 0, 0]
    assert (
        np.abs(rest(TalkingHead(head, drawer, background=picture, watermark=False)).astype(int) - plain).max()
        > 50
    )


def test_another_encoder_is_refused_with_what_to_do(talker):
    with pytest.raises(HeadError, match=r"trained for encoder 'logmel' \(12-d\).*'whisper'.*encoder:=logmel"):
        talker.render(sound(encoder="whisper", dim=384), HeadControl(), LATE_NS)
    assert talker.lookahead_ns("logmel") == 40 * MS
