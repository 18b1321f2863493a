import sys

import pytest

INTERRUPTED_WHILE_BUILT = """
import signal
from splatface.nodes.face_node import FaceNode, run

class HalfMade:
    def __init__(self):
        signal.raise_signal(signal.SIGINT)
        self.handle = 1

    def __del__(self):
        print(self.handle)

class Slow(FaceNode):
    def __init__(self):
        super().__init__("slow")

    def setup(self):
        HalfMade()

raise SystemExit(run(Slow, []))
"""


@pytest.mark.graph
def test_a_node_interrupted_while_it_is_built_ends_without_a_word(start):
    node = start(sys.executable, "-c", INTERRUPTED_WHILE_BUILT)
    assert node.wait() == 0, node.output
    assert node.output == ""
