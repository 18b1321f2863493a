"""A data set of ours written in the format the field shares, as its process.py would have left it."""

import json

import cv2
import numpy as np
import soundfile

from splatface.models.audio2motion.audio_to_mouth import CONTROLS
from splatface.models.training.dataset.dataset_audio import load_audio
from splatface.models.training.dataset.frame_images import read_image, read_labels
from splatface.models.training.dataset.types import BACKGROUND, NECK, TEST, TORSO

OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
WORN = 3  # JPEG costs this much on average


def write_shared(dataset, folder):
    """All files; pictures are numbered by their moment in the film."""
    for name in ("ori_imgs", "gt_imgs", "torso_imgs", "parsing"):
        (folder / name).mkdir(parents=True)
    frames = dataset.frames
    ids = np.round(frames.time_ns * dataset.fps / 1e9).astype(int)
    for row, image in enumerate(ids):
        bgr = read_image(dataset, row)[..., ::-1]
        for name in ("ori_imgs", "gt_imgs"):
            cv2.imwrite(str(folder / name / f"{image}.jpg"), bgr, [cv2.IMWRITE_JPEG_QUALITY, 100])
        cv2.imwrite(str(folder / "parsing" / f"{image}.png"), parsed(read_labels(dataset, row)))
        np.savetxt(folder / "ori_imgs" / f"{image}.lms", frames.landmarks_px[row], "%f")
    background = np.full(
        (dataset.camera.height, dataset.camera.width, 3), 255 * dataset.background + 0.5, np.uint8
    )
    cv2.imwrite(str(folder / "bc.jpg"), background[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])
    tested = frames.split == TEST
    write_transforms(dataset, folder / "transforms_train.json", ids, ~tested)
    write_transforms(dataset, folder / "transforms_val.json", ids, tested)
    write_units(dataset, folder / "au.csv")
    soundfile.write(folder / "aud.wav", load_audio(dataset), 16000, "PCM_16")
    stream = np.arange(2 * (ids[-1] + 1), dtype=np.float32)[:, None] * np.ones(29, np.float32)
    padded = np.pad(stream, ((8, 8), (0, 0)))
    windows = [padded[first : first + 16] for first in range(0, len(padded) - 16, 2)]
    np.save(folder / "aud_ds.npy", np.array(windows))
    np.save(folder / "aud_hu.npy", np.repeat(stream[:, :1], 32, axis=1).reshape(-1, 2, 32))
    return folder


def parsed(shown):
    """BiSeNet's parts in the colors that its wrapper hands to cv2.imwrite, BGR."""
    colors = np.full((8, 3), (255, 0, 0), np.uint8)
    colors[BACKGROUND], colors[NECK], colors[TORSO] = (255, 255, 255), (0, 255, 0), (0, 0, 255)
    return colors[shown]


def write_transforms(dataset, path, ids, chosen):
    camera, frames = dataset.camera, []
    for row in np.flatnonzero(chosen):
        T_camera_head = OPENGL @ camera.T_camera_world @ dataset.frames.T_world_head[row] @ OPENGL
        pose = np.linalg.inv(T_camera_head).astype(np.float32)
        image = int(ids[row])
        frames.append({"img_id": image, "aud_id": image, "transform_matrix": pose.tolist()})
    size = {"focal_len": camera.fx, "cx": camera.width / 2, "cy": camera.height / 2}
    path.write_text(json.dumps({**size, "frames": frames}))


def write_units(dataset, path):
    """OpenFace's csv: a row for every picture of the film, a space before each name."""
    controls = dataset.motion.controls
    blink, brow = controls[:, CONTROLS.index("blink_left")], controls[:, CONTROLS.index("brow_up")]
    rows = [
        f"{i + 1}, {i / dataset.fps:.3f}, {5 * brow[i]:.4f}, {2 * blink[i]:.4f}" for i in range(len(controls))
    ]
    path.write_text("\n".join(["frame, timestamp, AU01_r, AU45_r", *rows]) + "\n")
