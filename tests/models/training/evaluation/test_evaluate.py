"""A head on a film: its own is nearly perfect, by sound it is worse, and what is missing is said."""

import json
import shutil
import sys
from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES, zero_net
from splatface.models.errors import MetricError
from splatface.models.training.dataset.dataset_audio import AUDIO, load_audio, wav_bytes
from splatface.models.training.evaluation.evaluate import EvaluationConfig, evaluate, evaluation_json
from splatface.models.training.evaluation.evaluate_frames import METRICS
from splatface.models.training.evaluation.evaluation_report import (
    format_comparison,
    format_table,
    opening_plot,
    side_by_side,
)

pytestmark = pytest.mark.slow

WANTED = {
    "psnr",
    "psnr_mouth",
    "ssim",
    "st_lpips",
    "lmd_px",
    "opening_correlation",
    "opening_amplitude",
    "opening_lag_ms",
    "identity_similarity",
    "jitter_px",
    "rest_error",
    "fps",
}
CONFIG = EvaluationConfig(split="train", samples=2)


def ticking(step_s):
    """A clock on which a picture takes step_s."""
    ticks = count()
    return lambda: next(ticks) * step_s


@pytest.fixture(scope="module")
def evaluation(film_folder, player):
    from splatface.models.training.dataset.dataset_io import load_dataset

    return evaluate(player, load_dataset(film_folder), CONFIG, clock=ticking(0.02))


def test_the_films_own_head_is_nearly_perfect_by_motion(evaluation):
    found = evaluation.by_motion.figures
    assert found["psnr"] > 32
    assert found["ssim"] > 0.97
    assert found["lmd_px"] < 2.5
    assert found["opening_correlation"] > 0.95
    assert found["opening_amplitude"] == pytest.approx(1, abs=0.1)
    assert found["opening_lag_ms"] == pytest.approx(0, abs=10)
    assert found["identity_similarity"] > 0.8
    assert found["st_lpips"] < 0.05
    assert evaluation.by_motion.faces_missed == (0, 0)


def test_by_sound_is_worse_where_the_mouth_is_and_nowhere_else(evaluation):
    motion, sound = evaluation.by_motion.figures, evaluation.by_sound.figures
    assert sound["psnr_mouth"] < motion["psnr_mouth"] - 1
    assert sound["lmd_px"] > motion["lmd_px"]
    assert sound["opening_correlation"] < motion["opening_correlation"]
    assert sound["opening_correlation"] > 0.3
    fits = evaluation.motion_score.mode_correlations
    assert tuple(fits) == MOUTH_MODES
    assert fits["open"] > 0.5


def test_fps_is_what_the_clock_says(evaluation):
    assert evaluation.by_motion.figures["fps"] == pytest.approx(50)
    assert evaluation.by_sound.figures["fps"] == pytest.approx(50)


def test_json_has_both_groups_and_a_reason_for_every_gap(evaluation):
    result = json.loads(json.dumps(evaluation_json(evaluation), allow_nan=False))
    assert {name for name in result if name.startswith("by_")} == {"by_motion", "by_sound"}
    for name in ("by_motion", "by_sound"):
        group = result[name]
        assert set(group) >= WANTED
        gaps = {figure for figure in METRICS if group[figure] is None}
        assert gaps == set(group["not_available"])
        assert "--lpips" in group["not_available"]["lpips"]
    assert result["by_sound"]["mode_correlations"]["open"] > 0.5
    assert (result["encoder"], result["split"], result["size"]) == ("logmel", "train", [256, 256])


def test_tables_name_every_figure(evaluation):
    result = evaluation_json(evaluation)
    text = format_table(result)
    for word in ("PSNR", "lip landmarks", "by motion", "by sound", "not available: lpips", "heard against"):
        assert word in text
    lines = format_comparison([result, result]).split("\n")
    assert len(lines) == 2 + 4
    assert {line.count("|") for line in lines} == {lines[0].count("|")}


