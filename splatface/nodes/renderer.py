# SPDX-License-Identifier: Apache-2.0
"""Node that renders the face: audio features and head control in, images on time out."""

import time
from typing import Any

import cv2
from sensor_msgs.msg import CompressedImage, Image
from splatface_msgs.msg import AudioFeatures as AudioFeaturesMsg
from splatface_msgs.msg import FrameTrace
from splatface_msgs.msg import HeadControl as HeadControlMsg
from splatface_msgs.srv import LoadHead

from splatface.models.errors import HeadError, RenderError, SplatfaceError
from splatface.models.frame_scheduler import FrameGrid, LiveScheduler, LockstepScheduler
from splatface.models.head.head_file import head_folder, load_head
from splatface.models.messages import NS_PER_S, AudioFrame, Frame, HeadControl
from splatface.models.render.render import parse_background, renderer
from splatface.models.talking_head import TalkingHead
from splatface.models.timeline import Timeline, control_between
from splatface.nodes import conversions
from splatface.nodes.face_node import ERROR, OK, WARN, FaceNode, LatencyStats, NodeStatus, run
from splatface.nodes.parameters import Parameter
from splatface.nodes.presentation_delay import PRESENTATION_DELAY, create_delay_publisher, delay_msg

PARAMETERS = (
    Parameter(name="head", default="mira", description="a shipped head's name or the path of a head folder"),
    Parameter(name="encoder", default="fsmn", description="the encoder whose features drive the mouth"),
    Parameter(name="fps", default=25.0, description="images per second", low=1.0, high=120.0),
    Parameter(name="size", default="512x512", description="width x height in pixels, each 16 to 4096"),
    Parameter(
        name="clock",
        default="live",
        description="live: on time, late images dropped; features: one per tick of the stream, none dropped",
        choices=("live", "features"),
    ),
    Parameter(
        name="backend",
        default="cpu",
        description="implementation of the renderer",
        choices=("cpu", "cuda", "reference"),
    ),
    Parameter(name="threads", default=1, description="threads of the cpu backend", low=1, high=64),
    Parameter(
        name="supersample",
        default=1,
        description="2 averages four samples for each pixel",
        low=1,
        high=2,
    ),
    Parameter(
        name="background",
        default="",
        description="a color such as #2a3b4c or the path of an image; empty: the head's own",
    ),
    Parameter(
        name="wait_for_control",
        default=True,
        description="with clock features: render an image only when its head_control has come",
    ),
    PRESENTATION_DELAY,
    Parameter(
        name="watermark", default=True, description="invisible mark which says that the image is synthetic"
    ),
)
FEATURE_TIMEOUT_NS = NS_PER_S // 4  # an image whose features are later than this is rendered without them
MAX_BACKLOG_NS = 60_000_000  # older images that are late are dropped
MAX_FEATURE_AGE_NS = 3 * NS_PER_S // 10  # a stream that has stopped keeps the mouth open no longer than this


def parse_size(text: str) -> tuple[int, int]:
    """Return width and height of a text such as `512x512`.

    Raises:
        RenderError: for anything else.
    """
    parts = text.lower().split("x")
    if len(parts) == 2 and all(part.strip().isdigit() for part in parts):
        width, height = (int(part) for part in parts)
        if 16 <= width <= 4096 and 16 <= height <= 4096:
            return width, height
    raise RenderError(f"size: expected width x height such as 512x512, each 16 to 4096, found {text!r}")


