# SPDX-License-Identifier: Apache-2.0
"""Do nods fall on accents and blinks at pauses? Figures for a folder of recordings.

Those of docs/notes/2026-11-21-behavior.md were made by it.

    .venv/bin/python tools/motion_figures.py ../shared/data/speech

Accents to compare with are found with what a live face does not have: pitch, and the whole recording at once.
Chance: as many moments, drawn anew from the same speech.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import butter, find_peaks, sosfiltfilt

from splatface.models.audio.audio_file import read_sound
from splatface.models.audio.offline_features import encode_recording
from splatface.models.behavior.controller import HeadMotionController, MotionConfig
from splatface.models.messages import NS_PER_S, SAMPLE_RATE, AudioFrame
from splatface.models.typing import Float64Array

TOLERANCE_S = 0.15
SEEDS = 20
# How long before it is heard a frame of the fsmn encoder comes: text to speech, film, microphone.
LEADS_MS = {"text": 68, "film": 0, "microphone": -55}


@dataclass(frozen=True)
class Truth:
    """What the whole recording says."""

    accents_s: Float64Array
    pauses_s: Float64Array  # [n, 2]


def pitch_of(samples: Float64Array) -> Float64Array:
    """Return semitones at 100 Hz by autocorrelation (Boersma 1993), bridged where there is no voice."""
    half, window = 640, np.hanning(1280)
    padded = np.pad(samples, half)
    own = np.fft.irfft(np.abs(np.fft.rfft(window, 4096)) ** 2)
    low, high = SAMPLE_RATE // 400, SAMPLE_RATE // 65
    found, sure = [], []
    for center in range(0, len(samples), SAMPLE_RATE // 100):
        piece = padded[center : center + 2 * half]
        power = np.abs(np.fft.rfft((piece - piece.mean()) * window, 4096)) ** 2
        likeness = np.fft.irfft(power)
        likeness = likeness / (likeness[0] + 1e-9) / np.maximum(own / own[0], 0.05)
        lag = low + int(np.argmax(likeness[low:high] * (1 - 0.0005 * np.arange(high - low))))
        found.append(12 * np.log2(SAMPLE_RATE / lag / 100))
        sure.append(likeness[lag])
    pitch, voiced = np.array(found), np.array(sure) > 0.55
    voiced &= np.abs(pitch - np.median(pitch[voiced] if voiced.any() else pitch)) < 10
    index = np.arange(len(pitch))
    bridged = np.interp(index, index[voiced], pitch[voiced]) if voiced.sum() > 10 else pitch
    return np.asarray(gaussian_filter1d(bridged, 3))


def truth_of(samples: Float64Array) -> Truth:
    """Return accents (syllables that stand out in loudness, length, pitch) and pauses of 200 ms or more."""
    band = sosfiltfilt(butter(4, [300, 3000], "band", fs=SAMPLE_RATE, output="sos"), samples)
    level = 10 * np.log10(gaussian_filter1d(band**2, SAMPLE_RATE * 0.018)[:: SAMPLE_RATE // 200] + 1e-9)
    loud, pitch = np.percentile(level, 95), pitch_of(samples)
    peaks, _ = find_peaks(level, prominence=2.5, height=loud - 22, distance=16)
    times = peaks / 200
    cues = []
    for peak, time in zip(peaks, times, strict=True):
        first = last = peak
        while first > 0 and level[first] > level[peak] - 5:
            first -= 1
        while last < len(level) - 1 and level[last] > level[peak] - 5:
            last += 1
        at = int(time * 100)
        near, here = pitch[max(at - 60, 0) : at + 60], pitch[max(at - 10, 0) : at + 12]
        around = level[peaks[np.abs(times - time) < 1.2]].mean()
        cues.append(
            (
                level[peak] - around,
                min((last - first) / 200, 0.35),
                np.max(here) - np.median(near),
                np.ptp(here),
            )
        )
    table = np.array(cues).reshape(-1, 4)
    score = (table - table.mean(axis=0)) / (table.std(axis=0) + 1e-6) @ [0.9, 0.7, 0.8, 0.3]
    accents = [
        times[i]
        for i in range(len(times))
        if score[i] > 0.35 and score[i] >= score[np.abs(times - times[i]) < 0.35].max()
    ]
    edges = np.diff(np.concatenate([[0], level < loud - 25, [0]]))
    pauses = np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)], axis=1) / 200
    return Truth(np.array(accents), pauses[np.diff(pauses)[:, 0] >= 0.2])


def frames_of(samples: Float64Array) -> list[AudioFrame]:
    """Return what the face hears of it, and a second of silence."""
    return encode_recording("fsmn", samples.astype(np.float32), silence_after_s=1.0)


def moved(frames: list[AudioFrame], seed: int, lead_ms: int) -> tuple[Float64Array, Float64Array]:
    """Return when nods are lowest and when blinks begin, s."""
    controller = HeadMotionController(MotionConfig(seed=seed))
    for frame in frames:
        controller.push_speech(frame, frame.center_ns - lead_ms * 1_000_000)
    end_s = frames[-1].center_ns / NS_PER_S - 1.0
    nods = np.array([nod.begin_s + nod.down_s for nod in controller._speaking.nods])
    blinks = np.array([at for at, _ in controller._lids._shown(0.0, end_s)])
    return nods[nods < end_s], blinks


def near(times_s: Float64Array, accents_s: Float64Array) -> int:
    """Return how many of the times lie on accents."""
    return int((np.abs(times_s[:, None] - accents_s).min(axis=1, initial=9.0) < TOLERANCE_S).sum())


def at_pauses(times_s: Float64Array, pauses_s: Float64Array) -> int:
    """Return how many of the times lie in pauses or just after one."""
    inside = (times_s[:, None] > pauses_s[:, 0] - 0.05) & (times_s[:, None] < pauses_s[:, 1] + 0.25)
    return int(inside.any(axis=1).sum())


def main(folder: Path) -> None:
    """Print a line for each way by which sound comes."""
    sounds = [read_sound(path).astype(np.float64) for path in sorted(folder.glob("*.flac"))]
    known = [(truth_of(samples), frames_of(samples), len(samples) / SAMPLE_RATE) for samples in sounds]
    known = [entry for entry in known if len(entry[0].accents_s) >= 2]
    random = np.random.default_rng(0)
    for name, lead_ms in LEADS_MS.items():
        counts = np.zeros(6)  # nods, on accents, by chance; blinks, at pauses, by chance
        speech_s = 0.0
        for truth, frames, length_s in known:
            spoken_s = np.array([f.center_ns / NS_PER_S for f in frames if f.voice_probability > 0.5])
            for seed in range(SEEDS):
                nods, blinks = moved(frames, seed, lead_ms)
                drawn = random.choice(spoken_s, 20 * len(nods))
                anywhere = random.uniform(0, length_s, 20 * len(blinks))
                counts += [
                    len(nods), near(nods, truth.accents_s), near(drawn, truth.accents_s) / 20,
                    len(blinks), at_pauses(blinks, truth.pauses_s), at_pauses(anywhere, truth.pauses_s) / 20,
                ]  # fmt: skip
                speech_s += 0.02 * len(spoken_s)
        nods_per_s, minutes = counts[0] / speech_s, SEEDS * sum(entry[2] for entry in known) / 60
        print(
            f"{name} ({lead_ms} ms ahead): {nods_per_s:.2f} nods per second of speech, "
            f"{counts[1] / counts[0]:.0%} on accents (chance {counts[2] / counts[0]:.0%}); "
            f"{counts[3] / minutes:.1f} blinks per minute, {counts[4] / counts[3]:.0%} at pauses "
            f"(chance {counts[5] / counts[3]:.0%})"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
