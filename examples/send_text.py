# SPDX-License-Identifier: Apache-2.0
"""Let a running face say a text, and print each word when it is audible.

    splatface launch conversation.launch.yaml &
    python examples/send_text.py "Good morning. How are you?"

Expect the words one by one, in step with the voice, then the duration. Start it a second time with
--interrupt to stop the face.
"""

import argparse

import rclpy
from rclpy.action import ActionClient
from splatface_msgs.action import Say
from std_srvs.srv import Trigger


def main() -> None:
    """Send one goal of the action `say`, or one call of the service `interrupt`."""
    parser = argparse.ArgumentParser(description="let a running face say a text")
    parser.add_argument("text", nargs="?", default="", help="what to say")
    parser.add_argument("--interrupt", action="store_true", help="stop what the face says now")
    parser.add_argument("--namespace", default="face", help="of the face")
    args = parser.parse_args()

    rclpy.init()
    node = rclpy.create_node("send_text", namespace=args.namespace)
    if args.interrupt:
        service = node.create_client(Trigger, "interrupt")
        if not service.wait_for_service(timeout_sec=10.0):
            raise SystemExit("interrupt: expected a running conversation, found none: start one")
        answer = service.call_async(Trigger.Request())
        rclpy.spin_until_future_complete(node, answer, timeout_sec=10.0)
    if args.text:
        client = ActionClient(node, Say, "say")
        if not client.wait_for_server(timeout_sec=10.0):
            raise SystemExit(
                "say: expected a running conversation, found none: start conversation.launch.yaml"
            )
        goal = client.send_goal_async(
            Say.Goal(text=args.text), feedback_callback=lambda msg: print(msg.feedback.word, flush=True)
        )
        rclpy.spin_until_future_complete(node, goal)
        if not goal.result().accepted:
            raise SystemExit("say: expected a text that can be spoken, found none: see /diagnostics")
        result = goal.result().get_result_async()
        rclpy.spin_until_future_complete(node, result)
        print(f"{result.result().result.duration_s:.1f} s")
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
