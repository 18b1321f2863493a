# SPDX-License-Identifier: Apache-2.0
"""What one rendering writes: a picture, and the label of what every pixel shows."""

from pathlib import Path

import bpy

__all__ = ["Passes"]


class Passes:
    """Sends picture and material index (= label) of every rendering to files in a scratch folder.

    Cycles writes the material index of a pixel's first sample only: it is not antialiased.
    """

    def __init__(self, scratch: Path):
        self._scratch = scratch
        scene = bpy.context.scene
        bpy.context.view_layer.use_pass_material_index = True
        tree = bpy.data.node_groups.new("passes", "CompositorNodeTree")
        scene.compositing_node_group = tree
        layers = tree.nodes.new("CompositorNodeRLayers")
        tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
        output = tree.nodes.new("NodeGroupOutput")
        tree.links.new(layers.outputs["Image"], output.inputs[0])
        self._label_output(tree, layers.outputs["Material Index"])
        image = scene.render.image_settings
        image.file_format, image.color_mode, image.color_depth = "PNG", "RGB", "8"
        image.compression = 15

    def _label_output(self, tree, index):
        """Write index / 255 as an 8-bit gray picture without a view transform."""
        share = tree.nodes.new("ShaderNodeMath")
        share.operation = "DIVIDE"
        share.inputs[1].default_value = 255.0
        tree.links.new(index, share.inputs[0])
        file = tree.nodes.new("CompositorNodeOutputFile")
        file.directory = str(self._scratch)
        file.file_name = "label"
        file.save_as_render = False
        file.format.media_type = "IMAGE"
        file.format.file_format = "PNG"
        file.format.color_mode, file.format.color_depth = "BW", "8"
        file.format.color_management = "OVERRIDE"
        file.format.linear_colorspace_settings.name = "Non-Color"
        file.file_output_items.new("FLOAT", "label")
        tree.links.new(share.outputs[0], file.inputs["label"])

    def render(self) -> tuple[Path, Path]:
        """Render the scene; where the picture and the label picture lie until the next call."""
        for old in self._scratch.glob("label*"):
            old.unlink()
        picture = self._scratch / "picture.png"
        bpy.context.scene.render.filepath = str(picture)
        bpy.ops.render.render(write_still=True)
        return picture, next(self._scratch.glob("label*"))
