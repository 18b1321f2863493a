"""Whether mouth and voice are in step, from what was said, heard and seen."""

from typing import Any

import numpy as np

from bench.monitor import FRAGMENT, SinkRecording
from bench.mouth import Course, Mouth, lag_ms, loudness
from bench.offsets import drift_ms_per_minute, marks, offsets, picture_lateness, sound_lateness
from bench.viewer import Seen
from splatface.models.messages import AudioChunk

__all__ = ["in_step"]


def in_step(
    said: list[AudioChunk], heard: SinkRecording, seen: Seen, mouth: Mouth, delay_ms: float
) -> dict[str, Any]:
    """Figures, ms: `offset_ms` is how much later a picture reaches its viewer than its sound leaves.

    `lips_after_voice_ms` is the same seen without any stamp: by how much the mouth that is seen moves after
    the voice that is heard; `by_stamps` is that of the stamps alone, so of the net that hears.
    """
    sound, pictures = sound_lateness(said, heard, delay_ms), picture_lateness(seen)
    offset = offsets(pictures, sound)
    openings = mouth.opening(seen.small)
    order = np.argsort(seen.stamps_ns, kind="stable")
    spoken = np.concatenate([chunk.samples for chunk in said]).astype(np.float64)
    spoken_ns = np.array([chunk.start_ns for chunk in said], np.int64)
    return {
        "offset_ms": marks(offset.late_ms),
        "drift_ms_per_minute": _rounded(drift_ms_per_minute(offset)),
        "pictures": len(offset.late_ms),
        "seconds_heard": len(sound.late_ms),
        "sound_late_ms": marks(sound.late_ms),
        "sound_drift_ms_per_minute": _rounded(drift_ms_per_minute(sound)),
        "picture_late_ms": marks(pictures.late_ms),
        "lips_after_voice_ms": {
            "live": lag_ms(
                Course(seen.arrivals_ns, openings),
                loudness(heard.samples.astype(np.float64), heard.times_ns(), FRAGMENT),
            ),
            "by_stamps": lag_ms(
                Course(seen.stamps_ns[order], openings[order]),
                loudness(spoken, spoken_ns, len(said[0].samples)),
            ),
        },
    }


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 3)
