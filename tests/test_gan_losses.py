"""Adversarial losses: closed forms of linear and quadratic networks."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffcam_jax.losses.adversarial import (
    logistic_loss,
    nonsaturating_loss,
    path_length_penalty,
    r1_penalty,
)


def field(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def test_losses_are_cross_entropies():
    real, fake = field(4, 1), field(4, 1, seed=1)
    sigmoid = lambda x: 1 / (1 + np.exp(-np.asarray(x, np.float64)))  # noqa: E731
    np.testing.assert_allclose(nonsaturating_loss(fake), -np.log(sigmoid(fake)), rtol=1e-5)
    np.testing.assert_allclose(
        logistic_loss(real, fake), -np.log(sigmoid(real)) - np.log(1 - sigmoid(fake)), rtol=1e-5
    )
    assert float(nonsaturating_loss(jnp.array(-1e4))) == 1e4


def test_r1_of_a_quadratic_is_four_times_the_square():
    images = field(3, 4, 4, 3)
    found = r1_penalty(lambda x: (x**2).sum((1, 2, 3))[:, None], images)
    np.testing.assert_allclose(found, 4 * (np.asarray(images) ** 2).sum((1, 2, 3)), rtol=1e-5)


def test_r1_has_a_gradient_with_respect_to_the_weights():
    images = field(2, 4, 4, 3)
    slope = jax.grad(lambda k: r1_penalty(lambda x: k * x.sum((1, 2, 3)), images).mean())(3.0)
    assert float(slope) == pytest.approx(2 * 3 * 48)


def test_path_length_of_a_linear_generator():
    """A picture that is a matrix times the code: the gradient is the matrix transposed times the
    direction, whatever the code.
    """
    b, n, k, side = 2, 3, 5, 4
    matrix = np.asarray(field(n, k, side, side, 3, seed=1))
    codes, noise = field(b, n, k), field(b, side, side, 3, seed=2)
    synthesis = lambda codes: jnp.einsum("bnk,nkhwc->bhwc", codes, matrix)  # noqa: E731
    found = path_length_penalty(synthesis, codes, noise, mean=2.0, decay=0.1)
    gradient = np.einsum("bhwc,nkhwc->bnk", noise, matrix) / math.sqrt(side * side)
    lengths = np.sqrt((gradient**2).sum(2).mean(1))
    mean = 2 + 0.1 * (lengths.mean() - 2)
    np.testing.assert_allclose(found.lengths, lengths, rtol=1e-4)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-4)
    np.testing.assert_allclose(found.penalty, (lengths - mean) ** 2, rtol=1e-3)


def test_path_length_gradient_goes_through_the_lengths_only():
    codes, noise = field(1, 2, 3), field(1, 2, 2, 3, seed=1)

    def penalty(scale):
        def synthesis(codes):
            return scale * jnp.broadcast_to(codes.sum(1)[:, None, None], (1, 2, 2, 3))

        return path_length_penalty(synthesis, codes, noise, 0.0)

    length = float(penalty(1.0).lengths[0])
    # The penalty is (0.99 scale length)^2.
    slope = jax.grad(lambda s: penalty(s).penalty.sum())(2.0)
    np.testing.assert_allclose(slope, 2 * 2.0 * (0.99 * length) ** 2, rtol=1e-4)
    assert float(jax.grad(lambda s: penalty(s).mean)(2.0)) == 0
