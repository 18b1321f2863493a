# SPDX-License-Identifier: Apache-2.0
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
    "head_sheets",
    "held_out_frames",
    "inspect_field",
    "inspect_head",
    "label_image",
    "tile_images",
    "write_sheets",
]

_ANY_POSE = PoseLimits(
    yaw_rad=(-math.pi, math.pi), pitch_rad=(-1.5, 1.5), roll_rad=(-math.pi, math.pi), translation_m=10.0
)


def held_out_frames(dataset: Dataset, max_count: int) -> NDArray[np.int64]:
    """Return the first TEST frames, which nobody trained on; VAL frames or all where there are none.

    Frames whose motion is not known are left out.
    """
    frames = dataset.frames
    known = np.ones(len(frames), bool)
    for values in (frames.mouth, frames.controls, frames.T_world_head, frames.T_world_torso):
        known &= np.isfinite(values.reshape(len(frames), -1)).all(axis=1)
    for part in (TEST, VAL):
        frame_indices = np.flatnonzero(known & (frames.split == part))
        if len(frame_indices):
            return frame_indices[:max_count]
    return np.flatnonzero(known)[:max_count]


class PosedRenderer:
    """Renderer of a head in any pose, also beyond the limits that it keeps when it runs live."""

    def __init__(self, head: Head, camera: Camera, background: ArrayLike) -> None:
        self.head, self.camera = head, camera
        self.background = np.asarray(background, np.float32)
        self._deform = Deformer(head)
        self._renderer = renderer("cpu")
        self._info = replace(head.info, pose_limits=_ANY_POSE)

    def render_basis_direction(self, direction: int, amount: float) -> UInt8Array:
        """Return the image of one direction of the basis, `amount` from rest."""
        c = np.zeros(self.head.basis.shape[2], np.float32)
        c[direction] = amount
        return self.render_splats(self._deform(c, bone_poses(HeadControl(), self._info)))

    def splats(
        self, motion: Float32Array | None = None, *, yaw_deg: float = 0.0, pitch_deg: float = 0.0
    ) -> Splats:
        """Return the splats in the world; motion [16] (mouth modes, controls) is rest when left out.

        They are internal buffers, valid until the next call.
        """
        modes = len(MOUTH_MODES)
        values = np.zeros(modes + len(CONTROLS), np.float32) if motion is None else motion
        quat = quat_from_euler(np.radians([yaw_deg, pitch_deg, 0.0]))
        bones = bone_poses(HeadControl(quat_world_head=quat), self._info)
        return self._deform(self.head.motion_map(values[:modes], values[modes:]), bones)

    def render_splats(self, splats: Splats) -> UInt8Array:
        """Return the image [H, W, 3] RGB of splats."""
        return self._renderer.draw_uint8(splats, self.camera, self.background)

    def render_image(
        self, motion: Float32Array | None = None, *, yaw_deg: float = 0.0, pitch_deg: float = 0.0
    ) -> UInt8Array:
        """Return the image [H, W, 3] RGB of the head in this motion and pose."""
        return self.render_splats(self.splats(motion, yaw_deg=yaw_deg, pitch_deg=pitch_deg))


SH_0 = np.float32(0.28209479177387814)  # of harmonics of degree 0
_DARK = np.array([0.07, 0.07, 0.09], np.float32)
_ANGLES = ((0, 0), (-20, 0), (20, 0), (0, -15), (0, 15), (-40, 0), (40, 0), (-20, 15))  # yaw, pitch
_DOT_M = 0.0006
_ELLIPSOID_SCALE = 0.5  # of the standard deviation, where Gaussians are shown one by one


def inspect_head(head: Head, folder: Path) -> list[Path]:
    """Write every sheet of a head as a PNG of its name; return the files.

    Raises:
        TrainingError: when the disk refuses.
    """
    return write_sheets(head_sheets(head), folder)


def write_sheets(named_sheets: Iterable[tuple[str, UInt8Array]], folder: Path) -> list[Path]:
    """Write images as PNG of their names; return the files. Raises TrainingError when the disk refuses."""
    labeled = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, image in named_sheets:
            file = folder / f"{name}.png"
            file.write_bytes(cv2.imencode(".png", image[..., ::-1])[1].tobytes())
            labeled.append(file)
    except OSError as error:
        raise TrainingError(
            f"{folder}: expected to write pictures, found {error.strerror or error}: choose another --out"
        ) from error
    return labeled


