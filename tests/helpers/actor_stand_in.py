"""A body made of balls and strands, that needs no rig; and a performance without a voice."""

from types import SimpleNamespace

import numpy as np

from splatface.models.training.dataset.types import EYES, FACE, HAIR, TORSO
from splatface.models.training.speech_corpus.phonemes import LabeledSpeech, Phone
from splatface.models.training.synthetic.actor_video import ActorScene, ActorVideoSpec, select_frames
from splatface.models.training.synthetic.blender_scene import film_camera
from splatface.models.training.synthetic.body_parts import Part, PosedBody
from splatface.models.training.synthetic.performance import ActingConfig, make_performance
from splatface.models.training.synthetic.speech_track import ActorVoice, SpeechScript

__all__ = ["VOICE", "Balls", "ball", "small_stage", "stand_in", "tuft"]


def ball(center, radius, label, material="skin", color=(0.5, 0.3, 0.2), rings=24):
    """A ball of quads whose faces look out."""
    theta = np.linspace(1e-3, np.pi - 1e-3, rings)
    phi = np.arange(rings) * 2 * np.pi / rings
    t, p = np.meshgrid(theta, phi, indexing="ij")
    points = np.stack([np.sin(t) * np.cos(p), np.cos(t), np.sin(t) * np.sin(p)], -1).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(rings - 1), np.arange(rings), indexing="ij")
    a, b = i * rings + j, i * rings + (j + 1) % rings
    faces = np.stack([a, b, b + rings, a + rings], -1).reshape(-1, 4)
    count = len(points)
    return Part(
        kind="mesh",
        material=material,
        positions=np.asarray(center) + radius * points,
        colors=np.tile(color, (count, 1)),
        labels=np.full(count, label, np.uint8),
        skin=np.full(count, 0.0 if label == TORSO else 1.0),
        faces=faces,
    )


def tuft(count=400):
    """Strands that hang before the ball."""
    rng = np.random.default_rng(0)
    tops = np.c_[rng.uniform(-0.02, 0.02, count), np.full(count, -0.03), np.full(count, -0.15)]
    down = np.linspace(0, 0.06, 6)[None, :, None] * np.array([0.0, 1.0, 0.0])
    return Part(
        kind="strands",
        material="hair",
        positions=tops[:, None] + down,
        colors=np.tile([0.05, 0.03, 0.02], (count, 1)),
        labels=np.full(count, HAIR, np.uint8),
        skin=np.ones(count),
        radius=(0.0006, 0.0004),
    )


class Balls:
    """As much of a Body as a film asks for: jawOpen lowers the face's lower half, yaw turns the head."""

    pivot_m = np.array([0.0, 0.1, 0.05])
    identity = SimpleNamespace(name="balls")

    def __init__(self, **parts):
        self.parts = parts

    def posed(self, actions, pose=None):
        yaw = -(pose.head_yaw_rad if pose else 0.0)
        turn = np.eye(4)
        turn[:3, :3] = [[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]]
        places = {}
        for name, part in self.parts.items():
            moved = part.positions.copy()
            if name == "skin":
                moved[..., 1] += 0.03 * actions.get("jawOpen", 0.0) * (moved[..., 1] > 0.02)
            places[name] = moved if name == "shirt" else moved @ turn[:3, :3].T
        landmarks = np.tile([0.01, 0.02, -0.1], (68, 1))
        return PosedBody(places, turn, np.eye(4), landmarks)


def stand_in():
    """A head with an eye and hair on a chest."""
    return Balls(
        skin=ball((0, 0, 0), 0.1, FACE),
        left_eye=ball((0.03, -0.01, -0.085), 0.02, EYES, "eye", (0.7, 0.7, 0.7)),
        hair=tuft(),
        shirt=ball((0, 0.25, 0), 0.12, TORSO, "cloth"),
    )


def _say(text):
    phones = [Phone("m", 0.0, 0.3), Phone("a", 0.3, 0.7, 1.15), Phone("m", 0.7, 1.0)]
    return LabeledSpeech(
        np.sin(np.arange(16000) * 0.1).astype(np.float32) * 0.5, tuple(phones), "test/tone", "en"
    )


VOICE = ActorVoice("test/tone", "woman", "nobody's", _say)


def small_stage(pictures=6, size_px=48):
    """A film of 12 s at 5 pictures a second."""
    film = ActorVideoSpec(
        actor="balls", acting=ActingConfig(seconds=12.0, fps=5.0), pictures=pictures, size_px=size_px
    )
    acted = make_performance(SpeechScript(("one two",), ("three",)), VOICE, film.acting)
    return ActorScene(film, stand_in(), acted, select_frames(acted, pictures), film_camera(size_px))
