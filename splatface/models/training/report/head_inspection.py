"""Images of the inside of a head and of a trained field: structure, motion, attention."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.camera import Camera
from splatface.models.errors import TrainingError
from splatface.models.head.controls import bone_poses, soft_limit_motion
from splatface.models.head.deformation import Deformer
from splatface.models.head.head import Head, PoseLimits, Splats
from splatface.models.messages import HeadControl
from splatface.models.render.render import renderer
from splatface.models.rotations import quat_from_euler
from splatface.models.training.dataset.types import TEST, TRAIN, VAL, Dataset
from splatface.models.training.fields.attention_field import AttentionField
from splatface.models.training.fields.field import Condition
from splatface.models.training.optimization.bake import DatasetRenderer, DeformationSource
from splatface.models.training.optimization.dataset_statistics import known_frame_indices, motion_at
from splatface.models.training.optimization.field_trainers import Conditions
from splatface.models.training.optimization.finalize import make_deformation_source
from splatface.models.training.optimization.gaussian_skinning import unpack
from splatface.models.training.optimization.training_run import TrainingResult
from splatface.models.typing import Float32Array, UInt8Array

__all__ = [
    "SH_0",
    "PosedRenderer",
    "color_map",
    "displacement_colors",
    "field_sheets",
    "inspect_field",
    "inspect_head",
    "named",
    "sheet",
    "sheets",
    "shown_rows",
    "write_sheets",
]

_ANY_POSE = PoseLimits(
    yaw_rad=(-math.pi, math.pi), pitch_rad=(-1.5, 1.5), roll_rad=(-math.pi, math.pi), translation_m=10.0
)


def shown_rows(dataset: Dataset, most: int) -> NDArray[np.int64]:
    """The first rows of the film's last part, which nobody trained on; of VAL or of all where there is none.

    Rows whose motion is not known are left out.
    """
    frames = dataset.frames
    known = np.ones(len(frames), bool)
    for values in (frames.mouth, frames.controls, frames.T_world_head, frames.T_world_torso):
        known &= np.isfinite(values.reshape(len(frames), -1)).all(axis=1)
    for part in (TEST, VAL):
        rows = np.flatnonzero(known & (frames.split == part))
        if len(rows):
            return rows[:most]
    return np.flatnonzero(known)[:most]


class PosedRenderer:
    """A head posed by hand, also beyond the limits that it sets itself when it runs."""

    def __init__(self, head: Head, camera: Camera, background: ArrayLike) -> None:
        self.head, self.camera = head, camera
        self.background = np.asarray(background, np.float32)
        self._deform = Deformer(head)
        self._drawer = renderer("cpu")
        self._info = replace(head.info, pose_limits=_ANY_POSE)

    def render_basis_direction(self, direction: int, far: float) -> UInt8Array:
        """The picture of one direction of the basis by itself, so far from rest."""
        c = np.zeros(self.head.basis.shape[2], np.float32)
        c[direction] = far
        return self.draw(self._deform(c, bone_poses(HeadControl(), self._info)))

    def splats(
        self, motion: Float32Array | None = None, *, yaw_deg: float = 0.0, pitch_deg: float = 0.0
    ) -> Splats:
        """The Gaussians in the world; motion [16] (mouth modes, controls) is rest when left out.

        The puppet's own arrays: they hold until the next call.
        """
        modes = len(MOUTH_MODES)
        values = np.zeros(modes + len(CONTROLS), np.float32) if motion is None else motion
        turn = quat_from_euler(np.radians([yaw_deg, pitch_deg, 0.0]))
        bones = bone_poses(HeadControl(quat_world_head=turn), self._info)
        return self._deform(self.head.motion_map(values[:modes], values[modes:]), bones)

    def draw(self, splats: Splats) -> UInt8Array:
        """Their picture [H, W, 3] RGB."""
        return self._drawer.draw_uint8(splats, self.camera, self.background)

    def picture(
        self, motion: Float32Array | None = None, *, yaw_deg: float = 0.0, pitch_deg: float = 0.0
    ) -> UInt8Array:
        """The picture [H, W, 3] RGB of the head so."""
        return self.draw(self.splats(motion, yaw_deg=yaw_deg, pitch_deg=pitch_deg))


SH_0 = np.float32(0.28209479177387814)  # of harmonics of degree 0
_DARK = np.array([0.07, 0.07, 0.09], np.float32)
_ANGLES = ((0, 0), (-20, 0), (20, 0), (0, -15), (0, 15), (-40, 0), (40, 0), (-20, 15))  # yaw, pitch
_SMALLEST_DOT_M = 0.0006
_ELLIPSOID = 0.5  # of its standard deviation each Gaussian keeps where they are shown one by one


def inspect_head(head: Head, folder: Path) -> list[Path]:
    """Write every sheet of a head as a PNG of its name; the files.

    Raises:
        TrainingError: when the disk refuses.
    """
    return write_sheets(sheets(head), folder)


def write_sheets(named_sheets: Iterable[tuple[str, UInt8Array]], folder: Path) -> list[Path]:
    """Write pictures as PNG of their names; the files. Raises TrainingError when the disk refuses."""
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, drawn in named_sheets:
            file = folder / f"{name}.png"
            file.write_bytes(cv2.imencode(".png", drawn[..., ::-1])[1].tobytes())
            written.append(file)
    except OSError as error:
        raise TrainingError(
            f"{folder}: expected to write pictures, found {error.strerror or error}: choose another --out"
        ) from error
    return written


def sheets(head: Head) -> Iterator[tuple[str, UInt8Array]]:
    """Name and picture [H, W, 3] RGB of everything there is to see.

    angles            at rest, from several sides
    ellipsoids        each Gaussian by itself, half as large and opaque
    centers           each Gaussian as a dot
    skin              blue moves with the torso, red with the head
    dynamic           what speech and eyes move: brighter = more, black = never
    mouth, controls   each mode and control as far as a running head lets it go, at most 1 (gaze: 0.3 rad)
    directions        each direction of the basis at -2 and +2 (1 is its root mean square)
    """
    posed_renderer = PosedRenderer(head, head.info.camera.scaled_to(384, 384), head.info.background)
    around = [
        named(posed_renderer.picture(yaw_deg=y, pitch_deg=p), f"yaw {y}, pitch {p}") for y, p in _ANGLES
    ]
    yield "angles", sheet(around)
    yield "ellipsoids", _two_sides(posed_renderer, lambda s: _opaque(s, s.scales * np.float32(_ELLIPSOID)))
    yield "centres", _two_sides(posed_renderer, lambda s: _opaque(s, np.full_like(s.scales, _SMALLEST_DOT_M)))
    yield "skin", _two_sides(posed_renderer, lambda s: _painted(s, _blue_to_red(head.skinning_weight)))
    yield "dynamic", _two_sides(posed_renderer, lambda s: _painted(s, _heat_color(_movement(head))))
    yield "mouth", _motions(posed_renderer, MOUTH_MODES)
    yield "controls", _motions(posed_renderer, CONTROLS)
    yield "directions", _directions(head, posed_renderer)


def _movement(head: Head) -> Float32Array:
    """How far each Gaussian goes [N], 0..1: the root of all it does, places in their own size."""
    size = np.exp(head.gaussians.log_scales[head.dynamic]).mean(axis=1)
    basis = head.basis.astype(np.float64)
    strength = np.sqrt(
        (basis[:, :3] ** 2).sum(axis=(1, 2)) / size**2
        + (basis[:, 7:11] ** 2).sum(axis=(1, 2))
        + (basis[:, 11:] ** 2).sum(axis=(1, 2))
    )
    found = np.zeros(len(head.gaussians), np.float32)
    if len(strength):
        found[head.dynamic] = np.clip(strength / max(float(np.percentile(strength, 98)), 1e-9), 0.05, 1)
    return found


def _two_sides(posed_renderer: PosedRenderer, change: Callable[[Splats], Splats]) -> UInt8Array:
    return sheet([posed_renderer.draw(change(posed_renderer.splats(yaw_deg=yaw))) for yaw in (0, 30)])


def _opaque(splats: Splats, scales: Float32Array) -> Splats:
    seen = np.where(splats.opacities > 0.1, np.float32(0.98), np.float32(0))
    return replace(splats, scales=np.ascontiguousarray(scales), opacities=seen)


def _painted(splats: Splats, colors: Float32Array) -> Splats:
    """The same Gaussians in flat colors [N, 3]."""
    sh = np.zeros_like(splats.sh)
    sh[:, 0] = (colors - np.float32(0.5)) / SH_0
    return replace(splats, sh=sh)


def _blue_to_red(share: Float32Array) -> Float32Array:
    blue, red = np.array([0.2, 0.45, 0.9], np.float32), np.array([0.9, 0.3, 0.2], np.float32)
    return blue + share[:, None] * (red - blue)


def _heat_color(share: Float32Array) -> Float32Array:
    levels = np.clip(share * 255, 0, 255).astype(np.uint8)[:, None]
    colors = np.asarray(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)).reshape(-1, 3)[:, ::-1]
    return np.maximum(np.ascontiguousarray(colors).astype(np.float32) / 255, _DARK)


def _motions(posed_renderer: PosedRenderer, names: tuple[str, ...]) -> UInt8Array:
    views = [named(_face(posed_renderer.picture()), "rest")]
    limits, every = posed_renderer.head.info.motion_limits, (*MOUTH_MODES, *CONTROLS)
    for name in names:
        asked = np.where(np.array(every) == name, 0.3 if name.startswith("gaze") else 1.0, 0.0)
        mouth, controls = np.split(asked.astype(np.float32), [len(MOUTH_MODES)])
        motion = np.concatenate(soft_limit_motion(mouth, controls, limits))
        views.append(named(_face(posed_renderer.picture(motion)), f"{name} {motion[every.index(name)]:.2f}"))
    return sheet(views)


def _directions(head: Head, posed_renderer: PosedRenderer) -> UInt8Array:
    """Each direction of the basis by itself, twice its usual size: minus above plus."""
    ways = head.basis.shape[2]
    pairs = []
    for k in range(ways):
        ends = [posed_renderer.render_basis_direction(k, sign) for sign in (-2.0, 2.0)]
        pairs.append(named(np.vstack([_face(end) for end in ends]), head.info.coefficient_names[k]))
    return sheet(pairs, across=8)


def _face(picture: UInt8Array) -> UInt8Array:
    """The middle of a picture, where the face is."""
    tall, wide = picture.shape[:2]
    face = picture[tall // 6 : tall * 3 // 4, wide * 5 // 24 : wide * 19 // 24]
    return np.asarray(cv2.resize(face, (256, 256), interpolation=cv2.INTER_AREA), np.uint8)


def named(picture: UInt8Array, name: str) -> UInt8Array:
    """The picture with its name in the corner."""
    written = np.ascontiguousarray(picture)
    for color, thick in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(written, name, (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, color, thick, cv2.LINE_AA)
    return written


def sheet(pictures: list[UInt8Array], across: int = 4) -> UInt8Array:
    """Pictures of one size in rows."""
    across = min(across, len(pictures))
    missing = -len(pictures) % across
    filled = [*pictures, *[np.full_like(pictures[0], 255)] * missing]
    rows = [np.hstack(filled[i : i + across]) for i in range(0, len(filled), across)]
    return np.vstack(rows)


Paint = Callable[[Condition, Tensor], dict[str, Tensor]]  # condition, deltas -> RGB [N, 3] by name


def inspect_field(trained: TrainingResult, folder: Path) -> list[Path]:
    """Write every sheet of a trained field as a PNG of its name; the files. TrainingError when it cannot."""
    return write_sheets(field_sheets(trained), folder)


def field_sheets(trained: TrainingResult) -> Iterator[tuple[str, UInt8Array]]:
    """Name and picture [H, W, 3] RGB; one line for each of a few moments.

    movement    the picture, and how far each Gaussian moves: dark blue not at all, red a centimetre
    dynamism    how strongly each Gaussian is moved, 0..1 (fields that have a dynamism)
    attention   how much each Gaussian listens to each token, 0..1 (the attention field)
    """
    performer = make_deformation_source(trained)
    scene = _Scene(trained, performer)
    means = unpack(performer.table).means
    yield "movement", scene.lines(lambda _, deltas: {"movement": displacement_colors(deltas)})
    field = trained.field
    rest = scene.conditions(scene.rows["rest"])
    with torch.no_grad():
        has_dynamism = field.forward(means, rest).dynamism is not None
    if has_dynamism:

        def dynamism(condition: Condition, _: Tensor) -> dict[str, Tensor]:
            with torch.no_grad():
                share = field.forward(means, condition).dynamism
            assert share is not None
            return {"dynamism": color_map(share)}

        yield "dynamism", scene.lines(dynamism)
    if isinstance(field, AttentionField) and field.attention_maps(means, rest):

        def attention(condition: Condition, _: Tensor) -> dict[str, Tensor]:
            maps = field.attention_maps(means, condition)
            return {token: color_map(weights) for token, weights in maps.items()}

        yield "attention", scene.lines(attention)


class _Scene:
    """A few moments of the film, drawn in their own colors and in others."""

    def __init__(self, trained: TrainingResult, performer: DeformationSource) -> None:
        dataset = trained.dataset
        self.conditions = Conditions(dataset, trained.config.field.conditioning, trained.config.encoder)
        self.rows = _moments(dataset)
        self._performer, self._stage = performer, DatasetRenderer(dataset)

    def lines(self, paint: Paint) -> UInt8Array:
        """One line a moment: the picture itself, then each of its maps."""
        pictures = []
        for moment, row in self.rows.items():
            deltas = self._performer.deltas(row)
            table = self._performer.table
            pictures.append(named(self._drawn(table, deltas, row), moment))
            maps = paint(self.conditions(row), deltas)
            for name, colors in maps.items():
                flat, still = table.clone(), deltas.clone()
                flat[:, 12:], still[:, 11:] = 0.0, 0.0
                flat[:, 12:15] = (colors.cpu() - 0.5) / float(SH_0)
                pictures.append(named(self._drawn(flat, still, row), name))
        return sheet(pictures, across=len(pictures) // len(self.rows))

    def _drawn(self, table: Tensor, deltas: Tensor, row: int) -> UInt8Array:
        with torch.no_grad():
            image = self._stage.picture(table, deltas, row).numpy()
        return np.asarray(np.clip(image, 0, 1) * 255 + 0.5, np.uint8)


def _moments(dataset: Dataset) -> dict[str, int]:
    """Rows in which most is to be seen, by what happens there."""
    rows = known_frame_indices(dataset, TRAIN)
    motion = motion_at(dataset, rows)
    mouth, controls = motion[:, : len(MOUTH_MODES)], motion[:, len(MOUTH_MODES) :]
    found = {"rest": int(np.abs(motion).sum(axis=1).argmin())}
    found |= {mode: int(mouth[:, MOUTH_MODES.index(mode)].argmax()) for mode in ("open", "round")}
    found["blink"] = int(controls[:, CONTROLS.index("blink_left")].argmax())
    return {name: int(rows[at]) for name, at in found.items()}


# Blue (0) over cyan, green and yellow to red (1), dark at both ends: control points of our own.
_COLOR_STOPS = (
    (0.19, 0.11, 0.30),
    (0.22, 0.36, 0.88),
    (0.12, 0.66, 0.93),
    (0.18, 0.89, 0.65),
    (0.62, 0.97, 0.25),
    (0.96, 0.79, 0.18),
    (0.96, 0.45, 0.10),
    (0.78, 0.16, 0.05),
    (0.48, 0.02, 0.02),
)
_LARGEST_DISPLACEMENT_M = 0.01  # takes the last color


def color_map(values: Tensor) -> Tensor:
    """Return RGB [..., 3] in 0..1 for values [...] in 0..1; values outside take the color of the end."""
    stops = torch.tensor(_COLOR_STOPS, dtype=values.dtype, device=values.device)
    scaled = values.nan_to_num(0.0).clamp(0, 1) * (len(stops) - 1)
    first = scaled.floor().long().clamp(max=len(stops) - 2)
    weight = (scaled - first)[..., None]
    return stops[first] * (1 - weight) + stops[first + 1] * weight


def displacement_colors(deltas: Tensor, largest_m: float = _LARGEST_DISPLACEMENT_M) -> Tensor:
    """Return RGB [N, 3] by how far each Gaussian moves, 0 to `largest_m`, of deltas [N, 14]."""
    return color_map(deltas.detach()[:, :3].norm(dim=1) / largest_m)
