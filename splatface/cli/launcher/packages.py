"""Where installed packages, their executables and launch files are.

Prefixes are those of `AMENT_PREFIX_PATH`, then the one Python runs in: pip sets no variable.
"""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from splatface.models.errors import LaunchError

__all__ = ["base_environment", "find_executable", "find_launch_file", "package_prefix", "package_share"]


def prefixes(environment: Mapping[str, str]) -> list[Path]:
    """All prefixes in the order of search."""
    found = [Path(entry) for entry in environment.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if entry]
    own = Path(sys.prefix)
    return found if own in found else [*found, own]


def base_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What processes start from: the given environment, made whole.

    `AMENT_PREFIX_PATH` holds the prefix of this Python too; its programs come first on `PATH`; Python
    children do not hold their output back (`PYTHONUNBUFFERED`, which launch does not set).
    """
    made = dict(environment)
    made["AMENT_PREFIX_PATH"] = os.pathsep.join(str(prefix) for prefix in prefixes(environment))
    programs = str(Path(sys.prefix) / "bin")
    path = [entry for entry in made.get("PATH", os.defpath).split(os.pathsep) if entry != programs]
    made["PATH"] = os.pathsep.join([programs, *path])
    made.setdefault("PYTHONUNBUFFERED", "1")
    return made


def package_prefix(package: str, environment: Mapping[str, str]) -> Path:
    """The first prefix that holds a package. Raises LaunchError (without file and line)."""
    searched = prefixes(environment)
    for prefix in searched:
        if package and ((prefix / "share" / package).is_dir() or (prefix / "lib" / package).is_dir()):
            return prefix
    raise LaunchError(
        f"package {package!r} is not installed: looked in {', '.join(map(str, searched))} (AMENT_PREFIX_PATH)"
    )


def package_share(package: str, environment: Mapping[str, str]) -> Path:
    """A package's share folder. Raises LaunchError (without file and line)."""
    share = package_prefix(package, environment) / "share" / package
    if not share.is_dir():
        raise LaunchError(f"package {package!r} has no folder {share}")
    return share


def find_executable(package: str, executable: str, environment: Mapping[str, str]) -> str:
    """The path of `lib/<package>/<executable>`. Raises LaunchError (without file and line)."""
    package_prefix(package, environment)
    folders = [prefix / "lib" / package for prefix in prefixes(environment)]
    for folder in folders:
        found = shutil.which(executable, path=str(folder)) if folder.is_dir() else None
        if found:
            return found
    names = sorted({path.name for folder in folders if folder.is_dir() for path in folder.iterdir()})
    have = f"it has {', '.join(names)}" if names else "it has none"
    raise LaunchError(f"package {package!r} has no executable {executable!r}: {have}")


def find_launch_file(name: str, environment: Mapping[str, str]) -> Path:
    """A path as given, or the name of a file in splatface's share folder. Raises LaunchError."""
    path = Path(name).expanduser()
    if path.is_file():
        return path.absolute()
    shipped = [prefix / "share" / "splatface" / "launch" for prefix in prefixes(environment)]
    if path.name == name:
        for folder in shipped:
            if (folder / name).is_file():
                return folder / name
    names = sorted({found.name for folder in shipped for found in folder.glob("*.launch.yaml")})
    raise LaunchError(
        f"no launch file {name!r}: give a path, or one of {', '.join(names) or '(none installed)'}"
    )
