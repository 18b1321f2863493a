"""A data set of nobody, small and exactly known: a sparse procedural head speaks a sentence.

tiny_dataset(folder) writes it in a few seconds; `Film` says what was played, `tiny_head` who played.
"""

from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.head.deform import Deformer
from splatface.models.head.head import Head
from splatface.models.head.pose import Bones, bone_poses, quat_of_euler
from splatface.models.head.skinning import deform_reference
from splatface.models.messages import HeadControl
from splatface.models.render.cpu import CpuRenderer
from splatface.models.training.dataset.file import save_dataset
from splatface.models.training.dataset.split import split_by_time
from splatface.models.training.dataset.types import (
    EYES,
    FACE,
    HAIR,
    LABELS,
    LIPS,
    MOUTH,
    NECK,
    TORSO,
    Dataset,
    FrameTable,
    MotionTrack,
    Points,
)
from splatface.models.training.speech_corpus.coarticulation import mode_track
from splatface.models.training.synthetic.procedural import procedural_head
from splatface.models.training.synthetic.procedural.eyes import eyes
from splatface.models.training.synthetic.procedural.hair import hair
from splatface.models.training.synthetic.procedural.motion import skin_weight
from splatface.models.training.synthetic.procedural.mouth import mouth
from splatface.models.training.synthetic.procedural.patch import Patch, gaussians_of, join, pick
from splatface.models.training.synthetic.procedural.person import person_of_seed
from splatface.models.training.synthetic.procedural.shape import body_distance, ear_distance, skull_distance
from splatface.models.training.synthetic.procedural.skin import ears, face, neck, shirt

LIP_COUNT, LIP_COLUMNS, LIP_ROWS = 760, 38, 10  # the first Gaussians of `mouth`: upper, then lower lip
EYE_COUNT, LASH_COUNT, LID_COUNT, BROW_COUNT = 220, 24, 416, 102  # of one eye, in the order of `eyes`
RATE = 16_000
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


def make_dataset(folder: Path, size: int, film: Film, left_out: tuple[int, ...] = ()) -> Path:
    """The film of `tiny_head` (or a head as full as the shipped one, from 256 px on) as a data set."""
    thin = size < 200
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

    spoken = mode_track(phones, time_s) if phones else smooth(8, 0.6).clip(0)
    # Somebody who speaks clearly: openings of less than a lip's width are lost on pictures of 256 px.
    modes = (1.25 * spoken + 0.25 * smooth(8, 1.5).clip(0)).clip(0, 1).astype(np.float32)
    controls = np.zeros((moments, len(CONTROLS)), np.float32)
    shut = np.exp(-(((time_s[:, None] - np.arange(0.6, time_s[-1], 1.3)) / 0.09) ** 2)).sum(axis=1)
    controls[:, 0] = controls[:, 1] = shut.clip(0, 1)
    controls[:, 2:4] = 0.25 * smooth(2, 2.5)
    controls[:, 4:7] = 0.7 * smooth(3, 2.5).clip(0)
    angles = np.deg2rad([15.0, 8.0, 5.0]) * smooth(3, 3.0).clip(-1, 1)
    shifts = 0.005 * smooth(3, 3.0)
    info = procedural_head_info()
    bones = [
        bone_poses(HeadControl(quat_world_head=quat_of_euler(angle), translation_m=shift), info)
        for angle, shift in zip(angles, shifts, strict=True)
    ]
    return Film(np.round(time_s * 1e9).astype(np.int64), modes, controls, bones, sound)


def tiny_speech(seconds: float):
    """The sentence again and again as (samples, phones); swelling vowels and no phones where flite is not."""
    total = round(seconds * RATE)
    try:
        from splatface.models.training.speech_corpus.voices.flite import flite_say

        said = flite_say(SENTENCE, "slt", stretch=0.95)
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
def procedural_head_info():
    return procedural_head().info


@cache
def full_patch(thin: bool = True) -> tuple[Patch, np.ndarray, np.ndarray]:
    """The procedural person as a patch, what each Gaussian shows, and each part's first row."""
    skin, throat, cloth, strands = (520, 200, 900, 330) if thin else (2400, 640, 1900, 1400)
    person = person_of_seed(0)
    body, skull = partial(body_distance, person=person), partial(skull_distance, person=person)
    parts = [
        (face(person, body, skull, skin), FACE),
        (ears(person, body, partial(ear_distance, person=person)), FACE),
        (neck(person, body, skull, throat), NECK),
        (shirt(person, cloth), TORSO),
        (hair(person, body, skull, strands), HAIR),
        (eyes(person, body), EYES),
        (mouth(person, body), MOUTH),
    ]
    labels = np.concatenate([np.full(len(patch), label, np.uint8) for patch, label in parts])
    first = np.cumsum([0, *(len(patch) for patch, _ in parts)])
    one_eye = [EYES] * EYE_COUNT + [FACE] * (LASH_COUNT + LID_COUNT)
    labels[first[5] : first[6]] = [*one_eye, *one_eye, *[FACE] * (2 * BROW_COUNT)]
    labels[first[6] : first[6] + LIP_COUNT] = LIPS
    return join([patch for patch, _ in parts]), labels, first


