"""Moments, truncation and whitening of latent codes."""

import jax
import jax.numpy as jnp
import numpy as np

from diffcam_jax.nn.latents import latent_stats, sample_w, to_wplus, truncate, whiten
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN
from tests.random_variables import random_variables

MODEL = MobileStyleGAN(widths=(8, 8), latent_size=6, mapping_layers=1)
PARAMS = random_variables(MODEL, jnp.zeros((1, 6)))["params"]


def test_stats_are_numpys():
    w = np.asarray(sample_w(MODEL, {"params": PARAMS}, jax.random.key(3), 500))
    stats = latent_stats(MODEL, {"params": PARAMS}, jax.random.key(3), 500)
    np.testing.assert_allclose(stats.mean, w.mean(0), atol=1e-5)
    rebuilt = (
        np.asarray(stats.eigenvectors)
        * np.asarray(stats.eigenvalues)
        @ np.asarray(stats.eigenvectors).T
    )
    np.testing.assert_allclose(rebuilt, np.cov(w.T), atol=1e-4)
    assert (np.diff(stats.eigenvalues) <= 1e-6).all()


def test_whitened_codes_have_unit_variance():
    stats = latent_stats(MODEL, {"params": PARAMS}, jax.random.key(3), 4000)
    w = sample_w(MODEL, {"params": PARAMS}, jax.random.key(3), 4000)
    white = np.asarray(whiten(w - stats.mean, stats, epsilon=0.0))
    np.testing.assert_allclose(np.cov(white.T), np.eye(6), atol=2e-3)


def test_truncation_ends():
    w, mean = jnp.arange(12.0).reshape(2, 6), jnp.ones(6)
    np.testing.assert_array_equal(truncate(w, mean, 1.0), w)
    np.testing.assert_array_equal(truncate(w, mean, 0.0), jnp.ones((2, 6)))
    assert to_wplus(w).shape == (2, 18, 6)
