"""A data set with known poses, and disturbed copies of it."""

from dataclasses import replace

import numpy as np

from splatface.models.training.optimization.pose_refinement import apply_twist, twist_between


def disturbed(dataset, deg=0.5, mm=1.5, focal=1.0, seed=0):
    """Every picture's torso and head off by turns and shifts of these standard deviations on each axis.

    The lens is longer by `focal` and the camera as much farther away, as tracking would find them.
    """
    frames = dataset.frames
    generator = np.random.default_rng(seed)
    sizes = np.repeat([np.radians(deg), mm / 1000] * 2, 3)
    true = np.stack([frames.T_world_torso, frames.T_world_head])
    torso, head = apply_twist(true, generator.normal(size=(len(frames), 12)) * sizes)
    camera = dataset.camera
    T = camera.T_camera_world.copy()
    T[2, 3] *= focal
    return replace(
        dataset,
        frames=replace(frames, T_world_head=head, T_world_torso=torso),
        camera=replace(camera, fx=camera.fx * focal, fy=camera.fy * focal, T_camera_world=T),
    )


def off(true, found, rows):
    """Turn in degrees and shifts across the picture and in depth in mm that the head's poses are off, rms."""
    ends = [np.stack([T, T])[:, rows] for T in (true, found)]
    change = twist_between(*ends)[:, 6:]
    rms = np.sqrt((change**2).mean(axis=0))
    return np.degrees(rms[:3]), 1000 * rms[3:]
