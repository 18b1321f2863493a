"""Shows the face: a page in the browser, a full-screen window, or both; with sound from the same clock."""

import os
import time
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image
from splatface_msgs.msg import AudioChunk as AudioChunkMsg
from splatface_msgs.msg import FrameTrace

from splatface.models.errors import RenderError
from splatface.models.frame_scheduler import PresentationQueue
from splatface.models.messages import NS_PER_S
from splatface.nodes import conversions
from splatface.nodes.face_node import OK, WARN, FaceNode, LatencyStats, NodeStatus, run
from splatface.nodes.page_server import PageServer
from splatface.nodes.parameters import Parameter

__all__ = ["Window", "letterboxed"]


def letterboxed(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """The whole picture [H, W, 3] as large as it fits, in the middle of a black canvas [height, width, 3]."""
    if width < 1 or height < 1:  # the window has no size before its first picture
        return image
    scale = min(width / image.shape[1], height / image.shape[0])
    inner = (max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1))
    canvas = np.zeros((height, width, 3), np.uint8)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    canvas[top : top + inner[1], left : left + inner[0]] = cv2.resize(image, inner)
    return canvas


class Window:
    """One window, letterboxed on black."""

    def __init__(self, title: str, fullscreen: bool) -> None:
        if not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY"):
            raise RenderError(
                "display: expected a screen for the window, found neither DISPLAY nor WAYLAND_DISPLAY: "
                "start it from a desktop session or use show:=page"
            )
        self.title = title
        cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_FREERATIO)
        if fullscreen:
            cv2.setWindowProperty(title, cv2.WND_PROP_FULLSCREEN, cv2.WINDOW_FULLSCREEN)
        self._shown = False

    def show(self, image: NDArray[np.uint8]) -> bool:
        """Show a picture [H, W, 3] RGB; False once the person has closed the window or pressed Escape."""
        if self._shown and cv2.getWindowProperty(self.title, cv2.WND_PROP_VISIBLE) < 1:
            return False
        _, _, width, height = cv2.getWindowImageRect(self.title)
        cv2.imshow(self.title, letterboxed(image, width, height)[..., ::-1])
        self._shown = True
        return cv2.waitKey(1) != 27

    def close(self) -> None:
        """Take the window away."""
        cv2.destroyAllWindows()


PARAMETERS = (
    Parameter(
        name="show",
        default="page",
        description="where the face appears",
        choices=("page", "window", "both"),
    ),
    Parameter(
        name="address",
        default="127.0.0.1",
        description="network address the page is served on; 0.0.0.0 shows it to other machines",
    ),
    Parameter(
        name="port", default=8600, description="TCP port of the page, 0 takes any free one", low=0, high=65535
    ),
    Parameter(
        name="sound",
        default=True,
        description="play `audio` in the page, which then holds its pictures itself until they are heard",
    ),
    Parameter(
        name="presentation_delay",
        default=0.2,
        description="seconds from the sound's own time to the picture (and sound in the page); the speaker's "
        "must be the same; 0 without sound: pictures show at once",
        low=0.0,
        high=5.0,
        dynamic=True,
    ),
    Parameter(
        name="jpeg_quality",
        default=90,
        description="of the pictures sent to the page",
        low=1,
        high=100,
        dynamic=True,
    ),
    Parameter(name="fullscreen", default=True, description="the window covers the screen"),
)
IDLE_NS = 3600 * NS_PER_S  # the timer sleeps while nothing waits


