import json
import re
import socket
import struct
import time
import urllib.error
import urllib.request

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import Image
from splatface_msgs.msg import AudioChunk, FrameTrace
from websockets.sync.client import connect

from splatface.models.messages import AudioChunk as Chunk
from splatface.models.messages import Frame
from splatface.nodes import conversions
from splatface.nodes.display import letterbox
from splatface.nodes.page_server import PageError, PageServer


@pytest.fixture
def page():
    server = PageServer("127.0.0.1", 0, {"delay_ms": 200.0, "sound": True})
    yield server
    server.close()


def stream_of(page):
    return connect(page.url.replace("http", "ws") + "stream", max_size=None)


def wait_until(condition, seconds=10.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_the_page_is_one_file(page):
    with urllib.request.urlopen(page.url) as answer:
        body = answer.read().decode()
    assert answer.status == 200
    assert "text/html" in answer.headers["Content-Type"]
    # Nothing is fetched from elsewhere: a kiosk has no internet.
    assert not re.findall(r"(?:src|href)=\"(?!data:)", body)


def test_other_paths_are_refused(page):
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(page.url + "../../etc/passwd")


def test_a_picture_arrives_with_its_time(page):
    image = np.zeros((48, 64, 3), np.uint8)
    image[:, :32] = (200, 30, 10)
    with stream_of(page) as viewer:
        assert json.loads(viewer.recv(timeout=5)) == {"delay_ms": 200.0, "sound": True}
        wait_until(lambda: page.viewers == 1)
        page.send_image(image, 123_456_789_000, 95)
        message = viewer.recv(timeout=5)
    kind, time_ms = struct.unpack_from("<Bd", message)
    assert (kind, time_ms) == (1, 123_456.789)
    displayed = cv2.imdecode(np.frombuffer(message[9:], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(displayed[:, 4:28].astype(int) - (200, 30, 10)).max() < 12


def test_sound_arrives_to_the_sample(page):
    samples = np.linspace(-1, 1, 320, dtype=np.float32)
    with stream_of(page) as viewer:
        viewer.recv(timeout=5)
        wait_until(lambda: page.viewers == 1)
        page.send_audio(Chunk(samples=samples, sample_rate=16000, start_ns=5_000_000, utterance=3))
        message = viewer.recv(timeout=5)
    assert struct.unpack_from("<BdII", message) == (2, 5.0, 16000, 3)
    np.testing.assert_array_equal(np.frombuffer(message[17:], np.float32), samples)


def test_a_viewer_that_does_not_read_is_skipped_and_memory_stays(page):
    image = np.random.default_rng(0).integers(0, 255, (512, 512, 3), np.uint8)
    with socket.create_connection(page.url.split("/")[2].split(":")) as lazy:
        lazy.sendall(
            b"GET /stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        wait_until(lambda: page.viewers == 1)

        def push():
            page.send_image(image, 0, 95)
            return page.skipped > 3

        wait_until(push)


def test_a_port_in_use_is_one_clear_error():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PageError, match=f"port {port} .* to be free.*port:={port + 1}"):
            PageServer("127.0.0.1", port, {})


@pytest.mark.graph
def test_the_node_streams_what_its_topics_bring(start, others):
    display = start.node("display", port=0)
    display.wait_for("the face is at")
    url = re.search(r"http://\S+", display.output)[0]
    images = others.create_publisher(Image, "image", conversions.image_qos())
    sounds = others.create_publisher(AudioChunk, "audio", conversions.AUDIO_QOS)
    with connect(url.replace("http", "ws") + "stream", max_size=None) as viewer:
        kinds = set()
        until = time.monotonic() + 30
        while kinds != {1, 2} and time.monotonic() < until:
            frame = Frame(image=np.zeros((32, 32, 3), np.uint8), time_ns=1)
            images.publish(conversions.image_msg(frame))
            sounds.publish(conversions.audio_chunk_msg(Chunk(np.zeros(320, np.float32), 16000, 1)))
            others.spin(0.01)
            try:
                message = viewer.recv(timeout=0.05)
            except TimeoutError:
                continue
            if isinstance(message, bytes):
                kinds.add(message[0])
    assert kinds == {1, 2}
    assert display.interrupt() == 0, display.output


@pytest.mark.graph
def test_without_sound_in_the_page_images_wait_for_the_presentation_delay(
    start, others, set_presentation_delay
):
    set_presentation_delay(0.6)
    display = start.node("display", port=0, sound=False)
    display.wait_for("the face is at")
    url = re.search(r"http://\S+", display.output)[0]
    traces = []
    others.create_subscription(FrameTrace, "display/frame_trace", traces.append, 100)
    images = others.create_publisher(Image, "image", conversions.image_qos(10))
    others.until(lambda: images.get_subscription_count() and others.count_publishers("display/frame_trace"))
    others.until(lambda: others.count_subscribers("presentation_delay"))
    others.spin(0.5)
    begin_ns = time.time_ns()
    stamps = [begin_ns + k * 40_000_000 for k in range(10)]

    def draw(shade, moments):
        for stamp_ns in moments:
            frame = Frame(image=np.full((32, 32, 3), shade, np.uint8), time_ns=stamp_ns)
            images.publish(conversions.image_msg(frame))
            others.spin(0.01)

    displayed = []
    with connect(url.replace("http", "ws") + "stream", max_size=None) as viewer:
        viewer.recv(timeout=5)
        draw(200, stamps)
        draw(50, stamps[5:])  # drawn again after an interruption: what waits is taken back
        while not displayed or displayed[-1][0] < stamps[-1] - 1000:
            message = viewer.recv(timeout=10)
            arrived_ns = time.time_ns()
            stamp_ns = struct.unpack_from("<d", message, 1)[0] * 1e6
            shade = cv2.imdecode(np.frombuffer(message[9:], np.uint8), cv2.IMREAD_COLOR).mean()
            displayed.append((stamp_ns, arrived_ns - stamp_ns, shade))
    times, waits_ns, shades = np.array(displayed).T
    assert (np.diff(times) > 0).all()
    assert waits_ns.min() > 599e6
    np.testing.assert_allclose(shades, np.where(times > stamps[5] - 1000, 50, 200), atol=3)
    others.until(lambda: len(traces) >= len(displayed))
    assert min(trace.age_ms for trace in traces) > 599


@pytest.mark.graph
@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"port": 99999}, "parameter port: expected 0 to 65535, found 99999"),
        ({"show": "hologram"}, "expected one of page, window, both, found 'hologram'"),
        ({"address": "256.1.1.1"}, "display: expected port"),
    ],
)
def test_bad_parameters_are_one_clear_line(start, parameters, said):
    display = start.node("display", **parameters)
    assert display.wait() == 1
    assert said in display.output
    assert "Traceback" not in display.output


