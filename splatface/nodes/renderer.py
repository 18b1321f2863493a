"""Draws the face: audio features and head control in, pictures on time out."""

import time

import cv2
from sensor_msgs.msg import CompressedImage, Image
from splatface_msgs.msg import AudioFeatures as AudioFeaturesMsg
from splatface_msgs.msg import FrameTrace
from splatface_msgs.msg import HeadControl as HeadControlMsg
from splatface_msgs.srv import LoadHead

from splatface.models.errors import HeadError, RenderError, SplatfaceError
from splatface.models.frame_scheduler import Grid, LiveScheduler, LockstepScheduler
from splatface.models.head.head_file import head_folder, load_head
from splatface.models.messages import NS_PER_S, AudioFrame, Frame, HeadControl
from splatface.models.render.render import parse_background, renderer
from splatface.models.talking_head import TalkingHead
from splatface.models.timeline import Timeline, control_between
from splatface.nodes import conversions
from splatface.nodes.face_node import ERROR, OK, WARN, FaceNode, LatencyStats, NodeStatus, run
from splatface.nodes.parameters import Parameter

PARAMETERS = (
    Parameter(name="head", default="mira", description="a shipped head's name or the path of a head folder"),
    Parameter(name="encoder", default="fsmn", description="the encoder whose features drive the mouth"),
    Parameter(name="fps", default=25.0, description="pictures per second", low=1.0, high=120.0),
    Parameter(name="size", default="512x512", description="width x height in pixels, each 16 to 4096"),
    Parameter(
        name="clock",
        default="live",
        description="live: on time, late ones dropped; features: one per tick of the stream, none dropped",
        choices=("live", "features"),
    ),
    Parameter(
        name="backend",
        default="cpu",
        description="what draws",
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
        description="a color such as #2a3b4c or the path of a picture; empty: the head's own",
    ),
    Parameter(
        name="wait_for_control",
        default=True,
        description="with clock features: draw a picture only when its head_control has come",
    ),
    Parameter(
        name="presentation_delay",
        default=0.2,
        description="the display's: pictures that wait so long are drawn again after an interruption",
        low=0.0,
        high=5.0,
        dynamic=True,
    ),
    Parameter(
        name="watermark", default=True, description="the invisible mark that says the picture is synthetic"
    ),
)
# How long after its moment a picture waits for sound before it is drawn without.
PATIENCE_NS = NS_PER_S // 4
# Late pictures older than this are left out.
BACKLOG_NS = 60_000_000
# A mouth is not held open longer than this by a stream that has stopped.
STALE_NS = 3 * NS_PER_S // 10


def size_of(text: str) -> tuple[int, int]:
    """Width and height of `512x512`.

    Raises:
        RenderError: for anything else.
    """
    parts = text.lower().split("x")
    if len(parts) == 2 and all(part.strip().isdigit() for part in parts):
        width, height = (int(part) for part in parts)
        if 16 <= width <= 4096 and 16 <= height <= 4096:
            return width, height
    raise RenderError(f"size: expected width x height such as 512x512, each 16 to 4096, found {text!r}")