class Display(FaceNode):
    """`image` and `audio` in; a page, a window and `~/frame_trace` out."""

    PARAMETERS = PARAMETERS

    def __init__(self) -> None:
        super().__init__("display")
        self.page: PageServer | None = None
        self.window: Window | None = None
        self.shown = 0
        self.age = LatencyStats()
        self.waiting = PresentationQueue[Image](self._delay_ns())

    def setup(self) -> None:
        """Open the port and the window."""
        show = self.params["show"]
        if show in ("page", "both"):
            self.page = PageServer(self.params["address"], self.params["port"], self._greeting())
            self.get_logger().info(f"the face is at {self.page.url}")
        if show in ("window", "both"):
            self.window = Window("splatface", fullscreen=self.params["fullscreen"])
        self.trace = self.create_publisher(FrameTrace, "~/frame_trace", 10)

    def start(self) -> None:
        """Listen to pictures and sound."""
        self.create_subscription(Image, "image", self.on_image, conversions.image_qos(2))
        if self.page is not None and self.params["sound"]:
            self.create_subscription(AudioChunkMsg, "audio", self.on_audio, conversions.AUDIO_QOS)
        self.next_due = self.create_timer(IDLE_NS / NS_PER_S, self.show_due)

    def release(self) -> None:
        """Close the port and the window."""
        if self.page is not None:
            self.page.close()
            self.page = None
        if self.window is not None:
            self.window.close()
            self.window = None

    def on_image(self, msg: Image) -> None:
        """Keep a picture until its moment; a page that plays the sound does that itself."""
        began = time.perf_counter()
        stamp_ns = conversions.time_ns(msg.header.stamp)
        if self._page_holds:
            self.send(msg)
        if self._page_holds and self.window is None:
            self.note(msg, began)
        else:
            self.waiting.push(stamp_ns, msg)
            self.show_due()

    def show_due(self) -> None:
        """Show the picture whose moment has come, and wake up for the next one."""
        began = time.perf_counter()
        msg = self.waiting.due(self.now_ns())
        if msg is not None:
            if not self._page_holds:
                self.send(msg)
            if self.window is not None and not self.window.show(conversions.image_from_msg(msg)):
                self.get_logger().info("the window was closed")
                self.finish(0)
            self.note(msg, began)
        wait_ns = self.waiting.wait_ns(self.now_ns())
        self.next_due.timer_period_ns = IDLE_NS if wait_ns is None else max(wait_ns, 1)
        self.next_due.reset()

    def send(self, msg: Image) -> None:
        """Send a picture to the page."""
        if self.page is not None:
            stamp_ns = conversions.time_ns(msg.header.stamp)
            self.page.send_picture(conversions.image_from_msg(msg), stamp_ns, self.params["jpeg_quality"])

    def note(self, msg: Image, began_s: float) -> None:
        """Tell when a picture was shown."""
        age_ms = (self.now_ns() - conversions.time_ns(msg.header.stamp)) / 1e6
        trace = FrameTrace(frame=self.shown, age_ms=age_ms, publish_ms=(time.perf_counter() - began_s) * 1e3)
        trace.header = msg.header
        self.trace.publish(trace)
        self.shown += 1
        self.age.add(age_ms)

    def on_audio(self, msg: AudioChunkMsg) -> None:
        """Hand sound on to the page."""
        if self.page is not None:
            self.page.send_sound(conversions.audio_chunk(msg))

    def parameter_changed(self, name: str, value: Any) -> None:
        """Tell the page about a new delay."""
        super().parameter_changed(name, value)
        self.waiting.delay_ns = self._delay_ns()
        if self.page is not None:
            self.page.greet(self._greeting())

    def health(self) -> NodeStatus:
        """Pictures, their age, and who is looking."""
        values: dict[str, object] = {
            "pictures": self.shown,
            "late": self.waiting.skipped,
            **self.age.summary("age_ms"),
        }
        if self.page is None:
            return NodeStatus(OK, "showing", values)
        values |= {"url": self.page.url, "viewers": self.page.viewers, "skipped": self.page.skipped}
        if self.page.viewers == 0:
            return NodeStatus(OK if self.window else WARN, f"nobody is looking: open {self.page.url}", values)
        return NodeStatus(OK, "showing", values)

    @property
    def _page_holds(self) -> bool:
        return self.page is not None and bool(self.params["sound"])

    def _delay_ns(self) -> int:
        return round(self.params["presentation_delay"] * NS_PER_S)

    def _greeting(self) -> dict[str, object]:
        return {"delay_ms": self.params["presentation_delay"] * 1e3, "sound": self.params["sound"]}


def main() -> int:
    """Run the node."""
    return run(Display)


if __name__ == "__main__":
    raise SystemExit(main())
