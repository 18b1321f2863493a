"""One presentation delay for the whole face: the renderer owns it, all other nodes learn it."""

import json
import re

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from websockets.sync.client import connect

LEARNERS = {"audio_player": {"device": "no such thing"}, "speech_detector": {}, "display": {"port": 0}}


@pytest.fixture
def delays_ms(others):
    """Presentation delay that each node reports, ms, by its name."""
    delays_ms = {}
    others.reason = lambda: delays_ms

    def on_diagnostics(msg):
        for status in msg.status:
            values = {value.key: value.value for value in status.values}
            if "presentation_delay_ms" in values:
                delays_ms[status.name.split("/")[-1]] = int(values["presentation_delay_ms"])

    others.create_subscription(DiagnosticArray, "/diagnostics", on_diagnostics, 100)
    return delays_ms


@pytest.mark.graph
def test_one_change_at_the_renderer_moves_audio_and_images_together(start, others, tiny_head, delays_ms):
    silent = {"PULSE_SERVER": "unix:/nowhere"}
    nodes = {name: start.node(name, env=silent, **parameters) for name, parameters in LEARNERS.items()}
    others.until(lambda: delays_ms == dict.fromkeys(LEARNERS, 200))  # the default, without a renderer
    renderer = start.node("renderer", head=tiny_head, encoder="logmel", size="64x64", presentation_delay=0.3)
    everyone = [*LEARNERS, "renderer"]
    others.until(lambda: delays_ms == dict.fromkeys(everyone, 300))
    nodes["display"].wait_for("the face is at")
    url = re.search(r"http://\S+", nodes["display"].output)[0]
    with connect(url.replace("http", "ws") + "stream", max_size=None) as page:
        assert json.loads(page.recv(timeout=5))["delay_ms"] == 300
        client = AsyncParameterClient(others, "renderer")
        answer = client.set_parameters([Parameter("presentation_delay", value=0.45)])
        others.until(answer.done)
        assert answer.result().results[0].successful
        others.until(lambda: delays_ms == dict.fromkeys(everyone, 450))
        messages = (page.recv(timeout=5) for _ in range(1000))
        settings = next(json.loads(message) for message in messages if isinstance(message, str))
        assert settings["delay_ms"] == 450
    nodes["audio_player"].interrupt()
    delays_ms.clear()
    start.node("audio_player", env=silent, device="no such thing")
    others.until(lambda: delays_ms.get("audio_player") == 450)  # learned by a node that starts later
    assert renderer.interrupt() == 0, renderer.output


@pytest.mark.graph
def test_a_delay_given_to_another_node_or_out_of_range_is_reported(
    start, others, delays_ms, set_presentation_delay
):
    node = start.node("speech_detector", presentation_delay=0.4)
    node.wait_for("presentation_delay is a parameter of the renderer only")
    others.until(lambda: delays_ms == {"speech_detector": 200})
    set_presentation_delay(99.0)
    while "expected 0 to 5 s, found 99" not in node.output:
        others.spin(0.1)
    set_presentation_delay(0.25)
    others.until(lambda: delays_ms == {"speech_detector": 250})
    assert node.interrupt() == 0, node.output
