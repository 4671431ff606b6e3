"""The masks that an evaluation measures, against the paper's equations written out in NumPy."""

import importlib

import jax.numpy as jnp
import numpy as np
import pytest

from diffcam_jax.errors import UserError
from diffcam_jax.evaluation import masks, runner
from diffcam_jax.evaluation.networks import open_world
from tests.fast import fast


@pytest.fixture
def config():
    return importlib.import_module("configs.eval.masks").get_config("debug")


def enlarged(maps, side):
    """Bilinear between half-pixel centres, from [b, s, s] to [b, side, side]."""
    small = maps.shape[-1]
    position = np.clip((np.arange(side) + 0.5) * small / side - 0.5, 0, small - 1)
    low = np.floor(position).astype(int)
    high, t = np.minimum(low + 1, small - 1), position - low
    rows = maps[:, low] * (1 - t)[:, None] + maps[:, high] * t[:, None]
    return rows[..., low] * (1 - t) + rows[..., high] * t


def test_the_papers_variant_takes_the_evidence_the_right_way_round(config, monkeypatch):
    """Eq. 1 to 4 with M / max: what is measured is the evidence for the attribute in T by a
    classifier that was trained on features(T) - features(I'); the reverse has other maps.
    """
    # The same program, compiled quickly.
    quick = fast(masks._draw.__wrapped__, static_argnums=(4, 5))
    monkeypatch.setattr(masks, "_draw", quick)
    world = open_world(config)
    assert world.toy and world.classifier.sign == 1
    name, strength, side = world.classifier.names[1], 1.5, 32
    direction = world.directions[name].array
    codes = np.random.default_rng(0).standard_normal((2, *direction.shape)).astype(np.float32)
    moves = np.broadcast_to(np.float32(strength) * direction, codes.shape)
    found, pair = masks.draw(world, codes, moves, name, "paper", side)

    network = world.classifier.network
    draw = fast(lambda w: world.generator(w, method="synthesis", size=side))
    features = fast(lambda x: network(x, method="features"))
    activations = fast(lambda delta: network(delta, method="head")[1])
    drawn = [draw(jnp.asarray(w)) for w in (codes, codes + np.float32(strength) * direction)]
    for ours, theirs in zip(pair, drawn, strict=True):
        levels = np.clip(np.asarray(theirs) * 127.5 + 127.5, 0, 255)
        np.testing.assert_allclose(ours, levels, atol=0.51)
    inverted, edited = (np.asarray(features(x)) for x in drawn)
    # The score is linear in H, so that beta is the class's row of the linear layer, up to a factor.
    beta = np.asarray(network.variables["params"]["fc"]["kernel"])[:, 1]

    def mask(delta):
        h = np.asarray(activations(jnp.asarray(delta)))
        evidence = enlarged(np.maximum(h @ beta, 0), side)
        return evidence / evidence.max((1, 2), keepdims=True)

    expected, reverse = mask(edited - inverted), mask(inverted - edited)
    assert np.abs(expected - reverse).mean() > 0.05
    np.testing.assert_allclose(found["diffcam"], expected, atol=1e-3)


def test_an_unknown_variant_is_named(config, tmp_path):
    config.masks.variant = "exact"
    with pytest.raises(UserError, match="variant='exact': allowed are product, official, paper"):
        runner.evaluate(config, tmp_path, [], "command")
