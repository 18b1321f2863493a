"""`make setup` refuses early what cannot work, in one line, and touches nothing."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def setup(tmp_path, **programs):
    """Run tools/setup.sh where some programs are replaced by scripts."""
    for name, script in programs.items():
        file = tmp_path / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHON": "python3"}
    command = [str(ROOT / "tools" / "setup.sh")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)


def test_an_old_python_is_refused(tmp_path):
    result = setup(tmp_path, python3='[ "$1" = -V ] && echo "Python 3.8.18" || exit 1')
    assert result.returncode == 1
    assert "needs Python 3.10 to 3.13, python3 is 3.8.18" in result.stderr
    assert "make setup PYTHON=" in result.stderr


def test_another_processor_is_sent_to_colcon(tmp_path):
    result = setup(tmp_path, uname='[ "$1" = -m ] && echo aarch64 || echo Linux')
    assert result.returncode == 1
    assert "x86_64, this is aarch64" in result.stderr
    assert "colcon" in result.stderr


def test_another_system_is_sent_to_colcon(tmp_path):
    result = setup(tmp_path, uname="echo Darwin")
    assert result.returncode == 1
    assert "Linux, this is Darwin" in result.stderr
