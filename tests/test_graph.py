"""The whole graph as separate processes over real DDS: launched, recorded, replayed, and given bad input."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

CLI = [sys.executable, "-m", "splatface.cli.main"]
GREETING = Path(__file__).parent.parent / "launch" / "sounds" / "greeting.flac"


def splatface(*arguments, seconds=120):
    command = [*CLI, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds)


@pytest.mark.graph
def test_a_recording_replays_bit_for_bit(start, tiny_head, tmp_path):
    recording = tmp_path / "talk"
    recorder = start(*CLI, "record", recording, "--namespace", "face")
    recorder.wait_for("recording into")
    face = start(
        *CLI, "launch", "kiosk.launch.yaml", f"head:={tiny_head}", "port:=0", "size:=128x128", "loop:=false"
    )
    face.wait_for("drawing")
    face.wait_for("the face is at")
    with pytest.raises(subprocess.TimeoutExpired):
        face.child.wait(6)
    assert face.interrupt() == 0, face.output
    assert recorder.interrupt() == 0, recorder.output
    assert "Traceback" not in face.output + recorder.output
    options = ("--head", tiny_head, "--size", "128x128", "--sha256")
    first, second = (splatface("replay", recording, *options) for _ in range(2))
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    digest, count, _ = first.stdout.split()
    assert len(digest) == 64
    assert int(count) > 80
    assert first.stdout == second.stdout


@pytest.mark.graph
@pytest.mark.timeout(300)
def test_bench_graph_prints_one_json_object(tiny_head, ros_domain):
    options = ("--head", tiny_head, "--seconds", 3, "--talk-seconds", 5, "--size", "128x128")
    result = splatface("bench", "graph", "--json", *options, seconds=280)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["pictures"] > 50
    assert set(report["hops"]) >= {"capture", "features", "render", "transport", "display"}
    assert set(report["end_to_end_ms"]) == {"p50", "p95", "p99"}
    assert set(report["processes"]) == {
        "audio_capture",
        "audio_features",
        "display",
        "head_controller",
        "renderer",
    }
    assert all(cost["peak_memory_mb"] > 10 for cost in report["processes"].values())
    talk = report["talk"]  # or why there is none: PulseAudio and a voice are for those who want to hear it
    if "left_out" not in talk:
        assert set(talk["offset_ms"]) == {"p5", "median", "p95"}
        assert set(talk["barge_in"]) >= {"silent_ms", "mouth_at_rest_ms", "next_say_ms"}
        assert {"drift_ms_per_minute", "lips_after_voice_ms"} <= set(talk)
        assert "underruns" in talk["speaker"]


@pytest.fixture
def corrupt_wav(tmp_path):
    file = tmp_path / "corrupt.wav"
    file.write_bytes(b"RIFF\xff\xff\xff\xffWAVEjunk" + bytes(range(256)))
    return file


@pytest.fixture
def nan_wav(tmp_path):
    file = tmp_path / "nan.wav"
    soundfile.write(file, np.full(16000, np.nan, np.float32), 16000, subtype="FLOAT")
    return file


@pytest.mark.graph
@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("source:=/no/such/file.wav", "/no/such/file.wav: expected a sound file"),
        ("source:={corrupt_wav}", "corrupt.wav: expected a sound file"),
        ("source:={nan_wav}", "nan.wav: expected numbers, found NaN"),
        ("head:=/no/such/head", "expected a folder with a head.yaml"),
        ("fps:=1000", "parameter fps: expected 1.0 to 120.0, found 1000.0"),
        ("encoder:=wav2vec", "expected one of logmel, fsmn, whisper, found 'wav2vec'"),
        ("size:=big", "size: expected width x height"),
        ("color:=red", "color"),
        ("params:=/no/such/params.yaml", "/no/such/params.yaml"),
    ],
)
def test_bad_input_ends_the_launch_with_one_clear_line(
    start, tiny_head, corrupt_wav, nan_wav, argument, said
):
    argument = argument.format(corrupt_wav=corrupt_wav, nan_wav=nan_wav)
    face = start(*CLI, "launch", "kiosk.launch.yaml", f"head:={tiny_head}", "port:=0", argument)
    assert face.wait() != 0
    assert said in face.output
    assert "Traceback" not in face.output


@pytest.mark.graph
def test_a_port_in_use_ends_the_launch_with_one_clear_line(start, tiny_head):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        face = start(*CLI, "launch", "kiosk.launch.yaml", f"head:={tiny_head}", f"port:={port}")
        assert face.wait() != 0
    assert f"expected port {port} of 127.0.0.1 to be free" in face.output


@pytest.mark.graph
def test_without_its_microphone_the_face_lives_and_says_so(start, tiny_head):
    arguments = ("port:=0", "size:=64x64", "source:=microphone", "device:=no such microphone")
    face = start(*CLI, "launch", "kiosk.launch.yaml", f"head:={tiny_head}", *arguments)
    face.wait_for("microphone 'no such microphone': no such device")
    face.wait_for("drawing")
    assert face.interrupt() == 0, face.output
