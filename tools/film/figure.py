# SPDX-License-Identifier: Apache-2.0
"""The actor inside Blender: objects built once, moved for every frame."""

import bpy
import mathutils
import numpy as np
from materials import material_for

__all__ = ["Figure", "blender_points"]

# Canonical (y down, z into the scene) to Blender (z up, y into the scene).
BLENDER_CANONICAL = np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])


def blender_points(points):
    """Canonical points [..., 3] in Blender's axes, float32."""
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], -1).astype(np.float32)


class Figure:
    """Every piece of a film as a Blender object."""

    def __init__(self, film):
        self._head_fixed = film.head_fixed
        self._objects = {}
        self._shown = {}
        for name, piece in film.pieces.items():
            build = _strands if piece.kind == "strands" else _mesh
            self._objects[name] = build(piece)
            self._shown[name] = piece.positions
            bpy.context.scene.collection.objects.link(self._objects[name])

    def hide(self, hidden):
        """Leave the room empty, or not."""
        for thing in self._objects.values():
            thing.hide_render = hidden

    def move(self, frame):
        """Take the positions of a frame; what did not move is left alone."""
        for name, thing in self._objects.items():
            if name in self._head_fixed:
                thing.matrix_world = _blender_transform(frame["T_world_head"])
            elif not np.array_equal(self._shown[name], frame[name]):
                self._shown[name] = frame[name]
                _set_points(thing, blender_points(frame[name]))


def _blender_transform(T):
    matrix = np.eye(4)
    matrix[:3, :3] = BLENDER_CANONICAL @ T[:3, :3] @ BLENDER_CANONICAL.T
    matrix[:3, 3] = BLENDER_CANONICAL @ T[:3, 3]
    return mathutils.Matrix(matrix.tolist())


def _set_points(thing, points):
    if thing.type == "MESH":
        thing.data.vertices.foreach_set("co", points.ravel())
        thing.data.update()
    else:
        thing.data.attributes["position"].data.foreach_set("vector", points.ravel())
        thing.data.update_tag()


def _mesh(piece):
    mesh = bpy.data.meshes.new(piece.name)
    points = blender_points(piece.positions)
    mesh.vertices.add(len(points))
    mesh.vertices.foreach_set("co", points.ravel())
    mesh.loops.add(piece.faces.size)
    mesh.loops.foreach_set("vertex_index", piece.faces.astype(np.int32).ravel())
    mesh.polygons.add(len(piece.faces))
    mesh.polygons.foreach_set("loop_start", np.arange(0, piece.faces.size, 4, dtype=np.int32))
    labels = np.unique(piece.labels)
    for label in labels:
        mesh.materials.append(material_for(piece, label))
    slots = np.searchsorted(labels, np.max(piece.labels[piece.faces], axis=1))
    mesh.polygons.foreach_set("material_index", slots.astype(np.int32))
    mesh.update(calc_edges=True)
    mesh.shade_smooth()
    _attribute(mesh, "color", "FLOAT_COLOR", "POINT", np.c_[piece.colors, np.ones(len(piece.colors))])
    _attribute(mesh, "rest", "FLOAT_VECTOR", "POINT", points)
    if piece.gloss is not None:
        _attribute(mesh, "gloss", "FLOAT", "POINT", piece.gloss)
    return bpy.data.objects.new(piece.name, mesh)


def _strands(piece):
    strands, steps = piece.positions.shape[:2]
    curves = bpy.data.hair_curves.new(piece.name)
    curves.add_curves([steps] * strands)
    curves.attributes["position"].data.foreach_set("vector", blender_points(piece.positions).ravel())
    width = np.tile(np.linspace(*piece.radius, steps), strands)
    if curves.attributes.get("radius") is None:
        curves.attributes.new("radius", "FLOAT", "POINT")
    curves.attributes["radius"].data.foreach_set("value", width.astype(np.float32))
    _attribute(curves, "color", "FLOAT_COLOR", "CURVE", np.c_[piece.colors, np.ones(strands)])
    curves.materials.append(material_for(piece, piece.labels[0]))
    return bpy.data.objects.new(piece.name, curves)


def _attribute(data, name, kind, domain, values):
    field = {"FLOAT_COLOR": "color", "FLOAT_VECTOR": "vector", "FLOAT": "value"}[kind]
    attribute = data.attributes.new(name, kind, domain)
    attribute.data.foreach_set(field, np.ascontiguousarray(values, np.float32).ravel())
