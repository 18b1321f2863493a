import argparse
from dataclasses import replace

import cv2
import numpy as np
import pytest
from shared_format import write_shared

from splatface.cli.dataset_command import add_arguments, main
from splatface.models.errors import DatasetError
from splatface.models.training.dataset.body_poses import rewrite_tables
from splatface.models.training.dataset.dataset_io import load_dataset
from splatface.models.training.dataset.findings import BAD, FINE, ODD, inspect_dataset
from splatface.models.training.dataset.frame_images import contact_sheet
from splatface.models.training.dataset.import_ernerf import ImportPlan, import_ernerf


def levels(dataset):
    return {finding.subject: finding.level for finding in inspect_dataset(dataset)}


def run(*words):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return main(parser.parse_args([str(word) for word in words]))


def test_a_good_data_set_is_fine(tiny):
    assert set(levels(tiny).values()) == {FINE}


def test_a_changed_picture_is_found(copied):
    path = copied / "pictures" / "000009.png"
    path.write_bytes(path.read_bytes()[:-30])
    found = {finding.subject: finding for finding in inspect_dataset(load_dataset(copied))}
    assert found["pictures"].level == BAD
    assert "000009.png" in found["pictures"].observation


def test_what_is_odd_is_said(copied):
    tiny = load_dataset(copied)
    heads = tiny.motion.T_world_head.copy()
    heads[12, :3, :3] = heads[12, :3, :3] @ cv2.Rodrigues(np.array([0.0, 0.9, 0.0]))[0]
    mouth = tiny.motion.mouth.copy()
    mouth[3:] = np.nan
    frames = replace(
        tiny.frames,
        landmarks_px=0.8 * tiny.frames.landmarks_px,
        T_world_head=np.linalg.inv(tiny.frames.T_world_head) @ np.diag([-1.0, -1.0, 1.0, 1.0]),
        split=np.zeros_like(tiny.frames.split),
    )
    rewrite_tables(replace(tiny, frames=frames, motion=replace(tiny.motion, T_world_head=heads, mouth=mouth)))
    found = levels(load_dataset(copied))
    for subject in ("poses", "mouth", "landmarks", "split", "points"):
        assert found[subject] == ODD, subject
    assert found["pictures"] == found["sound"] == FINE


def test_the_sheet_shows_pictures_over_labels(tiny):
    sheet = contact_sheet(tiny, pictures=5, columns=3, side_px=96)
    assert sheet.shape == (2 * 2 * 96, 3 * 96, 3)
    assert (sheet[2 * 96 :, 2 * 96 :] == 255).all()
    assert np.abs(sheet[20:96, :96].astype(int) - sheet[96 + 20 : 192, :96]).max() > 50


def test_the_command_describes_checks_and_draws(tiny_folder, tmp_path, capsys):
    assert run("info", tiny_folder, "--sheet", tmp_path / "sheet.png") == 0
    assert "36 of 96x96: 30 train, 2 val, 4 test" in capsys.readouterr().out
    assert cv2.imread(str(tmp_path / "sheet.png")) is not None
    assert run("check", tiny_folder) == 0
    assert capsys.readouterr().out.count("fine") >= 9


def test_an_import_needs_consent(tmp_path):
    with pytest.raises(SystemExit):
        run("import", tmp_path, "--out", tmp_path / "set", "--license", "CC0-1.0")


def test_an_import_that_was_not_tracked_is_odd(tiny, tmp_path, capsys):
    source = write_shared(tiny, tmp_path / "shared")
    import_ernerf(
        ImportPlan(source=source, target=tmp_path / "set", license="CC0-1.0", consent="nobody", fps=12.5)
    )
    assert run("check", tmp_path / "set") == 0
    out = capsys.readouterr().out
    assert "import it again, which tracks them" in out
    assert "bad" not in out


def test_a_bad_data_set_ends_with_1(copied):
    (copied / "labels" / "000000.png").write_bytes(b"")
    assert run("check", copied) == 1
    (copied / "audio.wav").unlink()
    with pytest.raises(DatasetError):
        run("check", copied)
