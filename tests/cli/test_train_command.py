import argparse
import io
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from dataset_fixture import tiny_dataset

from splatface.cli import head_command, train_command
from splatface.cli.train_command import head_name, make_config
from splatface.cli.training_progress import TrainingBar, progress_text, training_fraction
from splatface.models.errors import DatasetError, TrackingError, TrainingError
from splatface.models.head.head_file import load_head
from splatface.models.training.dataset.dataset_io import load_dataset
from splatface.models.training.optimization.training_run import TrainingProgress

pytestmark = pytest.mark.slow

SHORT = [
    "--threads=1", "--set=stages.minutes=null", "--set=stages.canonical_steps=10",
    "--set=stages.deformation_steps=20", "--set=report_every=10", "--set=dynamic=600", "--tune=3",
]  # fmt: skip
PROGRESS = TrainingProgress(
    stage="canonical", step=100, steps=400, loss=0.0123, psnr_db=28.25, gaussians=4321, ms_per_step=41.2,
    seconds_left=754.0,
)  # fmt: skip
# A background process ignores SIGINT, and its children inherit that.
PROGRAM = "import sys, argparse, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
PROGRAM += "from splatface.cli import train_command; p = argparse.ArgumentParser(); "
PROGRAM += "train_command.add_arguments(p); sys.exit(train_command.main(p.parse_args()))"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny_dataset(tmp_path_factory.mktemp("tiny") / "data")


def arguments(*words):
    parser = argparse.ArgumentParser()
    train_command.add_arguments(parser)
    return parser.parse_args(list(map(str, words)))


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "Jo Doe"
    assert train_command.main(arguments(data, "--out", out, *SHORT)) == 0
    return out


def test_from_a_data_set_to_a_head(trained, data):
    head, dataset = load_head(trained), load_dataset(data)
    assert head.info.name == "Jo Doe"
    assert head.info.consent == dataset.consent
    assert set(head.nets) == {"fsmn", "logmel", "whisper"}
    training = head.info.reports["training"]
    assert training["steps"] == 30
    assert training["baking"]["lost_db"] < 1.0  # 30 steps old; test_bake has the laws
    assert head.info.reports["evaluation"]["by_motion"]["psnr"] > 20
    assert (trained / "preview.png").is_file()


def test_run_folder_has_config_log_and_report(trained):
    run = trained.with_name("Jo Doe-run")
    for name in (
        "config.yaml",
        "log.jsonl",
        "evaluation.json",
        "openings.json",
        "report.html",
        "inside/movement.png",
    ):
        assert (run / name).stat().st_size > 0
    assert "Jo Doe" in (run / "report.html").read_text()


def test_a_finished_run_is_read_back_by_the_same_command(trained, data):
    before = load_head(trained)
    assert train_command.main(arguments(data, "--out", trained, *SHORT, "--no-evaluation")) == 0
    assert (load_head(trained).gaussians.means == before.gaussians.means).all()


def test_other_settings_in_the_same_folder_are_refused_unless_fresh(trained, data, tmp_path):
    other = arguments(
        data, "--out", tmp_path / "head", "--run", trained.with_name("Jo Doe-run"), *SHORT, "--seed=5"
    )
    with pytest.raises(TrainingError, match="--fresh"):
        train_command.main(other)


def test_stopped_by_ctrl_c_it_goes_on_with_the_same_command(data, tmp_path):
    long = [w for w in SHORT if "deformation_steps" not in w]
    command = [sys.executable, "-c", PROGRAM, data, "--out", tmp_path / "head", *long, "--set=checkpoint_s=0"]
    command += ["--set=stages.deformation_steps=40000"]
    child = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
    log = tmp_path / "head-run" / "log.jsonl"
    until = time.monotonic() + 60
    try:
        while not (log.is_file() and log.read_text().count("\n") > 2):
            assert time.monotonic() < until
            assert child.poll() is None
            time.sleep(0.1)
        child.send_signal(signal.SIGINT)
        assert "continue with the same command" in child.communicate(timeout=30)[1]
        assert child.returncode == 130
    finally:
        child.kill()
    steps = log.read_text().count("\n")
    again = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
    try:
        while log.read_text().count("\n") <= steps + 1:
            assert time.monotonic() < until + 60
            assert again.poll() is None
            time.sleep(0.1)
    finally:
        again.kill()
        again.communicate()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("densify.moist=3", "expected one of grow_grad2d"),
        ("densify.max_gaussians=many", "densify.max_gaussians"),
        ("densify", "KEY=VALUE"),
        ("what.ever=1", "what"),
        ("seed.more=1", "seed"),
        ("seed=[", "quote"),
    ],
)
def test_a_setting_that_is_none_is_refused_with_the_choices(data, tmp_path, setting, message):
    with pytest.raises(TrainingError, match=message):
        train_command.main(arguments(data, "--out", tmp_path / "head", "--set", setting))
    assert not (tmp_path / "head-run").exists()


