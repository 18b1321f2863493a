"""The node tts through real DDS: its audio, its timing, and interruptions."""

import time

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.action import ActionClient
from splatface_msgs.action import Say
from splatface_msgs.msg import AudioChunk
from std_srvs.srv import Trigger

from splatface.models.tts.speak import speak, voices
from splatface.nodes import conversions

pytestmark = [
    pytest.mark.graph,
    pytest.mark.skipif(not voices(), reason="no voice is installed: apt-get install libflite1"),
]
MS = 1_000_000
CHUNK_NS = 20 * MS


class Goal:
    """A goal that was sent, and what comes back."""

    def __init__(self, client, text, voice="", rate=0.0):
        self.words, self.result, self.status = [], None, None
        self.sent_ns = time.time_ns()
        goal = Say.Goal(text=text, voice=voice, rate=rate)
        self.handle = None
        self.accepted = None
        client.send_goal_async(goal, self._on_feedback).add_done_callback(self._on_answer)

    def _on_feedback(self, msg):
        self.words.append((msg.feedback.word, msg.feedback.progress, time.time_ns()))

    def _on_answer(self, future):
        self.handle = future.result()
        self.accepted = self.handle.accepted
        if self.accepted:
            self.handle.get_result_async().add_done_callback(self._on_result)

    def _on_result(self, future):
        self.status, self.result = future.result().status, future.result().result

    @property
    def done(self):
        return self.result is not None


@pytest.fixture
def face(start, others):
    """Client of the node: starts it, sends texts, receives the audio."""
    others.chunks, others.health = [], []
    others.reason = lambda: f"{others.health[-1:]} {[p.output[-500:] for p in others.processes]}"
    others.processes = []
    others.create_subscription(
        AudioChunk,
        "audio",
        lambda msg: others.chunks.append((time.time_ns(), conversions.audio_chunk(msg))),
        conversions.AUDIO_QOS,
    )

    def on_health(msg):
        others.health += [status for status in msg.status if status.name.endswith("tts")]

    others.create_subscription(DiagnosticArray, "/diagnostics", on_health, 10)
    others.client = ActionClient(others, Say, "say")
    others.stopper = others.create_client(Trigger, "interrupt")

    def begin(**parameters):
        process = start.node("tts", **parameters)
        others.processes.append(process)
        others.until(lambda: others.client.server_is_ready() and others.stopper.service_is_ready())
        others.until(lambda: len(others.chunks) > 10)
        return process

    others.begin = begin
    others.say = lambda *args, **more: Goal(others.client, *args, **more)
    others.stop = lambda: others.stopper.call_async(Trigger.Request())
    yield others
    others.client.destroy()


def samples_of(chunks, utterance=None):
    return np.concatenate([c.samples for _, c in chunks if utterance in (None, c.utterance)])


def test_text_is_published_sample_for_sample_in_real_time(face):
    node = face.begin(voice="flite/kal16")  # the others hiss at random
    text = "Hello there, my friend. It is nice to see you! Shall we begin?"
    goal = face.say(text)
    face.until(lambda: goal.done)
    assert goal.status == GoalStatus.STATUS_SUCCEEDED
    assert not goal.result.interrupted
    face.spin(0.3)
    chunks = [chunk for _, chunk in face.chunks]
    assert {(len(c.samples), c.sample_rate) for c in chunks} == {(320, 16_000)}
    assert set(np.diff([c.start_ns for c in chunks])) == {CHUNK_NS}  # no gap, no drift
    sound = np.concatenate([c.samples for c in chunks])
    begin = int(np.flatnonzero(sound)[0])
    expected = np.concatenate([spoken.samples for spoken in speak(text, "flite/kal16")])
    first = int(np.flatnonzero(expected)[0])
    np.testing.assert_allclose(sound[begin : begin + 16_000], expected[first : first + 16_000], atol=1e-6)
    spoken_s = (np.flatnonzero(sound)[-1] - begin) / 16_000
    assert goal.result.duration_s == pytest.approx(spoken_s, abs=0.05)
    # each chunk comes before it is heard, but not longer before than lead_ms
    early_ms = np.array([c.start_ns - arrival for arrival, c in face.chunks[5:]]) / MS
    assert early_ms.max() <= 110
    assert np.mean(early_ms > 0) > 0.9
    first_sound_ns = chunks[0].start_ns + begin * 62_500
    assert first_sound_ns > goal.sent_ns
    assert sum(goal.sent_ns < c.start_ns < first_sound_ns for c in chunks) < 50  # silent chunks before it
    words = "Hello there my friend It is nice to see you Shall we begin"
    assert " ".join(word for word, _, _ in goal.words) == words
    progress = [p for _, p, _ in goal.words]
    assert progress == sorted(progress)
    assert progress[-1] == pytest.approx(1.0, abs=0.03)
    moments = [word.start_ns for spoken in speak(text, "flite/kal16") for word in spoken.words][:4]
    late_ms = [
        (at - first_sound_ns - moment) / MS for (_, _, at), moment in zip(goal.words, moments, strict=False)
    ]
    assert np.mean(np.abs(late_ms) < 80) >= 0.75, late_ms
    assert node.interrupt() == 0, node.output
    assert "Traceback" not in node.output


