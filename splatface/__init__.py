# SPDX-License-Identifier: Apache-2.0
"""3D Gaussian Splatting heads that talk: trained from a video, driven live by speech.

The names in `__all__` are the public interface; everything else may change between versions. They are
imported on first use, so `import splatface` is fast and does not need PyTorch.

    import splatface

    head = splatface.load_head(splatface.head_folder("mira"))
    talking_head = splatface.TalkingHead(head, splatface.renderer("cpu"))
    image = talking_head.render([], splatface.HeadControl(), time_ns=0)  # [H, W, 3] uint8 RGB
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from splatface.models.audio.audio_file import read_sound
    from splatface.models.audio.encoder import encoder
    from splatface.models.audio.offline_features import extract_features
    from splatface.models.audio2motion.pretrained_nets import load_net
    from splatface.models.errors import SplatfaceError
    from splatface.models.head.head_file import head_folder, load_head, save_head
    from splatface.models.messages import HeadControl
    from splatface.models.render.render import render, renderer
    from splatface.models.talking_head import TalkingHead
    from splatface.models.training.dataset.dataset_io import load_dataset
    from splatface.models.training.evaluation.evaluate import evaluate
    from splatface.models.training.optimization.training_run import train
    from splatface.models.training.tracking.track_video import track
    from splatface.models.tts.speak import speak

# name -> module; `train`, `track` and `evaluate` need the extra [train]
_MODULES = {
    "HeadControl": "messages",
    "SplatfaceError": "errors",
    "TalkingHead": "talking_head",
    "encoder": "audio.encoder",
    "evaluate": "training.evaluation.evaluate",
    "extract_features": "audio.offline_features",
    "head_folder": "head.head_file",
    "load_dataset": "training.dataset.dataset_io",
    "load_head": "head.head_file",
    "load_net": "audio2motion.pretrained_nets",
    "read_sound": "audio.audio_file",
    "render": "render.render",
    "renderer": "render.render",
    "save_head": "head.head_file",
    "speak": "tts.speak",
    "track": "training.tracking.track_video",
    "train": "training.optimization.training_run",
}

__all__ = [
    "HeadControl",
    "SplatfaceError",
    "TalkingHead",
    "__version__",
    "encoder",
    "evaluate",
    "extract_features",
    "head_folder",
    "load_dataset",
    "load_head",
    "load_net",
    "read_sound",
    "render",
    "renderer",
    "save_head",
    "speak",
    "track",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"splatface has no attribute {name!r}: choose from {', '.join(__all__)}")
    value = getattr(import_module(f"splatface.models.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted({*globals(), *__all__})
