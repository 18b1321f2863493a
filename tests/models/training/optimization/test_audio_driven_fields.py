"""Fields driven by audio features, as in GaussianTalker and Audio-Plane: they learn, and they bake."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from splatface.models.training.fields.audio_conditioning import AudioWindowEncoder
from splatface.models.training.optimization.bake import BakeConfig, bake_field
from splatface.models.training.optimization.field_trainers import Conditions
from splatface.models.training.optimization.finalize import make_deformation_source
from splatface.models.training.optimization.train_config import (
    DensifyConfig,
    StageConfig,
    TrainConfig,
    config_from_yaml,
    config_to_yaml,
    preset,
)
from splatface.models.training.optimization.training_run import train

pytestmark = pytest.mark.slow

DRIVE_KEY = "conditioning"


def audio_driven(kind: str) -> TrainConfig:
    config = preset(kind)
    grids = (
        {"triplane": replace(config.field.triplane, resolution=8, features=16)}
        if "attention" in kind
        else {"resolution": 8}
    )
    conditioning = replace(config.field.conditioning, drive="sound", frames=4, windows=2)
    return replace(
        config,
        field=replace(config.field, conditioning=conditioning, **grids),
        encoder="logmel",
        losses=replace(config.losses, mask=0.0),  # one loss in both stages
        threads=1,
        random_points=300,
        stages=StageConfig(canonical_steps=20, deformation_steps=60),
        densify=DensifyConfig(interval=1000),
        report_every=10,
        validate_every=1000,
        checkpoint_s=1000.0,
    )


@pytest.mark.parametrize("kind", ["attention", "attention_light", "audio_plane"])
def test_a_field_driven_by_audio_learns_and_bakes(tiny, tmp_path, kind):
    config, losses, now = audio_driven(kind), [], iter(np.arange(0, 1e6, 0.01))
    trained = train(
        tiny,
        config,
        tmp_path / "run",
        clock=lambda: float(next(now)),
        report=lambda progress: losses.append((progress.stage, progress.loss)),
    )
    assert losses[-1][1] < losses[0][1]
    # The field moves with the audio: two frames differ in nothing else that it reads but controls and pose.
    conditions = Conditions(tiny, config.field.conditioning, config.encoder)
    first, other = conditions(4), conditions(12)
    deltas = [
        trained.field(trained.gaussians.means, replace(first, audio=audio)).deltas
        for audio in (first.audio, other.audio)
    ]
    assert (deltas[0] - deltas[1]).abs().max() > 0
    baked = bake_field(make_deformation_source(trained), tiny, BakeConfig())
    assert np.isfinite(baked.basis).all()
    assert np.abs(baked.basis).max() > 0


def test_features_are_normalized_by_the_training_frames(tiny, tmp_path):
    config = audio_driven("audio_plane")
    config = replace(config, stages=StageConfig(canonical_steps=2, deformation_steps=2))
    now = iter(np.arange(0, 1e6, 0.01))
    trained = train(tiny, config, tmp_path / "run", clock=lambda: float(next(now)), report=lambda _: None)
    encoder = next(m for m in trained.field.modules() if isinstance(m, AudioWindowEncoder))
    features = Conditions(tiny, config.field.conditioning, "logmel").training_features()
    torch.testing.assert_close(encoder.mean, features.mean(0))
    torch.testing.assert_close(encoder.std, features.std(0).clamp(min=1e-3))
    stored = trained.field.state_dict()
    assert {name.rsplit(".", 1)[1] for name in stored if "encoder." in name} >= {"mean", "std"}


def test_the_old_name_of_the_key_is_read():
    config = audio_driven("attention")
    text = config_to_yaml(config)
    assert f"{DRIVE_KEY}:" in text
    assert config_from_yaml(text.replace(f"{DRIVE_KEY}:", "listening:")) == config
