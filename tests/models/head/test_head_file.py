import os
import resource
from contextlib import contextmanager
from dataclasses import fields, replace

import cv2
import numpy as np
import pytest
import yaml

from splatface.models.audio2motion.audio_to_mouth import net_to_tensors
from splatface.models.errors import HeadError
from splatface.models.head.head import Gaussians, linear_map, motion_map_tensors
from splatface.models.head.head_file import load_head, save_head
from splatface.models.head.migrations import migrate


def same(first, second):
    for field in fields(Gaussians):
        np.testing.assert_array_equal(
            getattr(first.gaussians, field.name), getattr(second.gaussians, field.name)
        )
    for name in ("skinning_weight", "dynamic", "basis"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    for key, tensor in motion_map_tensors(first.motion_map).items():
        np.testing.assert_array_equal(tensor, motion_map_tensors(second.motion_map)[key])
    assert first.nets.keys() == second.nets.keys()
    for name, net in first.nets.items():
        assert net.lookahead_ms == second.nets[name].lookahead_ms
        for key, tensor in net_to_tensors(net).items():
            np.testing.assert_array_equal(tensor, net_to_tensors(second.nets[name])[key])
    np.testing.assert_array_equal(first.info.camera.T_camera_world, second.info.camera.T_camera_world)
    plain = replace(first.info.camera, T_camera_world=None)
    assert replace(second.info.camera, T_camera_world=None) == plain
    assert replace(first.info, camera=plain) == replace(second.info, camera=plain)


def test_saved_and_loaded_is_the_same(head, tmp_path):
    preview = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    save_head(head, tmp_path / "made" / "nobody", preview)
    same(head, load_head(tmp_path / "made" / "nobody"))
    folder = tmp_path / "made" / "nobody"
    assert sorted(path.name for path in folder.iterdir()) == ["head.safetensors", "head.yaml", "preview.png"]
    np.testing.assert_array_equal(cv2.imread(str(folder / "preview.png"))[..., ::-1], preview)


def test_a_head_may_do_without_speech_motion_and_preview(make_head, tmp_path):
    head = replace(make_head(moving=0), nets={})
    save_head(head, tmp_path / "still", None)
    same(head, load_head(tmp_path / "still"))


def test_saving_replaces_a_head_but_nothing_else(head, tmp_path):
    save_head(head, tmp_path / "a", None)
    other = replace(head, info=replace(head.info, name="other"))
    save_head(other, tmp_path / "a", None)
    assert load_head(tmp_path / "a").info.name == "other"
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years of work")
    with pytest.raises(HeadError, match="something else"):
        save_head(head, tmp_path / "precious", None)
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "years of work"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "precious"]


@contextmanager
def disk_of(size):
    """A disk that takes no file larger than this: the write fails as on a full one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [100, 10_000])
def test_a_full_disk_leaves_the_old_head(head, tmp_path, size):
    save_head(head, tmp_path / "a", None)
    other = replace(head, info=replace(head.info, name="other"))
    with disk_of(size):
        with pytest.raises(HeadError, match="nothing was changed"):
            save_head(other, tmp_path / "a", None)
        with pytest.raises(HeadError, match="nothing was changed"):
            save_head(other, tmp_path / "new", None)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    same(head, load_head(tmp_path / "a"))


@pytest.mark.parametrize("consent", ["", "  \n"])
def test_without_consent_nobody_is_saved_or_shown(head, tmp_path, consent):
    with pytest.raises(HeadError, match="consent"):
        save_head(replace(head, info=replace(head.info, consent=consent)), tmp_path / "a", None)
    save_head(head, tmp_path / "a", None)
    text = yaml.safe_load((tmp_path / "a" / "head.yaml").read_text())
    (tmp_path / "a" / "head.yaml").write_text(yaml.safe_dump(text | {"consent": consent}))
    with pytest.raises(HeadError, match="consent"):
        load_head(tmp_path / "a")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"skinning_weight": np.full(150, 1.5, np.float32)}, "skin"),
        ({"skinning_weight": np.zeros(149, np.float32)}, "skin"),
        ({"dynamic": np.arange(70)}, "dynamic"),
        ({"dynamic": np.arange(70, dtype=np.int32)[::-1].copy()}, "rising"),
        ({"dynamic": np.arange(100, 170, dtype=np.int32)}, "dynamic"),
        ({"basis": np.zeros((70, 14, 10), np.float32)}, "basis"),
        ({"motion_map": linear_map(np.full((16, 11), np.inf, np.float32))}, "motion.linear"),
        ({"motion_map": linear_map(np.zeros((16, 10), np.float32))}, "motion.linear"),
    ],
)
def test_a_head_that_does_not_fit_is_not_saved(head, tmp_path, change, says):
    with pytest.raises(HeadError, match=says):
        save_head(replace(head, **change), tmp_path / "a", None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../../etc/cron.d/x"},
        {"name": ""},
        {"license": ""},
        {"fps": float("nan")},
        {"background": (0.0, 0.0, 2.0)},
        {"pivot_m": (float("inf"), 0.0, 0.0)},
        {"torso_follow": (-1.0, 0.5)},
        {"coefficient_names": ("open",)},
        {"reports": {"training": np.float32(1)}},
        {"reports": {"training": ["x" * 1000] * 300}},
    ],
)
def test_a_description_that_cannot_be_read_again_is_not_saved(head, tmp_path, change):
    with pytest.raises(HeadError, match="expected"):
        save_head(replace(head, info=replace(head.info, **change)), tmp_path / "a", None)
    assert not list(tmp_path.iterdir())


def test_an_ill_shaped_preview_is_refused(head, tmp_path):
    with pytest.raises(HeadError, match="preview"):
        save_head(head, tmp_path / "a", np.zeros((4, 4), np.uint8))
    assert not list(tmp_path.iterdir())


def test_older_heads_are_brought_on_and_newer_ones_refused():
    def rename(description, tensors):
        return {**description, "license": description.pop("license")}, tensors

    def enlarge(description, tensors):
        return description, {"skin": tensors["skin"] * 2}

    old = {"format": "splatface-head", "version": 1, "license": "CC0"}
    found, tensors = migrate(old, {"skin": np.ones(2)}, migrations={1: rename, 2: enlarge}, to_version=3)
    assert (found["version"], found["license"], tensors["skin"][0]) == (3, "CC0", 2)
    with pytest.raises(HeadError, match="no migration"):
        migrate({**old, "version": 0}, {}, migrations={1: rename}, to_version=2)
    with pytest.raises(HeadError, match="newer splatface"):
        migrate({**old, "version": 9}, {})


def test_links_within_the_folder_are_followed_and_out_of_it_refused(head, tmp_path):
    save_head(head, tmp_path / "a", None)
    tensors = tmp_path / "a" / "head.safetensors"
    tensors.rename(tmp_path / "a" / "v2.safetensors")
    tensors.symlink_to("v2.safetensors")
    same(head, load_head(tmp_path / "a"))
    os.rename(tmp_path / "a" / "v2.safetensors", tmp_path / "elsewhere")
    tensors.unlink()
    tensors.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HeadError, match="link out of it"):
        load_head(tmp_path / "a")
