# SPDX-License-Identifier: Apache-2.0
"""A talking head: (audio features, control, time) -> image, in the order of the data."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from splatface.models.audio2motion.audio_to_mouth import AudioToMouthNet
from splatface.models.audio2motion.mouth_inference import VoiceGate, predict_mouth
from splatface.models.errors import HeadError
from splatface.models.head.controls import basis_coefficients, bone_poses
from splatface.models.head.deformation import Deformer
from splatface.models.head.head import Head
from splatface.models.messages import AudioFrame, HeadControl
from splatface.models.provenance.watermark import Watermark
from splatface.models.render.render import Renderer

__all__ = ["TalkingHead"]


class TalkingHead:
    """One head and its renderer. The same arguments give the same image, bit for bit (cpu backend).

    Args:
        head: sound, as `load_head` returns it.
        renderer: renders the splats.
        size: width and height of the images; the camera is scaled, not the image.
        background: color [3] or image [H, W, 3], 0..1; the head's own when left out.
        gate: when the mouth rests; ALWAYS_OPEN for features without voice probability.
        watermark: whether images say invisibly that they are synthetic.
    """

    def __init__(
        self,
        head: Head,
        renderer: Renderer,
        *,
        size: tuple[int, int] | None = None,
        background: ArrayLike | None = None,
        gate: VoiceGate | None = None,
        watermark: bool = True,
    ) -> None:
        self.head = head
        self.camera = head.info.camera.scaled_to(*size) if size else head.info.camera
        self._renderer = renderer
        self._deform = Deformer(head)
        self._background = np.asarray(head.info.background if background is None else background, np.float32)
        self._gate = gate or VoiceGate()
        self._watermark = Watermark(self.camera.width, self.camera.height) if watermark else None

    def lookahead_ns(self, encoder: str) -> int:
        """Return how much later than the image's time the newest feature frame is."""
        return round(self._net(encoder).lookahead_ms * 1e6)

    def mouth(self, frames: Sequence[AudioFrame], time_ns: int) -> NDArray[np.float32]:
        """Return the mouth modes [n <= 8] predicted at `time_ns`; empty without frames."""
        if not frames:
            return np.zeros(0, np.float32)
        return predict_mouth(self._net(frames[-1].encoder), frames, self._gate, time_ns)

    def coefficients(
        self, frames: Sequence[AudioFrame], control: HeadControl, time_ns: int
    ) -> NDArray[np.float32]:
        """Return the basis coefficients [K] at `time_ns`."""
        return basis_coefficients(self.head, self.mouth(frames, time_ns), control)

    def render(self, frames: Sequence[AudioFrame], control: HeadControl, time_ns: int) -> NDArray[np.uint8]:
        """Render the image [H, W, 3] RGB at `time_ns`.

        Args:
            frames: encoder frames around that time, rising in time; older and later frames change
                nothing, none means silence.
            control: pose and motion besides speaking.
            time_ns: in the frames' time.

        Raises:
            HeadError: when the frames are of an encoder that the head was not trained with.
        """
        return self.draw(self.mouth(frames, time_ns), control)

    def draw(self, mouth: NDArray[np.float32], control: HeadControl) -> NDArray[np.uint8]:
        """Render the image [H, W, 3] RGB of mouth modes [n <= 8] from any source, and a control."""
        c = basis_coefficients(self.head, mouth, control)
        splats = self._deform(c, bone_poses(control, self.head.info))
        image = self._renderer.draw_uint8(splats, self.camera, self._background)
        if self._watermark:
            self._watermark.mark(image)
        return image

    def _net(self, encoder: str) -> AudioToMouthNet:
        if encoder not in self.head.nets:
            known_encoders = ", ".join(
                f"'{net.encoder}' ({net.feature_dim}-d)" for net in self.head.nets.values()
            )
            raise HeadError(
                f"{self.head.info.name}: trained for encoder {known_encoders or 'none'}, "
                f"the graph runs '{encoder}': "
                f"start with encoder:={next(iter(self.head.nets), 'fsmn')} or train the head for '{encoder}'"
            )
        return self.head.nets[encoder]
