# SPDX-License-Identifier: Apache-2.0
"""Node that displays the face: a page in the browser, a window, or both, with sound in the page."""

import os
import time

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
from splatface.nodes.presentation_delay import DEFAULT_DELAY_NS, subscribe_presentation_delay

__all__ = ["Display", "DisplayWindow", "letterbox", "main"]


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
        description="play `audio` in the page, which then synchronizes its images itself",
    ),
    Parameter(
        name="jpeg_quality",
        default=90,
        description="of the images sent to the page",
        low=1,
        high=100,
        dynamic=True,
    ),
    Parameter(name="fullscreen", default=True, description="the window covers the screen"),
)
IDLE_NS = 3600 * NS_PER_S  # period of the timer while no image waits


class Display(FaceNode):
    """`image` and `audio` in; a page, a window and `~/frame_trace` out."""

    PARAMETERS = PARAMETERS

    def __init__(self) -> None:
        super().__init__("display")
        self.page: PageServer | None = None
        self.window: DisplayWindow | None = None
        self.image_count = 0
        self.age_ms = LatencyStats()
        self.queue = PresentationQueue[Image](DEFAULT_DELAY_NS)

    def setup(self) -> None:
        """Open the port and the window."""
        show = self.params["show"]
        if show in ("page", "both"):
            self.page = PageServer(self.params["address"], self.params["port"], self._settings())
            self.get_logger().info(f"the face is at {self.page.url}")
        if show in ("window", "both"):
            self.window = DisplayWindow("splatface", fullscreen=self.params["fullscreen"])
        self.trace_pub = self.create_publisher(FrameTrace, "~/frame_trace", 10)

    def start(self) -> None:
        """Subscribe to images and audio."""
        self.create_subscription(Image, "image", self.on_image, conversions.image_qos(2))
        if self.page is not None and self.params["sound"]:
            self.create_subscription(AudioChunkMsg, "audio", self.on_audio, conversions.AUDIO_QOS)
        subscribe_presentation_delay(self, self.on_delay)
        self.due_timer = self.create_timer(IDLE_NS / NS_PER_S, self.show_due_image)

    def release(self) -> None:
        """Close the port and the window."""
        if self.page is not None:
            self.page.close()
            self.page = None
        if self.window is not None:
            self.window.close()
            self.window = None

    def on_image(self, msg: Image) -> None:
        """Queue an image until it is due; a page that plays the sound does that itself."""
        start_s = time.perf_counter()
        stamp_ns = conversions.time_ns(msg.header.stamp)
        if self._page_synchronizes:
            self.send_to_page(msg)
        if self._page_synchronizes and self.window is None:
            self.publish_trace(msg, start_s)
        else:
            self.queue.push(stamp_ns, msg)
            self.show_due_image()

    def show_due_image(self) -> None:
        """Show the image that is due, and set the timer for the next one."""
        start_s = time.perf_counter()
        msg = self.queue.due(self.now_ns())
        if msg is not None:
            if not self._page_synchronizes:
                self.send_to_page(msg)
            if self.window is not None and not self.window.show(conversions.image_from_msg(msg)):
                self.get_logger().info("the window was closed")
                self.finish(0)
            self.publish_trace(msg, start_s)
        wait_ns = self.queue.wait_ns(self.now_ns())
        self.due_timer.timer_period_ns = IDLE_NS if wait_ns is None else max(wait_ns, 1)
        self.due_timer.reset()

    def send_to_page(self, msg: Image) -> None:
        """Send an image to the page."""
        if self.page is not None:
            stamp_ns = conversions.time_ns(msg.header.stamp)
            self.page.send_image(conversions.image_from_msg(msg), stamp_ns, self.params["jpeg_quality"])

    def publish_trace(self, msg: Image, start_s: float) -> None:
        """Publish the age of an image that was displayed."""
        age_ms = (self.now_ns() - conversions.time_ns(msg.header.stamp)) / 1e6
        trace = FrameTrace(
            frame=self.image_count, age_ms=age_ms, publish_ms=(time.perf_counter() - start_s) * 1e3
        )
        trace.header = msg.header
        self.trace_pub.publish(trace)
        self.image_count += 1
        self.age_ms.add(age_ms)

    def on_audio(self, msg: AudioChunkMsg) -> None:
        """Send audio to the page."""
        if self.page is not None:
            self.page.send_audio(conversions.audio_chunk(msg))

    def on_delay(self, delay_ns: int) -> None:
        """Apply a new presentation delay, here and in the page."""
        self.queue.delay_ns = delay_ns
        if self.page is not None:
            self.page.send_settings(self._settings())

    def health(self) -> NodeStatus:
        """Return the number of images, their age, and the viewers."""
        values: dict[str, object] = {
            "pictures": self.image_count,
            "late": self.queue.skipped,
            "presentation_delay_ms": f"{self.queue.delay_ns / 1e6:.0f}",
            **self.age_ms.summary("age_ms"),
        }
        if self.page is None:
            return NodeStatus(OK, "showing", values)
        values |= {"url": self.page.url, "viewers": self.page.viewers, "skipped": self.page.skipped}
        if self.page.viewers == 0:
            return NodeStatus(OK if self.window else WARN, f"nobody is looking: open {self.page.url}", values)
        return NodeStatus(OK, "showing", values)

    @property
    def _page_synchronizes(self) -> bool:
        return self.page is not None and bool(self.params["sound"])

    def _settings(self) -> dict[str, object]:
        return {"delay_ms": self.queue.delay_ns / 1e6, "sound": self.params["sound"]}


def letterbox(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Scale an image [H, W, 3] to fit a black canvas [height, width, 3], centered."""
    if width < 1 or height < 1:  # the window has no size before its first image
        return image
    scale = min(width / image.shape[1], height / image.shape[0])
    inner = (max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1))
    canvas = np.zeros((height, width, 3), np.uint8)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    canvas[top : top + inner[1], left : left + inner[0]] = cv2.resize(image, inner)
    return canvas


class DisplayWindow:
    """A window on the screen, through OpenCV; the image is letterboxed on black."""

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
        self._has_image = False

    def show(self, image: NDArray[np.uint8]) -> bool:
        """Show an image [H, W, 3] RGB; return False once the window was closed or Escape was pressed."""
        if self._has_image and cv2.getWindowProperty(self.title, cv2.WND_PROP_VISIBLE) < 1:
            return False
        _, _, width, height = cv2.getWindowImageRect(self.title)
        cv2.imshow(self.title, letterbox(image, width, height)[..., ::-1])
        self._has_image = True
        return cv2.waitKey(1) != 27

    def close(self) -> None:
        """Close the window."""
        cv2.destroyAllWindows()


def main() -> int:
    """Run the node."""
    return run(Display)


if __name__ == "__main__":
    raise SystemExit(main())
