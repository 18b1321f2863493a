import socket

from splatface.launch import doctor
from splatface.launch.cli import main


def test_this_machine_passes(capsys):
    assert main(["doctor", "--port", "0"]) == 0
    text = capsys.readouterr().out
    assert "everything needed works" in text
    for name in ("python", "ros", "messages", "fsmn", "whisper", "heads", "gpu", "page"):
        assert name in text


def test_a_taken_port_is_said_and_how_to_mend_it():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (finding,) = (f for f in doctor.examine(port) if f.name == "page")
    assert finding.level == doctor.NOTE
    assert f"port {port}" in finding.found
    assert finding.mend == f"start with port:={port + 1}"


def test_missing_ros_is_bad(monkeypatch):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    bad = {finding.name for finding in doctor.examine(0) if finding.level == doctor.BAD}
    assert {"ros", "messages", "libraries"} <= bad
