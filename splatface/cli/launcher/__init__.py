# SPDX-License-Identifier: Apache-2.0
"""Runs ROS 2 YAML launch files where ROS's own `launch` is not installed.

`splatface launch FILE [name:=value ...]` runs a file with the same meaning as `ros2 launch`, for the part of
ROS 2's YAML front end that our launch files, and files that include them, need: the tags and keys of
parse.py and the substitutions of substitutions.py. All else is refused by file, line and name. Linux only.

Where it differs from launch, on purpose: types are strict; a missing parameter file or unknown argument is
an error; `$(eval)` runs no code; a mistake anywhere starts nothing. SIGTERM, SIGHUP and SIGQUIT end a launch
as orderly as SIGINT does. Every process has a session of its own and is ended with all that it started, even
when the launcher is killed; what it leaves behind ends before it is started again. The exit code of a failed
process with `on_exit: shutdown` is the launcher's.
"""

from splatface.cli.launcher.arguments import read_arguments, show_arguments
from splatface.cli.launcher.run import run_file

__all__ = ["read_arguments", "run_file", "show_arguments"]