@pytest.mark.parametrize(
    ("text", "voice", "rate", "why"),
    [
        ("", "", 1.0, "expected something to say, found none"),
        ("?!...", "", 1.0, "expected a letter or a digit"),
        ("\x02\x7f\x01 abc", "", 1.0, "control or broken characters"),
        ("Hello.", "flite/nobody", 1.0, "expected one of flite such as flite/slt"),
        ("Hello.", "nobody", 1.0, "expected engine/voice"),
        ("Hello.", "", 99.0, "rate: expected 0.5 to 2.5"),
    ],
)
def test_text_that_cannot_be_spoken_is_rejected_with_the_reason(face, text, voice, rate, why):
    node = face.begin()
    goal = face.say(text, voice, rate)
    face.until(lambda: goal.accepted is not None)
    assert not goal.accepted
    node.wait_for(why)
    face.until(lambda: face.health and why in face.health[-1].message)
    assert face.health[-1].level == b"\x01"
    good = face.say("Yes.")  # and the next one works
    face.until(lambda: good.done)
    assert good.status == GoalStatus.STATUS_SUCCEEDED
    face.until(lambda: face.health[-1].message == "silent")
    assert "Traceback" not in node.output


def test_an_interruption_stops_at_once_and_the_next_goal_works(face):
    face.begin(voice="flite/rms")
    goals = [
        face.say("This is a long sentence that nobody will hear to its end. " * 5),
        face.say("Never heard."),
    ]
    face.until(lambda: len(goals[0].words) > 3)
    utterance = face.chunks[-1][1].utterance
    asked_ns = time.time_ns()
    answer = face.stop()
    face.until(lambda: all(goal.done for goal in goals))
    face.until(answer.done)
    assert answer.result().success
    assert {goal.status for goal in goals} == {GoalStatus.STATUS_ABORTED}
    assert all(goal.result.interrupted for goal in goals)
    assert 0.3 < goals[0].result.duration_s < 10
    assert goals[1].result.duration_s == 0
    face.spin(0.3)
    later = [(at, c) for at, c in face.chunks if c.utterance > utterance]
    assert not samples_of(later).any()
    assert sum(at > asked_ns for at, c in face.chunks if c.utterance == utterance) < 10
    numbers = [c.utterance for _, c in face.chunks]
    assert numbers == sorted(numbers)
    # the new utterance begins where the old one was interrupted
    last = max(c.start_ns for _, c in face.chunks if c.utterance == utterance)
    assert later[0][1].start_ns <= last + CHUNK_NS
    # enough silence is published at once that an encoder need not wait for it: some of it ahead of its time
    assert sum(c.start_ns > at for at, c in later[:6]) >= 3
    again = face.say("Here I am.")
    face.until(lambda: again.done)
    assert again.status == GoalStatus.STATUS_SUCCEEDED
    assert samples_of([x for x in face.chunks if x[1].utterance == later[0][1].utterance]).any()


def test_a_goal_can_be_canceled_while_heard_and_while_waiting(face):
    face.begin(voice="flite/rms")
    goals = [face.say(f"Number {n} is a sentence of middle length, which goes on.") for n in range(3)]
    face.until(lambda: len(goals[0].words) > 2)
    face.until(lambda: all(goal.handle for goal in goals))
    for goal in goals[:2]:
        goal.handle.cancel_goal_async()
    face.until(lambda: all(goal.done for goal in goals))
    statuses = [goal.status for goal in goals]
    canceled, succeeded = GoalStatus.STATUS_CANCELED, GoalStatus.STATUS_SUCCEEDED
    assert statuses == [canceled, canceled, succeeded]
    assert goals[0].result.interrupted
    assert 0.2 < goals[0].result.duration_s < 2.5
    assert not goals[1].words
    assert [word for word, _, _ in goals[2].words][:2] == ["Number", "2"]


