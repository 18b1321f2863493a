"""What a call broken off by Ctrl-C leaves behind says nothing."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

__all__ = ["silence_unraisable_on_interrupt"]


def silence_unraisable_on_interrupt() -> None:
    """From now on no traceback of an object that was being made when its maker was interrupted.

    llvmlite's, for one, miss in `__del__` what their `__init__` had not come to. All other errors that
    nobody can catch are told as before.
    """
    sys.unraisablehook = _all_but_half_made


def _all_but_half_made(unraisable: "UnraisableHookArgs") -> None:
    in_del = getattr(unraisable.object, "__name__", "") == "__del__"
    if not in_del and not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