@pytest.mark.parametrize(("width", "height"), [(800, 600), (600, 800), (1920, 1080), (7, 3)])
def test_a_window_shows_the_whole_picture_on_black(width, height):
    canvas = letterbox(np.full((64, 64, 3), 200, np.uint8), width, height)
    assert canvas.shape == (height, width, 3)
    side = min(width, height)
    assert (canvas == 200).all(axis=-1).sum() == side * side
    assert (canvas == 0).all(axis=-1).sum() == width * height - side * side


@pytest.mark.graph
def test_a_window_on_a_real_screen(start, others):
    screen = start("Xvfb", "-displayfd", "1", "-screen", "0", "640x480x24")
    screen.wait_for("\n")
    display = start.node("display", show="window", env={"DISPLAY": f":{screen.output.split()[0]}"})
    displayed = []
    others.create_subscription(FrameTrace, "display/frame_trace", displayed.append, 10)
    images = others.create_publisher(Image, "image", conversions.image_qos())

    def show():
        frame = Frame(image=np.full((64, 64, 3), 90, np.uint8), time_ns=time.time_ns())
        images.publish(conversions.image_msg(frame))
        return len(displayed) > 3

    others.until(show)
    assert min(trace.age_ms for trace in displayed) > 199  # the presentation_delay
    assert display.interrupt() == 0, display.output


@pytest.mark.graph
def test_a_window_without_a_screen_is_one_clear_line(start):
    display = start.node("display", show="window", env={"DISPLAY": "", "WAYLAND_DISPLAY": ""})
    assert display.wait() == 1
    assert "expected a screen for the window" in display.output
