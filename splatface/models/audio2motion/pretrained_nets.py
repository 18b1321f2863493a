# SPDX-License-Identifier: Apache-2.0
"""The pretrained networks, one file per encoder in `weights/`."""

from pathlib import Path
from typing import Final

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from splatface.models.audio2motion.audio_to_mouth import (
    MOUTH_MODES,
    AudioToMouthNet,
    net_from_tensors,
    net_to_tensors,
)
from splatface.models.errors import EncoderError, HeadError

__all__ = ["LOOKAHEAD_FRAMES", "load_net", "read_net", "shipped_encoders", "store_net"]

# Look-ahead in frames of 20 ms: lips close before a p is audible.
LOOKAHEAD_FRAMES: Final = {"fsmn": 2, "whisper": 2, "logmel": 2}
_FOLDER = Path(__file__).parent / "weights"
_SOURCES = (
    "trained on synthetic speech: Kokoro-82M (Apache-2.0), Piper en_US-joe-medium (CC0), "
    "flite slt kal (CMU, free), espeak-ng (GPL-3.0 program, its sound is its user's)"
)


def shipped_encoders() -> tuple[str, ...]:
    """Return the names of the encoders with a pretrained network."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.safetensors")))


def load_net(encoder: str) -> AudioToMouthNet:
    """Return the pretrained network of an encoder, float32.

    Raises:
        EncoderError: there is none for this encoder, or its file is damaged.
    """
    if encoder not in shipped_encoders():
        raise EncoderError(
            f"audio2motion: expected one of the encoders {', '.join(shipped_encoders())}, found {encoder!r}: "
            f"choose one of these, or train a net: splatface hear train --help"
        )
    return read_net(_FOLDER / f"{encoder}.safetensors")


def read_net(path: Path) -> AudioToMouthNet:
    """Read a network that `store_net` wrote, float32.

    Raises:
        EncoderError: the file is absent or damaged.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118
        return net_from_tensors(metadata["encoder"], float(metadata["lookahead_ms"]), tensors)
    except (OSError, SafetensorError, HeadError, KeyError, ValueError) as error:
        raise EncoderError(
            f"audio2motion: expected a net in {path}, found a damaged file ({error}): install splatface again"
        ) from error


def store_net(net: AudioToMouthNet, path: Path | None = None) -> Path:
    """Write a network in half precision with its sources; by default where `load_net` reads it."""
    path = path or _FOLDER / f"{net.encoder}.safetensors"
    tensors = {name: tensor.astype(np.float16) for name, tensor in net_to_tensors(net).items()}
    metadata = {
        "encoder": net.encoder,
        "lookahead_ms": f"{net.lookahead_ms:g}",
        "modes": ",".join(MOUTH_MODES),
        "license": "Apache-2.0",
        "sources": _SOURCES,
    }
    save_file(tensors, path, metadata)
    return path
