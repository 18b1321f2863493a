"""Moves the head: breath, sway, lids, gaze, brows and nods, with what it says and with what is said to it."""

from typing import Any

import numpy as np
from geometry_msgs.msg import PointStamped
from splatface_msgs.msg import AudioFeatures, HeadControl
from std_msgs.msg import Bool, String

from splatface.models.behavior.controller import EXPRESSIONS, HeadMotionController, MotionConfig
from splatface.nodes import conversions
from splatface.nodes.face_node import OK, WARN, FaceNode, NodeStatus, run
from splatface.nodes.parameters import Parameter

PARAMETERS = (
    Parameter(name="rate_hz", default=50.0, description="controls per second", low=5.0, high=200.0),
    Parameter(
        name="seed", default=0, description="which person: same seed, same movements", low=0, high=2**31
    ),
    Parameter(name="sway", default=1.0, description="sway of the head, 0 a statue", low=0.0, high=3.0),
    Parameter(
        name="blink_per_minute", default=18.0, description="blinks, 0 keeps the eyes open", low=0.0, high=60.0
    ),
    Parameter(name="wander", default=1.0, description="wandering of the gaze, 0 stares", low=0.0, high=3.0),
    Parameter(name="nod", default=1.0, description="nods with stressed syllables", low=0.0, high=3.0),
    Parameter(name="brow", default=1.0, description="brows with stressed syllables", low=0.0, high=3.0),
    Parameter(
        name="listening",
        default=1.0,
        description="looking and nodding while a person speaks, 0 takes no notice",
        low=0.0,
        high=3.0,
    ),
    Parameter(name="yaw_limit", default=22.0, description="degrees to either side", low=0.0, high=60.0),
    Parameter(name="pitch_limit", default=14.0, description="degrees up and down", low=0.0, high=45.0),
    Parameter(name="roll_limit", default=10.0, description="degrees to either side", low=0.0, high=45.0),
)


class HeadController(FaceNode):
    """`audio_features`, `person_speaking`, `look_at` and `expression` in; `head_control` out."""

    PARAMETERS = PARAMETERS

    def __init__(self) -> None:
        super().__init__("head_controller")
        self.complaint = ""
        self.sent = 0

    def setup(self) -> None:
        """Become a person."""
        self.controller = HeadMotionController(
            MotionConfig(
                seed=self.params["seed"],
                sway=self.params["sway"],
                blink_per_minute=self.params["blink_per_minute"],
                gaze_variability=self.params["wander"],
                nod=self.params["nod"],
                brow=self.params["brow"],
                backchannel=self.params["listening"],
                yaw_limit_rad=float(np.radians(self.params["yaw_limit"])),
                pitch_limit_rad=float(np.radians(self.params["pitch_limit"])),
                roll_limit_rad=float(np.radians(self.params["roll_limit"])),
            )
        )

    def start(self) -> None:
        """Open the topics."""
        self.controls = self.create_publisher(HeadControl, "head_control", conversions.AUDIO_QOS)
        self.create_subscription(AudioFeatures, "audio_features", self.on_features, conversions.AUDIO_QOS)
        self.create_subscription(Bool, "person_speaking", self.on_person_speaking, 10)
        self.create_subscription(PointStamped, "look_at", self.on_look_at, 10)
        self.create_subscription(String, "expression", self.on_expression, 10)
        self.create_timer(1.0 / self.params["rate_hz"], self.move)

    def move(self) -> None:
        """Say where the head is now."""
        self.controls.publish(conversions.head_control_msg(self.controller.control_at(self.now_ns())))
        self.sent += 1

    def on_features(self, msg: AudioFeatures) -> None:
        """Hear its own speech."""
        self.controller.push_speech(conversions.audio_frame(msg), self.now_ns())

    def on_person_speaking(self, msg: Bool) -> None:
        """Heed a person who talks; when nobody has said so for 3 s, none does."""
        self.controller.set_user_speaking(msg.data, self.now_ns())

    def on_look_at(self, msg: PointStamped) -> None:
        """Turn to a point in the frame `world` (or none): meters from the head, x towards the viewer."""
        point = np.array([msg.point.x, msg.point.y, msg.point.z])
        if msg.header.frame_id not in ("", "world"):
            self.complain(f"look_at: expected frame world, found {msg.header.frame_id!r}: transform it first")
        elif not np.isfinite(point).all():
            self.complain(f"look_at: expected finite coordinates, found {point.tolist()}")
        else:
            self.controller.look_at(point, self.now_ns())

    def on_expression(self, msg: String) -> None:
        """Put on `name` or `name:weight`, weight 0 to 1, of jaw_side -1 to 1."""
        name, _, weight = msg.data.partition(":")
        try:
            self.controller.set_expression(name.strip(), float(weight or 1.0), self.now_ns())
        except (KeyError, ValueError):
            known = ", ".join(EXPRESSIONS)
            self.complain(f"expression: expected one of {known}, such as smile:0.5, found {msg.data!r}")

    def complain(self, message: str) -> None:
        """Say what could not be done."""
        self.complaint = message
        self.get_logger().warning(message)

    def health(self) -> NodeStatus:
        """The last complaint, once."""
        complaint, self.complaint = self.complaint, ""
        values: dict[str, Any] = {"controls": self.sent}
        return NodeStatus(WARN, complaint, values) if complaint else NodeStatus(OK, "moving", values)


def main() -> int:
    """Run the node."""
    return run(HeadController)


if __name__ == "__main__":
    raise SystemExit(main())
