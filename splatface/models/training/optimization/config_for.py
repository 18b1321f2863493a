"""The settings of a preset, fitted to what a data set holds: tracked or exact poses, much film or little."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from splatface.models.messages import NS_PER_S
from splatface.models.training.dataset.types import TRAIN, Dataset
from splatface.models.training.optimization.config import LearningRates, RegularizationConfig, TrainConfig
from splatface.models.training.optimization.dataset_statistics import known_rows
from splatface.models.training.optimization.seen import bone_pose_parameters

__all__ = ["AdaptedConfig", "adapt_config_to_dataset"]

_ROUNDS = 3  # of refinement
_SHORTEST_S, _ENOUGH_S = 5.0, 15.0  # of film trained on; between them the short-clip mode fades out
_FEW, _MANY = 100, 300  # pictures: the same by their count
_LITTLE_S, _MUCH_S = 20.0, 60.0  # of a tracked film: between them the fear of learning by heart fades
_TRACKER_ERRS = 0.25  # of the spread of mouth and controls
# What goes with the head is not seen where it hardly turns, well seen where it turns far.
_SKIN_HOLDS = (5e-3, 2e-4)
_NEVER_TURNED_DEG, _TURNED_DEG = 6.0, 20.0  # of yaw, from one side to the other


@dataclass(frozen=True, slots=True)
class AdaptedConfig:
    """A config and, in words, what about it is the data set's doing."""

    config: TrainConfig
    notes: tuple[str, ...]


def adapt_config_to_dataset(dataset: Dataset, config: TrainConfig) -> AdaptedConfig:
    """Fit a preset's config to a data set.

    Poses that were tracked in a film ("video") are refined, its motion is taken less exactly and, below a
    minute, learned more slowly; what goes with the head stays the nearer to its start the less the head
    turned. An actor's are exact. Little film (below 15 s or 300 pictures) is learned with
    fewer Gaussians that move, in fewer directions, with less freedom: see `_for_short`. A head that never
    turned keeps the depths of its start, which are those of a symmetric face, and colors that are the same
    from all sides. All of it stands in config.yaml.
    """
    notes = []
    if dataset.source == "video":
        config = replace(config, refine=replace(config.refine, rounds=_ROUNDS))
        notes.append(f"poses come from tracking: refined {_ROUNDS} times through the renderer")
    rows = known_rows(dataset, TRAIN)
    if not len(rows):
        return AdaptedConfig(config, tuple(notes))
    times = dataset.frames.time_ns[rows]
    seconds = float(times[-1] - times[0]) / NS_PER_S
    shortage = _data_scarcity(seconds, len(rows))
    errs, little = 0.0, shortage
    turned = _turned_deg(dataset, rows)
    if dataset.source == "video":
        errs = _TRACKER_ERRS
        little = max(shortage, _share(seconds, _MUCH_S, _LITTLE_S))
        hold = _log_lerp(*_SKIN_HOLDS, _share(turned, _NEVER_TURNED_DEG, _TURNED_DEG))
        config = replace(
            config,
            rates=_slowed(config.rates, little),
            shape=replace(config.shape, skinning_anchor_rate=hold),
        )
    config = replace(config, steady=_steadied(config.steady, little, errs))
    if shortage > 0:
        config = _for_short(config, shortage)
        notes.append(
            f"short clip: {seconds:.1f} s, {len(rows)} pictures to train on: regularised at "
            f"{shortage:.0%} strength, {config.dynamic} Gaussians may move"
        )
    if shortage > 0 and turned < _NEVER_TURNED_DEG:
        config = _for_frontal_only(config)
        notes.append(f"the head turned by {turned:.1f} degrees only: depths stay those of a symmetric face")
    return AdaptedConfig(config, tuple(notes))


def _data_scarcity(seconds: float, pictures: int) -> float:
    """0 where there is enough to learn from, 1 at the least that a head can come of."""
    return round(max(_share(seconds, _ENOUGH_S, _SHORTEST_S), _share(pictures, _MANY, _FEW)), 2)


def _turned_deg(dataset: Dataset, rows: NDArray[np.int64]) -> float:
    """From one side to the other."""
    yaw = bone_pose_parameters(dataset.frames.T_world_head[rows], dataset.pivot_m)[0][:, 0]
    return float(np.degrees(np.ptp(yaw)))


def _share(value: float, first: float, last: float) -> float:
    """How far a value is on its way from `first` to `last`, 0..1."""
    return float(np.clip((value - first) / (last - first), 0.0, 1.0))


def _log_lerp(usual: float, other: float, share: float) -> float:
    """A plain number on its way to another, so that config.yaml tells all."""
    return float(f"{usual * (other / usual) ** share:.3g}")


def _slowed(rates: LearningRates, little: float) -> LearningRates:
    """Of little film, what moves is learned slowly: otherwise its pictures are learned by heart.

    Tried on 20 s of a real film: lips of unseen pictures 1.05 to 0.88 px, their mouth 31.5 to 32.0 dB.
    """
    return replace(rates, basis=_log_lerp(rates.basis, rates.basis / 10, little))


def _steadied(steady: RegularizationConfig, little: float, errs: float) -> RegularizationConfig:
    """For little film, and for motion that errs by a share of its spread.

    Tried on 20 s of a real film: mouth 30.2 to 30.6 dB, by sound 27.6 to 28.2.
    """
    return replace(
        steady,
        motion_noise_std=max(_log_lerp(steady.motion_noise_std, 1.5 * steady.motion_noise_std, little), errs),
        basis_weight_decay=_log_lerp(steady.basis_weight_decay, 4 * steady.basis_weight_decay, little),
        residual_init_scale=_log_lerp(steady.residual_init_scale, steady.residual_init_scale / 3, little),
    )


def _for_short(config: TrainConfig, shortage: float) -> TrainConfig:
    """Each value on its way to what suits 5 s."""
    refine, hold = config.refine, config.shape.depth_anchor_rate
    return replace(
        config,
        dynamic=round(_log_lerp(config.dynamic, 0.75 * config.dynamic, shortage)),
        shape=replace(config.shape, depth_anchor_rate=_log_lerp(hold, 4 * hold, shortage)),
        refine=replace(
            refine,
            rotation_sigma_deg=_log_lerp(refine.rotation_sigma_deg, refine.rotation_sigma_deg / 2, shortage),
            translation_sigma_m=_log_lerp(
                refine.translation_sigma_m, refine.translation_sigma_m / 2, shortage
            ),
        ),
    )


def _for_frontal_only(config: TrainConfig) -> TrainConfig:
    hold = max(config.shape.depth_anchor_rate, config.shape.mouth_hold)
    return replace(config, sh_degree=0, shape=replace(config.shape, depth_anchor_rate=hold))
