# SPDX-License-Identifier: Apache-2.0
"""How light meets an actor: one Blender material for every (material, label) pair.

The material's pass index is the label, so the label picture falls out of the same rendering.
"""

import bpy

__all__ = ["material_for"]

_RADII = {"skin": (1.0, 0.32, 0.16), "teeth": (1.0, 0.8, 0.6), "mouth": (1.0, 0.4, 0.3)}
_SCALE_M = {"skin": 0.0055, "teeth": 0.002, "mouth": 0.004}


def material_for(piece, label):
    """Return the material of a piece for the points that carry one label."""
    material = bpy.data.materials.new(f"{piece.name}-{label}")
    material.use_nodes = True
    material.pass_index = int(label)
    if piece.kind == "strands":
        _hair(material.node_tree, piece)
    else:
        _surface(material.node_tree, piece)
    return material


def _color(tree):
    node = tree.nodes.new("ShaderNodeAttribute")
    node.attribute_name = "color"
    return node.outputs["Color"]


def _hair(tree, piece):
    """Chiang's hair model (2016) with the strand's own color."""
    tree.nodes.clear()
    output = tree.nodes.new("ShaderNodeOutputMaterial")
    hair = tree.nodes.new("ShaderNodeBsdfHairPrincipled")
    hair.parametrization = "COLOR"
    hair.inputs["Roughness"].default_value = piece.roughness
    hair.inputs["Radial Roughness"].default_value = 0.55
    tree.links.new(_color(tree), hair.inputs["Color"])
    tree.links.new(hair.outputs[0], output.inputs["Surface"])


def _surface(tree, piece):
    shader = tree.nodes["Principled BSDF"]
    shader.inputs["Roughness"].default_value = piece.roughness
    color = _color(tree)
    tree.links.new(color, shader.inputs["Base Color"])
    if piece.subsurface:
        shader.inputs["Subsurface Weight"].default_value = piece.subsurface
        shader.inputs["Subsurface Radius"].default_value = _RADII[piece.material]
        shader.inputs["Subsurface Scale"].default_value = _SCALE_M[piece.material]
    _SPECIAL[piece.material](tree, shader, color)


def _skin(tree, shader, _color_socket):
    """Pores as fine bumps; the lips shine more."""
    shader.inputs["Specular IOR Level"].default_value = 0.42
    _bumps(tree, shader, scale=900.0, strength=0.16, distance=0.0006)
    gloss = tree.nodes.new("ShaderNodeAttribute")
    gloss.attribute_name = "gloss"
    between = tree.nodes.new("ShaderNodeMapRange")
    between.inputs["To Min"].default_value = 0.47
    between.inputs["To Max"].default_value = 0.30
    tree.links.new(gloss.outputs["Fac"], between.inputs["Value"])
    tree.links.new(between.outputs[0], shader.inputs["Roughness"])


def _teeth(tree, shader, color):
    """Add a little emission: the lamps hardly reach into a mouth."""
    tree.links.new(color, shader.inputs["Emission Color"])
    shader.inputs["Emission Strength"].default_value = 0.17


def _mouth(tree, shader, color):
    _bumps(tree, shader, scale=900.0, strength=0.3, distance=0.0005)
    tree.links.new(color, shader.inputs["Emission Color"])
    shader.inputs["Emission Strength"].default_value = 0.04


def _eye(_tree, shader, _color_socket):
    """Add a tear film over the eye."""
    shader.inputs["Coat Weight"].default_value = 1.0
    shader.inputs["Coat Roughness"].default_value = 0.015
    shader.inputs["Coat IOR"].default_value = 1.45
    shader.inputs["Specular IOR Level"].default_value = 0.3


def _cloth(tree, shader, _color_socket):
    shader.inputs["Sheen Weight"].default_value = 0.17
    shader.inputs["Sheen Roughness"].default_value = 0.5
    shader.inputs["Specular IOR Level"].default_value = 0.15
    _bumps(tree, shader, scale=700.0, strength=0.12, distance=0.0005)


_SPECIAL = {"skin": _skin, "teeth": _teeth, "mouth": _mouth, "eye": _eye, "cloth": _cloth}


def _bumps(tree, shader, *, scale, strength, distance):
    """Noise over the rest position, so that it sticks to a moving surface."""
    place = tree.nodes.new("ShaderNodeAttribute")
    place.attribute_name = "rest"
    noise = tree.nodes.new("ShaderNodeTexNoise")
    noise.inputs["Scale"].default_value = scale
    bump = tree.nodes.new("ShaderNodeBump")
    bump.inputs["Strength"].default_value = strength
    bump.inputs["Distance"].default_value = distance
    tree.links.new(place.outputs["Vector"], noise.inputs["Vector"])
    tree.links.new(noise.outputs["Fac"], bump.inputs["Height"])
    tree.links.new(bump.outputs["Normal"], shader.inputs["Normal"])