def head_sheets(head: Head) -> Iterator[tuple[str, UInt8Array]]:
    """Yield name and image [H, W, 3] RGB of each sheet of a head.

    angles            at rest, from several sides
    ellipsoids        each Gaussian by itself, half as large and opaque
    centers           each Gaussian as a dot
    skin              blue moves with the torso, red with the head
    dynamic           what speech and eyes move: brighter = more, black = never
    mouth, controls   each mode and control as far as a running head lets it go, at most 1 (gaze: 0.3 rad)
    directions        each direction of the basis at -2 and +2 (1 is its root mean square)
    """
    posed = PosedRenderer(head, head.info.camera.scaled_to(384, 384), head.info.background)
    views = [
        label_image(posed.render_image(yaw_deg=y, pitch_deg=p), f"yaw {y}, pitch {p}") for y, p in _ANGLES
    ]
    yield "angles", tile_images(views)
    yield "ellipsoids", _two_views(posed, lambda s: _as_opaque(s, s.scales * np.float32(_ELLIPSOID_SCALE)))
    yield (
        "centres",
        _two_views(posed, lambda s: _as_opaque(s, np.full_like(s.scales, _DOT_M))),
    )
    yield "skin", _two_views(posed, lambda s: _with_colors(s, _blue_to_red(head.skinning_weight)))
    yield "dynamic", _two_views(posed, lambda s: _with_colors(s, _heat_color(_motion_amount(head))))
    yield "mouth", _motion_sheet(posed, MOUTH_MODES)
    yield "controls", _motion_sheet(posed, CONTROLS)
    yield "directions", _direction_sheet(head, posed)


def _motion_amount(head: Head) -> Float32Array:
    """Return the relative amount of motion of each Gaussian [N], 0..1, means in units of its size."""
    size = np.exp(head.gaussians.log_scales[head.dynamic]).mean(axis=1)
    basis = head.basis.astype(np.float64)
    strength = np.sqrt(
        (basis[:, :3] ** 2).sum(axis=(1, 2)) / size**2
        + (basis[:, 7:11] ** 2).sum(axis=(1, 2))
        + (basis[:, 11:] ** 2).sum(axis=(1, 2))
    )
    indices = np.zeros(len(head.gaussians), np.float32)
    if len(strength):
        indices[head.dynamic] = np.clip(strength / max(float(np.percentile(strength, 98)), 1e-9), 0.05, 1)
    return indices


def _two_views(posed: PosedRenderer, change: Callable[[Splats], Splats]) -> UInt8Array:
    return tile_images([posed.render_splats(change(posed.splats(yaw_deg=yaw))) for yaw in (0, 30)])


def _as_opaque(splats: Splats, scales: Float32Array) -> Splats:
    seen = np.where(splats.opacities > 0.1, np.float32(0.98), np.float32(0))
    return replace(splats, scales=np.ascontiguousarray(scales), opacities=seen)


def _with_colors(splats: Splats, colors: Float32Array) -> Splats:
    """Return the splats in flat colors [N, 3]."""
    sh = np.zeros_like(splats.sh)
    sh[:, 0] = (colors - np.float32(0.5)) / SH_0
    return replace(splats, sh=sh)


def _blue_to_red(fraction: Float32Array) -> Float32Array:
    blue, red = np.array([0.2, 0.45, 0.9], np.float32), np.array([0.9, 0.3, 0.2], np.float32)
    return blue + fraction[:, None] * (red - blue)


def _heat_color(fraction: Float32Array) -> Float32Array:
    levels = np.clip(fraction * 255, 0, 255).astype(np.uint8)[:, None]
    colors = np.asarray(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)).reshape(-1, 3)[:, ::-1]
    return np.maximum(np.ascontiguousarray(colors).astype(np.float32) / 255, _DARK)


def _motion_sheet(posed: PosedRenderer, names: tuple[str, ...]) -> UInt8Array:
    views = [label_image(_crop_face(posed.render_image()), "rest")]
    limits, every = posed.head.info.motion_limits, (*MOUTH_MODES, *CONTROLS)
    for name in names:
        target = np.where(np.array(every) == name, 0.3 if name.startswith("gaze") else 1.0, 0.0)
        mouth, controls = np.split(target.astype(np.float32), [len(MOUTH_MODES)])
        motion = np.concatenate(soft_limit_motion(mouth, controls, limits))
        views.append(
            label_image(_crop_face(posed.render_image(motion)), f"{name} {motion[every.index(name)]:.2f}")
        )
    return tile_images(views)


def _direction_sheet(head: Head, posed: PosedRenderer) -> UInt8Array:
    """Return each direction of the basis at twice its standard deviation: minus above plus."""
    directions = head.basis.shape[2]
    pairs = []
    for k in range(directions):
        ends = [posed.render_basis_direction(k, sign) for sign in (-2.0, 2.0)]
        pairs.append(
            label_image(np.vstack([_crop_face(end) for end in ends]), head.info.coefficient_names[k])
        )
    return tile_images(pairs, across=8)


