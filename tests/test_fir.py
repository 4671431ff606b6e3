"""FIR filters: against scipy's upfirdn, their transposes against inner products."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import upfirdn

from diffcam_jax.ops.fir import TAPS_121, TAPS_1331, downsample, fir, upsample

SKEW = (0.1, 0.2, 0.3, 0.4)


@pytest.fixture(autouse=True)
def highest_precision():
    with jax.default_matmul_precision("highest"):
        yield


def field(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def reference(x: np.ndarray, taps, pad, up: int = 1, down: int = 1) -> np.ndarray:
    """Zero-stuff, pad, convolve without padding, decimate; in float64, one axis at a time."""
    for axis in (1, 2):
        stuffed = np.zeros([n * up if i == axis else n for i, n in enumerate(x.shape)])
        stuffed[tuple(slice(None, None, up) if i == axis else slice(None) for i in range(4))] = x
        stuffed = np.pad(stuffed, [pad if i == axis else (0, 0) for i in range(4)])
        full = upfirdn(taps, stuffed, axis=axis)
        count = stuffed.shape[axis] - len(taps) + 1
        x = np.take(full, np.arange(len(taps) - 1, len(taps) - 1 + count, down), axis)
    return x


@pytest.mark.parametrize("taps", [TAPS_1331, TAPS_121, SKEW])
@pytest.mark.parametrize("pad", [(1, 1), (2, 2), (2, 1), (0, 0)])
def test_fir_is_upfirdn(taps, pad):
    x = field(2, 9, 6, 3)
    ours = fir(jnp.asarray(x), taps, pad)
    np.testing.assert_allclose(ours, reference(x, taps, pad), atol=1e-6)


def test_fir_crops_where_the_padding_is_negative():
    x = field(1, 9, 9, 2)
    ours = fir(jnp.asarray(x), SKEW, (-2, 1))
    np.testing.assert_allclose(ours, fir(jnp.asarray(x[:, 2:, 2:]), SKEW, (0, 1)), atol=1e-6)


@pytest.mark.parametrize("taps", [TAPS_1331, SKEW])
def test_upsample_is_upfirdn_with_padding_2_1(taps):
    x = field(2, 5, 4, 3)
    ours = upsample(jnp.asarray(x), taps)
    np.testing.assert_allclose(ours, reference(x, [2 * t for t in taps], (2, 1), up=2), atol=1e-6)


@pytest.mark.parametrize("taps", [TAPS_1331, SKEW])
def test_downsample_is_upfirdn_with_padding_1_1(taps):
    x = field(2, 8, 6, 3)
    ours = downsample(jnp.asarray(x), taps)
    np.testing.assert_allclose(ours, reference(x, taps, (1, 1), down=2), atol=1e-6)


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: fir(x, SKEW, (2, 1)),
        lambda x: fir(x, TAPS_121, (0, 0)),
        lambda x: upsample(x, SKEW),
        lambda x: downsample(x, SKEW),
    ],
)
def test_gradients_are_the_transpose_to_second_order(operation):
    x = jnp.asarray(field(1, 6, 8, 2))
    y = operation(x)
    g = jnp.asarray(field(*y.shape))
    pulled = jax.vjp(operation, x)[1](g)[0]
    np.testing.assert_allclose((pulled * x).sum(), (g * y).sum(), rtol=1e-4)
    # The transpose of the transpose is the operation itself.
    twice = jax.vjp(lambda g: jax.vjp(operation, x)[1](g)[0], g)[1](x)[0]
    np.testing.assert_allclose(twice, y, atol=1e-5)


def test_a_constant_stays_a_constant_inside():
    x = jnp.ones((1, 8, 8, 1))
    for y in (fir(x, TAPS_1331, (1, 1)), fir(x, TAPS_121, (1, 1)), upsample(x), downsample(x)):
        np.testing.assert_allclose(y[:, 2:-2, 2:-2], 1, atol=1e-6)