class RendererNode(FaceNode):
    """`audio_features` and `head_control` in; `image`, `image/compressed` and `frame_trace` out.

    It owns the presentation delay and publishes it on the latched topic `presentation_delay`.
    """

    PARAMETERS = PARAMETERS

    def __init__(self) -> None:
        super().__init__("renderer")
        self.features = Timeline[AudioFrame](lambda frame: frame.center_ns)
        self.controls = Timeline[HeadControl](lambda control: control.time_ns)
        self.utterance = 0
        self.image_count = 0
        self.wrong_encoder = ""
        self.render_ms, self.age_ms = LatencyStats(), LatencyStats()

    def setup(self) -> None:
        """Load the head and compile."""
        self.size = parse_size(self.params["size"])
        grid = FrameGrid(self.params["fps"])
        self.lockstep = LockstepScheduler(grid) if self.params["clock"] == "features" else None
        self.live = LiveScheduler(grid, FEATURE_TIMEOUT_NS, MAX_BACKLOG_NS)
        self.background = parse_background(self.params["background"], self.size)
        self.renderer = renderer(
            self.params["backend"], threads=self.params["threads"], supersample=self.params["supersample"]
        )
        self.talking_head = self._load_talking_head(self.params["head"])
        self.get_logger().info("preparing (compiles for about 10 s the first time)")
        self.talking_head.render([], HeadControl(), 0)
        self.get_logger().info(f"drawing {self.talking_head.head.info.name}")

    def start(self) -> None:
        """Open the topics."""
        # A late image is worthless live; in step mode every image counts.
        depth = 1 if self.lockstep is None else 100
        self.image_pub = self.create_publisher(Image, "image", conversions.image_qos(depth))
        self.compressed_pub = self.create_publisher(
            CompressedImage, "image/compressed", conversions.image_qos(depth)
        )
        self.trace_pub = self.create_publisher(FrameTrace, "frame_trace", 10)
        self.delay_pub = create_delay_publisher(self)
        self.delay_pub.publish(delay_msg(self.params["presentation_delay"]))
        self.create_service(LoadHead, "load_head", self.on_load_head)
        self.create_subscription(HeadControlMsg, "head_control", self.on_control, conversions.AUDIO_QOS)
        self.create_subscription(AudioFeaturesMsg, "audio_features", self.on_features, conversions.AUDIO_QOS)
        if self.lockstep is None:
            self.live.begin(self.now_ns() - FEATURE_TIMEOUT_NS)
            self.create_timer(0.5 / self.params["fps"], self.render_due)

    def on_features(self, msg: AudioFeaturesMsg) -> None:
        """Take in one frame of features."""
        frame = conversions.audio_frame(msg)
        if frame.encoder != self.params["encoder"]:
            self.wrong_encoder = frame.encoder
            return
        before_ns = self.features.latest_ns
        jumped = before_ns is None or abs(frame.center_ns - before_ns) > NS_PER_S
        if frame.utterance < self.utterance and not jumped:
            return  # late; a frame far away in time is from a source with another clock
        interrupted = frame.utterance != self.utterance
        if interrupted:
            self.utterance = frame.utterance
            self.features.clear()
        self.features.push(frame)
        if interrupted and self.lockstep is None:
            self.render_again()
        if self.lockstep is not None and jumped:
            self.lockstep.begin(frame.center_ns)
        self.render_due()

    def on_control(self, msg: HeadControlMsg) -> None:
        """Take in a pose of the head."""
        self.controls.push(conversions.head_control(msg))
        if self.lockstep is not None:
            self.render_due()

    def render_due(self) -> None:
        """Render every image that is due."""
        covered_ns = self.features.latest_ns
        if covered_ns is not None:
            covered_ns -= self.talking_head.lookahead_ns(self.params["encoder"])
        if self.lockstep is None:
            times = self.live.due(covered_ns, self.now_ns())
        else:
            if self.params["wait_for_control"]:
                covered_ns = min(covered_ns or 0, self.controls.latest_ns or 0)
            times = self.lockstep.due(covered_ns or 0)
        for time_ns in times:
            self.publish(time_ns)

    def render_again(self) -> None:
        """Render the images again that are not displayed yet: they show speech that was interrupted."""
        delay_ns = round(self.params["presentation_delay"] * NS_PER_S)
        for time_ns in self.live.redraw_times(self.now_ns() - delay_ns):
            self.publish(time_ns)

    def publish(self, time_ns: int) -> None:
        """Render and publish one image."""
        waited_ms = (self.now_ns() - time_ns) / 1e6
        start = time.perf_counter()
        image = self.talking_head.render(self._features_at(time_ns), self._control_at(time_ns), time_ns)
        rendered = time.perf_counter()
        frame = Frame(image=image, time_ns=time_ns, utterance=self.utterance, index=self.image_count)
        msg = conversions.image_msg(frame)
        self.image_pub.publish(msg)
        if self.compressed_pub.get_subscription_count():
            jpeg = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
            self.compressed_pub.publish(conversions.compressed_msg(jpeg, time_ns))
        trace = FrameTrace(
            header=msg.header,
            frame=self.image_count,
            feature_ms=waited_ms,
            render_ms=(rendered - start) * 1e3,
            publish_ms=(time.perf_counter() - rendered) * 1e3,
            age_ms=(self.now_ns() - time_ns) / 1e6,
            dropped=self.live.dropped,
        )
        self.trace_pub.publish(trace)
        self.image_count += 1
        self.render_ms.add(trace.render_ms)
        self.age_ms.add(trace.age_ms)

    def on_load_head(self, request: LoadHead.Request, response: LoadHead.Response) -> LoadHead.Response:
        """Change the head; keep the old one if the new one cannot be used."""
        try:
            self.talking_head = self._load_talking_head(request.path)
            response.ok, response.message = True, f"drawing {self.talking_head.head.info.name}"
        except SplatfaceError as error:
            response.ok, response.message = False, str(error)
        return response

    def parameter_changed(self, name: str, value: Any) -> None:
        """Publish a new presentation delay."""
        super().parameter_changed(name, value)
        if self._active:
            self.delay_pub.publish(delay_msg(value))

    def health(self) -> NodeStatus:
        """Return counts and latencies of the images."""
        values: dict[str, object] = {
            "head": self.talking_head.head.info.name,
            "presentation_delay_ms": f"{self.params['presentation_delay'] * 1e3:.0f}",
            "pictures": self.image_count,
            "dropped": self.live.dropped,
            **self.render_ms.summary("render_ms"),
            **self.age_ms.summary("age_ms"),
        }
        if self.wrong_encoder:
            expected = self.params["encoder"]
            message = f"expected features of {expected}, found {self.wrong_encoder}: start both with the same"
            return NodeStatus(ERROR, message, values)
        if not len(self.features):
            return NodeStatus(WARN, "no audio_features yet: the mouth is at rest", values)
        return NodeStatus(OK, "drawing", values)

    def _load_talking_head(self, head_name: str) -> TalkingHead:
        head, encoder = load_head(head_folder(head_name)), self.params["encoder"]
        if encoder not in head.nets:
            known = ", ".join(head.nets) or "no encoder"
            raise HeadError(
                f"{head_name}: trained for {known}, the graph runs {encoder}: "
                f"start with encoder:={next(iter(head.nets), 'fsmn')} or train the head for {encoder}"
            )
        return TalkingHead(
            head,
            self.renderer,
            size=self.size,
            background=self.background,
            watermark=self.params["watermark"],
        )

    def _features_at(self, time_ns: int) -> list[AudioFrame]:
        latest_ns = self.features.latest_ns
        if latest_ns is None or latest_ns < time_ns - MAX_FEATURE_AGE_NS:
            return []
        return self.features.values

    def _control_at(self, time_ns: int) -> HeadControl:
        around = self.controls.around(time_ns)
        return HeadControl(time_ns=time_ns) if around is None else control_between(*around)


def main() -> int:
    """Run the node."""
    return run(RendererNode)


if __name__ == "__main__":
    raise SystemExit(main())
