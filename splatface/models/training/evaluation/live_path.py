# SPDX-License-Identifier: Apache-2.0
"""A head driven as the kiosk drives it, image by image, from what a data set knows of a moment."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio.encoder import ENCODERS
from splatface.models.audio.offline_features import encode_recording
from splatface.models.audio2motion.audio_to_mouth import CONTROLS, FRAME_NS, AudioToMouthNet
from splatface.models.audio2motion.mouth_inference import VoiceGate, predict_mouth, receptive_field_ns
from splatface.models.errors import MetricError
from splatface.models.head.controls import Bones, soft_limit_motion
from splatface.models.head.deformation import Deformer
from splatface.models.head.head import Head
from splatface.models.messages import NS_PER_S, SAMPLE_RATE, AudioFrame
from splatface.models.render.cpu import CpuRenderer
from splatface.models.training.dataset.dataset_audio import load_audio, load_features
from splatface.models.training.dataset.types import Dataset
from splatface.models.typing import Float32Array

__all__ = ["AudioToMouth", "LivePath", "Mouth", "encoded_frames", "make_audio_to_mouth", "silence_mask"]


Mouth = Callable[[int], Float32Array]  # a row of the frame table to the mouth modes [8]
_JAW_SIDE = CONTROLS.index("jaw_side")

_LEAD_S = 10  # audio encoded before the first frame: longer than any receptive field
_AFTER_S = 1.0
_GRID_S = 4  # whole numbers of every encoder's hops and of the voice detector's windows of 32 ms
_CHUNK = SAMPLE_RATE // 50
# Nobody speaks where the sound is so quiet from a while before (lips take their time) until a little after.
_QUIET_DB, _FLOOR_DBFS = 35.0, -60.0
_BEFORE_NS, _UNTIL_NS = 200_000_000, 150_000_000


class AudioToMouth:
    """Mouth modes from audio at any video time, by the code that runs live."""

    def __init__(self, net: AudioToMouthNet, frames: list[AudioFrame]) -> None:
        self._net, self._gate, self._frames = net, VoiceGate(), frames
        self._times = [frame.center_ns for frame in frames]

    def __call__(self, time_ns: int) -> Float32Array:
        """Return mouth modes [8] at a video time; the newest audio used is one look-ahead later."""
        first = bisect_left(self._times, time_ns - receptive_field_ns(self._net, self._gate))
        newest_ns = time_ns + round(self._net.lookahead_ms * 1e6) + FRAME_NS
        return predict_mouth(
            self._net, self._frames[first : bisect_right(self._times, newest_ns)], self._gate, time_ns
        )


class LivePath:
    """From mouth modes to the image of a frame: motion map, deformation, rendering, without the watermark.

    Head pose, torso and controls are the data set's. The background is the data set's too: what stands
    behind a person is no merit of the head.
    """

    def __init__(self, head: Head, dataset: Dataset, *, threads: int, supersample: int = 1) -> None:
        self._head, self._dataset = head, dataset
        self._deform, self._renderer = Deformer(head), CpuRenderer(threads, supersample=supersample)
        self._background = np.asarray(dataset.background, np.float32)

    def render_with_tracked_mouth(self, row: int) -> NDArray[np.uint8]:
        """Render the image [H, W, 3] RGB of a frame with the tracked mouth."""
        frames = self._dataset.frames
        return self._render(row, frames.mouth[row], frames.controls[row])

    def render_with_mouth(self, row: int, mouth: Float32Array) -> NDArray[np.uint8]:
        """Render the same with predicted mouth modes [8]; the jaw stays centered, audio has no side."""
        controls = self._dataset.frames.controls[row].copy()
        controls[_JAW_SIDE] = 0.0
        return self._render(row, mouth, controls)

    def _render(self, row: int, mouth: Float32Array, controls: Float32Array) -> NDArray[np.uint8]:
        frames, controls = self._dataset.frames, np.nan_to_num(controls)
        c = self._head.motion_map(*soft_limit_motion(mouth, controls, self._head.info.motion_limits))
        bones = Bones(T_world_head=frames.T_world_head[row], T_world_torso=frames.T_world_torso[row])
        return self._renderer.draw_uint8(self._deform(c, bones), self._dataset.camera, self._background)


def make_audio_to_mouth(head: Head, dataset: Dataset, encoder: str, span_ns: tuple[int, int]) -> AudioToMouth:
    """Make the head's audio-to-mouth prediction over a span of the video.

    Raises:
        MetricError: when the head has no net for this encoder.
        EncoderError: when the encoder is neither one of ours nor came with the data set.
    """
    if encoder not in head.nets:
        known = ", ".join(head.nets) or "none"
        raise MetricError(
            f"{head.info.name}: expected a net for encoder '{encoder}', found nets for {known}: "
            "choose one of these with --encoder, or train the head for it"
        )
    return AudioToMouth(head.nets[encoder], encoded_frames(dataset, encoder, span_ns))


def encoded_frames(dataset: Dataset, encoder: str, span_ns: tuple[int, int]) -> list[AudioFrame]:
    """Return the streaming encoder's frames over a span of video time, with the receptive field before it.

    Features that came with an imported data set carry no voice probability: they count as voice.
    """
    if encoder not in ENCODERS:
        values, centers_ns = load_features(dataset, encoder)
        frames = zip(values, centers_ns.tolist(), strict=True)
        return [AudioFrame(row, encoder, center, voice_probability=1.0) for row, center in frames]
    first_s = max(0, span_ns[0] // NS_PER_S - _LEAD_S) // _GRID_S * _GRID_S
    last = round((span_ns[1] / NS_PER_S + _AFTER_S) * SAMPLE_RATE)
    samples = load_audio(dataset)
    padded = np.pad(samples, (0, max(0, last - len(samples))))[first_s * SAMPLE_RATE : last]
    return encode_recording(encoder, padded, start_ns=first_s * NS_PER_S)


def silence_mask(samples: Float32Array, times_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return where nobody speaks [F] around video times [F], from the audio [n] at 16 kHz alone.

    True where every 20 ms from 200 ms before to 150 ms after are 35 dB below the loud ones (95th
    percentile), or below -60 dBFS.
    """
    blocks = samples[: len(samples) // _CHUNK * _CHUNK].reshape(-1, _CHUNK).astype(np.float64)
    levels = 10 * np.log10(np.square(blocks).mean(axis=1) + 1e-12)
    loud_db = float(np.percentile(levels, 95)) if len(levels) else _FLOOR_DBFS
    loud_ns = np.flatnonzero(levels > max(_FLOOR_DBFS, loud_db - _QUIET_DB)) * FRAME_NS
    first = np.searchsorted(loud_ns, times_ns - _BEFORE_NS - FRAME_NS, side="right")
    after = np.searchsorted(loud_ns, times_ns + _UNTIL_NS)
    silent: NDArray[np.bool_] = first == after
    return silent
