import socket

from splatface.cli import doctor_command
from splatface.cli.main import main


def test_this_machine_passes(capsys):
    assert main(["doctor", "--port", "0"]) == 0
    text = capsys.readouterr().out
    assert "everything needed works" in text
    for name in (
        *("python", "ros", "messages", "fsmn", "whisper", "heads", "gpu", "page"),
        *("microphone", "loudspeaker", "voices", "film"),
    ):
        assert name in text


def test_a_taken_port_is_said_and_how_to_mend_it():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (finding,) = (f for f in doctor_command.run_checks(port) if f.name == "page")
    assert finding.level == doctor_command.NOTE
    assert f"port {port}" in finding.found
    assert finding.remedy == f"start with port:={port + 1}"


def test_missing_ros_is_bad(monkeypatch):
    monkeypatch.setattr(doctor_command.importlib.util, "find_spec", lambda name: None)
    bad = {finding.name for finding in doctor_command.run_checks(0) if finding.level == doctor_command.BAD}
    assert {"ros", "messages", "libraries"} <= bad


def finding(name):
    (found,) = (f for f in doctor_command.run_checks(0) if f.name == name)
    return found


def test_the_sound_devices_are_named(monkeypatch):
    import sounddevice

    devices = [
        {"name": "Headset", "max_input_channels": 1, "max_output_channels": 0},
        {"name": "HDMI", "max_input_channels": 0, "max_output_channels": 2},
        {"name": "Jack", "max_input_channels": 0, "max_output_channels": 2},
    ]
    monkeypatch.setattr(sounddevice, "query_devices", lambda: devices)
    assert finding("microphone").found == "1: Headset"
    assert finding("loudspeaker").found == "2: HDMI, Jack"
    monkeypatch.setattr(sounddevice, "query_devices", lambda: devices[:1])
    assert finding("loudspeaker").level == doctor_command.NOTE
    assert "plug one in; `aplay -l`" in finding("loudspeaker").remedy


def test_without_a_voice_it_says_how_to_get_one(monkeypatch):
    from splatface.models.tts import speak

    class Mute:
        INSTALL = "apt-get install libflite1"

        @staticmethod
        def voices():
            return ()

    monkeypatch.setattr(speak, "engine", lambda name: Mute)
    found = finding("voices")
    assert found.level == doctor_command.NOTE
    assert found.remedy == Mute.INSTALL


def test_without_pyav_it_names_the_extra(monkeypatch):
    find = doctor_command.importlib.util.find_spec
    monkeypatch.setattr(
        doctor_command.importlib.util, "find_spec", lambda name: None if name == "av" else find(name)
    )
    assert "splatface[film]" in finding("film").remedy
