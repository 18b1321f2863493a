"""An action server for goals that take long, on an executor with one thread.

rclpy runs a goal's callback to its end, or, when it is a coroutine, asks it again and again without a
pause (100 % of a core). Here a goal is only marked as executing; the node finishes it from its timers.
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
from splatface.models.messages import NS_PER_S, SAMPLE_RATE, AudioChunk
from splatface.models.tts.speak import check_voice, speak
from splatface.models.tts.speech_queue import SpeechQueue, Synthesis, Utterance
from splatface.models.tts.voice_matching import voice_of_head
from splatface.nodes import conversions
from splatface.nodes.face_node import WARN, FaceNode, LatencyStats, NodeStatus, run
from splatface.nodes.parameters import Parameter

__all__ = ["DeferredActionServer"]


class DeferredActionServer(ActionServer):
    """Goals begin with `goal.execute()` and end with `finish`."""

    def notify_execute(
        self, goal_handle: ServerGoalHandle, execute_callback: Callable[..., Any] | None
    ) -> None:
        """Do nothing yet: `goal.execute()` has said that the goal is executing."""

    def finish(self, goal: ServerGoalHandle, result: Any) -> None:
        """Send the result of a goal that has succeeded, been aborted or been canceled."""
        if self._node.executor is not None:  # at the end of the process nobody is left to send it
            super().notify_execute(goal, lambda _: result)


PARAMETERS = (
    Parameter(
        name="voice", default="", description="of goals that name none, e.g. flite/slt; empty: the head's"
    ),
    Parameter(name="head", default="", description="a head whose matched voice is used when voice is empty"),
    Parameter(
        name="policy",
        default="queue",
        description="a goal that comes while another is said: queue (wait) or replace (take its place)",
        choices=("queue", "replace"),
    ),
    Parameter(name="queue_limit", default=16, description="goals that may wait", low=1, high=1000),
    Parameter(name="chunk_ms", default=20, description="sound per message, ms", low=5, high=100),
    Parameter(
        name="lead_ms",
        default=100,
        description="sound is published so long before it is heard, so that the picture is ready in time",
        low=0,
        high=1000,
    ),
)
JUMP_NS = NS_PER_S  # further from the clock than this, the clock was set or the computer slept


@dataclass(eq=False)
class ActiveGoal:
    """A goal and its sound."""

    goal: ServerGoalHandle
    utterance: Utterance
    asked_ns: int


class TtsNode(FaceNode):
    """Serves `say` and `interrupt`, publishes `audio`: speech, and silence between."""

    PARAMETERS = PARAMETERS

    def __init__(self) -> None:
        super().__init__("tts")
        self.utterance = 0
        self.end_ns = 0  # of the last chunk
        self.sayings: list[ActiveGoal] = []  # in the order in which they are heard
        self.canceled: list[tuple[ActiveGoal, float]] = []  # cut, to be finished when the cancel is answered
        self.playing = SpeechQueue()
        self.refused = ""
        self.said = 0
        self.first_sound_ms = LatencyStats()

    def setup(self) -> None:
        """Find the voice and say a word with it, so that its engine is loaded."""
        voice, head = self.params["voice"], self.params["head"]
        if head and not voice:
            voice = voice_of_head(load_head(head_folder(head)).info.reports)
        self.voice = check_voice(voice)
        next(speak("Ready.", self.voice))
        self.chunk_ns = self.params["chunk_ms"] * NS_PER_S // 1000
        self.chunk_samples = self.params["chunk_ms"] * SAMPLE_RATE // 1000
        self.lead_ns = self.params["lead_ms"] * NS_PER_S // 1000

    def start(self) -> None:
        """Open the topic, the action and the service."""
        self.end_ns = self.now_ns()
        self.utterance = conversions.new_utterance(self.utterance, self.end_ns)
        self.audio = self.create_publisher(AudioChunkMsg, "audio", conversions.AUDIO_QOS)
        self.create_service(Trigger, "interrupt", self.on_interrupt)
        self.server = DeferredActionServer(
            self,
            Say,
            "say",
            execute_callback=lambda goal: Say.Result(),
            goal_callback=self.on_goal,
            handle_accepted_callback=self.on_accepted,
            cancel_callback=self.on_cancel,
            result_timeout=60,  # s; results nobody asks for are forgotten
        )
        self.create_timer(self.params["chunk_ms"] / 2000, self.play_due)
        self.get_logger().info(f"voice: {self.voice}")

    def stop(self) -> None:
        """End what is being said."""
        self.abort_goals(self.sayings)
        self.server.destroy()

    # goals

    def on_goal(self, request: Say.Goal) -> GoalResponse:
        """Accept what can be said; say why if not."""
        try:
            speak(request.text, request.voice or self.voice, request.rate)
            if self.params["policy"] == "queue" and len(self.sayings) > self.params["queue_limit"]:
                raise SpeechError(
                    f"say: expected up to {self.params['queue_limit']} waiting goals, found as many: "
                    "wait for results, raise queue_limit, or use policy:=replace"
                )
        except SpeechError as error:
            self.refused = str(error)
            self.get_logger().error(f"goal rejected: {error}")
            return GoalResponse.REJECT
        self.refused = ""
        return GoalResponse.ACCEPT

    def on_accepted(self, goal: ServerGoalHandle) -> None:
        """Begin to speak, or wait for those before."""
        goal.execute()
        if self.params["policy"] == "replace" and self.sayings:
            self.interrupt(self.sayings)
        request = goal.request
        synthesis = Synthesis(speak(request.text, request.voice or self.voice, request.rate))
        saying = ActiveGoal(goal, Utterance(synthesis, len(request.text)), self.now_ns())
        self.sayings.append(saying)
        self.playing.add(saying.utterance)

    def on_cancel(self, goal: ServerGoalHandle) -> CancelResponse:
        """Stop the sound at once; the goal ends when rclpy has answered."""
        for saying in self.sayings:
            if saying.goal == goal:
                heard_s = saying.utterance.played_s(self.now_ns())
                self.canceled.append((saying, heard_s))
                begun = saying.utterance.start_ns is not None
                self.forget(saying)
                if begun:
                    self.flush_with_silence()
                return CancelResponse.ACCEPT
        return CancelResponse.REJECT

    def on_interrupt(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """End what is being said and all that waits."""
        self.interrupt(self.sayings)
        response.success, response.message = True, f"utterance {self.utterance}"
        return response

    def interrupt(self, sayings: list[ActiveGoal]) -> None:
        """End these goals; no later chunk carries their utterance."""
        self.abort_goals(sayings)
        self.flush_with_silence()

    def abort_goals(self, sayings: list[ActiveGoal]) -> None:
        """Abort goals, telling how much of them was heard."""
        now_ns = self.now_ns()
        for saying in list(sayings):
            heard_s = saying.utterance.played_s(now_ns)
            self.forget(saying)
            saying.goal.abort()
            self.server.finish(saying.goal, Say.Result(duration_s=heard_s, interrupted=True))

    def forget(self, saying: ActiveGoal) -> None:
        """No further sample of it."""
        self.playing.drop(saying.utterance)
        self.sayings.remove(saying)

    def flush_with_silence(self) -> None:
        """Begin a new utterance with silence, now: what was published ahead is void."""
        self.utterance += 1
        self.end_ns = self.now_ns()
        self.play_due()

    # sound

    def play_due(self) -> None:
        """Publish every chunk that will be heard within the lead; tell of what is heard."""
        now_ns = self.now_ns()
        ahead_ns = self.end_ns - now_ns
        if ahead_ns > self.lead_ns + JUMP_NS or ahead_ns < -JUMP_NS:
            self.get_logger().warning(f"clock jumped by {-ahead_ns / NS_PER_S:.1f} s")
            self.end_ns = now_ns
            self.abort_goals(self.sayings)
            self.utterance += 1
        while self.end_ns <= now_ns + self.lead_ns:
            samples = self.playing.take(self.chunk_samples, self.end_ns)
            self.audio.publish(
                conversions.audio_chunk_msg(AudioChunk(samples, SAMPLE_RATE, self.end_ns, self.utterance))
            )
            self.end_ns += self.chunk_ns
        self.publish_feedback(now_ns)

    def publish_feedback(self, now_ns: int) -> None:
        """Feedback for words that are heard now; results for what has ended."""
        for saying in list(self.sayings):
            for word in saying.utterance.pop_started_words(now_ns):
                saying.goal.publish_feedback(Say.Feedback(word=word.word, progress=word.progress))
            if saying.utterance.is_finished(now_ns):
                self.finish_goal(saying, now_ns)
        for saying, heard_s in [entry for entry in self.canceled if entry[0].goal.is_cancel_requested]:
            self.canceled.remove((saying, heard_s))
            saying.goal.canceled()
            self.server.finish(saying.goal, Say.Result(duration_s=heard_s, interrupted=True))

    def finish_goal(self, saying: ActiveGoal, now_ns: int) -> None:
        """The result of a goal that was heard to its end, or to where its engine failed."""
        utterance, problem = saying.utterance, saying.utterance.synthesis.problem
        self.sayings.remove(saying)
        if problem:
            self.refused = problem
            self.get_logger().error(problem)
            saying.goal.abort()
        else:
            self.said += 1
            saying.goal.succeed()
        if utterance.start_ns is not None:
            self.first_sound_ms.add((utterance.start_ns - saying.asked_ns) / 1e6)
        self.server.finish(saying.goal, Say.Result(duration_s=utterance.played_s(now_ns), interrupted=False))

    def health(self) -> NodeStatus:
        """What is being said."""
        values: dict[str, object] = {
            "voice": self.voice,
            "utterance": self.utterance,
            "said": self.said,
            "waiting": max(len(self.sayings) - 1, 0),
            "gaps": self.playing.gaps,
            **self.first_sound_ms.summary("first_sound_ms"),
        }
        if self.refused:
            return NodeStatus(WARN, self.refused, values)
        return NodeStatus(message="speaking" if self.sayings else "silent", values=values)


def main() -> int:
    """Run the node."""
    return run(TtsNode)


if __name__ == "__main__":
    sys.exit(main())
