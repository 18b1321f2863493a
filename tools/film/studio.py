# SPDX-License-Identifier: Apache-2.0
"""The room: one camera, five lamps, and how Cycles is asked to render."""

from dataclasses import dataclass

import bpy
import mathutils
import numpy as np
from backdrop import backdrop
from figure import BLENDER_CANONICAL, blender_points

__all__ = ["Quality", "furnish"]

_AIM = (0.0, 0.062, 0.08)  # canonical, where all lamps point: the middle of the head
# name, place from the aim (canonical m: right, down, into the scene), W, size m, color
_LAMPS = (
    ("key", (-0.85, -0.62, -1.15), 15.5, 0.70, (1.0, 0.93, 0.85)),
    ("fill", (1.10, -0.10, -1.20), 4.0, 1.40, (0.92, 0.95, 1.0)),
    ("rim left", (-0.80, -0.65, 0.90), 4.0, 0.50, (1.0, 0.97, 0.93)),
    ("rim right", (0.85, -0.55, 0.85), 3.5, 0.50, (0.90, 0.95, 1.0)),
    ("top", (0.0, -1.30, -0.20), 2.5, 0.80, (1.0, 1.0, 1.0)),
)
_SKY = ((0.80, 0.88, 1.0, 1.0), 0.26)
_SENSOR_MM = 36.0


@dataclass(frozen=True)
class Quality:
    """What a picture may cost."""

    size_px: int = 512
    samples: int = 5
    threads: int = 2


def furnish(camera, quality):
    """Set up light, camera and renderer of the current scene."""
    scene = bpy.context.scene
    world = bpy.data.worlds.new("room")
    scene.world = world
    world.use_nodes = True
    background = world.node_tree.nodes["Background"]
    background.inputs[0].default_value, background.inputs[1].default_value = _SKY
    for lamp in _LAMPS:
        scene.collection.objects.link(_lamp(*lamp))
    scene.collection.objects.link(backdrop())
    scene.camera = _camera(camera)
    scene.collection.objects.link(scene.camera)
    _renderer(scene, quality)


def _lamp(name, place, watts, size, color):
    light = bpy.data.lights.new(name, "AREA")
    light.energy, light.size, light.color = watts, size, color
    lamp = bpy.data.objects.new(name, light)
    lamp.location = blender_points(np.array(_AIM) + np.array(place)).tolist()
    towards = mathutils.Vector(blender_points(-np.array(place)).tolist())
    lamp.rotation_euler = towards.to_track_quat("-Z", "Y").to_euler()
    return lamp


def _camera(camera):
    """splatface's pinhole camera (models/camera.py) in Blender, which looks along -z with y up."""
    data = bpy.data.cameras.new("camera")
    longer = max(camera["width"], camera["height"])
    data.sensor_fit = "AUTO"
    data.sensor_width = _SENSOR_MM
    data.lens = camera["fx"] / longer * _SENSOR_MM
    data.shift_x = (camera["width"] / 2 - camera["cx"]) / longer
    data.shift_y = (camera["cy"] - camera["height"] / 2) / longer
    data.clip_start = 0.05
    T_world_camera = np.linalg.inv(np.array(camera["T_camera_world"]))
    matrix = np.eye(4)
    matrix[:3, :3] = BLENDER_CANONICAL @ T_world_camera[:3, :3] @ np.diag([1.0, -1.0, -1.0])
    matrix[:3, 3] = BLENDER_CANONICAL @ T_world_camera[:3, 3]
    thing = bpy.data.objects.new("camera", data)
    thing.matrix_world = mathutils.Matrix(matrix.tolist())
    return thing


def _renderer(scene, quality):
    scene.render.engine = "CYCLES"
    scene.render.resolution_x = scene.render.resolution_y = quality.size_px
    scene.render.threads_mode = "FIXED"
    scene.render.threads = quality.threads
    scene.render.use_persistent_data = True
    cycles = scene.cycles
    cycles.device = "CPU"
    cycles.samples = quality.samples
    cycles.seed = 1
    cycles.use_adaptive_sampling = False
    cycles.use_denoising = True
    cycles.denoiser = "OPENIMAGEDENOISE"
    cycles.denoising_input_passes = "RGB_ALBEDO_NORMAL"
    cycles.denoising_prefilter = "FAST"
    cycles.denoising_quality = "BALANCED"
    cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces = 4, 2, 1
    cycles.transmission_bounces = 3
    cycles.caustics_reflective = cycles.caustics_refractive = False
    scene.cycles_curves.shape = "RIBBONS"
    scene.cycles_curves.subdivisions = 2
    scene.view_settings.view_transform = "Filmic"
    scene.view_settings.look = "Medium High Contrast"
    scene.view_settings.exposure = 0.55
    bpy.context.view_layer.use_pass_material_index = True
