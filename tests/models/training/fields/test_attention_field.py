from dataclasses import replace

import pytest
import torch
from fields_fixture import (
    COUNT,
    condition,
    features,
    gaussians,
    generator,
    jaw,
    learn,
    shaken,
    small_attention,
)

from splatface.models.errors import TrainingError
from splatface.models.training.fields.attention_field import AttentionLayer
from splatface.models.training.fields.factory import make_field
from splatface.models.training.fields.field_config import (
    DELTA_PARTS,
    TOKENS,
    AttentionConfig,
    ConditioningConfig,
    TriplaneConfig,
    light_attention,
)
from splatface.models.training.fields.layers import PART_CHANNELS

pytestmark = pytest.mark.slow


def textbook_cross_attention(layer, features, tokens):
    """CA(z, tokens) [N, width] without folding keys into queries and values into the output."""
    heads, width = layer.heads, features.shape[1]
    q = layer.query(features).view(-1, heads, width // heads)
    k = layer.key(tokens).view(-1, heads, width // heads)
    v = layer.value(tokens).view(-1, heads, width // heads)
    weights = torch.softmax(torch.einsum("nhd,thd->nht", q, k) / (width // heads) ** 0.5, dim=-1)
    return layer.out(torch.einsum("nht,thd->nhd", weights, v).flatten(1))


def field(seed=0, **changes):
    made = make_field(
        small_attention(**changes), gaussians(), training_features=features(), generator=generator(seed)
    )
    return shaken(made)


def test_the_defaults_are_the_papers():
    config = AttentionConfig()
    assert (config.triplane.resolution, config.triplane.scales, config.triplane.width) == (64, (1, 2), 64)
    assert (config.heads, config.feed_forward, config.layers) == (2, 128, 2)
    assert config.tokens == TOKENS
    light = light_attention()
    assert (light.layers, light.regressors) == (1, "shared")


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_folded_attention_equals_torchs(heads):
    config = AttentionConfig(triplane=TriplaneConfig(features=16), heads=heads)
    layer = shaken(AttentionLayer(config, generator())).double()
    features = torch.randn(30, 32, dtype=torch.float64)
    tokens = torch.randn(4, 32, dtype=torch.float64)
    theirs = torch.nn.MultiheadAttention(32, heads, dtype=torch.float64)
    with torch.no_grad():
        parts = (layer.query, layer.key, layer.value)
        theirs.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        theirs.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        theirs.out_proj.weight.copy_(layer.out.weight)
        theirs.out_proj.bias.copy_(layer.out.bias)
    attended, weights = theirs(features, tokens, tokens, average_attn_weights=False)
    torch.testing.assert_close(textbook_cross_attention(layer, features, tokens), attended)
    torch.testing.assert_close(layer.weights(features, tokens).permute(0, 2, 1), weights)
    z = layer.norm_attention(features + attended)
    torch.testing.assert_close(layer(features, tokens), layer.norm_forward(z + layer.feed_forward(z)))


def test_a_layer_has_right_gradients():
    config = AttentionConfig(triplane=TriplaneConfig(features=16, scales=(1,)), feed_forward=4)
    layer = AttentionLayer(config, generator()).double()
    features = torch.randn(3, 16, dtype=torch.float64, requires_grad=True)
    tokens = torch.randn(2, 16, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (features, tokens))


def test_a_new_field_moves_nothing():
    made = make_field(small_attention(), gaussians(), generator=generator())
    movement = made(gaussians().means, condition())
    assert movement.deltas.shape == (COUNT, 14)
    assert not movement.deltas.any()
    assert movement.dynamism is None


def test_the_null_token_alone_moves_the_same_whatever_happens():
    made, means = field(tokens=("null",)), gaussians().means
    torch.testing.assert_close(made(means, condition(0)).deltas, made(means, condition(1)).deltas)
    torch.testing.assert_close(made.attention_maps(means, condition())["null"], torch.ones(COUNT))


@pytest.mark.parametrize("token", ["audio", "eye", "pose"])
def test_each_token_alone_hears_its_own_input_only(token):
    made, means = field(tokens=(token,)), gaussians().means
    first, second = condition(0), condition(1)
    name = {"audio": "mouth", "eye": "controls", "pose": "pose"}[token]
    same = replace(second, **{name: getattr(first, name)})
    other = replace(first, **{name: getattr(second, name)})
    torch.testing.assert_close(made(means, first).deltas, made(means, same).deltas)
    assert (made(means, first).deltas - made(means, other).deltas).abs().max() > 1e-4


def test_attention_maps_add_up_to_one():
    maps = field().attention_maps(gaussians().means, condition())
    assert tuple(maps) == TOKENS
    torch.testing.assert_close(sum(maps.values()), torch.ones(COUNT))


@pytest.mark.parametrize(
    "changes",
    [
        {"layers": 1},
        {"heads": 4},
        {"fusion": "concat"},
        {"fusion": "multiply"},
        {"regressors": "shared"},
        {"tokens": ("audio", "null")},
        {"canonical": "free"},
        {"canonical": "residual"},
        {"predicted": ("sh", "opacity")},
        {"dropout": 0.2},
        {"conditioning": ConditioningConfig(drive="sound")},
        {"conditioning": ConditioningConfig(drive="sound", smoothing="none")},
    ],
)
def test_every_switch_gives_movement_and_gradients(changes):
    made = field(**changes)
    start = gaussians()
    still = made.canonical(start)
    movement = made(still.means, condition())
    assert movement.deltas.shape == (COUNT, 14)
    loss = movement.deltas.square().sum() + still.sh.sum() + still.log_scales.sum() + still.quats.sum()
    (loss + still.opacity_logits.sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in made.parameters())
    assert made.attention_maps(start.means, condition()).keys() == (
        set() if "fusion" in changes else set(made.config.tokens)
    )


@pytest.mark.parametrize("shared", ["shared", "separate"])
@pytest.mark.parametrize("part", DELTA_PARTS)
def test_only_the_parts_asked_for_move(part, shared):
    deltas = field(deltas=(part,), regressors=shared)(gaussians().means, condition()).deltas
    channels = PART_CHANNELS[part]
    assert deltas[:, channels].abs().min() > 0
    deltas[:, channels] = 0
    assert not deltas.any()


def test_separate_regressors_are_separate():
    made = field().regressors
    heard = torch.randn(5, 32)
    deltas = made(heard)
    with torch.no_grad():
        made.first.weight[:64] += 1  # the hidden features of the first part, the mean
    changed = made(heard)
    assert (changed - deltas)[:, :3].abs().min() > 0
    torch.testing.assert_close(changed[:, 3:], deltas[:, 3:])


def test_rows_alone_and_places_once_give_the_same():
    made, means = field(), gaussians().means
    rows = torch.tensor([5, 2, 30])
    whole = made(means, condition()).deltas
    torch.testing.assert_close(made(means, condition(), rows).deltas, whole[rows])
    torch.testing.assert_close(made.bind_positions(means)(condition()).deltas, whole)


def test_the_same_seed_gives_the_same_field():
    first, second, other = field(1), field(1), field(2)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first.triplane.values, other.triplane.values)


def test_a_free_canonical_state_is_handed_back():
    start = gaussians()
    assert field(canonical="free").canonical(start) is start


def test_predicted_attributes_start_alike_and_residual_ones_as_given():
    start = gaussians()
    predicted = make_field(small_attention(), start, generator=generator()).canonical(start)
    torch.testing.assert_close(predicted.log_scales, start.log_scales.mean(0).expand(COUNT, 3))
    torch.testing.assert_close(predicted.sh, start.sh.mean(0).expand(COUNT, 4, 3))
    torch.testing.assert_close(predicted.opacity_logits, start.opacity_logits.mean().expand(COUNT))
    torch.testing.assert_close(predicted.quats[7], torch.tensor([1.0, 0, 0, 0]))
    assert torch.equal(predicted.means, start.means)
    residual = make_field(small_attention(canonical="residual"), start, generator=generator()).canonical(
        start
    )
    torch.testing.assert_close(residual.sh, start.sh)


def test_it_learns_a_movement():
    means = gaussians(100).means
    made = make_field(small_attention(layers=1), gaussians(100), generator=generator())
    assert learn(made, means, jaw(means)) < 0.1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"heads": 3}, "expected a divisor of the 64 features, found 3"),
        ({"tokens": ("audio", "nose")}, "tokens: expected one or more of audio, eye, pose, null"),
        ({"tokens": ()}, "found none"),
        ({"layers": 0}, "layers: expected 1..8, found 0"),
        ({"fusion": "sum"}, "fusion: expected one of attention, concat, multiply, found 'sum'"),
        ({"deltas": ("mean", "mean")}, "each once"),
    ],
)
def test_what_cannot_be_is_refused(changes, words):
    with pytest.raises(TrainingError, match=words):
        AttentionConfig(**changes)


def test_sound_without_features_is_refused():
    config = small_attention(conditioning=ConditioningConfig(drive="sound"))
    with pytest.raises(TrainingError, match="drive sound"):
        make_field(config, gaussians(), generator=generator())


def test_features_must_be_whole_cache_lines():
    with pytest.raises(TrainingError, match="multiple of 16, found 24"):
        TriplaneConfig(features=24)
