"""Somebody who talks to a running face: says texts, interrupts, and keeps what its topics bring."""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.task import Future
from splatface_msgs.action import Say
from splatface_msgs.msg import AudioChunk as AudioChunkMsg
from std_srvs.srv import Trigger

from splatface.models.errors import SplatfaceError
from splatface.models.messages import AudioChunk
from splatface.nodes import wire

__all__ = ["ConversationClient"]

LOUD = 0.02  # of full scale


class ConversationClient:
    """A ROS node with a thread of its own; its methods may be called from another one. Close it at the end.

    Args:
        namespace: the face's.
    """

    def __init__(self, namespace: str) -> None:
        self.chunks: list[AudioChunk] = []  # all that went past on `audio`; the caller may clear it
        self.health: dict[str, tuple[str, dict[str, str]]] = {}  # node -> message, values
        self.open_goals = 0  # accepted and not ended
        self.refused = 0
        self._news = threading.Condition()
        self._context = rclpy.Context()
        self._context.init()
        node = Node("partner", namespace=namespace, context=self._context)
        self._node = node
        node.create_subscription(AudioChunkMsg, "audio", self._on_audio, wire.AUDIO_QOS)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_health, 100)
        self._mouth = ActionClient(node, Say, "say")
        self._hush = node.create_client(Trigger, "interrupt")
        self._pending_calls: deque[Callable[[], None]] = deque()
        self._errand = node.create_guard_condition(self._run_errands)
        self._ending = False
        self._thread = threading.Thread(target=self._spin, name="partner", daemon=True)
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether the face can be told what to say, and be interrupted."""
        return bool(self._mouth.server_is_ready()) and bool(self._hush.service_is_ready())

    def say(self, text: str) -> None:
        """Ask the face to say something; returns at once."""
        self.open_goals += 1
        self._soon(
            lambda: self._mouth.send_goal_async(Say.Goal(text=text)).add_done_callback(self._on_answer)
        )

    def interrupt(self) -> tuple[int, int]:
        """Interrupt the face: when that was asked for, and when it was answered, ns.

        Raises:
            SplatfaceError: when no answer comes in 10 s.
        """
        answered = threading.Event()
        called_ns = time.time_ns()
        self._soon(
            lambda: self._hush.call_async(Trigger.Request()).add_done_callback(lambda done: answered.set())
        )
        if not answered.wait(10.0):
            raise SplatfaceError(
                "interrupt: expected an answer in 10 s, found none: is the speech node alive?"
            )
        return called_ns, time.time_ns()

    def wait_for(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait until something is so; asked whenever a message came. False when the time is over."""
        with self._news:
            return self._news.wait_for(condition, seconds)

    def loud_since(self, index: int) -> bool:
        """Whether there was speech of the newest utterance among the chunks from number `index` on."""
        newest = self.chunks[-1].utterance if self.chunks else 0
        return any(
            chunk.utterance == newest and np.abs(chunk.samples).max() > LOUD for chunk in self.chunks[index:]
        )

    def values_of(self, node: str) -> dict[str, str]:
        """What a node last told about itself."""
        return self.health.get(node, ("", {}))[1]

    def close(self) -> None:
        """End the thread and the node."""
        self._ending = True
        self._thread.join(5.0)
        self._mouth.destroy()
        self._node.destroy_node()
        self._context.try_shutdown()

    def _spin(self) -> None:
        executor = SingleThreadedExecutor(context=self._context)
        executor.add_node(self._node)
        while not self._ending:
            executor.spin_once(timeout_sec=0.1)
        executor.shutdown()

    def _soon(self, errand: Callable[[], None]) -> None:
        """Have something done in the thread that also takes the answers: else one may come too early."""
        self._pending_calls.append(errand)
        self._errand.trigger()

    def _run_errands(self) -> None:
        while self._pending_calls:
            self._pending_calls.popleft()()

    def _tell(self) -> None:
        with self._news:
            self._news.notify_all()

    def _on_audio(self, msg: AudioChunkMsg) -> None:
        self.chunks.append(wire.audio_chunk(msg))
        self._tell()

    def _on_health(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            values = {value.key: value.value for value in status.values}
            self.health[status.name.split("/")[-1]] = (status.message, values)
        self._tell()

    def _on_answer(self, done: Future) -> None:
        handle: Any = done.result()
        if handle.accepted:
            handle.get_result_async().add_done_callback(self._on_result)
        else:
            self.refused += 1
            self._on_result(done)

    def _on_result(self, done: Future) -> None:
        self.open_goals -= 1
        self._tell()
