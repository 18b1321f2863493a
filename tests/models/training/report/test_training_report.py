import json
import re
from base64 import b64decode
from dataclasses import replace

import cv2
import numpy as np
import pytest
from dataset_fixture import tiny_head

from splatface.models.audio2motion.pretrained_nets import load_net
from splatface.models.errors import TrainingError
from splatface.models.training.optimization.training_run import RunArtifacts, load_run_artifacts
from splatface.models.training.report.report_page import (
    ChartLabels,
    Curve,
    _webp,
    chart,
    difference,
    encode_clip,
    side_by_side,
)
from splatface.models.training.report.training_report import write_report

pytestmark = pytest.mark.slow

LINE = {
    "stage": "canonical", "step": 100, "steps": 400, "loss": 0.1, "psnr_db": 25.0, "gaussians": 900,
    "ms_per_step": 40.0, "seconds_left": 9.0, "validation_psnr_db": None, "seconds": 4.0,
}  # fmt: skip


@pytest.fixture
def head():
    return replace(tiny_head()[0], nets={"logmel": load_net("logmel")})


def _run(folder):
    lines = [LINE | {"step": s, "seconds": s / 25, "loss": 1 / (s + 1)} for s in (0, 100, 200)]
    (folder / "log.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"stage": "cano')
    (folder / "config.yaml").write_text("seed: 17\n")
    group = {"psnr": 33.3, "ssim": 0.97, "st_lpips": None, "not_available": {"st_lpips": "not installed"}}
    (folder / "evaluation.json").write_text(json.dumps({"by_motion": group, "by_sound": group}))
    (folder / "openings.json").write_text(
        json.dumps({"time_s": [0, 1], "truth": [0, 1], "by motion": [0, 2]})
    )
    (folder / "validation").mkdir()
    cv2.imwrite(str(folder / "validation" / "000100.png"), np.zeros((20, 60, 3), np.uint8))
    return folder


def test_the_page_tells_all_and_asks_no_network(tiny, head, tmp_path):
    file = tmp_path / "report.html"
    write_report(head, tiny, load_run_artifacts(_run(tmp_path)), file)
    text = file.read_text()
    for word in (
        "Nobody is shown",
        "33.3",
        "not available",
        "seed: 17",
        "by sound (logmel)",
        "yaw -20",
        "000100",
    ):
        assert word in text
    assert "</script>" in text
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", text)
    assert not re.findall(r"https?://", text)
    assert text.count('<img class="chart"') == 1 + 4 + 4


def test_the_film_in_the_page_is_a_film(tiny, head, tmp_path):
    write_report(head, tiny, RunArtifacts(), tmp_path / "report.html")
    coded = re.search(r"data:video/(mp4|webm);base64,([^\"]+)", (tmp_path / "report.html").read_text())
    film = tmp_path / f"film.{coded[1]}"
    film.write_bytes(b64decode(coded[2]))
    capture = cv2.VideoCapture(str(film))
    pictures = []
    while (read := capture.read())[0]:
        pictures.append(read[1])
    assert len(pictures) == (tiny.frames.split == 2).sum()
    assert pictures[0].shape == (288, 4 * 288, 3)
    truth, moved = pictures[0][:, :288].astype(float), pictures[0][:, 288:576].astype(float)
    assert np.abs(truth - moved).mean() < 6  # the very head that the data set shows


def test_a_head_without_networks_has_a_report_too(tiny, tmp_path):
    head = replace(tiny_head()[0], nets={})
    write_report(head, tiny, RunArtifacts(), tmp_path / "report.html")
    assert "by sound" not in (tmp_path / "report.html").read_text()


def test_what_could_not_be_measured_is_one_line_and_no_column(tiny, head, tmp_path):
    moved = {"psnr": 33.3, "motion": None, "not_available": {}}
    heard = {
        "psnr": None,
        "motion": None,
        "not_available": {"psnr": "the film has no sound", "ssim": "the film has no sound"},
    }
    artifacts = replace(RunArtifacts(), evaluation={"by_motion": moved, "by_sound": heard})
    write_report(replace(head, nets={}), tiny, artifacts, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert text.count("by sound: not measured: the film has no sound</p>") == 1
    assert "<th>by motion</th></tr>" in text
    assert "<td>motion</td>" not in text


def test_words_of_a_data_set_are_words_not_markup(tiny, head, tmp_path):
    odd = replace(head, info=replace(head.info, consent="<script>alert(1)</script> & co"))
    write_report(odd, tiny, RunArtifacts(), tmp_path / "report.html")
    assert "<script>alert" not in (tmp_path / "report.html").read_text()


def test_an_empty_run_folder_tells_nothing(tmp_path):
    assert load_run_artifacts(tmp_path) == RunArtifacts()


def test_a_log_cut_off_by_a_crash_is_read_up_to_there(tmp_path):
    assert [line["step"] for line in load_run_artifacts(_run(tmp_path)).log] == [0, 100, 200]


def svg_of(image):
    return b64decode(re.search(r"data:image/svg\+xml;base64,([^\"]+)", image)[1]).decode()


def test_a_chart_escapes_its_title_and_leaves_out_what_is_not_finite():
    values = np.array([1.0, np.nan, 3.0, np.inf, 2.0])
    svg = svg_of(chart([Curve("a", np.arange(5.0), values)], ChartLabels(title="x < y", x_name="s")))
    assert "x &lt; y" in svg
    assert "nan" not in svg.lower()
    lines = re.findall(r'<path d="(M[^"]+)"[^>]*stroke: #2f6fb3', svg)
    assert len(lines) == 1
    assert lines[0].count("L") == 2


def test_a_long_curve_keeps_its_peak_and_stays_small():
    values = np.zeros(100_000)
    values[54_321] = 7.0
    svg = svg_of(chart([Curve("a", np.arange(1e5), values)], ChartLabels(title="t", x_name="s")))
    assert len(svg) < 60_000
    line = re.search(r'<path d="(M[^"]+)"[^>]*stroke: #2f6fb3', svg)[1]
    heights = [float(y) for y in re.findall(r"[ML] [\d.]+ ([\d.]+)", line)]
    assert max(heights) - min(heights) > 80


def test_a_chart_of_nothing_says_so():
    assert "nothing measured" in svg_of(chart([], ChartLabels(title="t", x_name="s")))


def test_equal_pictures_differ_nowhere():
    picture = np.full((8, 6, 3), 90, np.uint8)
    assert difference(picture, picture).max() < 10
    assert difference(picture, picture + 60).max() > 200


def test_pictures_stand_in_a_row_of_even_size():
    assert side_by_side([np.zeros((33, 41, 3), np.uint8)] * 3, 51).shape == (50, 3 * 64, 3)


def test_without_an_encoder_there_is_a_moving_picture():
    pictures = [np.full((32, 32, 3), level, np.uint8) for level in (10, 200)]
    film = _webp(iter(pictures), 25.0)
    assert film.mime == "image/webp"
    assert film.content[:4] == b"RIFF"


def test_a_film_of_nothing_is_an_error():
    with pytest.raises(TrainingError, match="pictures"):
        encode_clip([], 25.0)
