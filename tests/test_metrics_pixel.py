"""MSE, PSNR, SSIM and MS-SSIM against scikit-image, SciPy and closed forms, and their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import skimage.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from diffcam_jax.metrics import pixel
from diffcam_jax.ops.image import to_unit


def pictures(n=2, size=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def smooth(n=1, size=171, seed=0):
    return (
        scipy.ndimage.gaussian_filter(pictures(n, size, seed).astype(np.float32), (0, 3, 3, 0))
        / 20
        % 2
        - 1
    )


def test_pixel_measures_are_those_of_scikit_image():
    a, b = pictures(), pictures(seed=1)
    for i, (x, y) in enumerate(zip(a, b, strict=True)):
        unit = [to_unit(z).astype(np.float64) for z in (x, y)]
        assert float(pixel.mse(a, b)[i]) == pytest.approx(
            skimage.metrics.mean_squared_error(*unit), rel=1e-6
        )
        assert float(pixel.psnr(a, b)[i]) == pytest.approx(
            skimage.metrics.peak_signal_noise_ratio(x, y), rel=1e-6
        )
        for window, options in (
            ("uniform", {}),
            ("gaussian", {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}),
        ):
            expected = skimage.metrics.structural_similarity(x, y, channel_axis=-1, **options)
            assert float(pixel.ssim(a, b, window)[i]) == pytest.approx(expected, abs=1e-6)


def test_ssim_of_pictures_that_hardly_differ_keeps_its_digits():
    a = np.full((1, 40, 44, 3), 250, np.uint8)
    a[0, ::7, ::5] -= 3
    b = a.copy()
    b[0, 5, 5] = 248
    expected = skimage.metrics.structural_similarity(
        a[0], b[0], channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert expected < 0.99998
    assert float(pixel.ssim(a, b)[0]) == pytest.approx(expected, abs=2e-6)


def test_bytes_and_floats_are_the_same_pictures():
    a, b = pictures(), pictures(seed=1)
    for measure in (pixel.mse, pixel.psnr, pixel.ssim):
        np.testing.assert_allclose(measure(a, b), measure(to_unit(a), to_unit(b)), rtol=1e-5)


def test_psnr_of_a_constant_offset():
    a = np.full((2, 32, 32, 3), -0.5, np.float32)
    b = a + np.array([1, 16], np.float32)[:, None, None, None] / np.float32(127.5)
    np.testing.assert_allclose(pixel.mse(a, b) * 127.5**2, [1, 256], rtol=1e-5)
    np.testing.assert_allclose(pixel.psnr(a, b), [48.1308, 24.0485], atol=1e-3)


def test_equal_pictures():
    a, large = pictures(), smooth()
    assert np.all(pixel.mse(a, a) == 0) and np.all(pixel.psnr(a, a) == np.inf)
    for similarity in (pixel.ssim(a, a, "uniform"), pixel.ssim(a, a), pixel.ms_ssim(large, large)):
        np.testing.assert_allclose(similarity, 1, atol=1e-6)


@pytest.mark.parametrize("window", ["uniform", "gaussian"])
def test_ssim_of_flat_pictures_is_its_brightness_term(window):
    a, b = np.full((1, 20, 24, 3), 100, np.uint8), np.full((1, 20, 24, 3), 50, np.uint8)
    constant = (0.01 * 255) ** 2
    expected = (2 * 100 * 50 + constant) / (100**2 + 50**2 + constant)
    np.testing.assert_allclose(pixel.ssim(a, b, window), expected, rtol=1e-5)


def written_out(x, y):
    """SSIM's brightness and contrast terms of one channel of 0..255, by a full 11x11 window.

    Valid region only.
    """
    taps = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(taps, taps) / taps.sum() ** 2
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2

    def mean(x):
        return scipy.ndimage.correlate(x, window)[5:-5, 5:-5]

    mx, my = mean(x), mean(y)
    vx, vy, vxy = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    return (2 * mx * my + c1) / (mx**2 + my**2 + c1), (2 * vxy + c2) / (vx + vy + c2)


def test_gaussian_ssim_with_a_border_left_out():
    a, b = pictures(1, 20, 1), pictures(1, 20, 2)
    inner = [x[0, 2:-2, 2:-2].astype(np.float64).transpose(2, 0, 1) for x in (a, b)]
    values = [np.multiply(*written_out(x, y)).mean() for x, y in zip(*inner, strict=True)]
    np.testing.assert_allclose(pixel.ssim(a, b, crop=2), np.mean(values), atol=1e-6)


def test_ms_ssim_written_out():
    a = smooth()
    b = np.clip(a + 0.2 * smooth(seed=5), -1, 1).astype(np.float32)
    expected = []
    for channel in range(3):
        x, y = (127.5 * (picture[0, ..., channel].astype(np.float64) + 1) for picture in (a, b))
        product = 1.0
        for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
            if scale:
                x, y = (np.pad(z, [(0, n % 2) for n in z.shape], "edge") for z in (x, y))
                x, y = (z.reshape(len(z) // 2, 2, -1, 2).mean((1, 3)) for z in (x, y))
            brightness, contrast = written_out(x, y)
            product *= (brightness * contrast if scale == 4 else contrast).mean() ** weight
        expected.append(product)
    assert np.mean(expected) < 0.99
    np.testing.assert_allclose(pixel.ms_ssim(a, b), np.mean(expected), atol=2e-6)


def test_opposed_structure_has_no_multi_scale_similarity_and_no_slope():
    a = smooth() * np.float32(0.9)
    b = a + np.float32(0.2) * smooth(seed=5)
    slope = jax.jit(jax.grad(lambda x, y: pixel.ms_ssim(x, y).sum()))
    assert float(pixel.ms_ssim(a, -a)[0]) == 0
    assert np.all(slope(a, -a) == 0)
    check_slope(lambda x: float(pixel.ms_ssim(x, b)[0]), a, np.asarray(slope(a, b)))


def check_slope(measure, a, slope):
    """Along its gradient a measure rises by the gradient's length."""
    assert np.abs(slope).max() > 0
    step = 0.01 * slope / np.abs(slope).max()
    assert measure(a + step) - measure(a - step) == pytest.approx(
        2 * (slope * step).sum(), rel=0.02
    )


