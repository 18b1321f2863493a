"""The kiosk: the real graph, its page in a real browser."""

import re
import shutil
import sys

import cv2
import numpy as np
import pytest

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]


@pytest.fixture
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


def screenshot(page):
    return cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(int)


def is_skin(image):
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    return (red > 90) & (red > green + 12) & (green > blue - 5)


@pytest.mark.graph
def test_page_shows_a_face_that_speaks(start, browser):
    kiosk = start(sys.executable, "-m", "splatface.cli.main", "run", "--port", "0")
    kiosk.wait_for("the face is at")
    page = browser.new_page(viewport={"width": 512, "height": 512})
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(re.search(r"http://\S+/", kiosk.output)[0])
    page.wait_for_function("splatface.images > 25 && splatface.sounds > 50", timeout=60_000)
    screenshots = []
    for _ in range(12):
        screenshots.append(screenshot(page))
        page.wait_for_timeout(170)
    assert is_skin(screenshots[0])[150:350, 180:330].mean() > 0.5
    stack = np.stack(screenshots)
    change = np.abs(np.diff(stack, axis=0)).mean(-1)  # [11, 512, 512]
    mouth, shirt = change[:, 290:370, 200:312].mean(), change[:, 470:, 60:452].mean()
    assert mouth > 3 * shirt
    assert mouth > 1.0
    assert page.evaluate("splatface.images") > 50
    offsets = np.array(page.evaluate("splatface.offsetMs"))
    # Offset of the image to the sound: about one frame period at most.
    assert np.abs(np.median(offsets)) / 40 < 1.2
    assert not errors
    assert kiosk.interrupt() == 0, kiosk.output
    assert "Traceback" not in kiosk.output, kiosk.output


@pytest.mark.graph
def test_the_page_reconnects_by_itself(start, browser):
    first = start.node("display", port=0)
    first.wait_for("the face is at")
    url = re.search(r"http://\S+/", first.output)[0]
    page = browser.new_page()
    page.goto(url)
    page.wait_for_function("splatface.connected")
    first.interrupt()
    page.wait_for_function(
        "!splatface.connected && document.getElementById('note').textContent.includes('waiting')"
    )
    start.node("display", port=int(url.rsplit(":", 1)[1].strip("/"))).wait_for("the face is at")
    page.wait_for_function("splatface.connected", timeout=20_000)
