# SPDX-License-Identifier: Apache-2.0
"""Clients of a running face: say and interrupt, receive its audio topic, page images and sink sound."""

import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.task import Future
from splatface_msgs.action import Say
from splatface_msgs.msg import AudioChunk as AudioChunkMsg
from std_srvs.srv import Trigger

from bench.null_sink import MONITOR, Monitor
from splatface.models.errors import SplatfaceError
from splatface.models.messages import AudioChunk
from splatface.nodes import conversions

__all__ = ["BenchClients", "ConversationClient", "ReceivedImages", "Viewer"]

_SPEECH_LEVEL = 0.02  # peak, of full scale


class ConversationClient:
    """A ROS node with its own thread, whose methods may be called from another one. Close it at the end.

    Args:
        namespace: of the face.
    """

    def __init__(self, namespace: str) -> None:
        self.chunks: list[AudioChunk] = []  # all of `audio`; the caller may clear it
        self.diagnostics: dict[str, tuple[str, dict[str, str]]] = {}  # node -> message, values
        self.open_goals = 0  # accepted and not ended
        self.rejected = 0
        self._changed = threading.Condition()
        self._context = rclpy.Context()
        self._context.init()
        node = Node("conversation_client", namespace=namespace, context=self._context)
        self._node = node
        node.create_subscription(AudioChunkMsg, "audio", self._on_audio, conversions.AUDIO_QOS)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 100)
        self._say_client = ActionClient(node, Say, "say")
        self._interrupt_client = node.create_client(Trigger, "interrupt")
        self._pending_calls: deque[Callable[[], None]] = deque()
        self._call_condition = node.create_guard_condition(self._run_pending_calls)
        self._ending = False
        self._thread = threading.Thread(target=self._spin, name="conversation_client", daemon=True)
        self._thread.start()

    @property
    def ready(self) -> bool:
        """True where the face can speak and be interrupted."""
        return bool(self._say_client.server_is_ready()) and bool(self._interrupt_client.service_is_ready())

    def say(self, text: str) -> None:
        """Send a text to speak; return at once."""
        self.open_goals += 1
        self._call_later(
            lambda: self._say_client.send_goal_async(Say.Goal(text=text)).add_done_callback(
                self._on_goal_response
            )
        )

    def interrupt(self) -> tuple[int, int]:
        """Interrupt the face; return the times of the call and of the response, ns.

        Raises:
            SplatfaceError: no response comes within 10 s.
        """
        responded = threading.Event()
        called_ns = time.time_ns()
        self._call_later(
            lambda: self._interrupt_client.call_async(Trigger.Request()).add_done_callback(
                lambda future: responded.set()
            )
        )
        if not responded.wait(10.0):
            raise SplatfaceError("interrupt: expected a response within 10 s, found none: is tts running?")
        return called_ns, time.time_ns()

    def wait_for(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait until `condition`, checked after every message, is true; return False after `seconds`."""
        with self._changed:
            return self._changed.wait_for(condition, seconds)

    def has_speech_since(self, index: int) -> bool:
        """Return whether the chunks from number `index` on contain speech of the newest utterance."""
        newest = self.chunks[-1].utterance if self.chunks else 0
        return any(
            chunk.utterance == newest and np.abs(chunk.samples).max() > _SPEECH_LEVEL
            for chunk in self.chunks[index:]
        )

    def diagnostic_values(self, node: str) -> dict[str, str]:
        """Return the newest diagnostic values of a node."""
        return self.diagnostics.get(node, ("", {}))[1]

    def close(self) -> None:
        """End the thread and the node."""
        self._ending = True
        self._thread.join(5.0)
        self._say_client.destroy()
        self._node.destroy_node()
        self._context.try_shutdown()

    def _spin(self) -> None:
        executor = SingleThreadedExecutor(context=self._context)
        executor.add_node(self._node)
        while not self._ending:
            executor.spin_once(timeout_sec=0.1)
        executor.shutdown()

    def _call_later(self, call: Callable[[], None]) -> None:
        """Run `call` in the thread that handles responses, so that no response comes too early."""
        self._pending_calls.append(call)
        self._call_condition.trigger()

    def _run_pending_calls(self) -> None:
        while self._pending_calls:
            self._pending_calls.popleft()()

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _on_audio(self, msg: AudioChunkMsg) -> None:
        self.chunks.append(conversions.audio_chunk(msg))
        self._notify()

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            values = {value.key: value.value for value in status.values}
            self.diagnostics[status.name.split("/")[-1]] = (status.message, values)
        self._notify()

    def _on_goal_response(self, future: Future) -> None:
        handle: Any = future.result()
        if handle.accepted:
            handle.get_result_async().add_done_callback(self._on_result)
        else:
            self.rejected += 1
            self._on_result(future)

    def _on_result(self, future: Future) -> None:
        self.open_goals -= 1
        self._notify()


_IMAGE_MESSAGE = 1
_DECODE_FLAGS = {
    1: cv2.IMREAD_GRAYSCALE,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}


@dataclass(frozen=True, slots=True)
class ReceivedImages:
    """Images in the order of arrival."""

    stamps_ns: NDArray[np.int64]  # [P] time of the audio they belong to
    arrivals_ns: NDArray[np.int64]  # [P]
    small: NDArray[np.uint8]  # [P, h, w] gray


class Viewer(threading.Thread):
    """Client of the page's image stream, in a thread; it reconnects until it is closed.

    Args:
        port: of the page.
        shrink: factor by which stored images are smaller: 1, 2, 4 or 8.
    """

    def __init__(self, port: int, shrink: int = 8) -> None:
        super().__init__(name="viewer", daemon=True)
        self._port, self._decoder = port, _DECODE_FLAGS[shrink]
        self._ending = threading.Event()
        self._images: list[tuple[int, int, NDArray[np.uint8]]] = []
        self.start()

    @property
    def count(self) -> int:
        """Number of received images."""
        return len(self._images)

    def run(self) -> None:
        """Receive images until `close`."""
        from websockets.exceptions import WebSocketException
        from websockets.sync.client import connect

        address = f"ws://127.0.0.1:{self._port}/stream"
        while not self._ending.is_set():
            try:
                with connect(address, max_size=None, compression=None) as socket:
                    while not self._ending.is_set():
                        self._store(socket.recv(timeout=1.0), time.time_ns())
            except (OSError, TimeoutError, WebSocketException):
                self._ending.wait(0.2)

    def _store(self, message: str | bytes, now_ns: int) -> None:
        if isinstance(message, str) or message[0] != _IMAGE_MESSAGE:
            return
        stamp_ns = round(struct.unpack_from("<d", message, 1)[0] * 1e6)
        jpeg = np.frombuffer(message, np.uint8)[9:]
        small = cv2.imdecode(jpeg, self._decoder)
        if small is not None:  # None: an incomplete JPEG
            self._images.append((stamp_ns, now_ns, small.astype(np.uint8)))

    def received(self) -> ReceivedImages:
        """Return all images so far."""
        images = list(self._images)
        if not images:
            return ReceivedImages(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 1, 1), np.uint8))
        stamps, arrivals, small = zip(*images, strict=True)
        return ReceivedImages(np.array(stamps, np.int64), np.array(arrivals, np.int64), np.stack(small))

    def clear(self) -> None:
        """Forget what was received."""
        self._images = []

    def close(self) -> None:
        """End the thread."""
        self._ending.set()
        self.join(5.0)


MIN_STORED_PX = 48  # the mouth is still visible


@dataclass(frozen=True)
class BenchClients:
    """The clients that a conversation is measured with."""

    conversation: ConversationClient
    monitor: Monitor
    viewer: Viewer

    @classmethod
    def connect(cls, namespace: str, server: str, port: int, size: str) -> "BenchClients":
        """Connect to a running face.

        Args:
            namespace: of the face.
            server: PULSE_SERVER of the null sink.
            port: of the page.
            size: of the images, such as 512x512.
        """
        side = min(int(part) for part in size.split("x"))
        shrink = next((factor for factor in (8, 4, 2) if side // factor >= MIN_STORED_PX), 1)
        return cls(ConversationClient(namespace), Monitor(server, MONITOR), Viewer(port, shrink))

    def clear(self) -> None:
        """Forget what was received."""
        self.conversation.chunks.clear()
        self.monitor.clear()
        self.viewer.clear()

    def close(self) -> None:
        """Close all clients."""
        self.viewer.close()
        self.monitor.close()
        self.conversation.close()