class Renderer(FaceNode):
    """`audio_features` and `head_control` in; `image`, `image/compressed` and `frame_trace` out."""

    PARAMETERS = PARAMETERS

    def __init__(self) -> None:
        super().__init__("renderer")
        self.frames = Timeline[AudioFrame](lambda frame: frame.center_ns)
        self.controls = Timeline[HeadControl](lambda control: control.time_ns)
        self.utterance = 0
        self.drawn = 0
        self.wrong_encoder = ""
        self.render_ms, self.age_ms = LatencyStats(), LatencyStats()

    def setup(self) -> None:
        """Load the head and compile."""
        self.size = size_of(self.params["size"])
        grid = Grid(self.params["fps"])
        self.steps = LockstepScheduler(grid) if self.params["clock"] == "features" else None
        self.live = LiveScheduler(grid, PATIENCE_NS, BACKLOG_NS)
        self.background = parse_background(self.params["background"], self.size)
        self.drawer = renderer(
            self.params["backend"], threads=self.params["threads"], supersample=self.params["supersample"]
        )
        self.talker = self._talker(self.params["head"])
        self.get_logger().info("preparing (compiles for about 10 s the first time)")
        self.talker.render([], HeadControl(), 0)
        self.get_logger().info(f"drawing {self.talker.head.info.name}")

    def start(self) -> None:
        """Open the topics."""
        # A late picture is worthless live; in step mode every picture counts.
        depth = 1 if self.steps is None else 100
        self.images = self.create_publisher(Image, "image", conversions.image_qos(depth))
        self.jpegs = self.create_publisher(CompressedImage, "image/compressed", conversions.image_qos(depth))
        self.traces = self.create_publisher(FrameTrace, "frame_trace", 10)
        self.create_service(LoadHead, "load_head", self.on_load_head)
        self.create_subscription(HeadControlMsg, "head_control", self.on_control, conversions.AUDIO_QOS)
        self.create_subscription(AudioFeaturesMsg, "audio_features", self.on_features, conversions.AUDIO_QOS)
        if self.steps is None:
            self.live.begin(self.now_ns() - PATIENCE_NS)
            self.create_timer(0.5 / self.params["fps"], self.draw_due)

    def on_features(self, msg: AudioFeaturesMsg) -> None:
        """Take in what was heard."""
        frame = conversions.audio_frame(msg)
        if frame.encoder != self.params["encoder"]:
            self.wrong_encoder = frame.encoder
            return
        before_ns = self.frames.latest_ns
        jumped = before_ns is None or abs(frame.center_ns - before_ns) > NS_PER_S
        if frame.utterance < self.utterance and not jumped:
            return  # late; one that lies far off is of a source with another clock
        interrupted = frame.utterance != self.utterance
        if interrupted:
            self.utterance = frame.utterance
            self.frames.clear()
        self.frames.push(frame)
        if interrupted and self.steps is None:
            self.draw_again()
        if self.steps is not None and jumped:
            self.steps.begin(frame.center_ns)
        self.draw_due()

    def on_control(self, msg: HeadControlMsg) -> None:
        """Take in where the head is to be."""
        self.controls.push(conversions.head_control(msg))
        if self.steps is not None:
            self.draw_due()

    def draw_due(self) -> None:
        """Draw every picture whose time has come."""
        covered_ns = self.frames.latest_ns
        if covered_ns is not None:
            covered_ns -= self.talker.lookahead_ns(self.params["encoder"])
        if self.steps is None:
            times = self.live.due(covered_ns, self.now_ns())
        else:
            if self.params["wait_for_control"]:
                covered_ns = min(covered_ns or 0, self.controls.latest_ns or 0)
            times = self.steps.due(covered_ns or 0)
        for time_ns in times:
            self.publish(time_ns)

    def draw_again(self) -> None:
        """Take back the pictures that still wait to be shown: their mouth says what is no longer heard."""
        delay_ns = round(self.params["presentation_delay"] * NS_PER_S)
        for time_ns in self.live.redraw_times(self.now_ns() - delay_ns):
            self.publish(time_ns)

    def publish(self, time_ns: int) -> None:
        """Draw one picture and send it off."""
        waited_ms = (self.now_ns() - time_ns) / 1e6
        began = time.perf_counter()
        image = self.talker.render(self._heard(time_ns), self._control(time_ns), time_ns)
        rendered = time.perf_counter()
        frame = Frame(image=image, time_ns=time_ns, utterance=self.utterance, index=self.drawn)
        msg = conversions.image_msg(frame)
        self.images.publish(msg)
        if self.jpegs.get_subscription_count():
            jpeg = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
            self.jpegs.publish(conversions.compressed_msg(jpeg, time_ns))
        trace = FrameTrace(
            header=msg.header,
            frame=self.drawn,
            feature_ms=waited_ms,
            render_ms=(rendered - began) * 1e3,
            publish_ms=(time.perf_counter() - rendered) * 1e3,
            age_ms=(self.now_ns() - time_ns) / 1e6,
            dropped=self.live.dropped,
        )
        self.traces.publish(trace)
        self.drawn += 1
        self.render_ms.add(trace.render_ms)
        self.age_ms.add(trace.age_ms)

    def on_load_head(self, request: LoadHead.Request, response: LoadHead.Response) -> LoadHead.Response:
        """Change the head; the old one stays when the new one cannot be used."""
        try:
            self.talker = self._talker(request.path)
            response.ok, response.message = True, f"drawing {self.talker.head.info.name}"
        except SplatfaceError as error:
            response.ok, response.message = False, str(error)
        return response

    def health(self) -> NodeStatus:
        """Pictures, drops and times."""
        values: dict[str, object] = {
            "head": self.talker.head.info.name,
            "pictures": self.drawn,
            "dropped": self.live.dropped,
            **self.render_ms.summary("render_ms"),
            **self.age_ms.summary("age_ms"),
        }
        if self.wrong_encoder:
            expected = self.params["encoder"]
            message = f"expected features of {expected}, found {self.wrong_encoder}: start both with the same"
            return NodeStatus(ERROR, message, values)
        if not len(self.frames):
            return NodeStatus(WARN, "no audio_features yet: the mouth rests", values)
        return NodeStatus(OK, "drawing", values)

    def _talker(self, head_name: str) -> TalkingHead:
        head, encoder = load_head(head_folder(head_name)), self.params["encoder"]
        if encoder not in head.nets:
            known = ", ".join(head.nets) or "no encoder"
            raise HeadError(
                f"{head_name}: trained for {known}, the graph runs {encoder}: "
                f"start with encoder:={next(iter(head.nets), 'fsmn')} or train the head for {encoder}"
            )
        return TalkingHead(
            head,
            self.drawer,
            size=self.size,
            background=self.background,
            watermark=self.params["watermark"],
        )

    def _heard(self, time_ns: int) -> list[AudioFrame]:
        latest_ns = self.frames.latest_ns
        if latest_ns is None or latest_ns < time_ns - STALE_NS:
            return []
        return self.frames.values

    def _control(self, time_ns: int) -> HeadControl:
        around = self.controls.around(time_ns)
        return HeadControl(time_ns=time_ns) if around is None else control_between(*around)


def main() -> int:
    """Run the node."""
    return run(Renderer)


if __name__ == "__main__":
    raise SystemExit(main())