@pytest.mark.parametrize("measure", [pixel.mse, pixel.psnr, pixel.ssim])
def test_gradients_point_where_the_measure_rises(measure):
    a, b = smooth(size=32), smooth(size=32, seed=1)
    check_slope(
        lambda x: float(measure(x, b)[0]),
        a,
        np.asarray(jax.grad(lambda x: measure(x, b).sum())(jnp.asarray(a))),
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1))
def test_laws_of_similarity(seed, share):
    """Symmetric, at most 1, and a pair's own whatever else is in the batch."""
    a, b = pictures(seed=seed), pictures(seed=seed + 1)
    b = (share * a + (1 - share) * b).astype(np.uint8)
    forth, back, swapped = pixel.ssim(a, b), pixel.ssim(b, a), pixel.ssim(a[::-1], b[::-1])
    np.testing.assert_allclose(forth, back, atol=1e-6)
    np.testing.assert_allclose(forth, swapped[::-1], atol=1e-6)
    assert np.all(forth <= 1 + 1e-6)


def test_a_cropped_border_does_not_count():
    a = pictures()
    b = a.copy()
    b[:, :2] = b[:, -2:] = b[:, :, :2] = b[:, :, -2:] = 0
    assert np.all(pixel.mse(a, b, crop=2) == 0) and np.all(pixel.mse(a, b, crop=1) > 0)


def test_luma_of_primaries():
    primaries = np.array(
        [[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8
    )[None, None]
    brightness = 127.5 * (np.asarray(pixel.luma(jnp.asarray(primaries)))[0, 0, :, 0] + 1)
    np.testing.assert_allclose(brightness, [16, 235, 81.481, 144.553, 40.966], rtol=1e-5)


def test_pictures_that_cannot_be_compared():
    a = pictures(1, 16)
    with pytest.raises(ValueError, match=r"one shape, got \(1, 16, 16, 3\) and \(1, 8, 16, 3\)"):
        pixel.mse(a, a[:, :8])
    with pytest.raises(ValueError, match="inside a border of 8"):
        pixel.psnr(a, a, crop=8)
    with pytest.raises(ValueError, match="needs 11x11 pixels, got 10x10"):
        pixel.ssim(a, a, "gaussian", crop=3)
    with pytest.raises(ValueError, match="needs 161x161 pixels, got 16x16"):
        pixel.ms_ssim(a, a)
