# SPDX-License-Identifier: Apache-2.0
"""Find packages, executables and launch files below AMENT_PREFIX_PATH and the prefix of this Python."""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from splatface.models.errors import LaunchError

__all__ = ["base_environment", "find_executable", "find_launch_file", "package_share"]


def base_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of processes: this Python's prefix and programs first, output unbuffered."""
    programs = str(Path(sys.prefix) / "bin")
    path = [entry for entry in environment.get("PATH", os.defpath).split(os.pathsep) if entry != programs]
    return {
        "PYTHONUNBUFFERED": "1",  # launch does not set it: lines of Python children would come late
        **environment,
        "AMENT_PREFIX_PATH": os.pathsep.join(map(str, _prefixes(environment))),
        "PATH": os.pathsep.join([programs, *path]),
    }


def package_share(package: str, environment: Mapping[str, str]) -> Path:
    """Return a package's share folder. Raises LaunchError (without file and line)."""
    return _package_folders("share", package, environment)[0]


def find_executable(package: str, executable: str, environment: Mapping[str, str]) -> str:
    """Return the path of `lib/<package>/<executable>`. Raises LaunchError (without file and line)."""
    folders = _package_folders("lib", package, environment)
    for folder in folders:
        if found := shutil.which(executable, path=str(folder)):
            return found
    names = ", ".join(sorted({path.name for folder in folders for path in folder.iterdir()}))
    raise LaunchError(f"package {package!r} has no executable {executable!r}: it has {names or 'none'}")


def find_launch_file(name: str, environment: Mapping[str, str]) -> Path:
    """Return a path as given, or the file of that name in splatface's share folder. Raises LaunchError."""
    path = Path(name).expanduser()
    if path.is_file():
        return path.absolute()
    shipped = [prefix / "share" / "splatface" / "launch" for prefix in _prefixes(environment)]
    for folder in shipped if path.name == name else ():
        if (folder / name).is_file():
            return folder / name
    names = ", ".join(sorted({found.name for folder in shipped for found in folder.glob("*.launch.yaml")}))
    raise LaunchError(f"no launch file {name!r}: give a path, or one of {names or '(none installed)'}")


def _prefixes(environment: Mapping[str, str]) -> list[Path]:
    given = [Path(entry) for entry in environment.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if entry]
    own = Path(sys.prefix)
    return given if own in given else [*given, own]


def _package_folders(kind: str, package: str, environment: Mapping[str, str]) -> list[Path]:
    folders = [prefix / kind / package for prefix in _prefixes(environment)]
    if not package or not any(folder.is_dir() for folder in folders):
        searched = ", ".join(map(str, folders))
        raise LaunchError(f"package {package!r} is not installed: no {searched} (AMENT_PREFIX_PATH)")
    return [folder for folder in folders if folder.is_dir()]
