import hashlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import fields, replace

import numpy as np
import pytest
import safetensors.numpy
import yaml
from dataset_fixture import pictures_of, tiny_film, tiny_head, tiny_points

from splatface.models.audio.encoder import encoder
from splatface.models.errors import DatasetError, EncoderError
from splatface.models.messages import AudioChunk
from splatface.models.training.dataset.body_poses import rewrite_tables
from splatface.models.training.dataset.dataset_audio import load_audio, load_features
from splatface.models.training.dataset.dataset_io import DatasetWriter, load_dataset, load_points
from splatface.models.training.dataset.file_format import pack
from splatface.models.training.dataset.frame_images import ImageCache, read_image, read_labels
from splatface.models.training.dataset.types import TEST, MotionTrack


def same(a, b):
    return all(
        np.array_equal(getattr(a, field.name), getattr(b, field.name), equal_nan=True) for field in fields(a)
    )


def edited(folder, **changes):
    """The folder with other values in its dataset.yaml."""
    path = folder / "dataset.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))
    return folder


def with_table(folder, name, table):
    """The folder with another table, as a program that writes data sets could have made it."""
    content = pack(table)
    (folder / name).write_bytes(content)
    digests = yaml.safe_load((folder / "dataset.yaml").read_text())["sha256"]
    return edited(folder, sha256=digests | {name: hashlib.sha256(content).hexdigest()})


def refused(folder, *words):
    with pytest.raises(DatasetError) as error:
        load_dataset(folder)
    for word in ("expected", "found", *words):
        assert word in str(error.value)


def test_what_was_written_is_read(tiny):
    film, (head, shown) = tiny_film(38), tiny_head()
    kept = np.setdiff1d(np.arange(38), (7, 15))
    assert np.array_equal(tiny.frames.mouth, film.mouth[kept])
    assert np.array_equal(tiny.motion.controls, film.controls)
    assert np.array_equal(tiny.frames.T_world_head[3], film.bones[3].T_world_head)
    assert tiny.camera.width == 96
    assert (tiny.background == np.float32(head.info.background)).all()
    drawn = list(pictures_of(head, shown, tiny.camera, film, kept[:3]))
    for row, (image, parts) in enumerate(drawn):
        assert np.array_equal(read_image(tiny, row), image)
        assert np.array_equal(read_labels(tiny, row), parts)
    assert np.abs(load_audio(tiny) - film.sound).max() < 1e-4
    assert same(load_points(tiny), tiny_points())


def test_the_test_part_is_the_end_of_the_film_in_one_piece(tiny):
    tested = tiny.frames.split == TEST
    assert 0.08 < tested.mean() < 0.15
    assert tested[-int(tested.sum()) :].all()
    assert np.ptp(np.diff(tiny.frames.time_ns[tested])) == 0


def test_a_background_picture_comes_back(tiny, tmp_path):
    background = np.random.default_rng(0).integers(0, 256, (96, 96, 3)).astype(np.float32) / 255
    folder = write_again(tiny, tmp_path / "again", background=background)
    assert np.array_equal(load_dataset(folder).background, background)


def test_features_are_what_a_live_stream_hears(tiny, copied):
    values, centers_ns = load_features(load_dataset(copied), "logmel")
    live, samples, heard = encoder("logmel"), load_audio(tiny), []
    for first in range(0, len(samples), 320):
        heard += live.push(AudioChunk(samples[first : first + 320], 16000, first * 62_500))
    assert len(values) > len(heard) > 100  # beyond the end there is silence
    assert np.array_equal(values[: len(heard)], np.stack([frame.values for frame in heard]))
    assert centers_ns[: len(heard)].tolist() == [frame.center_ns for frame in heard]
    assert centers_ns[-1] >= tiny.frames.time_ns[-1] + 500_000_000


def test_features_are_kept_for_as_long_as_the_sound_is_the_same(copied, tiny_folder):
    dataset = load_dataset(copied)
    values, _ = load_features(dataset, "logmel")
    kept = copied / "features" / "logmel.safetensors"
    first = kept.stat().st_mtime_ns
    assert np.array_equal(load_features(dataset, "logmel")[0], values)
    assert kept.stat().st_mtime_ns == first
    kept.write_bytes(kept.read_bytes()[:-100])  # damaged: made again
    assert np.array_equal(load_features(dataset, "logmel")[0], values)
    wav = bytearray((copied / "audio.wav").read_bytes())
    wav[20_000:30_000] = bytes(10_000)
    (copied / "audio.wav").write_bytes(wav)
    assert not np.array_equal(load_features(dataset, "logmel")[0], values)


