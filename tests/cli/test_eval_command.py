"""`splatface eval`: what it prints and writes, and what it refuses."""

import argparse
import json

import pytest

from splatface.cli import eval_command
from splatface.models.errors import DatasetError, MetricError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    from dataset_fixture import tiny_dataset

    return str(tiny_dataset(tmp_path_factory.mktemp("sets") / "tiny"))


def run(*words):
    parser = argparse.ArgumentParser()
    eval_command.add_arguments(parser)
    return eval_command.main(parser.parse_args([str(word) for word in (*words, "--samples", "1")]))


def test_json_names_machine_head_and_both_groups(capsys, tiny_head, dataset):
    assert run(tiny_head, dataset, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert {"machine", "head", "dataset", "encoder", "training_minutes"} <= set(result)
    assert {name for name in result if name.startswith("by_")} == {"by_motion", "by_sound"}
    assert result["by_motion"]["psnr"] > 15
    assert result["by_motion"]["fps"] > 1


def test_out_holds_figures_and_pictures(capsys, tiny_head, dataset, tmp_path):
    assert run(tiny_head, dataset, "--out", tmp_path / "out", "--encoder", "logmel", "--split", "val") == 0
    assert "by sound" in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"evaluation.json", "evaluation.txt", "side_by_side.png"} <= names
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["encoder"] == "logmel"


def test_heads_are_compared_in_one_table(capsys, tiny_head, dataset, tmp_path):
    assert run("--compare", tiny_head, "robin", dataset, "--encoder", "logmel", "--out", tmp_path) == 0
    lines = capsys.readouterr().out.strip().split("\n")
    assert len(lines) == 2 + 2 * 2
    assert [line.split()[1] for line in lines[2:]] == ["tiny", "tiny", "robin", "robin"]
    assert (tmp_path / "comparison.md").read_text().strip().split("\n") == lines
    assert [result["split"] for result in json.loads((tmp_path / "comparison.json").read_text())] == [
        "test"
    ] * 2
    assert (tmp_path / "tiny" / "side_by_side.png").exists()


def test_what_cannot_be_measured_is_refused(tiny_head, dataset, tmp_path):
    with pytest.raises(MetricError, match="--compare"):
        run(tiny_head, tiny_head, dataset)
    with pytest.raises(MetricError, match="HEAD DATASET"):
        run(dataset)
    with pytest.raises(DatasetError):
        run(tiny_head, tmp_path)
    with pytest.raises(MetricError, match="logmel"):
        run(tiny_head, dataset, "--encoder", "unheard-of")
    with pytest.raises(MetricError, match="No such file"):
        run(tiny_head, dataset, "--lpips", tmp_path / "none.pth")
    (tmp_path / "file").write_text("")
    with pytest.raises(MetricError, match="another --out"):
        run(tiny_head, dataset, "--out", tmp_path / "file" / "deeper")
