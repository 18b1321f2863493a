# SPDX-License-Identifier: Apache-2.0
"""Node that moves the head: sway, blinks, gaze, brows and nods, in reaction to speech and to the user."""

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
        name="seed", default=0, description="of the movements: same seed, same movements", low=0, high=2**31
    ),
    Parameter(name="sway", default=1.0, description="sway of the head, 0 none", low=0.0, high=3.0),
    Parameter(name="blink_per_minute", default=18.0, description="blinks, 0 none", low=0.0, high=60.0),
    Parameter(
        name="gaze_variability",
        default=1.0,
        description="spontaneous movements of the gaze, 0 none",
        low=0.0,
        high=3.0,
        old_name="wander",
    ),
    Parameter(name="nod", default=1.0, description="nods with stressed syllables", low=0.0, high=3.0),
    Parameter(name="brow", default=1.0, description="brows with stressed syllables", low=0.0, high=3.0),
    Parameter(
        name="listening",
        default=1.0,
        description="gaze and nods while a person speaks, 0 none",
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
        self.last_problem = ""
        self.control_count = 0

    def setup(self) -> None:
        """Create the controller."""
        self.controller = HeadMotionController(
            MotionConfig(
                seed=self.params["seed"],
                sway=self.params["sway"],
                blink_per_minute=self.params["blink_per_minute"],
                gaze_variability=self.params["gaze_variability"],
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
        self.control_pub = self.create_publisher(HeadControl, "head_control", conversions.AUDIO_QOS)
        self.create_subscription(AudioFeatures, "audio_features", self.on_features, conversions.AUDIO_QOS)
        self.create_subscription(Bool, "person_speaking", self.on_person_speaking, 10)
        self.create_subscription(PointStamped, "look_at", self.on_look_at, 10)
        self.create_subscription(String, "expression", self.on_expression, 10)
        self.create_timer(1.0 / self.params["rate_hz"], self.publish_control)

    def publish_control(self) -> None:
        """Publish the pose of the head now."""
        self.control_pub.publish(conversions.head_control_msg(self.controller.control_at(self.now_ns())))
        self.control_count += 1

    def on_features(self, msg: AudioFeatures) -> None:
        """React to the face's own speech."""
        self.controller.push_speech(conversions.audio_frame(msg), self.now_ns())

    def on_person_speaking(self, msg: Bool) -> None:
        """React to a user who speaks; without a message for 3 s, none does."""
        self.controller.set_user_speaking(msg.data, self.now_ns())

    def on_look_at(self, msg: PointStamped) -> None:
        """Look at a point in the frame `world` (or none): meters from the head, x towards the viewer."""
        point = np.array([msg.point.x, msg.point.y, msg.point.z])
        if msg.header.frame_id not in ("", "world"):
            self.report_problem(
                f"look_at: expected frame world, found {msg.header.frame_id!r}: transform it first"
            )
        elif not np.isfinite(point).all():
            self.report_problem(f"look_at: expected finite coordinates, found {point.tolist()}")
        else:
            self.controller.look_at(point, self.now_ns())

    def on_expression(self, msg: String) -> None:
        """Set an expression, `name` or `name:weight`; weights are 0 to 1, of jaw_side -1 to 1."""
        name, _, weight = msg.data.partition(":")
        try:
            self.controller.set_expression(name.strip(), float(weight or 1.0), self.now_ns())
        except (KeyError, ValueError):
            known = ", ".join(EXPRESSIONS)
            self.report_problem(f"expression: expected one of {known}, such as smile:0.5, found {msg.data!r}")

    def report_problem(self, message: str) -> None:
        """Log a problem and keep it for the next diagnostics."""
        self.last_problem = message
        self.get_logger().warning(message)

    def health(self) -> NodeStatus:
        """Return the number of controls; the last problem, once."""
        problem, self.last_problem = self.last_problem, ""
        values: dict[str, Any] = {"controls": self.control_count}
        return NodeStatus(WARN, problem, values) if problem else NodeStatus(OK, "moving", values)


def main() -> int:
    """Run the node."""
    return run(HeadController)


if __name__ == "__main__":
    raise SystemExit(main())
