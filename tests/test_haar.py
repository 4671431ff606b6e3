"""Haar wavelets against the 4x4 orthogonal matrix written out by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from diffcam_jax.ops.haar import forward_haar, inverse_haar

# Rows: pixels (even, even), (even, odd), (odd, even), (odd, odd); columns: ll, lh, hl, hh.
MATRIX = 0.5 * np.array([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]], np.float32)


def test_inverse_is_the_matrix_at_every_place():
    bands = np.random.default_rng(0).standard_normal((2, 3, 5, 4 * 7)).astype(np.float32)
    picture = np.asarray(inverse_haar(jnp.asarray(bands)))
    assert picture.shape == (2, 6, 10, 7)
    per_channel = bands.reshape(2, 3, 5, 4, 7)
    expected = np.einsum("pk,bhwkc->bhwpc", MATRIX, per_channel)
    for index, (row, column) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        np.testing.assert_allclose(
            picture[:, row::2, column::2], expected[:, :, :, index], atol=1e-6
        )


@pytest.mark.parametrize(("h", "w", "c", "seed"), [(1, 1, 1, 0), (2, 3, 1, 1), (4, 1, 3, 2)])
def test_forward_undoes_inverse_and_energy_is_kept(h, w, c, seed):
    bands = np.random.default_rng(seed).standard_normal((1, h, w, 4 * c)).astype(np.float32)
    picture = inverse_haar(jnp.asarray(bands))
    np.testing.assert_allclose(forward_haar(picture), bands, atol=1e-5)
    np.testing.assert_allclose(np.sum(np.asarray(picture) ** 2), np.sum(bands**2), rtol=1e-4)
