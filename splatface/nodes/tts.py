# SPDX-License-Identifier: Apache-2.0
"""Text-to-speech node: the action `say` in, audio on the media clock out, interruptible at once.

A goal that cannot be spoken is rejected; ROS carries no reason with that, so it is logged (and so on
/rosout) and stands in /diagnostics until a goal is accepted.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from splatface_msgs.action import Say
from splatface_msgs.msg import AudioChunk as AudioChunkMsg
from std_srvs.srv import Trigger

from splatface.models.errors import SpeechError
from splatface.models.head.head_file import head_folder, load_head
from splatface.models.tts.speak import check_voice, speak
from splatface.models.tts.speech_queue import SpeechQueue, SpeechScheduler, Synthesis, Utterance
from splatface.models.tts.voice_matching import voice_of_head
from splatface.nodes import conversions
from splatface.nodes.face_node import WARN, FaceNode, LatencyStats, NodeStatus, run
from splatface.nodes.parameters import Parameter

PARAMETERS = (
    Parameter(
        name="voice", default="", description="of goals that name none, e.g. flite/slt; empty: the head's"
    ),
    Parameter(name="head", default="", description="a head whose matched voice is used when voice is empty"),
    Parameter(
        name="policy",
        default="queue",
        description="a goal that comes while another is spoken: queue (wait) or replace (interrupt it)",
        choices=("queue", "replace"),
    ),
    Parameter(name="queue_limit", default=16, description="goals that may wait", low=1, high=1000),
    Parameter(name="chunk_ms", default=20, description="audio per message, ms", low=5, high=100),
    Parameter(
        name="lead_ms",
        default=100,
        description="audio is published this long before its own time, so that the image is ready in time",
        low=0,
        high=1000,
    ),
)


@dataclass(eq=False)
class ActiveGoal:
    """A goal and its speech."""

    goal: ServerGoalHandle
    utterance: Utterance
    accepted_ns: int


class TtsNode(FaceNode):
    """Serves `say` and `interrupt`, publishes `audio`: speech, and silence between."""

    PARAMETERS = PARAMETERS
    OLD_NAME = "speech"

    def __init__(self) -> None:
        super().__init__("tts")
        self.active_goals: list[ActiveGoal] = []  # in the order in which they are spoken
        self.canceled_goals: list[
            tuple[ActiveGoal, float]
        ] = []  # with s spoken; finished after the cancel reply
        self.last_utterance = 0  # number, when the node was stopped
        self.rejection = ""  # of the last goal, if it was rejected
        self.spoken_count = 0
        self.first_audio_ms = LatencyStats()

    def setup(self) -> None:
        """Choose the voice and synthesize a word, which loads the engine."""
        voice, head = self.params["voice"], self.params["head"]
        if head and not voice:
            voice = voice_of_head(load_head(head_folder(head)).info.reports)
        self.voice = check_voice(voice)
        next(speak("Ready.", self.voice))
        self.scheduler = SpeechScheduler(
            SpeechQueue(), self.params["chunk_ms"], self.params["lead_ms"], self.last_utterance
        )

    def start(self) -> None:
        """Open the topic, the action and the service."""
        self.scheduler.start(self.now_ns())
        self.audio_pub = self.create_publisher(AudioChunkMsg, "audio", conversions.AUDIO_QOS)
        self.create_service(Trigger, "interrupt", self.on_interrupt)
        self.server = DeferredActionServer(
            self,
            Say,
            "say",
            execute_callback=lambda goal: Say.Result(),
            goal_callback=self.on_goal,
            handle_accepted_callback=self.on_accepted,
            cancel_callback=self.on_cancel,
            result_timeout=60,  # s; results that nobody requests are deleted
        )
        self.create_timer(self.params["chunk_ms"] / 2000, self.publish_due)
        self.get_logger().info(f"voice: {self.voice}")

    def stop(self) -> None:
        """Abort all goals."""
        self.abort_goals()
        self.last_utterance = self.scheduler.utterance
        self.server.destroy()

    # goals

    def on_goal(self, request: Say.Goal) -> GoalResponse:
        """Accept what can be spoken; log the reason if not."""
        try:
            speak(request.text, request.voice or self.voice, request.rate)
            limit = self.params["queue_limit"]
            if self.params["policy"] == "queue" and len(self.active_goals) > limit:
                raise SpeechError(
                    f"say: expected up to {limit} waiting goals, found as many: "
                    "wait for results, raise queue_limit, or use policy:=replace"
                )
        except SpeechError as error:
            self.rejection = str(error)
            self.get_logger().error(f"goal rejected: {error}")
            return GoalResponse.REJECT
        self.rejection = ""
        return GoalResponse.ACCEPT

    def on_accepted(self, goal: ServerGoalHandle) -> None:
        """Queue the goal; with the policy replace, interrupt the others first."""
        goal.execute()
        if self.params["policy"] == "replace" and self.active_goals:
            self.interrupt()
        request = goal.request
        synthesis = Synthesis(speak(request.text, request.voice or self.voice, request.rate))
        active = ActiveGoal(goal, Utterance(synthesis, len(request.text)), self.now_ns())
        self.active_goals.append(active)
        self.scheduler.queue.add(active.utterance)

    def on_cancel(self, goal: ServerGoalHandle) -> CancelResponse:
        """Stop the speech at once; the goal ends when rclpy has replied."""
        for active in self.active_goals:
            if active.goal == goal:
                self.canceled_goals.append((active, active.utterance.played_s(self.now_ns())))
                has_started = active.utterance.start_ns is not None
                self.remove_goal(active)
                if has_started:
                    self.flush_with_silence()
                return CancelResponse.ACCEPT
        return CancelResponse.REJECT

    def on_interrupt(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Abort all goals."""
        self.interrupt()
        response.success, response.message = True, f"utterance {self.scheduler.utterance}"
        return response

    def interrupt(self) -> None:
        """Abort all goals; no later chunk carries their utterance number."""
        self.abort_goals()
        self.flush_with_silence()

    def abort_goals(self) -> None:
        """Abort all goals; the result says how long each was played."""
        now_ns = self.now_ns()
        for active in list(self.active_goals):
            heard_s = active.utterance.played_s(now_ns)
            self.remove_goal(active)
            active.goal.abort()
            self.server.finish(active.goal, Say.Result(duration_s=heard_s, interrupted=True))

    def remove_goal(self, active: ActiveGoal) -> None:
        """Drop the speech of a goal that has not been played."""
        self.scheduler.queue.drop(active.utterance)
        self.active_goals.remove(active)

    def flush_with_silence(self) -> None:
        """Raise the utterance number and publish silence: what was published ahead is void."""
        self.scheduler.interrupt(self.now_ns())
        self.publish_due()

    # audio

    def publish_due(self) -> None:
        """Publish every chunk that is played within the lead time; give feedback on what is played now."""
        now_ns = self.now_ns()
        jump_s = self.scheduler.clock_jump_s(now_ns)
        if jump_s:
            self.get_logger().warning(f"clock jumped by {jump_s:.1f} s")
            self.abort_goals()
            self.scheduler.interrupt(now_ns)
        for chunk in self.scheduler.due(now_ns):
            self.audio_pub.publish(conversions.audio_chunk_msg(chunk))
        self.publish_feedback(now_ns)

    def publish_feedback(self, now_ns: int) -> None:
        """Publish feedback for the words that are played now, and results of what has ended."""
        for active in list(self.active_goals):
            for word in active.utterance.pop_started_words(now_ns):
                active.goal.publish_feedback(Say.Feedback(word=word.word, progress=word.progress))
            if active.utterance.is_finished(now_ns):
                self.finish_goal(active, now_ns)
        for active, heard_s in [entry for entry in self.canceled_goals if entry[0].goal.is_cancel_requested]:
            self.canceled_goals.remove((active, heard_s))
            active.goal.canceled()
            self.server.finish(active.goal, Say.Result(duration_s=heard_s, interrupted=True))

    def finish_goal(self, active: ActiveGoal, now_ns: int) -> None:
        """Send the result of a goal that was played to its end, or to where its engine failed."""
        utterance, problem = active.utterance, active.utterance.synthesis.problem
        self.active_goals.remove(active)
        if problem:
            self.rejection = problem
            self.get_logger().error(problem)
            active.goal.abort()
        else:
            self.spoken_count += 1
            active.goal.succeed()
        if utterance.start_ns is not None:
            self.first_audio_ms.add((utterance.start_ns - active.accepted_ns) / 1e6)
        self.server.finish(active.goal, Say.Result(duration_s=utterance.played_s(now_ns), interrupted=False))

    def health(self) -> NodeStatus:
        """Return the voice, the goals and their latency."""
        values: dict[str, object] = {
            "voice": self.voice,
            "utterance": self.scheduler.utterance,
            "said": self.spoken_count,
            "waiting": max(len(self.active_goals) - 1, 0),
            "gaps": self.scheduler.queue.gaps,
            **self.first_audio_ms.summary("first_sound_ms"),
        }
        if self.rejection:
            return NodeStatus(WARN, self.rejection, values)
        return NodeStatus(message="speaking" if self.active_goals else "silent", values=values)


class DeferredActionServer(ActionServer):
    """Action server for long goals on a single-threaded executor.

    rclpy runs a goal's callback to its end, or polls it without a pause when it is a coroutine (100 % of a
    core). Here a goal is only marked as executing by `goal.execute()`, and ends with `finish`.
    """

    def notify_execute(
        self, goal_handle: ServerGoalHandle, execute_callback: Callable[..., Any] | None
    ) -> None:
        """Do nothing: `goal.execute()` has marked the goal as executing."""

    def finish(self, goal: ServerGoalHandle, result: Any) -> None:
        """Send the result of a goal that has succeeded, been aborted or been canceled."""
        if self._node.executor is not None:  # none at the end of the process
            super().notify_execute(goal, lambda _: result)


def main() -> int:
    """Run the node."""
    return run(TtsNode)


if __name__ == "__main__":
    sys.exit(main())
