"""A small head of random Gaussians: sound, not pretty."""

import numpy as np

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES, AudioToMouthNet, Convolution
from splatface.models.camera import Camera
from splatface.models.head.head import DELTA_CHANNELS, MOTION_SIZE, Gaussians, Head, HeadInfo, MotionMap


def random_net(encoder="logmel", dim=12, outputs=8, seed=0):
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32)

    return AudioToMouthNet(
        encoder=encoder,
        lookahead_ms=40.0,
        mean=normal(dim),
        std=np.exp(normal(dim)),
        project=normal(dim, 4),
        w1=normal(30, 6) * 0.3,
        b1=normal(6),
        w2=normal(6, outputs) * 0.3,
        b2=normal(outputs),
        convs=(Convolution(0.3 * normal(2, 3, 3), normal(3)), Convolution(0.3 * normal(3, 2, 4), normal(4))),
    )


def random_head(count=150, moving=70, sh=4, seed=0):
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32)

    names = (*MOUTH_MODES, "lids", "gaze", "brow")
    info = HeadInfo(
        name="nobody",
        person="nobody",
        license="CC0-1.0",
        consent="This person does not exist.",
        camera=Camera(64, 48, 90.0, 91.0, 32.0, 24.0),
        coefficient_names=names,
        background=(0.2, 0.4, 0.6),
        pivot_m=(0.01, 0.12, 1.05),
        reports={"training": {"iterations": 10, "psnr_db": 31.5}},
    )
    basis = 0.02 * normal(moving, DELTA_CHANNELS, len(names))
    basis[: moving // 2, :, 8:] = 0
    basis[:, 3:7, 2] = 0
    return Head(
        gaussians=Gaussians(
            means=0.1 * normal(count, 3) + np.array([0, 0, 1], np.float32),
            quats=normal(count, 4),
            log_scales=0.3 * normal(count, 3) - 4,
            opacity_logits=normal(count),
            sh=0.3 * normal(count, sh, 3),
        ),
        skinning_weight=rng.random(count, dtype=np.float32),
        dynamic=np.sort(rng.choice(count, moving, replace=False)).astype(np.int32),
        basis=basis,
        motion_map=MotionMap(
            0.5 * normal(MOTION_SIZE, len(names)),
            normal(MOTION_SIZE, 6),
            normal(6),
            0.3 * normal(6, len(names)),
        ),
        info=info,
        nets={"logmel": random_net(), "fsmn": random_net("fsmn", 7, 5, seed=1)},
    )
