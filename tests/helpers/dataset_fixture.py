"""A data set of nobody, small and exactly known: a sparse computed head speaks a sentence.

tiny_dataset(folder) writes it in a few seconds; `Film` says what was played, `tiny_head` who played.
"""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.head.controls import Bones, bone_poses
from splatface.models.head.deformation import Deformer, deform_reference
from splatface.models.head.head import Gaussians, Head
from splatface.models.head.head_file import load_head
from splatface.models.messages import HeadControl
from splatface.models.render.cpu import CpuRenderer
from splatface.models.rotations import quat_from_euler
from splatface.models.training.dataset.dataset_io import save_dataset
from splatface.models.training.dataset.types import (
    LABELS,
    Dataset,
    FrameTable,
    MotionTrack,
    Points,
    split_by_time,
)
from splatface.models.training.speech_corpus.coarticulation import modes_from_phones

RATE = 16_000
ROOT = Path(__file__).parents[2]
SH_0 = np.float32(0.28209479177387814)  # of degree 0
SENTENCE = "We five mop up bowls of blue food."


@dataclass(frozen=True)
class Film:
    """What is played, moment by moment."""

    time_ns: np.ndarray  # [T]
    mouth: np.ndarray  # [T, 8]
    controls: np.ndarray  # [T, 8]
    bones: list[Bones]  # [T]
    sound: np.ndarray  # [n] 16 kHz


def tiny_dataset(folder: Path) -> Path:
    """96x96, 36 pictures at 12.5 per second (two moments of the film have none); the last are TEST."""
    return make_dataset(folder, size=96, film=tiny_film(38), left_out=(7, 15))


def make_dataset(
    folder: Path, size: int, film: Film, left_out: tuple[int, ...] = (), thin: bool | None = None
) -> Path:
    """The film of the thin `tiny_head` (below 200 px) or of the shipped head as a data set."""
    thin = size < 200 if thin is None else thin
    head, labels = tiny_head(thin)
    camera = head.info.camera.scaled_to(size, size)
    kept = np.setdiff1d(np.arange(len(film.time_ns)), left_out)
    heads = np.stack([bones.T_world_head for bones in film.bones])
    torsos = np.stack([bones.T_world_torso for bones in film.bones])
    landmarks = np.stack([landmarks_px(camera, film.mouth[i], film.controls[i], film.bones[i]) for i in kept])
    dataset = Dataset(
        folder=folder,
        name="tiny",
        source="actor",
        license="Apache-2.0",
        consent="Nobody is shown: this face is computed.",
        camera=camera,
        fps=12.5,
        background=np.array(head.info.background, np.float32),
        pivot_m=np.array(head.info.pivot_m),
        landmark_scheme="ibug68",
        frames=FrameTable(
            time_ns=film.time_ns[kept],
            split=split_by_time(film.time_ns[kept]),
            T_world_head=heads[kept],
            T_world_torso=torsos[kept],
            mouth=film.mouth[kept],
            controls=film.controls[kept],
            landmarks_px=landmarks,
        ),
        motion=MotionTrack(film.time_ns, film.mouth, film.controls, heads, torsos),
    )
    pictures = pictures_of(head, labels, camera, film, kept)
    save_dataset(dataset, tiny_points(thin), film.sound, pictures)
    return folder


def pictures_of(head, labels, camera, film, rows):
    """(picture, labels) of each moment."""
    deform, renderer = Deformer(head), CpuRenderer(supersample=2)
    one_hot = np.eye(len(LABELS), dtype=np.float32)[labels]
    background = np.array(head.info.background, np.float32)
    for i in rows:
        splats = deform(head.motion_map(film.mouth[i], film.controls[i]), film.bones[i])
        drawn = renderer.draw(splats, camera, background, one_hot)
        shares = drawn.extra.copy()
        shares[..., 0] = drawn.transmittance
        yield drawn.as_uint8(), shares.argmax(axis=2).astype(np.uint8)