def test_pictures_show_truth_and_both_films(evaluation, tmp_path):
    shown = side_by_side(evaluation)
    assert shown.shape == (5 * (22 + 256), 2 * 256, 3)
    assert shown[22 : 22 + 256].std() > 20
    assert opening_plot(evaluation, tmp_path / "opening.png")
    assert (tmp_path / "opening.png").stat().st_size > 5_000


def test_a_silent_head_does_not_open_its_mouth(film, player):
    trained = replace(player.info, reports={"training": {"minutes": 12.5}})
    head = replace(player, info=trained, nets={"logmel": zero_net("logmel", 120)})
    found = evaluate(head, film, replace(CONFIG, samples=1, most=12), clock=ticking(1))
    assert found.by_sound.figures["opening_amplitude"] < 0.2
    assert evaluation_json(found)["training_minutes"] == 12.5


def test_a_film_of_four_samples_a_pixel_is_met_by_as_many(film, player):
    short = replace(CONFIG, split="test", samples=1, supersample=2)
    figures = evaluate(replace(player, nets={}), film, short, clock=ticking(1)).by_motion.figures
    assert figures["psnr"] > 55
    assert figures["lmd_px"] < 0.2


def test_a_head_without_a_net_is_measured_by_motion_alone(film, player):
    short = replace(CONFIG, split="test", samples=1)
    result = evaluation_json(evaluate(replace(player, nets={}), film, short, clock=ticking(1)))
    assert result["encoder"] is None
    assert result["by_motion"]["psnr"] > 32
    assert result["by_sound"]["psnr"] is None
    assert "no net" in result["by_sound"]["not_available"]["psnr"]
    assert "not available: by sound: the head has no net" in format_table(result)


def test_a_film_whose_mouth_nobody_tracked_is_measured_by_sound_alone(film, player):
    frames = replace(film.frames, mouth=np.full_like(film.frames.mouth, np.nan))
    motion = replace(film.motion, mouth=np.full_like(film.motion.mouth, np.nan))
    untracked = replace(film, frames=frames, motion=motion)
    short = replace(CONFIG, split="test", samples=1)
    result = evaluation_json(evaluate(player, untracked, short, clock=ticking(1)))
    assert "mouth's motion" in result["by_motion"]["not_available"]["psnr"]
    assert result["by_sound"]["psnr"] > 20
    assert set(result["by_sound"]["mode_correlations"].values()) == {None}


def test_what_is_not_installed_is_left_out_with_its_remedy(film, player, monkeypatch):
    for missing in ("mediapipe", "dlib", "stlpips_pytorch"):
        monkeypatch.setitem(sys.modules, missing, None)
    short = replace(CONFIG, split="test", samples=1)
    found = evaluate(player, film, short, clock=ticking(1))
    group = evaluation_json(found)["by_motion"]
    assert group["psnr"] > 32
    for name, remedy in (("lmd_px", "[train]"), ("identity_similarity", "dlib-bin"), ("st_lpips", "pip")):
        assert group[name] is None
        assert remedy in group["not_available"][name]
    assert side_by_side(found).ndim == 3
    assert not opening_plot(found, film.folder / "nothing.png")


def test_a_part_without_pictures_is_refused(film, player):
    lost = np.full_like(film.frames.T_world_head, np.nan)
    nowhere = replace(film, frames=replace(film.frames, T_world_head=lost))
    with pytest.raises(MetricError, match="train part"):
        evaluate(player, nowhere, CONFIG, clock=ticking(1))


def test_a_film_without_sound_is_measured_by_motion_alone(film, player, tmp_path):
    silent = tmp_path / "silent"
    shutil.copytree(film.folder, silent)
    (silent / AUDIO).write_bytes(wav_bytes(np.zeros_like(load_audio(film))))
    short = replace(CONFIG, split="test", samples=1, most=6)
    result = evaluation_json(evaluate(player, replace(film, folder=silent), short, clock=ticking(1)))
    assert result["by_motion"]["psnr"] > 32
    assert result["by_sound"]["not_available"]["psnr"] == "the film has no sound"
