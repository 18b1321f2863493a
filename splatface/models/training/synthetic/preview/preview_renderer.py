# SPDX-License-Identifier: Apache-2.0
"""Preview renderer: a posed body to an image and its labels, on one CPU core."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.camera import Camera
from splatface.models.render.jit import kernel
from splatface.models.training.dataset.types import BACKGROUND
from splatface.models.training.synthetic.blendshape_mapping import to_arkit_blendshapes
from splatface.models.training.synthetic.body import Body
from splatface.models.training.synthetic.body_parts import Part, PosedBody
from splatface.models.training.synthetic.preview.ambient_occlusion import (
    ambient_visibility,
    orthographic_view,
    strand_visibility,
)
from splatface.models.training.synthetic.preview.lighting import (
    LIGHTS,
    MATERIAL,
    light_strands,
    light_surface,
)
from splatface.models.training.synthetic.preview.mesh_raster import (
    NOTHING,
    draw_strands,
    fill_triangles,
    mark_strands,
    to_screen,
    vertex_normals,
)
from splatface.models.typing import AnyArray, UInt8Array

__all__ = ["PreviewRenderer", "backdrop_radiance", "inverse_tone_map", "resolve_and_tonemap", "tone_map"]

f4 = np.float32

_EXPOSURE = 0.533
_BRIGHTEST = 16.0  # linear; all above is white
_STEPS = 8192


def tone_map(linear: AnyArray) -> AnyArray:
    """Return linear light [...] >= 0 to picture values 0..1: a film's shoulder, then sRGB's curve.

    The shoulder is Narkowicz' fit of ACES (2015).
    """
    x = _EXPOSURE * np.asarray(linear, np.float64)
    film = np.clip(x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14), 0, 1)
    picture: AnyArray = np.where(film <= 0.0031308, 12.92 * film, 1.055 * film ** (1 / 2.4) - 0.055)
    return picture


# By the square root, so that the dark is as fine as the bright.
_CURVE = tone_map((np.arange(_STEPS + 1) / _STEPS) ** 2 * _BRIGHTEST).astype(np.float32)


def inverse_tone_map(picture: AnyArray) -> AnyArray:
    """Return the linear light that becomes these picture values (0..1, short of white)."""
    light: AnyArray = np.interp(picture, _CURVE, (np.arange(_STEPS + 1) / _STEPS) ** 2 * _BRIGHTEST)
    return light


def resolve_and_tonemap(color: AnyArray, labels: UInt8Array, block: int) -> tuple[UInt8Array, UInt8Array]:
    """Return picture [H, W, 3] and labels [H, W] of samples [H * block, W * block, ..].

    Each sample is tone-mapped before the mean, so that bright edges do not eat into dark ones. The most
    frequent label wins, of equals the later in LABELS.
    """
    height, width = labels.shape[0] // block, labels.shape[1] // block
    picture = np.empty((height, width, 3), np.uint8)
    voted = np.empty((height, width), np.uint8)
    _develop(color, labels, _CURVE, (picture, voted))
    return picture, voted


@kernel
def _develop(color, labels, curve, out):  # type: ignore[no-untyped-def]
    picture, voted = out
    height, width, _ = picture.shape
    block = len(labels) // height
    steps = len(curve) - 1
    votes = np.zeros(256, np.int32)
    for y in range(height):
        for x in range(width):
            for channel in range(3):
                total = f4(0)
                for j in range(block):
                    for i in range(block):
                        light = color[y * block + j, x * block + i, channel]
                        at = np.sqrt(min(max(light, f4(0)) / f4(16), f4(1))) * f4(steps)
                        low = min(int(at), steps - 1)
                        share = at - f4(low)
                        total += curve[low] + share * (curve[low + 1] - curve[low])
                picture[y, x, channel] = np.uint8(f4(255) * total / f4(block * block) + f4(0.5))
            best, most = 0, 0
            for j in range(block):
                for i in range(block):
                    votes[labels[y * block + j, x * block + i]] += 1
            for j in range(block):
                for i in range(block):
                    label = labels[y * block + j, x * block + i]
                    if votes[label] > most or (votes[label] == most and label > best):
                        best, most = int(label), votes[label]
            for j in range(block):
                for i in range(block):
                    votes[labels[y * block + j, x * block + i]] = 0
            voted[y, x] = best


_CENTER = np.array([0.80, 0.83, 0.86])  # sRGB
_CORNER = np.array([0.60, 0.65, 0.70])


def backdrop_radiance(camera: Camera, block: int) -> NDArray[Any]:
    """Return linear light [H * block, W * block, 3] f32 of the empty view, constant within a pixel."""
    x = (np.arange(camera.width) + 0.5) / camera.width - 0.5
    y = (np.arange(camera.height) + 0.5) / camera.height - 0.5
    far = np.clip(np.hypot(*np.meshgrid(x, y + 0.08)) / 0.75, 0, 1)[..., None] ** 1.5
    # Dithered: 8 bits alone would show rings.
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (camera.height, camera.width, 1)) / 255
    light = inverse_tone_map(_CENTER * (1 - far) + _CORNER * far + noise).astype(np.float32)
    fine: NDArray[Any] = np.repeat(np.repeat(light, block, axis=0), block, axis=1)
    return fine


_SUPERSAMPLING = 2
_SHADOW_PX = 640
_SHADOW_HALF_M = 0.30
_SHADOW_CENTER = np.array([0.0, 0.06, 0.08])
# Shading of each material: wrapped light (r, g, b), gloss exponent, gloss strength.
_MATERIALS = {
    "skin": (0.42, 0.20, 0.14, 22.0, 0.85),
    "teeth": (0.30, 0.28, 0.25, 90.0, 1.3),
    "mouth": (0.40, 0.20, 0.20, 40.0, 1.0),
    "eye": (0.25, 0.22, 0.22, 700.0, 5.0),
    "cloth": (0.15, 0.15, 0.15, 6.0, 0.25),
}
# Teeth are small bright things in a cave that a film's light would reach by many ways.
_TEETH_OPENNESS = 0.6
_GLOSS = 2.2  # moist skin against dry
_STRAND_OPACITY = {"hair": 0.85, "brow": 0.8, "lash": 0.9}


@dataclass(frozen=True, slots=True, eq=False)
class _Surface:
    """All meshes of a body as one."""

    names: tuple[str, ...]
    triangles: NDArray[np.int32]  # [F, 3]
    albedo: AnyArray  # [P, 3] f32
    labels: NDArray[np.uint8]  # [P]
    materials: AnyArray  # [P, 5] f32


@dataclass(frozen=True, slots=True, eq=False)
class _Groom:
    """One part of strands."""

    name: str
    per_strand: int
    albedo: AnyArray  # [S, 3] f32
    openness: AnyArray  # [S * K, 2] f32
    inks: AnyArray  # [S * K, 5] f32: opacity and label, and room for the color
    radii_m: AnyArray  # [S * K] f32
    firsts: NDArray[np.int64]  # [S * (K - 1)] first point of every segment


class PreviewRenderer:
    """Draws one body with one camera; what never changes is found once, in about a second."""

    def __init__(self, body: Body, camera: Camera) -> None:
        self.camera = camera
        self._surface = _make_surface(body)
        self._grooms = [
            _make_groom(name, part) for name, part in body.parts.items() if part.kind == "strands"
        ]
        self._openness = _ambient_visibility(body, self._surface)
        self._backdrop = backdrop_radiance(camera, _SUPERSAMPLING)

    def background(self) -> UInt8Array:
        """Return the picture [H, W, 3] without a body."""
        nothing = np.full(self._backdrop.shape[:2], BACKGROUND, np.uint8)
        return resolve_and_tonemap(self._backdrop, nothing, _SUPERSAMPLING)[0]

    def draw(self, posed: PosedBody) -> tuple[UInt8Array, UInt8Array]:
        """Return picture [H, W, 3] RGB and labels [H, W] (LABELS) of a posed body."""
        color = self._backdrop.copy()
        height, width, _ = color.shape
        nearness = np.zeros((height, width), np.float32)
        owner = np.full((height, width), NOTHING, np.int32)
        camera = self.camera.scaled_to(
            self.camera.width * _SUPERSAMPLING, self.camera.height * _SUPERSAMPLING
        )
        points = _joined(posed, self._surface.names)
        normals = vertex_normals(points, self._surface.triangles)
        pose = camera.T_camera_world.astype(np.float32)
        lens = np.array([camera.fx, camera.fy, camera.cx, camera.cy], np.float32)
        screens = to_screen(points, pose, lens)
        fill_triangles(screens, self._surface.triangles, nearness, owner)
        eye = np.linalg.inv(camera.T_camera_world)[:3, 3].astype(np.float32)
        self._light((owner, screens), (points, normals), posed, eye, color)
        labels = self._labels(owner)
        hidden = np.zeros((height, width), np.float32)
        for groom in self._grooms:
            strands = posed.positions[groom.name].reshape(-1, 3).astype(np.float32)
            buffers = (color, hidden, labels, nearness)
            _draw_groom(groom, strands, (pose, lens, eye), buffers)
        return resolve_and_tonemap(color, labels, _SUPERSAMPLING)

    def _light(self, seen: Any, shape: Any, posed: PosedBody, eye: AnyArray, color: AnyArray) -> None:
        owner, screens = seen
        points, normals = shape
        surface = self._surface
        light_surface(
            (owner, surface.triangles, screens),
            (points, normals, surface.albedo, self._openness, surface.materials),
            (LIGHTS.towards, LIGHTS.colors, LIGHTS.sky, LIGHTS.ground),
            self._shadow(points, posed),
            eye,
            color,
        )

    def _shadow(self, points: AnyArray, posed: PosedBody) -> tuple[AnyArray, AnyArray]:
        view = orthographic_view(
            LIGHTS.towards[0].astype(np.float64), _SHADOW_CENTER, _SHADOW_HALF_M, _SHADOW_PX
        )
        depths = np.zeros((_SHADOW_PX, _SHADOW_PX), np.float32)
        owner = np.full(depths.shape, NOTHING, np.int32)
        fill_triangles(view.screens(points), self._surface.triangles, depths, owner)
        for groom in self._grooms:
            if groom.name == "hair":
                strands = posed.positions[groom.name].reshape(-1, 3)
                mark_strands(view.screens(strands), groom.per_strand, depths)
        return depths, view.T

    def _labels(self, owner: NDArray[np.int32]) -> UInt8Array:
        of_face = self._surface.labels[self._surface.triangles[:, 0]]
        return np.where(owner >= 0, of_face[np.maximum(owner, 0)], np.uint8(BACKGROUND)).astype(np.uint8)


def _draw_groom(
    groom: _Groom, strands: AnyArray, view: tuple[AnyArray, AnyArray, AnyArray], buffers: Any
) -> None:
    pose, lens, eye = view
    screens = to_screen(strands, pose, lens)
    lights = (LIGHTS.towards, LIGHTS.colors, LIGHTS.sky, LIGHTS.ground)
    light_strands(strands, groom.per_strand, groom.albedo, groom.openness, lights, eye, groom.inks)
    order = groom.firsts[np.argsort(screens[groom.firsts, 2])]
    widths = (2 * lens[0] * groom.radii_m * screens[:, 2]).astype(np.float32)
    draw_strands(order, screens, groom.inks, widths, buffers)


def _joined(posed: PosedBody, names: tuple[str, ...]) -> AnyArray:
    return np.concatenate([posed.positions[name] for name in names]).astype(np.float32)


def _make_surface(body: Body) -> _Surface:
    meshes = {name: part for name, part in body.parts.items() if part.kind == "mesh"}
    triangles, start = [], 0
    for part in meshes.values():
        assert part.faces is not None
        quads = part.faces + start
        triangles += [quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]
        start += len(part.positions)
    return _Surface(
        names=tuple(meshes),
        triangles=np.concatenate(triangles).astype(np.int32),
        albedo=np.concatenate([part.colors for part in meshes.values()]).astype(np.float32),
        labels=np.concatenate([part.labels for part in meshes.values()]).astype(np.uint8),
        materials=np.concatenate([_part_material(part) for part in meshes.values()]),
    )


def _part_material(part: Part) -> AnyArray:
    material = np.empty((len(part.positions), MATERIAL), np.float32)
    material[:] = _MATERIALS[part.material]
    if part.gloss is not None:
        material[:, 4] *= 1 + (_GLOSS - 1) * part.gloss
    return material


def _make_groom(name: str, part: Part) -> _Groom:
    strands, per_strand, _ = part.positions.shape
    along = np.tile(np.linspace(0, 1, per_strand), strands)
    inks = np.zeros((strands * per_strand, 5), np.float32)
    # Tips fade, so that they do not end in steps.
    inks[:, 3] = _STRAND_OPACITY[part.material] * np.clip((1 - along) / 0.15, 0.25, 1)
    inks[:, 4] = np.repeat(part.labels, per_strand)
    points = np.arange(strands * per_strand).reshape(strands, per_strand)
    root, tip = part.radius
    dense = part.material == "hair"
    openness = (
        strand_visibility(part.positions, LIGHTS.towards[0])
        if dense
        else np.full((strands * per_strand, 2), 0.8, np.float32)
    )
    return _Groom(
        name=name,
        per_strand=per_strand,
        albedo=part.colors.astype(np.float32),
        openness=openness,
        inks=inks,
        radii_m=(root + (tip - root) * along).astype(np.float32),
        firsts=points[:, :-1].ravel(),
    )


def _ambient_visibility(body: Body, surface: _Surface) -> AnyArray:
    """Return openness [P] f32: of the face at rest, and with its mouth wide open and its eyes shut."""
    mouth, controls = np.zeros(len(MOUTH_MODES)), np.zeros(len(CONTROLS))
    wide, shut = mouth.copy(), controls.copy()
    wide[[MOUTH_MODES.index(name) for name in ("open", "upper_lip", "lower_lip")]] = (1.0, 0.7, 0.7)
    shut[:2] = 1.0
    faces = []
    for actions in (to_arkit_blendshapes(mouth, controls), to_arkit_blendshapes(wide, shut)):
        points = _joined(body.posed(actions), surface.names)
        faces.append((points, vertex_normals(points, surface.triangles)))
    hair = [part.positions for part in body.parts.values() if part.material == "hair"]
    openness = ambient_visibility(faces, surface.triangles, hair).astype(np.float32)
    materials = [np.full(len(body.parts[n].positions), body.parts[n].material) for n in surface.names]
    teeth = np.concatenate(materials) == "teeth"
    opened: AnyArray = np.where(teeth, np.maximum(openness, np.float32(_TEETH_OPENNESS)), openness)
    return opened