def test_settings_of_the_command_line_reach_the_config(data):
    args = arguments(
        "d", "--out", "h", "--field=attention", "--minutes=3", "--seed=9", "--set=densify.max_gaussians=1234"
    )
    dataset = load_dataset(data)
    config, notes = make_config(args, dataset)
    assert any("short clip" in note for note in notes)
    assert (config.stages.minutes, config.seed, config.densify.max_gaussians) == (3.0, 9, 1234)
    assert type(config.field).__name__ == "AttentionConfig"


def test_training_from_a_video_needs_consent(tmp_path):
    film = tmp_path / "film.mp4"
    film.write_bytes(b"film")
    with pytest.raises(TrackingError, match="--consent"):
        train_command.main(arguments(film, "--out", tmp_path / "head", "--person", "Jo Doe"))
    owner = ("--person", "Jo Doe", "--consent", "Jo Doe, for tests", "--license", "CC0-1.0")
    with pytest.raises(TrackingError, match=r"film\.mp4"):
        train_command.main(arguments(film, "--out", tmp_path / "head", *owner))
    with pytest.raises(DatasetError):
        train_command.main(arguments(tmp_path / "nothing", "--out", tmp_path / "head"))


def test_a_head_is_never_put_into_a_folder_of_something_else(data, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "to_anna.txt").write_text("dear Anna")
    with pytest.raises(TrainingError, match="another --out"):
        train_command.main(arguments(data, "--out", tmp_path / "letters"))
    with pytest.raises(TrainingError, match="another --run"):
        train_command.main(
            arguments(data, "--out", tmp_path / "head", "--run", tmp_path / "letters", "--fresh")
        )
    assert (tmp_path / "letters" / "to_anna.txt").read_text() == "dear Anna"


def test_a_full_disk_is_found_out_before_training(data, tmp_path, monkeypatch):
    usage = train_command.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(train_command.shutil, "disk_usage", lambda path: usage._replace(free=10_000_000))
    with pytest.raises(TrainingError, match="MiB free"):
        train_command.main(arguments(data, "--out", tmp_path / "head"))


def test_without_torch_it_says_what_to_install(data, tmp_path, monkeypatch):
    monkeypatch.setattr(train_command.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TrainingError, match=r"pip install splatface\[train\]"):
        train_command.main(arguments(data, "--out", tmp_path / "head"))


def test_progress_line_shows_all_metrics():
    text = progress_text(PROGRESS)
    for word in ("canonical 100", "loss 0.0123", "PSNR 28.2", "4321 Gaussians", "41 ms"):
        assert word in text
    assert "held out 27.5" in progress_text(replace(PROGRESS, validation_psnr_db=27.5))
    assert training_fraction(PROGRESS) == 0.25
    assert training_fraction(replace(PROGRESS, seconds=754.0)) == 0.5  # half of a budget of minutes


def test_log_lines_are_rate_limited():
    stream, now = io.StringIO(), [0.0]
    line = TrainingBar(stream, clock=lambda: now[0])
    for second in range(100):
        now[0] = float(second)
        line(replace(PROGRESS, validation_psnr_db=27.0 if second == 50 else None))
    line.end()
    assert len(stream.getvalue().splitlines()) == 4  # 0, 30, 50 (a validation), 80
    assert "\r" not in stream.getvalue()


def test_a_terminal_has_one_line():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    bar = TrainingBar(stream, clock=lambda: 0.0)
    bar(replace(PROGRESS, validation_psnr_db=27.0))
    bar(PROGRESS)
    bar.end()
    assert stream.getvalue().count("\n") == 1
    assert "held out 27.0" in stream.getvalue().split("\r")[-1]
    assert " 25%" in stream.getvalue()


def test_names_of_folders_become_names_of_heads():
    assert head_name(Path("/tmp/Zoë (2)")) == "Zoë -2-"
    assert head_name(Path("/tmp/.hidden")) == "hidden"


def test_inspect_writes_images(trained, tmp_path, capsys):
    parser = argparse.ArgumentParser()
    head_command.add_inspect_arguments(parser)
    assert head_command.inspect(parser.parse_args([str(trained), "--out", str(tmp_path / "in")])) == 0
    files = capsys.readouterr().out.splitlines()
    assert len(files) == 8
    assert all(Path(line).is_file() for line in files)


def test_inspect_a_finished_run(trained, data, tmp_path, capsys):
    parser = argparse.ArgumentParser()
    head_command.add_inspect_arguments(parser)
    run = str(trained.with_name("Jo Doe-run"))
    with pytest.raises(TrainingError, match="--dataset"):
        head_command.inspect(parser.parse_args([run]))
    words = [run, "--dataset", str(data), "--out", str(tmp_path / "in")]
    assert head_command.inspect(parser.parse_args(words)) == 0
    assert [Path(line).stem for line in capsys.readouterr().out.splitlines()] == ["movement", "dynamism"]
