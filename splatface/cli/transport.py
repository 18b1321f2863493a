"""The DDS profile that keeps pictures between processes cheap, for processes that no launch file starts."""

import os

from splatface.cli.launcher.packages import package_share

__all__ = ["use_picture_transport"]


def use_picture_transport() -> None:
    """Set the profile of launch/fastdds.xml for this process and its children, unless another one is set."""
    profile = str(package_share("splatface", os.environ) / "launch" / "fastdds.xml")
    for name in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"):
        os.environ.setdefault(name, profile)
