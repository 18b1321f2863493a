"""The page in a real browser: what it shows of a face that is interrupted."""

import itertools
import shutil
import time

import numpy as np
import pytest

from splatface.models.messages import AudioChunk
from splatface.nodes.page_server import PageServer

FLAGS = ["--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required"]
MS = 1_000_000
# Which color stood on the canvas when, by the page's own clock.
WATCH = """() => {
  window.shades = [];
  const pen = document.getElementById("face").getContext("2d");
  const look = () => {
    const [red, green] = pen.getImageData(5, 5, 1, 1).data;
    window.shades.push(red > green ? "open" : "rest");
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}"""


@pytest.fixture
def page_of():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = chromium.new_page(viewport={"width": 64, "height": 64})

        def open_page(server):
            page.goto(server.url)
            page.wait_for_function("splatface.connected")
            return page

        yield open_page
        chromium.close()


@pytest.mark.graph
def test_an_interrupted_face_shows_no_later_picture_of_what_it_was_saying(page_of):
    server = PageServer("127.0.0.1", 0, {"delay_ms": 400.0, "sound": True})
    opened, rest = (np.full((32, 32, 3), shade, np.uint8) for shade in ((200, 20, 20), (20, 200, 20)))
    try:
        page = page_of(server)
        begin_ns = time.time_ns()

        def send(first, last, image, utterance):
            for k in range(first, last):
                stamp_ns = begin_ns + k * 40 * MS
                server.send_audio(AudioChunk(np.zeros(640, np.float32), 16_000, stamp_ns, utterance))
                server.send_image(image, stamp_ns, 90)

        for k in range(40):
            send(k, k + 1, opened, 1)
            page.wait_for_timeout(max(begin_ns / 1e6 + 40 * (k + 1) - time.time_ns() / 1e6, 0))
        page.evaluate(WATCH)
        page.wait_for_timeout(100)
        # The sound is void, and the pictures that still wait come again.
        server.send_audio(AudioChunk(np.zeros(640, np.float32), 16_000, begin_ns + 1600 * MS, 2))
        send(28, 41, rest, 2)
        page.wait_for_timeout(1500)
        shades = page.evaluate("shades")
    finally:
        server.close()
    assert shades[-1] == "rest"
    assert ("rest", "open") not in list(itertools.pairwise(shades))