def test_the_policy_replace_lets_the_newest_speak(face):
    face.begin(voice="flite/rms", policy="replace")
    first = face.say("This is what nobody wants to hear any more, however long it is.")
    face.until(lambda: len(first.words) > 2)
    second = face.say("Now this.")
    face.until(lambda: second.done)
    assert first.status == GoalStatus.STATUS_ABORTED
    assert first.result.interrupted
    assert second.status == GoalStatus.STATUS_SUCCEEDED
    numbers = sorted({c.utterance for _, c in face.chunks})
    assert len(numbers) == 2


def test_queued_goals_are_heard_one_after_the_other_and_the_queue_is_bounded(face):
    node = face.begin(voice="flite/kal16", queue_limit=2)
    goals = [face.say(f"Number {n}.") for n in range(5)]
    face.until(lambda: all(goal.accepted is not None for goal in goals))
    assert [goal.accepted for goal in goals].count(True) == 3
    node.wait_for("expected up to 2 waiting goals")
    face.until(lambda: all(goal.done for goal in goals if goal.accepted))
    spoken = [word for goal in goals if goal.accepted for word, _, _ in goal.words]
    assert spoken == ["Number", "0", "Number", "1", "Number", "2"]
    assert set(np.diff([c.start_ns for _, c in face.chunks])) == {CHUNK_NS}


def test_a_hundred_interruptions_leave_nothing_behind(face):
    import psutil

    node = face.begin(voice="flite/kal16")
    child = psutil.Process(node.child.pid)
    most_late_chunks = 0
    for turn in range(100):
        goal = face.say("This sentence is interrupted again and again, and has no end of it. It has two.")
        face.until(lambda g=goal: g.words or g.accepted is False)
        utterance, count = face.chunks[-1][1].utterance, len(face.chunks)
        face.stop()
        face.until(lambda g=goal: g.done)
        late_chunks = sum(c.utterance == utterance for _, c in face.chunks[count:])
        most_late_chunks = max(most_late_chunks, late_chunks)
        if turn == 20:
            before = child.num_threads(), child.num_fds(), child.memory_info().rss
    face.spin(0.5)
    after = child.num_threads(), child.num_fds(), child.memory_info().rss
    assert after[0] <= before[0] + 1
    assert after[1] <= before[1]
    assert after[2] < before[2] + 10_000_000
    assert most_late_chunks < 50
    last = face.say("Still here.")
    face.until(lambda: last.done)
    assert last.status == GoalStatus.STATUS_SUCCEEDED
    assert node.interrupt() == 0, node.output
    assert "Traceback" not in node.output


def test_the_engine_of_a_killed_node_ends_with_it(face):
    import psutil

    node = face.begin(voice="flite/kal16")
    children = psutil.Process(node.child.pid).children()
    assert len(children) == 1
    node.child.kill()
    node.wait()
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive


def test_an_engine_that_dies_is_started_again(face):
    import psutil

    node = face.begin(voice="flite/kal16")
    (engine,) = psutil.Process(node.child.pid).children()
    engine.kill()
    goal = face.say("Here again.")
    face.until(lambda: goal.done)
    assert goal.status == GoalStatus.STATUS_SUCCEEDED
    assert goal.words


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ({"voice": "flite/nobody"}, "expected one of flite"),
        ({"policy": "shout"}, "expected one of queue, replace"),
        ({"head": "nobody"}, "nobody"),
    ],
)
def test_a_bad_parameter_is_one_clear_line(start, parameters, why):
    node = start.node("tts", **parameters)
    assert node.wait() == 1
    assert why in node.output
    assert "Traceback" not in node.output
    assert len(node.output.strip().splitlines()) == 1


def test_it_can_be_deactivated_while_it_speaks_and_activated_again(face):
    node = face.begin(voice="flite/kal16")
    change = face.create_client(ChangeState, "tts/change_state")
    face.until(change.service_is_ready)

    def go(transition):
        answer = change.call_async(ChangeState.Request(transition=Transition(id=transition)))
        face.until(answer.done)
        assert answer.result().success

    for _ in range(2):
        goal = face.say("This sentence ends before its end, for the node is deactivated.")
        face.until(lambda g=goal: len(g.words) > 1)
        go(Transition.TRANSITION_DEACTIVATE)
        face.spin(0.3)
        count = len(face.chunks)
        face.spin(0.3)
        assert len(face.chunks) == count
        go(Transition.TRANSITION_ACTIVATE)
        face.until(lambda: face.client.server_is_ready() and len(face.chunks) > 10)
    again = face.say("Awake.")
    face.until(lambda: again.done)
    assert again.status == GoalStatus.STATUS_SUCCEEDED
    assert node.interrupt() == 0, node.output
    assert "Traceback" not in node.output
