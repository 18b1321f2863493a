from dataclasses import replace

import numpy as np
import pytest
from performers import true_performer

from splatface.models.head.head import Gaussians
from splatface.models.render.conventions import SH_0
from splatface.models.training.optimization.bake import BakeConfig, bake_field
from splatface.models.training.optimization.finalize import (
    FinetuneConfig,
    baked_psnr_db,
    finetune,
    inpaint_unless_worse,
)
from splatface.models.training.optimization.image_loss import TargetCache
from splatface.models.training.optimization.train_config import LearningRates, LossConfig

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def baked(tiny):
    _, performer = true_performer(tiny)
    return bake_field(performer, tiny, BakeConfig())


def _how(**changes):
    return FinetuneConfig(losses=LossConfig(mask=0.0), rates=LearningRates(), **changes)


@pytest.fixture
def targets(tiny):
    return TargetCache(tiny, LossConfig(mask=0.0), max_gb=1.0)


def test_a_spoilt_head_is_mended(tiny, baked, targets):
    rng = np.random.default_rng(0)
    sh = baked.gaussians.sh + rng.normal(size=baked.gaussians.sh.shape).astype(np.float32) * 0.1
    spoilt = replace(baked, gaussians=replace(baked.gaussians, sh=sh.astype(np.float32)))
    found = finetune(spoilt, tiny, targets, _how(steps=150))
    assert found.after_db > found.before_db + 1.0
    rows = np.flatnonzero(tiny.frames.split == 2).tolist()
    assert (
        baked_psnr_db(found.baked, tiny, targets, _how(), rows)
        > baked_psnr_db(spoilt, tiny, targets, _how(), rows) + 0.5
    )


def test_polishing_never_makes_it_worse(tiny, baked, targets):
    wild = _how(steps=5, seed=1)
    wild = replace(wild, rates=replace(LearningRates(), means=1.0, sh_dc_lr=5.0))
    found = finetune(baked, tiny, targets, wild)
    assert found.baked is baked
    assert found.after_db == found.before_db


def test_no_steps_change_nothing(tiny, baked, targets):
    found = finetune(baked, tiny, targets, _how(steps=0))
    assert found.baked is baked


def test_the_same_seed_gives_the_same_head(tiny, baked, targets):
    first, second = (finetune(baked, tiny, targets, _how(steps=20, seed=4)).baked for _ in range(2))
    assert (first.basis == second.basis).all()
    assert (first.gaussians.means == second.gaussians.means).all()


def test_colors_that_pictures_need_stay(tiny, baked, targets):
    """In a thick cloud each Gaussian shows by little, and all of them make the picture."""
    found = inpaint_unless_worse(baked, tiny, targets, _how())
    rows = np.flatnonzero(tiny.frames.split == 1).tolist()
    before, after = (baked_psnr_db(head, tiny, targets, _how(), rows) for head in (baked, found))
    assert after > before - 0.3


def test_colors_of_no_picture_are_given_up_where_pictures_do_not_need_them(tiny, baked, targets):
    gaussians = baked.gaussians
    # Beside each a faint ghost, of a color that is nowhere in the pictures.
    ghosts = {name: np.concatenate([getattr(gaussians, name)] * 2) for name in Gaussians.__slots__}
    ghosts["opacity_logits"][len(gaussians) :] -= 5.0
    ghosts["sh"][len(gaussians) :, 0] = (np.array([0.0, 1.0, 0.0]) - 0.5) / SH_0
    haunted = replace(baked, gaussians=Gaussians(**ghosts), skin=np.concatenate([baked.skin] * 2))
    found = finetune(haunted, tiny, targets, _how(steps=20))
    assert found.bounded
    green = found.baked.gaussians.sh[len(gaussians) :, 0, 1] * SH_0 + 0.5
    assert np.quantile(green, 0.2) < 0.8  # many show too little to be judged
