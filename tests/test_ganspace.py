"""GANSpace: components of codes by hand and by a singular value decomposition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffcam_jax.directions import space
from diffcam_jax.directions.ganspace import ganspace_directions
from diffcam_jax.errors import UserError
from diffcam_jax.nn.network import Network
from diffcam_jax.nn.stylegan1 import StyleGAN1Generator
from tests.random_variables import random_variables

SIZE = 16


def test_components_by_hand():
    rng = np.random.default_rng(0)
    codes = (rng.standard_normal((2000, 1, 3)) * [1.0, 5.0, 2.0] + 7).astype(np.float32)
    found = ganspace_directions(codes, 2)
    np.testing.assert_allclose(np.abs(found.vectors[:, 0]), [[0, 1, 0], [0, 0, 1]], atol=0.05)
    assert (found.vectors.max((1, 2)) > 0.9).all()
    np.testing.assert_allclose(found.deviations, [5, 2], rtol=0.05)
    edited = found.edit(np.repeat(codes[:4], 5, 1), 0, 1.5, (1, 3))
    # What was moved lies where it was told to, row by row; the rest is as it was.
    np.testing.assert_allclose(found.coordinates(edited, 0)[:, 1:3], 1.5, atol=1e-4)
    np.testing.assert_array_equal(edited[:, [0, 3, 4]], np.repeat(codes[:4], 3, 1))
    np.testing.assert_allclose(found.edit(edited, 0, 1.5, (1, 3)), edited, atol=1e-4)
    for options, message in (
        ((0, 1.0, (2, 6)), "choose from 0 to 5"),
        ((2, 1.0, (0, 5)), "choose from 0 to 1"),
    ):
        with pytest.raises(UserError, match=message):
            found.edit(edited, *options)
    with pytest.raises(UserError, match="have 1 to 3"):
        ganspace_directions(codes, 4)


def test_components_over_all_layers():
    module = StyleGAN1Generator((8, 8, 8), SIZE, 1)
    generator = Network(module, random_variables(module, jnp.zeros((1, SIZE)), seed=3))
    codes = space.draw(generator, jax.random.key(0), 300)
    found = ganspace_directions(codes, 3)
    assert found.vectors.shape == (3, 6, SIZE)
    edited = found.edit(codes, 1, 2.0, (0, 6))
    np.testing.assert_allclose(found.coordinates(edited, 1), 2.0, atol=1e-4)
    flat = codes.reshape(300, -1)
    values = np.linalg.svd(flat - flat.mean(0), compute_uv=False)[:3]
    np.testing.assert_allclose(found.deviations, values / np.sqrt(299), rtol=1e-4)
