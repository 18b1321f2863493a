"""`splatface bench render`: the keys that scripts read, and what it refuses."""

import argparse
import json

import pytest

from bench import render_benchmark
from bench.render_benchmark import attention_field
from splatface.models.errors import RenderError

pytestmark = pytest.mark.slow


def run(capsys, *words):
    parser = argparse.ArgumentParser()
    render_benchmark.add_arguments(parser)
    small = ["--size", "48", "--gaussians", "200", "--dynamic", "50", "--pictures", "5"]
    assert render_benchmark.main(parser.parse_args([*small, *words])) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("words", [(), ("--threads", "2"), ("--dynamic", "0")])
def test_json_has_every_stage(capsys, words):
    result = json.loads(run(capsys, "--json", *words))
    assert set(result) == {"stages", "total_ms", "pictures_per_second", "peak_memory_mb"}
    assert list(result["stages"]) == ["coefficients", "deform", "project", "bin_sort", "raster"]
    assert set(result["total_ms"]) == {"median", "min", "p99"}
    assert result["total_ms"]["min"] <= result["total_ms"]["median"] <= result["total_ms"]["p99"]
    assert result["pictures_per_second"] == pytest.approx(1e3 / result["total_ms"]["median"], rel=0.01)


def test_backward_adds_its_stages(capsys):
    stages = json.loads(run(capsys, "--json", "--backward"))["stages"]
    assert list(stages)[-2:] == ["raster_backward", "project_backward"]


def test_other_backends_draw_too(capsys):
    assert "draw" in json.loads(run(capsys, "--json", "--backend", "reference"))["stages"]


def test_table_lists_the_baselines(capsys, monkeypatch):
    monkeypatch.setattr("bench.render_benchmark.ATTENTION_GAUSSIANS", 100)
    table = run(capsys)
    for row in ("raster", "attention field", "reference renderer", "gsplat", "images/s"):
        assert row in table


def test_attention_field_answers_for_every_gaussian():
    assert [tuple(out.shape) for out in attention_field(7)()] == [(1, 7, n) for n in (3, 4, 3, 48, 1)]


def test_impossible_settings_are_refused(capsys):
    with pytest.raises(RenderError, match="dynamic"):
        run(capsys, "--dynamic", "201")
    with pytest.raises(RenderError, match="backend cpu"):
        run(capsys, "--backward", "--backend", "reference")