def test_unknown_encoders_and_odd_names_are_refused(copied):
    with pytest.raises(EncoderError, match="choose one of"):
        load_features(load_dataset(copied), "wav3vec")
    with pytest.raises(DatasetError, match="plain name"):
        load_features(load_dataset(copied), "../logmel")


def test_the_cache_keeps_what_fits(tiny):
    one = 96 * 96 * 4
    cache = ImageCache(tiny, max_bytes=2 * one)
    assert cache(0)[0] is cache(0)[0]
    assert cache(1)[0] is cache(1)[0]
    assert cache(2)[0] is not cache(2)[0]
    assert np.array_equal(cache(2)[0], read_image(tiny, 2))
    assert np.array_equal(cache(0)[1], read_labels(tiny, 0))
    with pytest.raises(DatasetError, match=r"0\.\.35"):
        cache(36)


def write_again(tiny, folder, **changes):
    camera = tiny.camera
    writer = DatasetWriter(folder, camera.width, camera.height)
    for row in range(len(tiny.frames)):
        writer.add(row, read_image(tiny, row), read_labels(tiny, row))
    writer.finish(replace(tiny, **changes), load_audio(tiny), load_points(tiny))
    return folder


def test_a_writer_goes_on_where_another_stopped(tiny, tmp_path):
    folder = tmp_path / "set"
    first = DatasetWriter(folder, 96, 96, key="film 1")
    first.add(0, read_image(tiny, 0), read_labels(tiny, 0))
    (folder / "pictures" / "000001.png.part").write_bytes(b"half")
    (folder / "pictures" / "000002.png").write_bytes(
        (tiny.folder / "pictures" / "000002.png").read_bytes()[:-9]
    )
    refused(folder, "still being written (1 pictures", "goes on")
    second = DatasetWriter(folder, 96, 96, key="film 1")
    assert [second.has(row) for row in range(3)] == [True, False, False]
    with pytest.raises(DatasetError, match="35 rows, first 1"):
        second.finish(tiny, load_audio(tiny))
    for row in range(1, len(tiny.frames)):
        second.add(row, read_image(tiny, row), read_labels(tiny, row))
    second.finish(tiny, load_audio(tiny), load_points(tiny))
    assert not list(folder.rglob("*.part"))
    assert same(load_dataset(folder).frames, tiny.frames)


def test_films_never_mix(tiny, tmp_path, copied):
    DatasetWriter(tmp_path / "set", 96, 96, key="film 1")
    for key, size in (("film 2", 96), ("film 1", 64)):
        with pytest.raises(DatasetError, match="one of another"):
            DatasetWriter(tmp_path / "set", size, size, key=key)
    with pytest.raises(DatasetError, match="finished data set"):
        DatasetWriter(copied, 96, 96)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.jpg").touch()
    with pytest.raises(DatasetError, match=r"me\.jpg"):
        DatasetWriter(tmp_path / "photos", 96, 96)


def test_a_writer_takes_only_what_fits(tiny, tmp_path):
    writer = DatasetWriter(tmp_path / "set", 96, 96)
    image, parts = read_image(tiny, 0), read_labels(tiny, 0)
    for wrong in (
        (image[1:], parts),
        (image, parts[1:]),
        (image, parts + np.uint8(8)),
        (image.astype(float), parts),
    ):
        with pytest.raises(DatasetError):
            writer.add(0, *wrong)
    for row in range(len(tiny.frames)):
        writer.add(row, image, parts)
    for changes, word in (
        ({"consent": " "}, "consent"),
        ({"source": "dream"}, "actor, video, import"),
        ({"landmark_scheme": "none"}, "landmarks_px"),
        ({"fps": float("nan")}, "fps"),
        ({"camera": replace(tiny.camera, fx=0.0)}, "camera"),
        ({"camera": replace(tiny.camera, width=95)}, "camera"),
        ({"background": tiny.background[None]}, "background"),
    ):
        with pytest.raises(DatasetError, match=word):
            writer.finish(replace(tiny, **changes), load_audio(tiny))
    with pytest.raises(DatasetError, match="finite samples"):
        writer.finish(tiny, np.array([0, np.nan], np.float32))
    with pytest.raises(DatasetError, match=r"points\.skinning_weight"):
        writer.finish(
            tiny,
            load_audio(tiny),
            replace(load_points(tiny), skinning_weight=load_points(tiny).skinning_weight + 1),
        )


