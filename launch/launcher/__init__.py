"""Runs ROS 2 YAML launch files where ROS's `launch` is not installed."""

from splatface.launch.launcher.command import main
from splatface.launch.launcher.launch import run_file

__all__ = ["main", "run_file"]
