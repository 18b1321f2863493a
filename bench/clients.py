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

__all__ = ["BenchClients", "ConversationClient", "Seen", "Viewer"]

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
        node.create_subscription(AudioChunkMsg, "audio", self._on_audio, conversions.AUDIO_QOS)
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
            raise SplatfaceError("interrupt: expected an answer in 10 s, found none: is tts running?")
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
        self.chunks.append(conversions.audio_chunk(msg))
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


_IMAGE_MESSAGE = 1
_DECODE_FLAGS = {
    1: cv2.IMREAD_GRAYSCALE,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}


@dataclass(frozen=True, slots=True)
class Seen:
    """Pictures in the order in which they came."""

    stamps_ns: NDArray[np.int64]  # [P] the moment of sound they belong to
    arrivals_ns: NDArray[np.int64]  # [P] when they came
    small: NDArray[np.uint8]  # [P, h, w] gray

    def since(self, time_ns: int) -> "Seen":
        """Those that came after a moment."""
        first = int(np.searchsorted(self.arrivals_ns, time_ns, side="right"))
        return Seen(self.stamps_ns[first:], self.arrivals_ns[first:], self.small[first:])


class Viewer(threading.Thread):
    """Looks at the page until it is closed; waits for the page, and for it to come back.

    Args:
        port: the page's.
        shrink: by how much smaller the pictures are kept: 1, 2, 4 or 8.
    """

    def __init__(self, port: int, shrink: int = 8) -> None:
        super().__init__(name="viewer", daemon=True)
        self._port, self._decoder = port, _DECODE_FLAGS[shrink]
        self._ending = threading.Event()
        self._pictures: list[tuple[int, int, NDArray[np.uint8]]] = []
        self.start()

    @property
    def count(self) -> int:
        """Pictures seen."""
        return len(self._pictures)

    def run(self) -> None:
        """Take in what the page is sent."""
        from websockets.exceptions import WebSocketException
        from websockets.sync.client import connect

        address = f"ws://127.0.0.1:{self._port}/stream"
        while not self._ending.is_set():
            try:
                with connect(address, max_size=None, compression=None) as socket:
                    while not self._ending.is_set():
                        self._take(socket.recv(timeout=1.0), time.time_ns())
            except (OSError, TimeoutError, WebSocketException):
                self._ending.wait(0.2)

    def _take(self, message: str | bytes, now_ns: int) -> None:
        if isinstance(message, str) or message[0] != _IMAGE_MESSAGE:
            return
        stamp_ns = round(struct.unpack_from("<d", message, 1)[0] * 1e6)
        jpeg = np.frombuffer(message, np.uint8)[9:]
        small = cv2.imdecode(jpeg, self._decoder)
        if small is not None:  # no whole picture
            self._pictures.append((stamp_ns, now_ns, small.astype(np.uint8)))

    def so_far(self) -> Seen:
        """All pictures until now."""
        pictures = list(self._pictures)
        if not pictures:
            return Seen(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 1, 1), np.uint8))
        stamps, arrivals, small = zip(*pictures, strict=True)
        return Seen(np.array(stamps, np.int64), np.array(arrivals, np.int64), np.stack(small))

    def forget(self) -> None:
        """Begin anew."""
        self._pictures = []

    def close(self) -> None:
        """End."""
        self._ending.set()
        self.join(5.0)


MOUTH_PX = 48  # pictures are kept as small as this allows: a mouth is to be seen


@dataclass(frozen=True)
class BenchClients:
    """Who talks to the face, hears and sees it."""

    partner: ConversationClient
    monitor: Monitor
    viewer: Viewer

    @classmethod
    def of(cls, namespace: str, server: str, port: int, size: str) -> "BenchClients":
        """Begin to listen and to look.

        Args:
            namespace: the face's.
            server: PULSE_SERVER of the null sink.
            port: the page's.
            size: of the pictures, such as 512x512.
        """
        side = min(int(part) for part in size.split("x"))
        shrink = next((factor for factor in (8, 4, 2) if side // factor >= MOUTH_PX), 1)
        return cls(ConversationClient(namespace), Monitor(server, MONITOR), Viewer(port, shrink))

    def forget(self) -> None:
        """Begin anew."""
        self.partner.chunks.clear()
        self.monitor.forget()
        self.viewer.forget()

    def close(self) -> None:
        """End."""
        self.viewer.close()
        self.monitor.close()
        self.partner.close()