@cache
def tiny_patch(thin: bool = True) -> tuple[Patch, np.ndarray]:
    """Every second Gaussian of the fine parts, wider instead: about 2,400."""
    patch, labels, first = full_patch(thin)
    if not thin:
        return patch, labels
    keep = np.ones(len(patch), bool)
    for part in (1, 3, 4, 5, 6):  # ears, shirt, hair, eyes, mouth
        keep[first[part] + 1 : first[part + 1] : 2] = False
    wider = np.where(np.isin(np.searchsorted(first, np.arange(len(patch)), "right") - 1, (0, 2)), 1.0, 1.45)
    scales = patch.scales * np.stack([wider, wider, np.ones_like(wider)], axis=1)
    return pick(replace(patch, scales=scales), keep), labels[keep]


@cache
def tiny_head(thin: bool = True) -> tuple[Head, np.ndarray]:
    """Who plays, and what each Gaussian shows [N]."""
    patch, labels = tiny_patch(thin)
    return _head_of(patch), labels


def _head_of(patch: Patch) -> Head:
    moving = np.abs(patch.basis).max(axis=(1, 2)) > 1e-6
    return replace(
        procedural_head(),
        gaussians=gaussians_of(patch),
        skinning_weight=skin_weight(patch.means).astype(np.float32),
        dynamic=np.flatnonzero(moving).astype(np.int32),
        basis=patch.basis[moving].astype(np.float32),
    )


@cache
def tiny_points(thin: bool = True) -> Points:
    """The head's own Gaussians, and how each mode and control moves them."""
    patch, labels = tiny_patch(thin)
    head = _head_of(patch)
    motions = np.eye(len(MOUTH_MODES) + len(CONTROLS), dtype=np.float32)
    columns = np.stack([head.motion_map(row[:8], row[8:]) for row in motions])  # [15, K]
    modes = np.einsum("nik,mk->nmi", patch.basis[:, :3], columns).astype(np.float32)
    return Points(
        means=patch.means.astype(np.float32),
        normals=patch.normals.astype(np.float32),
        colors=patch.color.clip(0, 1).astype(np.float32),
        scales=patch.scales.astype(np.float32),
        quats=head.gaussians.quats,
        labels=labels,
        skin=head.skinning_weight,
        mouth_modes=np.ascontiguousarray(modes[:, :8]),
        control_modes=np.ascontiguousarray(modes[:, 8:]),
    )


@cache
def _landmark_head() -> Head:
    """68 Gaussians of the full head, in the order of ibug68."""
    patch, _, first = full_patch()
    angle = np.linspace(-1.35, 1.35, 17)
    jaw = np.stack([0.072 * np.sin(angle), 0.010 + 0.108 * np.cos(angle)], axis=1)
    nose = [(0, -0.004), (0, 0.008), (0, 0.020), (0, 0.032)]
    base = [(x, 0.040) for x in (-0.012, -0.006, 0, 0.006, 0.012)]
    skin = _nearest(patch, np.vstack([jaw, nose, base]), first[0], first[1])
    brows = (
        first[6] - 2 * BROW_COUNT
    )  # left of the head = right in the picture first, hair by hair from the nose
    along = 3 * np.round(np.linspace(0, 33, 5)).astype(int)
    right_brow, left_brow = brows + along, brows + BROW_COUNT + along[::-1]
    size = 1.10 * 0.0158
    rim = size * np.array([(-1, 0), (-0.4, -0.36), (0.4, -0.36), (1, 0), (0.4, 0.28), (-0.4, 0.28)])
    lids = [first[5] + EYE_COUNT + LASH_COUNT, first[5] + 2 * EYE_COUNT + 2 * LASH_COUNT + LID_COUNT]
    right_eye = _nearest(patch, rim + np.array([0.033, -0.003]), lids[0], lids[0] + LID_COUNT)
    left_eye = _nearest(patch, rim + np.array([-0.033, -0.003]), lids[1], lids[1] + LID_COUNT)
    order = [*skin[:17], *left_brow, *right_brow, *skin[17:], *left_eye, *right_eye, *_lip_rows(first[6])]
    chosen = np.array(order)
    rows = {name: getattr(patch, name)[chosen] for name in ("means", "axes", "scales", "opacity", "color")}
    return _head_of(Patch(**rows, basis=patch.basis[chosen]))


def _nearest(patch: Patch, xy: np.ndarray, start: int, end: int) -> np.ndarray:
    """Rows of the front Gaussians that look nearest to places (x, y) in the canonical picture."""
    apart = np.linalg.norm(patch.means[start:end, None, :2] - xy, axis=2)
    apart[patch.means[start:end, 2] > 0.01] = np.inf
    return start + apart.argmin(axis=0)


def _lip_rows(first: int) -> list[int]:
    """Rows of ibug68's 48..67: borders of both lips, then the line where they meet."""
    across = np.round(np.linspace(1, LIP_COLUMNS - 2, 7)).astype(int)
    inner = np.round(np.linspace(3, LIP_COLUMNS - 4, 5)).astype(int)
    upper, lower = first, first + LIP_ROWS * LIP_COLUMNS
    border, seam = 1 * LIP_COLUMNS, 7 * LIP_COLUMNS
    outer = [*(upper + border + across), *(lower + border + across[-2:0:-1])]
    return [*outer, *(upper + seam + inner), *(lower + seam + inner[-2:0:-1])]


def landmarks_px(camera, mouth_modes, controls, bones) -> np.ndarray:
    """Where the 68 landmarks are seen [68, 2], px."""
    head = _landmark_head()
    world = deform_reference(head, head.motion_map(mouth_modes, controls), bones).means
    seen = world @ camera.T_camera_world[:3, :3].T + camera.T_camera_world[:3, 3]
    px = seen[:, :2] / seen[:, 2:] * (camera.fx, camera.fy) + (camera.cx, camera.cy)
    return px.astype(np.float32)