def test_kill_9_leaves_a_data_set_to_continue(tiny_folder, tmp_path):
    folder = tmp_path / "set"
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from splatface.models.training.dataset.dataset_io import DatasetWriter, load_dataset\n"
        "from splatface.models.training.dataset.frame_images import read_image, read_labels\n"
        "d = load_dataset(sys.argv[1]); w = DatasetWriter(Path(sys.argv[2]), 96, 96)\n"
        "while True:\n"
        "    for row in range(len(d.frames)): w.add(row, read_image(d, row), read_labels(d, row))\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script, tiny_folder, folder])
    end = time.monotonic() + 60
    while not (folder / "labels" / "000005.png").exists():
        assert time.monotonic() < end
        assert child.poll() is None
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    refused(folder, "still being written")
    writer, tiny = DatasetWriter(folder, 96, 96), load_dataset(tiny_folder)
    for row in range(len(tiny.frames)):
        if not writer.has(row):
            writer.add(row, read_image(tiny, row), read_labels(tiny, row))
    writer.finish(tiny, load_audio(tiny))
    again = load_dataset(folder)
    assert all(
        np.array_equal(read_image(again, row), read_image(tiny, row)) for row in range(len(tiny.frames))
    )


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match="expected to write"):
        DatasetWriter(tmp_path / "file" / "set", 96, 96)


def test_what_is_missing_or_changed_is_named(copied):
    refused(copied / "nowhere", "check the path")
    refused(copied / "pictures", "dataset.yaml")
    (copied / "labels" / "000003.png").rename(copied / "gone.png")
    refused(copied, "000003.png")
    (copied / "gone.png").rename(copied / "labels" / "000003.png")
    for name in (
        "frames.safetensors",
        "motion.safetensors",
        "points.safetensors",
        "audio.wav",
        "pictures.sha256",
    ):
        whole = (copied / name).read_bytes()
        for content in (whole[:-1], whole[:-1] + b"x", b""):
            (copied / name).write_bytes(content)
            refused(copied, name, "truncated")
        (copied / name).unlink()
        refused(copied, name, "none")
        (copied / name).write_bytes(whole)
    load_dataset(copied)


def test_links_out_of_the_folder_are_refused(copied, tiny_folder):
    (copied / "audio.wav").unlink()
    (copied / "audio.wav").symlink_to(tiny_folder / "audio.wav")
    refused(copied, "link out of it")


def test_other_versions_and_odd_descriptions_are_refused(copied):
    whole = (copied / "dataset.yaml").read_text()
    for changes, word in (
        ({"version": 3}, "update splatface"),
        ({"version": 0}, "again"),
        ({"format": "splatface-head"}, "format"),
        ({"fps": "fast"}, "fps"),
        ({"fps": float("inf")}, "fps"),
        ({"pictures": 35}, "35"),
        ({"pivot_m": [0, 1]}, "pivot_m"),
        ({"camera": {"width": 96}}, "camera"),
        ({"background": [0.5, 2.0, 0.5]}, "background"),
        ({"background": "../secret.png"}, "background"),
        ({"sha256": {"../../etc/passwd": "00"}}, "sha256"),
        ({"name": ""}, "name"),
    ):
        refused(edited(copied, **changes), word)
        (copied / "dataset.yaml").write_text(whole)
    for text in ("[1, 2", "just words", "a: &x [1]\nb: *x", "x" * 300_000, "a: !!python/object:os.system {}"):
        (copied / "dataset.yaml").write_text(text)
        refused(copied, "dataset.yaml")


