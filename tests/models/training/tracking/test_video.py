"""Films of any rate become pictures at a fixed one, upright, at the right time."""

from itertools import islice

import numpy as np
import pytest
from clips import at_rate, gray_steps, number_of, write_film

from splatface.models.errors import TrackingError
from splatface.models.training.tracking.video_input import iter_frames, probe_video, target_fps


def seen(path, **how):
    info = probe_video(path)
    return info, list(iter_frames(path, info, target_fps(info), **how))


@pytest.mark.parametrize("fps", [15.0, 25.0, 30000 / 1001, 30.0])
def test_a_fixed_rate_is_kept_and_every_picture_with_it(tmp_path, fps):
    info, found = seen(write_film(tmp_path / "clip.mp4", gray_steps(30), at_rate(30, fps)))
    assert not info.variable
    assert target_fps(info) == pytest.approx(fps, abs=0.01)
    assert [number_of(shot.picture) for shot in found] == list(range(30))
    assert max(abs(shot.time_error_s) for shot in found) < 0.002
    assert info.duration_s == pytest.approx(30 / fps, abs=0.01)


def test_of_fifty_pictures_a_second_every_other_one_is_kept(tmp_path):
    info, found = seen(write_film(tmp_path / "clip.mp4", gray_steps(40), at_rate(40, 50.0)))
    assert target_fps(info) == pytest.approx(25.0, abs=0.01)
    assert [number_of(shot.picture) for shot in found] == list(range(0, 40, 2))


def test_a_variable_rate_is_resampled_by_time(tmp_path):
    rng = np.random.default_rng(0)
    times_s = np.cumsum(rng.uniform(0.015, 0.06, 50))
    times_s[30:] += 0.3  # a stall
    times_s -= times_s[0]
    info, found = seen(write_film(tmp_path / "clip.mkv", gray_steps(50), times_s))
    assert info.variable
    fps = target_fps(info)
    assert fps in (25.0, 30.0)
    for shot in found:
        nearest = np.abs(times_s - shot.index / fps).min()
        assert abs(times_s[number_of(shot.picture)] - shot.index / fps) <= nearest + 0.002
    stalled = [shot.index / fps for shot in found if shot.repeated]
    assert any(times_s[29] < at < times_s[30] for at in stalled)


def test_times_count_from_the_first_picture(tmp_path):
    path = write_film(tmp_path / "clip.mkv", gray_steps(20), [3.0 + t for t in at_rate(20, 25.0)])
    _, found = seen(path)
    assert [shot.index for shot in found] == list(range(20))
    assert number_of(found[0].picture) == 0


@pytest.mark.parametrize(
    ("rotation_deg", "corner"), [(0, (0, 0)), (-90, (0, -1)), (180, (-1, -1)), (90, (-1, 0))]
)
def test_a_rotated_film_is_set_upright(tmp_path, rotation_deg, corner):
    picture = np.full((64, 96, 3), 40, np.uint8)
    picture[:20, :20] = 230  # in the corner at the top left, as the sensor sees it
    path = write_film(tmp_path / "clip.mp4", [picture] * 5, at_rate(5, 25.0), rotation_deg=rotation_deg)
    info, found = seen(path)
    turned = rotation_deg % 180 != 0
    assert (info.width, info.height) == ((64, 96) if turned else (96, 64))
    assert found[0].picture.shape == (info.height, info.width, 3)
    assert found[0].picture[corner][0] > 200
    assert (found[0].picture > 200).mean() < 0.1


def test_beginning_later_gives_the_same_pictures(tmp_path):
    path = write_film(tmp_path / "clip.mp4", gray_steps(50), at_rate(50, 25.0))
    info = probe_video(path)
    later = list(iter_frames(path, info, 25.0, first=33))
    assert [shot.index for shot in later] == list(range(33, 50))
    assert [number_of(shot.picture) for shot in later] == list(range(33, 50))


def test_only_what_is_wanted_is_made_into_pictures(tmp_path):
    path = write_film(tmp_path / "clip.mp4", gray_steps(30), at_rate(30, 25.0))
    found = iter_frames(path, probe_video(path), 25.0, wanted={3, 17}.__contains__)
    assert [number_of(shot.picture) for shot in found] == [3, 17]


def test_a_large_film_is_scaled_down_while_it_is_read(tmp_path):
    large = np.full((2160, 3840, 3), 90, np.uint8)
    path = write_film(tmp_path / "clip.mp4", [large] * 2, at_rate(2, 25.0))
    info = probe_video(path)
    assert (info.width, info.height) == (3840, 2160)
    (first,) = islice(iter_frames(path, info, 25.0, longest_px=640), 1)
    assert first.picture.shape == (360, 640, 3)


def test_red_stays_red_in_high_definition(tmp_path):
    red = np.zeros((720, 1280, 3), np.uint8)
    red[...] = (200, 30, 30)
    path = write_film(tmp_path / "clip.mp4", [red] * 2, at_rate(2, 25.0))
    (first,) = islice(iter_frames(path, probe_video(path), 25.0), 1)
    # Written as BT.601 and untagged; read as BT.709, as players do, reds shift a little but stay red.
    assert first.picture.reshape(-1, 3).mean(axis=0) == pytest.approx([200, 30, 30], abs=40)


def test_a_film_cut_off_ends_early(tmp_path):
    rng = np.random.default_rng(1)
    noise = [rng.integers(0, 255, (96, 128, 3), np.uint8) for _ in range(50)]
    path = write_film(tmp_path / "clip.mkv", noise, at_rate(50, 25.0))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    info, found = seen(path)
    assert 10 < len(found) < 40
    assert info.pictures < 40


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
