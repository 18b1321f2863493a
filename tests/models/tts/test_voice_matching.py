from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from splatface.models.audio.mel_filterbank import slaney_filters
from splatface.models.errors import SpeechError
from splatface.models.tts import voice_matching
from splatface.models.tts.speak import speak, voices
from splatface.models.tts.voice_matching import (
    embed_speaker,
    embed_voice,
    rank_voices,
    voice_of_head,
    voice_report,
)

WEIGHTS = Path(voice_matching.__file__).parent / "weights" / "speaker_encoder.safetensors"
SMALL = [v for v in voices() if v.engine == "flite" or v.name in ("espeak/en-us", "espeak/en-us+f2")]
OTHER = "Tomorrow morning I shall bring the old green books back to the library. Could you tell me the way?"


def melspectrogram(samples):
    """Mel power frames [n, 40] as librosa's defaults give them, of samples at the level -30 dBFS."""
    samples = samples * (10 ** (-30 / 20) / np.sqrt(np.mean(samples**2)))
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(samples, 200), 400)[::160]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    return (np.abs(np.fft.rfft(frames * window)) ** 2 @ slaney_filters(40, 400).T).astype(np.float32)


def sound(voice, text=OTHER):
    return np.concatenate([spoken.samples for spoken in speak(text, voice.name)])


@pytest.mark.skipif(len(SMALL) < 4, reason="apt-get install libflite1 libespeak-ng1")
def test_every_voice_is_most_similar_to_itself():
    known = {voice.name: embed_voice(voice) for voice in SMALL}
    for voice in SMALL:
        first, second, *_ = rank_voices(sound(voice), SMALL, lambda v: known[v.name])
        assert first.voice == voice
        assert first.similarity > 0.93
        assert first.similarity > second.similarity + 0.05
        report = voice_report([first, second], "clip.wav")
        assert voice_of_head({"voice": report}) == voice.name


def test_the_onnx_network_is_the_torch_network():
    torch = pytest.importorskip("torch")
    weights = {name: torch.from_numpy(value).float() for name, value in load_file(WEIGHTS).items()}
    lstm = torch.nn.LSTM(40, 256, 3, batch_first=True)
    lstm.load_state_dict({name[5:]: value for name, value in weights.items() if name.startswith("lstm.")})
    sound = 0.1 * np.random.default_rng(0).standard_normal(54 * 480).astype(np.float32)
    mel = melspectrogram(sound)
    with torch.no_grad():
        hidden = lstm(torch.from_numpy(mel[None, :160]))[1][0][-1]
        raw = torch.relu(hidden @ weights["linear.weight"].T + weights["linear.bias"])[0]
    assert embed_speaker(sound) @ (raw / raw.norm()).numpy() > 1 - 1e-5


@pytest.mark.skipif(not SMALL, reason="no voice is installed")
def test_loudness_and_silence_do_not_change_the_speaker():
    plain = sound(SMALL[0])
    quiet = 0.05 * plain
    gaps = np.concatenate([np.zeros(16_000, np.float32), plain, np.zeros(32_000, np.float32)])
    for other in (quiet, gaps):
        assert embed_speaker(other) @ embed_speaker(plain) > 0.98


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(80_000), np.ones(2000) * 0.1])
def test_too_little_speech_is_refused(samples):
    with pytest.raises(SpeechError, match="half a second of speech"):
        embed_speaker(samples.astype(np.float32))


def test_a_head_without_a_voice_has_none():
    assert voice_of_head({}) == ""
    assert voice_of_head({"voice": "nonsense"}) == ""
