"""Old place of the console entry point, until the next installation."""

from splatface.cli.main import main

__all__ = ["main"]
