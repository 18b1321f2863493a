"""The live path: hearing in a data set is hearing on a kiosk, and silence is found by the sound alone."""

from dataclasses import replace

import numpy as np
import pytest

from splatface.models.audio.encoder import encoder
from splatface.models.audio2motion.audio_to_mouth import CONTROLS, zero_net
from splatface.models.audio2motion.mouth_inference import VoiceGate
from splatface.models.errors import EncoderError, MetricError
from splatface.models.head.controls import soft_limit_motion
from splatface.models.messages import AudioChunk, HeadControl
from splatface.models.talking_head import TalkingHead
from splatface.models.training.dataset.dataset_audio import AUDIO, load_audio, wav_bytes, write_features
from splatface.models.training.dataset.frame_images import read_image
from splatface.models.training.evaluation.live_path import (
    LivePath,
    encoded_frames,
    make_audio_to_mouth,
    silence_mask,
)

MS = 1_000_000


def test_the_mouth_is_the_talkers_mouth(film, player):
    class NoDrawer:
        def draw_uint8(self, splats, camera, background):
            raise AssertionError("nothing is drawn")

    frames = encoder("logmel").push(AudioChunk(load_audio(film), 16_000, 0))
    talker = TalkingHead(player, NoDrawer(), gate=VoiceGate(), watermark=False)
    hearing = make_audio_to_mouth(player, film, "logmel", (0, int(film.frames.time_ns[-1])))
    for time_ns in (0, 333 * MS, 1_000 * MS, 1_417 * MS, 2_940 * MS):
        expected = talker.coefficients(frames, HeadControl(), time_ns)
        shown = soft_limit_motion(hearing(time_ns), np.zeros(8, np.float32), player.info.motion_limits)
        found = player.motion_map(*shown)
        np.testing.assert_array_equal(found, expected)


def test_hearing_from_the_middle_of_a_long_film_is_the_same(film, tmp_path):
    said = load_audio(film)
    (tmp_path / AUDIO).write_bytes(wav_bytes(np.resize(said, 26 * 16_000)))
    long = replace(film, folder=tmp_path)
    whole, late = (encoded_frames(long, "logmel", (start, 25_000 * MS)) for start in (0, 24_500 * MS))
    assert late[0].center_ns > 11_900 * MS  # ten seconds of lead are enough
    late = [frame for frame in late if frame.center_ns > 24_000 * MS]
    whole = [frame for frame in whole if frame.center_ns > 24_000 * MS]
    assert [frame.center_ns for frame in late] == [frame.center_ns for frame in whole]
    for a, b in zip(late, whole, strict=True):
        np.testing.assert_array_equal(a.values, b.values)
        assert a.voice_probability == pytest.approx(b.voice_probability, abs=0.02)


def test_a_head_that_never_learned_an_encoder_says_so(film, player):
    with pytest.raises(MetricError, match=r"'fsmn'.*logmel"):
        make_audio_to_mouth(player, film, "fsmn", (0, 1))


def test_features_of_an_import_are_heard_without_a_gate(film, player):
    net = replace(zero_net("theirs", 3), b2=np.full(8, 0.25, np.float32))
    head = replace(player, nets={"theirs": net})
    centers_ns = np.arange(150, dtype=np.int64) * 20 * MS
    with pytest.raises(EncoderError):
        make_audio_to_mouth(head, film, "theirs", (0, 1))
    write_features(film.folder, "theirs", np.zeros((150, 3), np.float32), centers_ns)
    hearing = make_audio_to_mouth(head, film, "theirs", (0, 3_000 * MS))
    np.testing.assert_allclose(hearing(1_500 * MS), 0.25)


def test_the_picture_is_the_films(film, player):
    row = 20
    drawn = LivePath(player, film, threads=1).render_with_tracked_mouth(row)
    true = read_image(film, row)
    assert drawn.shape == true.shape
    # the film averages four samples a pixel: only edges differ
    assert np.mean(np.abs(drawn.astype(int) - true)) < 1.5
    gaping = LivePath(player, film, threads=1).render_with_mouth(row, np.eye(8, dtype=np.float32)[0])
    assert np.abs(gaping.astype(int) - drawn).max() > 100


def test_unknown_controls_count_as_rest(film, player):
    controls = film.frames.controls.copy()
    controls[5] = np.nan
    frames = replace(film.frames, controls=controls)
    drawn = LivePath(player, replace(film, frames=frames), threads=1).render_with_tracked_mouth(5)
    assert drawn.std() > 10


def test_no_sound_tells_to_which_side_the_jaw_goes(film, player):
    controls = film.frames.controls.copy()
    controls[20, CONTROLS.index("jaw_side")] = 1.0
    sideways = replace(film, frames=replace(film.frames, controls=controls))
    line = player.motion_map.linear.copy()
    line[-1] = line[0]  # this head opens its mouth when it moves its jaw sideways
    odd = replace(player, motion_map=replace(player.motion_map, linear=line))
    live = LivePath(odd, sideways, threads=1)
    middle = LivePath(odd, film, threads=1).render_with_tracked_mouth(20)
    np.testing.assert_array_equal(live.render_with_mouth(20, film.frames.mouth[20]), middle)
    assert np.abs(live.render_with_tracked_mouth(20).astype(int) - middle).max() > 100


def test_silence_is_what_is_quiet_from_before_until_after():
    rng = np.random.default_rng(0)
    samples = rng.normal(0, 0.1, 5 * 16_000).astype(np.float32)
    samples[16_000 : 2 * 16_000] *= 0.001
    times_ns = np.arange(0, 3_000, 50, dtype=np.int64) * MS
    silent = times_ns[silence_mask(samples, times_ns)] / MS
    assert (silent.min(), silent.max()) == (1_200, 1_850)


def test_a_silent_film_is_silent_and_a_loud_one_never():
    times_ns = np.array([0, 500 * MS, 9_000 * MS])
    assert silence_mask(np.zeros(16_000, np.float32), times_ns).all()
    assert silence_mask(np.zeros(0, np.float32), times_ns).all()
    assert not silence_mask(np.full(16_000, 0.1, np.float32), times_ns)[:2].any()
