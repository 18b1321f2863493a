from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from dataset_fixture import tiny_head

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.errors import TrainingError
from splatface.models.head.head import MotionLimits
from splatface.models.training.report.head_inspection import (
    color_map,
    displacement_colors,
    head_sheets,
    inspect_head,
)


def test_every_sheet_is_written(tmp_path):
    head, _ = tiny_head()
    files = inspect_head(head, tmp_path / "sheets")
    assert [file.stem for file in files] == [
        "angles", "ellipsoids", "centres", "skin", "dynamic", "mouth", "controls", "directions",
    ]  # fmt: skip
    assert all(cv2.imread(str(file)).std() > 5 for file in files)


def test_the_skin_sheet_is_blue_below_and_red_above():
    head, _ = tiny_head()
    shown = dict(head_sheets(head))["skin"][:, :384].astype(float)
    face, shirt = shown[100:160, 170:214].mean(axis=(0, 1)), shown[340:370, 170:214].mean(axis=(0, 1))
    assert face[0] > face[2] + 80
    assert shirt[2] > shirt[0] + 80


def test_only_what_moves_glows():
    head, _ = tiny_head()
    shown = dict(head_sheets(head))["dynamic"][:, :384].astype(float).mean(axis=2)
    assert shown[340:370, 170:214].max() < 40  # the shirt
    assert shown[150:300, 120:264].max() > 80  # the mouth


def test_a_place_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="--out"):
        inspect_head(tiny_head()[0], tmp_path / "file")


def test_gaze_and_lids_change_the_picture():
    head, _ = tiny_head()
    controls = dict(head_sheets(head))["controls"]
    tile = 256
    rest, blink = controls[:tile, :tile].astype(float), controls[:tile, tile : 2 * tile].astype(float)
    assert np.abs(rest - blink)[30:].max() > 50


def test_no_mode_is_shown_farther_than_the_head_lets_it_go():
    head, _ = tiny_head()
    little = MotionLimits(((0.0, 1e-4),) * len(MOUTH_MODES), head.info.motion_limits.controls)
    held = replace(head, info=replace(head.info, motion_limits=little))
    tile = 256
    for shown, deformed in ((head, True), (held, False)):
        mouth = dict(head_sheets(shown))["mouth"].astype(float)
        rest, opened = mouth[40:tile, :tile], mouth[40:tile, tile : 2 * tile]
        assert (np.abs(rest - opened).max() > 50) == deformed


def test_colors_run_from_blue_to_red():
    low, middle, high = color_map(torch.tensor([0.15, 0.5, 0.85]))
    assert low.argmax() == 2
    assert middle.argmax() == 1
    assert high.argmax() == 0


def test_colors_stay_in_range_and_bad_numbers_are_the_lowest():
    colors = color_map(torch.tensor([-3.0, 0.0, 1.0, 9.0, torch.nan]))
    assert ((colors >= 0) & (colors <= 1)).all()
    torch.testing.assert_close(colors[0], colors[1])
    torch.testing.assert_close(colors[2], colors[3])
    torch.testing.assert_close(colors[4], colors[0])


def test_colors_change_without_jumps():
    steps = color_map(torch.linspace(0, 1, 200)).diff(dim=0)
    assert steps.abs().max() < 0.03


def test_movement_is_colored_by_distance():
    deltas = torch.zeros(2, 14)
    deltas[1, :3] = torch.tensor([0.006, 0.008, 0.0])
    torch.testing.assert_close(displacement_colors(deltas), color_map(torch.tensor([0.0, 1.0])))