@cache
def tiny_film(moments: int, fps: float = 12.5, seed: int = 3) -> Film:
    """The sentence, and smooth motion of everything else; head within 15 degrees of yaw."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(moments) / fps
    sound, phones = tiny_speech(moments / fps)

    def smooth(columns, slowest_s):
        """Sums of three slow waves, about -1..1."""
        period = slowest_s * rng.uniform(0.4, 1.0, (3, 1, columns))
        phase = rng.uniform(0, 2 * np.pi, (3, 1, columns))
        return np.sin(2 * np.pi * time_s[:, None] / period + phase).mean(axis=0) * 1.4

    spoken = modes_from_phones(phones, time_s) if phones else smooth(8, 0.6).clip(0)
    # Somebody who speaks clearly: openings of less than a lip's width are lost on pictures of 256 px.
    modes = (1.25 * spoken + 0.25 * smooth(8, 1.5).clip(0)).clip(0, 1).astype(np.float32)
    controls = np.zeros((moments, len(CONTROLS)), np.float32)
    shut = np.exp(-(((time_s[:, None] - np.arange(0.6, time_s[-1], 1.3)) / 0.09) ** 2)).sum(axis=1)
    controls[:, 0] = controls[:, 1] = shut.clip(0, 1)
    controls[:, 2:4] = 0.25 * smooth(2, 2.5)
    controls[:, 4:7] = 0.7 * smooth(3, 2.5).clip(0)
    angles = np.deg2rad([15.0, 8.0, 5.0]) * smooth(3, 3.0).clip(-1, 1)
    shifts = 0.005 * smooth(3, 3.0)
    info = tiny_head()[0].info
    bones = [
        bone_poses(HeadControl(quat_world_head=quat_from_euler(angle), translation_m=shift), info)
        for angle, shift in zip(angles, shifts, strict=True)
    ]
    return Film(np.round(time_s * 1e9).astype(np.int64), modes, controls, bones, sound)


def tiny_speech(seconds: float):
    """The sentence again and again as (samples, phones); swelling vowels and no phones where flite is not."""
    total = round(seconds * RATE)
    try:
        from splatface.models.training.speech_corpus.corpus_voices import synthesize_flite

        said = synthesize_flite(SENTENCE, "slt", stretch=0.95)
    except (FileNotFoundError, OSError):
        t = np.arange(total) / RATE
        tones = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 12))
        return (0.05 * tones * (1 + np.sin(2 * np.pi * 2.5 * t))).astype(np.float32), []
    start, phones, sound = 0.2, [], np.zeros(total, np.float32)
    while start < seconds - 0.2:
        phones += [replace(p, start_s=p.start_s + start, end_s=p.end_s + start) for p in said.phones]
        first = round(start * RATE)
        piece = said.samples[: total - first]
        sound[first : first + len(piece)] = piece
        start += len(said.samples) / RATE + 0.3
    return sound, phones


@cache
def tiny_head(thin: bool = True) -> tuple[Head, np.ndarray]:
    """A head that plays, and the label of each Gaussian [N]: 2,886 Gaussians, or the shipped `robin`."""
    if not thin:
        return load_head(ROOT / "heads" / "robin"), small_heads()["robin.labels"]
    return _stored_head("thin"), small_heads()["thin.labels"]


@cache
def small_heads() -> dict[str, np.ndarray]:
    """tests/data/small_heads.npz: a thin `robin`, its landmarks as Gaussians, labels, normals."""
    with np.load(ROOT / "tests" / "data" / "small_heads.npz") as file:
        return dict(file)


@cache
def _stored_head(name: str) -> Head:
    stored = small_heads()
    parts = ("means", "quats", "log_scales", "opacity_logits", "sh")
    return replace(
        load_head(ROOT / "heads" / "robin"),
        gaussians=Gaussians(**{part: stored[f"{name}.{part}"] for part in parts}),
        skinning_weight=stored[f"{name}.skinning_weight"],
        dynamic=stored[f"{name}.dynamic"],
        basis=stored[f"{name}.basis"],
    )


@cache
def tiny_points(thin: bool = True) -> Points:
    """The head's own Gaussians, and how each mode and control moves them."""
    head, labels = tiny_head(thin)
    motions = np.eye(len(MOUTH_MODES) + len(CONTROLS), dtype=np.float32)
    columns = np.stack([head.motion_map(row[:8], row[8:]) for row in motions])  # [16, K]
    modes = np.zeros((len(labels), len(motions), 3), np.float32)
    modes[head.dynamic] = np.einsum("nik,mk->nmi", head.basis[:, :3], columns)
    g = head.gaussians
    return Points(
        means=g.means,
        normals=small_heads()["thin.normals" if thin else "robin.normals"],
        colors=(0.5 + SH_0 * g.sh[:, 0]).clip(0, 1),
        scales=np.exp(g.log_scales),
        quats=g.quats,
        labels=labels,
        skinning_weight=head.skinning_weight,
        mouth_modes=np.ascontiguousarray(modes[:, :8]),
        control_modes=np.ascontiguousarray(modes[:, 8:]),
    )


def landmarks_px(camera, mouth_modes, controls, bones) -> np.ndarray:
    """Where the 68 landmarks are seen [68, 2], px."""
    head = _stored_head("landmark")
    world = deform_reference(head, head.motion_map(mouth_modes, controls), bones).means
    seen = world @ camera.T_camera_world[:3, :3].T + camera.T_camera_world[:3, 3]
    px = seen[:, :2] / seen[:, 2:] * (camera.fx, camera.fy) + (camera.cx, camera.cy)
    return px.astype(np.float32)
