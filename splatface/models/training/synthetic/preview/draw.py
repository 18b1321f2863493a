"""The preview renderer: a posed body to a picture and its labels, on one core."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.camera import Camera
from splatface.models.training.dataset.types import BACKGROUND
from splatface.models.training.synthetic.articulate import to_arkit_blendshapes
from splatface.models.training.synthetic.body import Body
from splatface.models.training.synthetic.parts import Part, PosedBody
from splatface.models.training.synthetic.preview.backdrop import backdrop
from splatface.models.training.synthetic.preview.develop import resolve_and_tonemap
from splatface.models.training.synthetic.preview.light import LIGHTS, MATERIAL, light_strands, light_surface
from splatface.models.training.synthetic.preview.openness import (
    ambient_visibility,
    look_from,
    strand_openness,
)
from splatface.models.training.synthetic.preview.raster import (
    NOTHING,
    draw_strands,
    fill_triangles,
    mark_strands,
    to_screen,
    vertex_normals,
)
from splatface.models.typing import AnyArray, UInt8Array

__all__ = ["Preview"]


_SUPERSAMPLING = 2
_SHADOW_PX = 640
_SHADOW_HALF_M = 0.30
_SHADOW_CENTER = np.array([0.0, 0.06, 0.08])
# How light meets each material: wrapped light (r, g, b), gloss exponent, gloss strength.
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


class Preview:
    """Draws one body with one camera; what never changes is found once, in about a second."""

    def __init__(self, body: Body, camera: Camera) -> None:
        self.camera = camera
        self._surface = _surface_of(body)
        self._grooms = [_groom_of(name, part) for name, part in body.parts.items() if part.kind == "strands"]
        self._openness = _openness_of(body, self._surface)
        self._backdrop = backdrop(camera, _SUPERSAMPLING)

    def background(self) -> UInt8Array:
        """The picture [H, W, 3] without a body."""
        nothing = np.full(self._backdrop.shape[:2], BACKGROUND, np.uint8)
        return resolve_and_tonemap(self._backdrop, nothing, _SUPERSAMPLING)[0]

    def draw(self, posed: PosedBody) -> tuple[UInt8Array, UInt8Array]:
        """Picture [H, W, 3] RGB and labels [H, W] (LABELS) of a posed body."""
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
        view = look_from(LIGHTS.towards[0].astype(np.float64), _SHADOW_CENTER, _SHADOW_HALF_M, _SHADOW_PX)
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


def _surface_of(body: Body) -> _Surface:
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
        materials=np.concatenate([_material_of(part) for part in meshes.values()]),
    )


def _material_of(part: Part) -> AnyArray:
    material = np.empty((len(part.positions), MATERIAL), np.float32)
    material[:] = _MATERIALS[part.material]
    if part.gloss is not None:
        material[:, 4] *= 1 + (_GLOSS - 1) * part.gloss
    return material


def _groom_of(name: str, part: Part) -> _Groom:
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
        strand_openness(part.positions, LIGHTS.towards[0])
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


def _openness_of(body: Body, surface: _Surface) -> AnyArray:
    """Openness [P] f32: of the face at rest, and with its mouth wide open and its eyes shut."""
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
