"""Real processes for tests: each test has its own DDS domain and leaves no process running."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PREFIX = Path(sys.prefix)


@pytest.fixture(scope="session", autouse=True)
def ros_environment():
    os.environ.setdefault("AMENT_PREFIX_PATH", str(PREFIX))
    os.environ["PATH"] = f"{PREFIX / 'bin'}:{os.environ['PATH']}"
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    for name in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"):
        os.environ[name] = str(ROOT / "launch" / "fastdds.xml")


_domains = iter(range(1, 100))


@pytest.fixture
def ros_domain(monkeypatch):
    """Return a ROS_DOMAIN_ID that no other test of this run uses; another process picks others by chance."""
    domain = (os.getpid() * 7 + next(_domains)) % 100 + 1
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
    return domain


class Process:
    """A child process whose output can be waited for."""

    def __init__(self, command, log, env=None):
        self.command, self.log = list(map(str, command)), log
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})}
        with log.open("w") as output:
            self.child = subprocess.Popen(
                self.command, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )

    @property
    def output(self):
        return self.log.read_text(errors="replace")

    def wait_for(self, text, seconds=60.0):
        until = time.monotonic() + seconds
        while text not in self.output:
            assert time.monotonic() < until, f"no {text!r} in:\n{self.output}"
            assert self.child.poll() is None or text in self.output, f"ended before {text!r}:\n{self.output}"
            time.sleep(0.05)

    def wait(self, seconds=60.0):
        return self.child.wait(seconds)

    def interrupt(self, seconds=20.0):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGINT)
        return self.child.wait(seconds)

    def end(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait(10)


@pytest.fixture
def start(tmp_path, ros_domain):
    """start(command...) -> Process; start.node(name, **parameters) runs one of our nodes."""
    running = []

    def begin(*command, env=None):
        process = Process(command, tmp_path / f"process{len(running)}.log", env)
        running.append(process)
        return process

    def node(name, namespace="face", env=None, **parameters):
        command = [sys.executable, "-m", f"splatface.nodes.{name}", "--ros-args", "-r", f"__ns:=/{namespace}"]
        for key, value in parameters.items():
            value = str(value).lower() if isinstance(value, bool) else value
            command += ["-p", f"{key}:={value}"]
        return begin(*command, env=env)

    begin.node = node
    yield begin
    for process in running:
        process.end()


@pytest.fixture
def others(ros_domain):
    """Return a node in the face's namespace that acts as the other nodes; `until(condition)` spins it."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor

    context = rclpy.Context()
    context.init()
    node = rclpy.create_node("others", namespace="face", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    node.reason = lambda: ""

    def until(condition, seconds=60.0):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, node.reason()
            executor.spin_once(0.02)

    def spin(seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            executor.spin_once(min(0.02, seconds))

    node.until, node.spin = until, spin
    yield node
    node.destroy_node()
    context.shutdown()


@pytest.fixture
def set_presentation_delay(others):
    """Return a function that publishes the presentation delay, as the renderer does."""
    from splatface.nodes.presentation_delay import create_delay_publisher, delay_msg

    publisher = create_delay_publisher(others)
    return lambda seconds: publisher.publish(delay_msg(seconds))


@pytest.fixture(scope="session")
def tiny_head(tmp_path_factory):
    """Return the folder of the shipped head `robin` with the networks of every encoder."""
    from dataclasses import replace

    from splatface.models.audio2motion.pretrained_nets import load_net, shipped_encoders
    from splatface.models.head.head_file import head_folder, load_head, save_head

    head = replace(
        load_head(head_folder("robin")), nets={name: load_net(name) for name in shipped_encoders()}
    )
    folder = tmp_path_factory.mktemp("heads") / "tiny"
    save_head(head, folder, None)
    return folder