def _crop_face(image: UInt8Array) -> UInt8Array:
    """Return the middle of an image, where the face is."""
    tall, wide = image.shape[:2]
    face = image[tall // 6 : tall * 3 // 4, wide * 5 // 24 : wide * 19 // 24]
    return np.asarray(cv2.resize(face, (256, 256), interpolation=cv2.INTER_AREA), np.uint8)


def label_image(image: UInt8Array, name: str) -> UInt8Array:
    """Return the image with its name in the corner."""
    labeled = np.ascontiguousarray(image)
    for color, thick in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(labeled, name, (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, color, thick, cv2.LINE_AA)
    return labeled


def tile_images(pictures: list[UInt8Array], across: int = 4) -> UInt8Array:
    """Return images of one size as a grid."""
    across = min(across, len(pictures))
    missing = -len(pictures) % across
    filled = [*pictures, *[np.full_like(pictures[0], 255)] * missing]
    frame_indices = [np.hstack(filled[i : i + across]) for i in range(0, len(filled), across)]
    return np.vstack(frame_indices)


Paint = Callable[[Condition, Tensor], dict[str, Tensor]]  # condition, deltas -> RGB [N, 3] by name


def inspect_field(trained: TrainingResult, folder: Path) -> list[Path]:
    """Write every sheet of a trained field as a PNG of its name; return the files.

    Raises:
        TrainingError: when the disk refuses.
    """
    return write_sheets(field_sheets(trained), folder)


def field_sheets(trained: TrainingResult) -> Iterator[tuple[str, UInt8Array]]:
    """Yield name and image [H, W, 3] RGB of each sheet of a field; one line for each of a few frames.

    movement    the picture, and how far each Gaussian moves: dark blue not at all, red a centimetre
    dynamism    how strongly each Gaussian is moved, 0..1 (fields that have a dynamism)
    attention   attention of each Gaussian to each token, 0..1 (the attention field)
    """
    source = make_deformation_source(trained)
    renderer = _FieldRenderer(trained, source)
    means = unpack(source.table).means
    yield "movement", renderer.comparison(lambda _, deltas: {"movement": displacement_colors(deltas)})
    field = trained.field
    rest = renderer.conditions(renderer.frame_indices["rest"])
    with torch.no_grad():
        has_dynamism = field.forward(means, rest).dynamism is not None
    if has_dynamism:

        def dynamism(condition: Condition, _: Tensor) -> dict[str, Tensor]:
            with torch.no_grad():
                fraction = field.forward(means, condition).dynamism
            assert fraction is not None
            return {"dynamism": color_map(fraction)}

        yield "dynamism", renderer.comparison(dynamism)
    if isinstance(field, AttentionField) and field.attention_maps(means, rest):

        def attention(condition: Condition, _: Tensor) -> dict[str, Tensor]:
            maps = field.attention_maps(means, condition)
            return {token: color_map(weights) for token, weights in maps.items()}

        yield "attention", renderer.comparison(attention)


class _FieldRenderer:
    """A few frames rendered in true colors and in colors that show properties of a field."""

    def __init__(self, trained: TrainingResult, source: DeformationSource) -> None:
        dataset = trained.dataset
        self.conditions = Conditions(dataset, trained.config.field.conditioning, trained.config.encoder)
        self.frame_indices = _extreme_frames(dataset)
        self._source, self._renderer = source, DatasetRenderer(dataset)

    def comparison(self, paint: Paint) -> UInt8Array:
        """Return one line per frame: the image itself, then each of its maps."""
        pictures = []
        for label, frame_index in self.frame_indices.items():
            deltas = self._source.deltas(frame_index)
            table = self._source.table
            pictures.append(label_image(self._render(table, deltas, frame_index), label))
            maps = paint(self.conditions(frame_index), deltas)
            for name, colors in maps.items():
                flat, deltas_only = table.clone(), deltas.clone()
                flat[:, 12:], deltas_only[:, 11:] = 0.0, 0.0
                flat[:, 12:15] = (colors.cpu() - 0.5) / float(SH_0)
                pictures.append(label_image(self._render(flat, deltas_only, frame_index), name))
        return tile_images(pictures, across=len(pictures) // len(self.frame_indices))

    def _render(self, table: Tensor, deltas: Tensor, frame_index: int) -> UInt8Array:
        with torch.no_grad():
            image = self._renderer.render(table, deltas, frame_index).numpy()
        return np.asarray(np.clip(image, 0, 1) * 255 + 0.5, np.uint8)


def _extreme_frames(dataset: Dataset) -> dict[str, int]:
    """Return frames with extreme motion, by its name."""
    frame_indices = known_frame_indices(dataset, TRAIN)
    motion = motion_at(dataset, frame_indices)
    mouth, controls = motion[:, : len(MOUTH_MODES)], motion[:, len(MOUTH_MODES) :]
    indices = {"rest": int(np.abs(motion).sum(axis=1).argmin())}
    indices |= {mode: int(mouth[:, MOUTH_MODES.index(mode)].argmax()) for mode in ("open", "round")}
    indices["blink"] = int(controls[:, CONTROLS.index("blink_left")].argmax())
    return {name: int(frame_indices[at]) for name, at in indices.items()}


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
