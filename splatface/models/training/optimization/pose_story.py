"""What a round of refinement did, in figures for the report."""

from collections.abc import Callable

import numpy as np

from splatface.models.camera import Camera
from splatface.models.training.optimization.poses import Poses, twist_between
from splatface.models.typing import Float64Array, Int64Array

__all__ = ["jitter_px", "pose_curves", "refinement_metrics"]


_FACE = np.array([[x, y, 0.0] for x in (-0.05, 0.05) for y in (-0.05, 0.08)] + [[0.0, 0.02, -0.05]])  # m
_CLOSE_S = 0.11  # farther apart, a difference is movement and not jitter


def refinement_metrics(
    poses: Poses,
    before: tuple[Float64Array, Camera],
    rows: Int64Array,
    psnr_db: Callable[[], float],
    step: int,
) -> dict[str, float]:
    """Plain figures of a round.

    Args:
        poses: after the round.
        before: poses [2, F, 4, 4] and camera before it.
        rows: whose poses are known.
        psnr_db: of held-out pictures with the poses as they are when it is called.
        step: of the run.

    Turns, shifts and px are of the head from where it was tracked; jitter is that of tracking and now.
    """
    now = poses.T, poses.lens
    after = psnr_db()
    change = twist_between(poses.tracked[:, rows], poses.T[:, rows])[:, 6:]
    tracked = _places(poses.tracked[1, rows], before[1])
    places = _places(poses.T[1, rows], poses.camera)
    poses.T = before[0]
    earlier = psnr_db()
    poses.T, poses.lens = now
    figures = {
        "step": float(step),
        "psnr_before_db": earlier,
        "psnr_after_db": after,
        "turned_deg": float(np.degrees(_rms(change[:, :3]))),
        "shifted_mm": float(1000 * _rms(change[:, 3:])),
        "moved_px": _rms((places - tracked).reshape(-1, 2)),
        "jitter_before_px": jitter_px(poses.time_s[rows], tracked),
        "jitter_after_px": jitter_px(poses.time_s[rows], places),
        "focal_share": float(np.exp(poses.lens[0])),
    }
    return {name: round(value, 4) for name, value in figures.items()}


def pose_curves(poses: Poses, rows: Int64Array) -> dict[str, list[float]]:
    """How far the head was moved from where it was tracked, over time: °, mm and "time_s", by name."""
    change = poses.changes(rows)[:, 6:]
    series = {
        "time_s": poses.time_s[rows],
        **{f"{name}, °": np.degrees(change[:, i]) for i, name in enumerate(("pitch", "yaw", "roll"))},
        **{f"{name}, mm": 1000 * change[:, 3 + i] for i, name in enumerate(("right", "down", "away"))},
    }
    return {name: np.round(values, 4).tolist() for name, values in series.items()}


def jitter_px(time_s: Float64Array, places: Float64Array) -> float:
    """Root mean square of what three pictures in a row do not have in common, places [n, P, 2] px.

    Second differences over sqrt 6: the standard deviation of white noise, were there no movement. 0 where
    no three pictures lie close together.
    """
    if len(time_s) < 3:
        return 0.0
    close = np.maximum(np.diff(time_s)[1:], np.diff(time_s)[:-1]) < _CLOSE_S
    bends = (places[2:] - 2 * places[1:-1] + places[:-2])[close]
    return _rms(bends.reshape(-1, 2)) / np.sqrt(6) if len(bends) else 0.0


def _places(T_world_head: Float64Array, camera: Camera) -> Float64Array:
    """Where points of the face [P] stand in the picture [n, P, 2]."""
    world = np.einsum("nij,pj->npi", T_world_head[:, :3, :3], _FACE) + T_world_head[:, None, :3, 3]
    seen = world @ camera.T_camera_world[:3, :3].T + camera.T_camera_world[:3, 3]
    found: Float64Array = seen[..., :2] / seen[..., 2:] * (camera.fx, camera.fy) + (camera.cx, camera.cy)
    return found


def _rms(vectors: Float64Array) -> float:
    """Root mean square of the lengths of vectors [n, D]."""
    return float(np.sqrt((vectors**2).sum(axis=-1).mean()))
