"""Ranger against the same rules written out in NumPy, and its parts on their own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from diffcam_jax.errors import UserError
from diffcam_jax.train.ranger import centralise, lookahead, make_optimiser, ranger


def reference(start, gradients, rate, b1=0.95, b2=0.999, eps=1e-5, period=6, share=0.5):
    """One array through Ranger, in double precision."""
    fast, slow = start.astype(np.float64), start.astype(np.float64)
    first, second = np.zeros_like(fast), np.zeros_like(fast)
    longest = 2 / (1 - b2) - 1
    for t, gradient in enumerate(gradients, start=1):
        g = gradient.astype(np.float64)
        if g.ndim > 1:
            g = g - g.reshape(-1, g.shape[-1]).mean(0)
        first, second = b1 * first + (1 - b1) * g, b2 * second + (1 - b2) * g * g
        length = longest - 2 * t * b2**t / (1 - b2**t)
        step = first / (1 - b1**t)
        if length >= 5:
            rectifier = (
                (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
            )
            step = np.sqrt(rectifier) * step / (np.sqrt(second / (1 - b2**t)) + eps)
        fast = fast - rate * step
        if t % period == 0:
            slow = slow + share * (fast - slow)
            fast = slow
    return fast


def test_ranger_is_the_papers_rules():
    """15 steps: before and after rectification sets in (step 6), and two synchronisations."""
    rng = np.random.default_rng(0)
    params = {"kernel": rng.standard_normal((3, 2, 4)), "bias": rng.standard_normal(4)}
    history = [
        {name: rng.standard_normal(value.shape) for name, value in params.items()}
        for _ in range(15)
    ]
    optimiser = ranger(0.1)
    found = jax.tree.map(jnp.float32, params)
    state = optimiser.init(found)
    step = jax.jit(optimiser.update)
    for gradients in history:
        updates, state = step(jax.tree.map(jnp.float32, gradients), state, found)
        found = optax.apply_updates(found, updates)
    for name, start in params.items():
        expected = reference(start, [gradients[name] for gradients in history], 0.1)
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-5)
        assert np.abs(expected - start).max() > 0.1


def test_lookahead_goes_half_way_back():
    """Steps of -1 under plain descent: six forward, three back."""
    optimiser = lookahead(optax.sgd(1.0), period=6, share=0.5)
    params = jnp.zeros(2)
    state, seen = optimiser.init(params), []
    for _ in range(12):
        updates, state = optimiser.update(jnp.ones(2), state, params)
        params = params + updates
        seen.append(float(params[0]))
    assert seen == [-1, -2, -3, -4, -5, -3, -4, -5, -6, -7, -8, -6]


def test_centralise_takes_means_over_inputs():
    gradients = {
        "kernel": jnp.asarray(np.random.default_rng(1).standard_normal((3, 3, 4, 5)), jnp.float32),
        "bias": jnp.ones(5),
    }
    found, _ = centralise().update(gradients, centralise().init(gradients))
    np.testing.assert_allclose(found["kernel"].sum((0, 1, 2)), np.zeros(5), atol=1e-5)
    assert float(jnp.abs(found["kernel"].sum(-1)).max()) > 0.1
    np.testing.assert_array_equal(found["bias"], gradients["bias"])


def options(**changes):
    values = {"name": "adam", "learning_rate": 1.0, "b1": 0.0, "b2": 0.0, "eps": 0.0, "decay": 0.8}
    return ConfigDict({**values, **changes})


def test_rate_decays_in_every_quarter():
    """Without moments Adam's updates are the rate times the gradient's sign."""
    optimiser = make_optimiser(options(), steps=8)
    state, seen = optimiser.init(jnp.float32(0)), []
    for _ in range(5):
        update, state = optimiser.update(jnp.float32(-3), state)
        seen.append(float(update))
    np.testing.assert_allclose(seen, [1, 0.8**0.5, 0.8, 0.8**1.5, 0.64], rtol=1e-5)


def test_unknown_optimiser_is_refused():
    with pytest.raises(UserError, match="ranger or adam"):
        make_optimiser(options(name="sgd"), 4)
