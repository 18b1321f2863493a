import subprocess
import sys

HALF_MADE = """
import signal
import sys
from splatface.models.errors import silence_unraisable_on_interrupt

class Half:
    def __init__(self):
        signal.raise_signal(signal.SIGINT)
        self.handle = 1

    def __del__(self):
        print(self.handle)

if sys.argv[1] == "hushed":
    silence_unraisable_on_interrupt()
try:
    Half()
except KeyboardInterrupt:
    pass
"""

INTERRUPTED_IN_DEL = """
import signal
from splatface.models.errors import silence_unraisable_on_interrupt

class Gone:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

silence_unraisable_on_interrupt()
Gone()
"""

IN_A_CALLBACK = """
import weakref
from splatface.models.errors import silence_unraisable_on_interrupt

class Watched:
    pass

def gone(reference):
    raise ValueError("nobody can catch this")

silence_unraisable_on_interrupt()
watched = Watched()
reference = weakref.ref(watched, gone)
del watched
"""


def said_by(program, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stderr


def test_what_was_half_made_says_nothing():
    assert "AttributeError" in said_by(HALF_MADE, "aloud")
    assert said_by(HALF_MADE, "hushed") == ""
    assert said_by(INTERRUPTED_IN_DEL) == ""


def test_other_errors_nobody_can_catch_are_told():
    assert "nobody can catch this" in said_by(IN_A_CALLBACK)
