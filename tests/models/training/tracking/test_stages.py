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


def staged(folder, seen=None):
    return StageCache(folder, PLAN, clock=Clock(), report=(seen if seen is not None else []).append)


def forbidden(told):
    raise AssertionError("made again")


def test_what_was_made_is_found_again(tmp_path):
    made = staged(tmp_path).run("first", digest_of("a", 1), lambda told: {"x": np.arange(5)})
    found = staged(tmp_path).run("first", digest_of("a", 1), forbidden)
    np.testing.assert_array_equal(found["x"], made["x"])


def test_what_was_made_from_something_else_is_made_again(tmp_path):
    staged(tmp_path).run("first", digest_of("a", 1), lambda told: {"x": np.zeros(2)})
    again = staged(tmp_path).run("first", digest_of("a", 2), lambda told: {"x": np.ones(2)})
    assert again["x"].tolist() == [1, 1]
    assert len(list(tmp_path.glob("first-*"))) == 1  # the old one does not fill the disk


@pytest.mark.parametrize("damage", [b"", b"garbage" * 50])
def test_a_damaged_result_is_made_again(tmp_path, damage):
    staged(tmp_path).run("first", digest_of("a"), lambda told: {"x": np.zeros(2)})
    next(tmp_path.glob("first-*")).write_bytes(damage)
    assert staged(tmp_path).run("first", digest_of("a"), lambda told: {"x": np.ones(2)})["x"][0] == 1


def test_progress_rises_to_one_and_the_time_left_falls_to_zero(tmp_path):
    seen = []
    stages = staged(tmp_path, seen)
    for stage in PLAN:
        stages.run(stage, digest_of("a"), lambda told: [told(i / 4) for i in range(5)] and {"x": np.zeros(1)})
    shares = [progress.share for progress in seen]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] == 1
    assert seen[-1].seconds_left == 0
    assert seen[-3].seconds_left < seen[-5].seconds_left


def test_found_work_does_not_make_the_rest_look_quick(tmp_path):
    staged(tmp_path).run("first", digest_of("a"), lambda told: {"x": np.zeros(1)})
    seen = []
    stages = staged(tmp_path, seen)
    stages.run("first", digest_of("a"), forbidden)
    stages.run("second", digest_of("a"), lambda told: told(0.5) or {"x": np.zeros(1)})
    half = next(progress for progress in seen if progress.stage == "second" and progress.share > 0.5)
    assert half.seconds_left == pytest.approx(half.seconds, rel=0.01)


def test_a_killed_run_goes_on(tmp_path):
    code = f"""
import time, sys, numpy as np
from pathlib import Path
from splatface.models.training.tracking.stage_cache import Stages
stages = Stages(Path({str(tmp_path)!r}), {PLAN!r}, clock=time.monotonic, report=lambda p: None)
stages.run("first", "a", lambda told: {{"x": np.arange(3)}})
print("first is done", flush=True)
stages.run("second", "a", lambda told: time.sleep(60))
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "first is done\n"
    time.sleep(0.1)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert staged(tmp_path).run("first", "a", forbidden)["x"].tolist() == [0, 1, 2]
    assert staged(tmp_path).run("second", "a", lambda told: {"y": np.ones(1)})["y"][0] == 1


def test_a_folder_that_cannot_be_is_an_error_in_words(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrackingError, match="expected to write there"):
        staged(tmp_path / "file" / "work")