def test_data_sets_of_version_1_are_read_with_the_jaw_in_the_middle(copied, tiny):
    def without_jaw(content, name):
        tensors = safetensors.numpy.load(content)
        for field in tensors.keys() & {"controls", "control_modes"}:
            tensors[field] = np.ascontiguousarray(tensors[field][:, :-1])
        (copied / name).write_bytes(safetensors.numpy.save(tensors))
        return hashlib.sha256((copied / name).read_bytes()).hexdigest()

    tables = ("frames.safetensors", "motion.safetensors", "points.safetensors")
    digests = {name: without_jaw((copied / name).read_bytes(), name) for name in tables}
    sums = yaml.safe_load((copied / "dataset.yaml").read_text())["sha256"] | digests
    edited(copied, version=1, sha256=sums)
    found = load_dataset(copied)
    np.testing.assert_array_equal(found.frames.controls[:, :-1], tiny.frames.controls[:, :-1])
    assert not found.frames.controls[:, -1].any()
    assert not found.motion.controls[:, -1].any()
    assert load_points(found).control_modes.shape[1:] == (8, 3)


def test_tables_that_are_not_sound_are_refused(copied, tiny):
    frames = tiny.frames
    turned = frames.T_world_head.copy()
    turned[4, 0, 0] *= 1.01
    mirrored = frames.T_world_head.copy()
    mirrored[4, :3, 0] *= -1
    lost = frames.T_world_head.copy()
    lost[2, 0, 3] = np.nan
    boundless = frames.mouth.copy()
    boundless[0, 0] = np.inf
    for changes, word in (
        ({"time_ns": frames.time_ns[::-1].copy()}, "rise"),
        ({"time_ns": np.repeat(frames.time_ns[:18], 2)}, "rise"),
        ({"T_world_head": turned}, "SVD"),
        ({"T_world_head": mirrored}, "first 4"),
        ({"T_world_torso": lost}, "finite"),
        ({"mouth": boundless}, "numbers or NaN"),
        ({"mouth": frames.mouth[:, :7]}, "[36, 8]"),
        ({"controls": frames.controls.astype(np.float64)}, "float32"),
        ({"split": np.roll(frames.split, 1)}, "last in time"),
        ({"split": frames.split + np.uint8(2)}, "0..2"),
        ({"landmarks_px": frames.landmarks_px[:, :60]}, "landmarks_px"),
    ):
        refused(with_table(copied, "frames.safetensors", replace(frames, **changes)), word)
    unknown = replace(frames, mouth=np.full_like(frames.mouth, np.nan))
    assert np.isnan(load_dataset(with_table(copied, "frames.safetensors", unknown)).frames.mouth).all()


def test_pictures_that_are_damaged_or_of_another_size_are_refused(copied):
    dataset = load_dataset(copied)
    path = copied / "pictures" / "000001.png"
    whole = path.read_bytes()
    bomb = whole[:16] + (60_000).to_bytes(4, "big") * 2 + whole[24:]
    for content, word in (
        (whole[:-200], "damaged"),
        (bomb, "60000x60000"),
        (b"GIF89a" * 20, "something else"),
    ):
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=word):
            read_image(dataset, 1)
    path.write_bytes(whole)
    (copied / "labels" / "000001.png").write_bytes((copied / "pictures" / "000001.png").read_bytes())
    with pytest.raises(DatasetError, match=r"labels 0\.\.7"):
        read_labels(dataset, 1)


def test_better_tables_take_the_place_of_others(copied, tiny):
    still = np.tile(np.eye(4), (len(tiny.frames), 1, 1))
    better = replace(load_dataset(copied), frames=replace(tiny.frames, T_world_torso=still), fps=12.5)
    rewrite_tables(better)
    again = load_dataset(copied)
    assert same(again.frames, better.frames)
    assert same(load_points(again), load_points(tiny))
    assert np.array_equal(read_image(again, 3), read_image(tiny, 3))
    late = replace(tiny.frames, time_ns=tiny.frames.time_ns + 1)
    with pytest.raises(DatasetError, match="one row for each picture"):
        rewrite_tables(replace(better, frames=late))
    assert same(load_dataset(copied).frames, better.frames)


def test_a_film_without_sound_or_motion_is_refused(tiny, tmp_path):
    none = MotionTrack(*(getattr(tiny.motion, field.name)[:0] for field in fields(MotionTrack)))
    with pytest.raises(DatasetError, match="moment"):
        write_again(tiny, tmp_path / "set", motion=none)
