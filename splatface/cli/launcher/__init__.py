"""Runs ROS 2 YAML launch files where ROS's own `launch` is not installed.

`splatface launch FILE [name:=value ...]` runs the file that `ros2 launch` runs, with the same meaning. FILE
is a path or the name of a file that splatface ships. What passes here is meant to run under the real launch
of Jazzy and of Kilted too. Tags and keys that do not stand here are refused by file, line and name.

Tags, each with `if` and `unless` (true, 1, false, 0):

| tag | keys |
|---|---|
| arg | name, default, description, choice (list of value) |
| let | name, value |
| node | pkg, exec, name, namespace, exec_name, args, ros_args, param, remap, and the keys of a process |
| executable | cmd, and the keys of a process |
| (a process) | name, cwd, env, output, shell, respawn, respawn_delay, respawn_max_retries, launch-prefix, |
| | sigterm_timeout, sigkill_timeout, on_exit: shutdown |
| group | a list of actions, or children with scoped, forwarding, keep |
| include | file, arg or let (lists of name, value) |
| push_ros_namespace, set_remap, set_parameter | namespace; from, to; name, value |
| set_env, unset_env | name, value; name |
| timer | period, children |
| log, shutdown | message; reason |

A `param` is `name` with `value` (and `type`) or with nested `param`, or `from` a file (with `allow_substs`).
Substitutions: `$(var NAME [DEFAULT]) $(env NAME [DEFAULT]) $(find-pkg-share PKG) $(find-pkg-prefix PKG)
$(dirname) $(filename) $(eval 'EXPRESSION') $(command 'LINE' [fail|ignore|warn|capture])`.

Where it differs from launch, on purpose:

* stricter: YAML types (`respawn: 'true'`, `period: 2.0`), duplicate keys, merge keys, empty lists, a
  parameter file that does not exist, an argument that no file knows, lists in set_parameter, `$(dirname)`
  after an include from another folder (versions of launch disagree: ros2/launch#618), quotes in commands that
  launch cannot read, `log` with a level (Jazzy has none), `emulate_tty`;
* `$(eval)` runs no code: see expression.py;
* the whole file is evaluated before the first process starts, so a mistake starts nothing;
* packages are found by their folders `share/PKG` and `lib/PKG`, below AMENT_PREFIX_PATH and the prefix of
  this Python, whose `bin` comes first on PATH; children get AMENT_PREFIX_PATH and PYTHONUNBUFFERED=1, their
  lines come at once;
* SIGTERM, SIGHUP and SIGQUIT end a launch as orderly as SIGINT does; every process has a session of its own
  and is ended with all that it started; a guardian (guardian.py) does so even when the launcher is killed;
* the exit code of a failed process with `on_exit: shutdown` is the launcher's; it is not started again;
* what a process leaves behind ends before it is started again, and at the end of the launch;
* log files are turned over at 20 MB.

As launch does it, though it surprises: an include makes no scope; a timer in a group fires in the outermost
scope; set_remap and set_parameter in a group reach out of it once a list was begun outside; `value: '3'` is a
string and `value: $(var x)` is read as YAML (say `type: str` or `type: float` when it must be one).

Read for this, not run: ros2/launch
`launch/frontend/{grammar.lark,parse_substitution,parser,expose,entity}.py`, `launch/actions/*.py`,
`launch/descriptions/executable.py`, `launch/utilities/type_utils.py`, `launch/logging`,
`launch_yaml/{entity,parser}.py` and their tests; ros2/launch_ros
`actions/{node,push_ros_namespace,set_parameter,set_remap}.py`, `parameter_descriptions.py`,
`utilities/*.py`, the tests of its YAML front end, `ros2launch/api`; osrf_pycommon's process utilities. `let`
in an include needs launch 3.4.7 (Jazzy) or 3.8.4 (Kilted); `arg` works with all. Linux only.
"""

from splatface.cli.launcher.command import main
from splatface.cli.launcher.launch import run_file

__all__ = ["main", "run_file"]
