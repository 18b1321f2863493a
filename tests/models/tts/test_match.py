import pickle

import numpy as np
import pytest

from splatface.models.errors import SpeechError
from splatface.models.tts import voice_matching as room
from splatface.models.tts.graph import package_folder
from splatface.models.tts.speak import speak, voices
from splatface.models.tts.torch_file import read_tensors
from splatface.models.tts.voice_matching import (
    best_voices,
    embedding,
    embedding_of_voice,
    voice_of_head,
    voice_report,
)

needs_weights = pytest.mark.skipif(not package_folder("resemblyzer"), reason=room.INSTALL)
SMALL = [v for v in voices() if v.engine == "flite" or v.name in ("espeak/en-us", "espeak/en-us+f2")]
OTHER = "Tomorrow morning I shall bring the old green books back to the library. Could you tell me the way?"


def sound(voice, text=OTHER):
    return np.concatenate([spoken.samples for spoken in speak(text, voice.name)])


@needs_weights
@pytest.mark.skipif(len(SMALL) < 4, reason="apt-get install libflite1 libespeak-ng1")
def test_every_voice_sounds_most_like_itself():
    known = {voice.name: embedding_of_voice(voice) for voice in SMALL}
    for voice in SMALL:
        first, second, *_ = best_voices(sound(voice), SMALL, lambda v: known[v.name])
        assert first.voice == voice
        assert first.similarity > 0.93
        assert first.similarity > second.similarity + 0.05
        report = voice_report([first, second], "clip.wav")
        assert voice_of_head({"voice": report}) == voice.name


@needs_weights
def test_the_network_is_resemblyzers():
    torch = pytest.importorskip("torch")
    path = package_folder("resemblyzer") / "pretrained.pt"
    state = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
    ours = read_tensors(path, "model_state")
    assert ours.keys() == state.keys()
    assert all(np.array_equal(ours[name], state[name].numpy()) for name in ours)
    lstm = torch.nn.LSTM(40, 256, 3, batch_first=True)
    lstm.load_state_dict({name[5:]: value for name, value in state.items() if name.startswith("lstm.")})
    windows = np.random.default_rng(0).random((3, 160, 40), np.float32)
    with torch.no_grad():
        hidden = lstm(torch.from_numpy(windows))[1][0][-1]
        raw = torch.relu(hidden @ state["linear.weight"].T + state["linear.bias"])
        expected = (raw / raw.norm(dim=1, keepdim=True)).numpy()
    np.testing.assert_allclose(room._network(windows), expected, atol=1e-5)


@needs_weights
@pytest.mark.skipif(not SMALL, reason="no voice is installed")
def test_loudness_and_silence_do_not_change_who_speaks():
    plain = sound(SMALL[0])
    quiet = 0.05 * plain
    gaps = np.concatenate([np.zeros(16_000, np.float32), plain, np.zeros(32_000, np.float32)])
    for other in (quiet, gaps):
        assert embedding(other) @ embedding(plain) > 0.98


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(80_000), np.ones(2000) * 0.1])
def test_too_little_speech_is_said(samples):
    with pytest.raises(SpeechError, match="half a second of speech"):
        embedding(samples.astype(np.float32))


def test_the_mel_filters_are_slaneys():
    filters = room._filters()
    assert filters.shape == (40, 201)
    bins = np.arange(201) * 40.0
    centers = bins[filters.argmax(axis=1)]
    assert (np.diff(centers) >= 0).all()
    # below 1 kHz the filters lie evenly, 3/200 mel for a hertz; above they widen
    assert np.ptp(np.diff(centers[3:11])) <= 80
    assert centers[-1] > 7000
    wide = filters[25:].sum(axis=1) * 40
    np.testing.assert_allclose(wide, 1.0, atol=0.03)  # each has the area 1 (Hz)


def test_a_file_of_weights_cannot_run_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("ran",))

    path = tmp_path / "bad.pt"
    with path.open("wb") as file:
        for part in (0x1950A86A20F9469CFC6C, 1001, {}, Evil()):
            pickle.dump(part, file, 2)
    with pytest.raises(SpeechError, match="no place in a file of weights"):
        read_tensors(path, "model_state")
    path.write_bytes(b"\x80\x02")
    with pytest.raises(SpeechError, match="damaged"):
        read_tensors(path, "model_state")


def test_a_head_without_a_voice_has_none():
    assert voice_of_head({}) == ""
    assert voice_of_head({"voice": "nonsense"}) == ""
