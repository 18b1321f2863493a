# SPDX-License-Identifier: Apache-2.0
"""The wall behind the actor: a soft gradient that only the camera sees."""

import bpy
import numpy as np

__all__ = ["backdrop"]

_CENTER = np.array([0.60, 0.67, 0.74])  # linear, behind the head
_CORNER = np.array([0.26, 0.33, 0.41])
_HALF_M = 1.2
_AWAY_M = 1.6  # behind the eyes
_STEPS = 49


def backdrop():
    """Return a glowing square that neither lights the actor nor shades him."""
    axis = np.linspace(-1, 1, _STEPS)
    x, z = np.meshgrid(axis, axis, indexing="ij")
    far = np.clip(np.hypot(x, z) / 0.6, 0, 1).ravel()[:, None] ** 1.5
    points = np.stack([x.ravel() * _HALF_M, np.full(x.size, _AWAY_M), z.ravel() * _HALF_M], 1)
    corner = np.arange(_STEPS * _STEPS).reshape(_STEPS, _STEPS)[:-1, :-1].ravel()
    quads = np.stack([corner, corner + _STEPS, corner + _STEPS + 1, corner + 1], 1)
    mesh = bpy.data.meshes.new("backdrop")
    mesh.from_pydata(points.tolist(), [], quads.tolist())
    color = mesh.attributes.new("color", "FLOAT_COLOR", "POINT")
    shade = np.c_[_CENTER * (1 - far) + _CORNER * far, np.ones(len(points))]
    color.data.foreach_set("color", shade.astype(np.float32).ravel())
    mesh.materials.append(_glow())
    wall = bpy.data.objects.new("backdrop", mesh)
    for ray in ("diffuse", "glossy", "transmission", "shadow", "volume_scatter"):
        setattr(wall, f"visible_{ray}", False)
    return wall


def _glow():
    material = bpy.data.materials.new("backdrop")  # pass index 0: the label of the background
    material.use_nodes = True
    tree = material.node_tree
    tree.nodes.clear()
    color = tree.nodes.new("ShaderNodeAttribute")
    color.attribute_name = "color"
    emission = tree.nodes.new("ShaderNodeEmission")
    output = tree.nodes.new("ShaderNodeOutputMaterial")
    tree.links.new(color.outputs["Color"], emission.inputs[0])
    tree.links.new(emission.outputs[0], output.inputs["Surface"])
    return material
