"""Stages are done once, whatever kills the run between them."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from splatface.models.errors import TrackingError
from splatface.models.training.tracking.stage_cache import StageCache, digest_of

PLAN = {"first": 1.0, "second": 3.0}


class Clock:
    """A clock that goes on by a second at every look."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 1.0
        return self.now


def staged(folder, reported=None):
    return StageCache(folder, PLAN, clock=Clock(), report=(reported if reported is not None else []).append)


def forbidden(report):
    raise AssertionError("made again")


def test_what_was_made_is_found_again(tmp_path):
    made = staged(tmp_path).run("first", digest_of("a", 1), lambda report: {"x": np.arange(5)})
    cached = staged(tmp_path).run("first", digest_of("a", 1), forbidden)
    np.testing.assert_array_equal(cached["x"], made["x"])


def test_what_was_made_from_something_else_is_made_again(tmp_path):
    staged(tmp_path).run("first", digest_of("a", 1), lambda report: {"x": np.zeros(2)})
    again = staged(tmp_path).run("first", digest_of("a", 2), lambda report: {"x": np.ones(2)})
    assert again["x"].tolist() == [1, 1]
    assert len(list(tmp_path.glob("first-*"))) == 1  # the old one does not fill the disk


@pytest.mark.parametrize("damage", [b"", b"garbage" * 50])
def test_a_damaged_result_is_made_again(tmp_path, damage):
    staged(tmp_path).run("first", digest_of("a"), lambda report: {"x": np.zeros(2)})
    next(tmp_path.glob("first-*")).write_bytes(damage)
    assert staged(tmp_path).run("first", digest_of("a"), lambda report: {"x": np.ones(2)})["x"][0] == 1


def test_progress_rises_to_one_and_the_time_left_falls_to_zero(tmp_path):
    reported = []
    stages = staged(tmp_path, reported)
    for stage in PLAN:
        stages.run(
            stage, digest_of("a"), lambda report: [report(i / 4) for i in range(5)] and {"x": np.zeros(1)}
        )
    fractions = [progress.fraction for progress in reported]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0
    assert fractions[-1] == 1
    assert reported[-1].seconds_left == 0
    assert reported[-3].seconds_left < reported[-5].seconds_left


def test_cached_work_does_not_shorten_the_estimate(tmp_path):
    staged(tmp_path).run("first", digest_of("a"), lambda report: {"x": np.zeros(1)})
    reported = []
    stages = staged(tmp_path, reported)
    stages.run("first", digest_of("a"), forbidden)
    stages.run("second", digest_of("a"), lambda report: report(0.5) or {"x": np.zeros(1)})
    half = next(progress for progress in reported if progress.stage == "second" and progress.fraction > 0.5)
    assert half.seconds_left == pytest.approx(half.seconds, rel=0.01)


def test_a_killed_run_goes_on(tmp_path):
    code = f"""
import time, sys, numpy as np
from pathlib import Path
from splatface.models.training.tracking.stage_cache import StageCache
stages = StageCache(Path({str(tmp_path)!r}), {PLAN!r}, clock=time.monotonic, report=lambda p: None)
stages.run("first", "a", lambda report: {{"x": np.arange(3)}})
print("first is done", flush=True)
stages.run("second", "a", lambda report: time.sleep(60))
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "first is done\n"
    time.sleep(0.1)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert staged(tmp_path).run("first", "a", forbidden)["x"].tolist() == [0, 1, 2]
    assert staged(tmp_path).run("second", "a", lambda report: {"y": np.ones(1)})["y"][0] == 1


def test_a_folder_that_cannot_be_is_an_error_in_words(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrackingError, match="expected to write there"):
        staged(tmp_path / "file" / "work")
