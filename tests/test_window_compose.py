"""The membrane and the blend of the product's edit, on pictures whose right answer is known."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from diffcam_jax.editing import window_edit
from diffcam_jax.editing.compose import without_holes
from diffcam_jax.editing.config import WindowConfig
from diffcam_jax.ops.image import resize
from tests.fast import fast

fill = fast(window_edit.fill)
compose = fast(window_edit.compose, static_argnums=6)


def hole(height, width, margin):
    known = np.ones((1, height, width), np.float32)
    known[:, margin:-margin, margin:-margin] = 0
    return known


@pytest.mark.parametrize(("height", "width"), [(48, 64), (37, 53), (1, 9)])
def test_a_constant_on_a_rim_fills_the_hole(height, width):
    known = (
        hole(height, width, 3)
        if height > 1
        else (np.arange(width) < 2).astype(np.float32)[None, None]
    )
    wrong = np.random.default_rng(0).uniform(5, 9, (1, height, width, 2)).astype(np.float32)
    constant = np.float32([0.3, -0.7])
    x = np.where(known[..., None] == 1, constant, wrong)
    np.testing.assert_allclose(fill(x, known), np.broadcast_to(constant, x.shape), atol=2e-6)


def test_a_ramp_is_continued_through_a_hole():
    y, x = np.mgrid[:64, :96].astype(np.float32)
    ramp = (0.01 * x - 0.02 * y)[None, ..., None]
    known = np.ones((1, 64, 96), np.float32)
    known[:, 20:44, 30:66] = 0
    found = np.asarray(fill(np.where(known[..., None] == 1, ramp, 0), known))
    np.testing.assert_allclose(found[known == 1], ramp[known == 1], atol=1e-6)
    # The ramp rises by 0.36 + 0.48 across the hole.
    error = np.abs(found - ramp)[known == 0]
    assert error.max() < 0.08 and error.mean() < 0.04
    # It is no constant: most of the ramp is there.
    slope = np.polyfit(ramp[known == 0][:, 0], found[known == 0][:, 0], 1)[0]
    assert 0.8 < slope < 1.25


def test_what_is_hardly_known_counts_little():
    known = hole(40, 40, 4) + np.float32(1e-4)
    x = np.where(known[..., None] >= 1, 0.5, -0.5).astype(np.float32)
    found = np.asarray(fill(x, known.clip(0, 1)))
    assert np.abs(found - 0.5).max() < 0.06


def test_nothing_known_gives_numbers():
    x = np.random.default_rng(0).standard_normal((2, 24, 31, 3)).astype(np.float32)
    known = np.zeros((2, 24, 31), np.float32)
    known[1] = 1
    found = np.asarray(fill(x, known))
    np.testing.assert_array_equal(found[0], 0)
    np.testing.assert_allclose(found[1], x[1], atol=1e-6)


SMALL, FACTOR = (48, 64), 2  # mask's size, and how many times as large the picture is
LARGE = tuple(FACTOR * side for side in SMALL)


def photograph(seed=0, scale=0.3):
    """Smooth light with fine detail."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: LARGE[0], : LARGE[1]].astype(np.float32) / 40
    light = 0.4 * np.sin(x + 0.5 * y)[..., None] * np.float32([1, 0.8, 0.6])
    return (light + scale * rng.uniform(-0.5, 0.5, (*LARGE, 3)).astype(np.float32))[None]


def in_square(shape, grown=0, factor=1):
    """The square of the change at the mask's size times `factor`, grown on all sides."""
    inside = np.zeros(shape, bool)
    inside[
        factor * (16 - grown) : factor * (32 + grown), factor * (24 - grown) : factor * (40 + grown)
    ] = True
    return inside


def drawn_pair(drift=0.0, change=0.6):
    """I' misses I's noise; T is I' in another light, with a new texture in a square."""
    image = photograph()
    inverted = photograph(scale=0.0) + np.float32(0.02)
    y, x = np.mgrid[: LARGE[0], : LARGE[1]]
    texture = change * np.where((x // 4 + y // 4) % 2 == 0, 1.0, 0.4).astype(np.float32)
    square = in_square(LARGE, factor=FACTOR)
    light = drift * (0.6 + 0.4 * x / LARGE[1]).astype(np.float32)
    edited = inverted + light[None, ..., None] + (texture * square)[None, ..., None]
    return image, inverted, edited, texture, square


MEANT = EVERYWHERE = np.ones((1, *SMALL), np.float32)
NOWHERE = 0 * EVERYWHERE


def test_an_unchanged_pair_has_an_empty_mask_and_gives_the_photograph():
    image, inverted, *_ = drawn_pair()
    source, mask = compose(image, inverted, inverted, MEANT, EVERYWHERE, NOWHERE, WindowConfig())
    assert not mask.any()
    np.testing.assert_allclose(source, image, atol=5e-6)


def test_light_alone_is_no_change():
    image, inverted, edited, *_ = drawn_pair(drift=0.2, change=0.0)
    source, mask = compose(
        image, inverted, edited, 0.0 * MEANT, EVERYWHERE, NOWHERE, WindowConfig()
    )
    assert not mask.any()
    # The membrane takes off what is known everywhere.
    np.testing.assert_allclose(source, image, atol=0.005)


@pytest.mark.parametrize("drift", [0.0, 0.1, -0.2])
def test_a_change_in_a_square_under_a_drift_of_light(drift):
    image, inverted, edited, texture, square = drawn_pair(drift)
    config = WindowConfig()
    meant = in_square(SMALL, grown=6).astype(np.float32)[None]
    source, mask = (
        np.asarray(x) for x in compose(image, inverted, edited, meant, EVERYWHERE, NOWHERE, config)
    )
    assert mask.shape == (1, *LARGE) and mask.min() >= 0 and mask.max() <= 1
    assert (mask[0][square] > 0.99).all()
    # The core is the square, smoothed by 3; then `rim` twice, and a sample of the enlargement.
    far = ~in_square(LARGE, grown=3 + 2 * config.rim + 1, factor=FACTOR)
    assert far.any() and (mask[0][far] == 0).all()
    # Outside, where the edit does not act, the photograph: the membrane took the drift off.
    outside = ~in_square(LARGE, grown=4, factor=FACTOR)
    assert np.abs(source - image)[0][outside].max() < 0.006
    # Inside the edit's detail, in the photograph's light: the square's own mean is the change.
    inner = in_square(LARGE, grown=-4, factor=FACTOR)
    detail, expected = (x[inner] - x[inner].mean() for x in (source[0, ..., 1], edited[0, ..., 1]))
    assert np.corrcoef(detail, expected)[0, 1] > 0.999
    np.testing.assert_allclose(detail.std(), expected.std(), rtol=0.02)
    smooth = photograph(scale=0.0)[0]
    assert abs((source[0] - smooth)[inner].mean() - texture[inner].mean()) < 0.01


def test_a_blend_covers_the_same_share_of_a_smaller_picture():
    """Lengths are those of 256 pixels, so a picture of 128 has a rim half as wide."""
    assert WindowConfig().at(256) == WindowConfig()
    pair = drawn_pair(drift=0.1)[:3]
    meant = in_square(SMALL, grown=6).astype(np.float32)[None]
    covered = compose(*pair, meant, EVERYWHERE, NOWHERE, WindowConfig())[1]

    def halved(x):
        return np.asarray(resize(jnp.asarray(x), (x.shape[1] // 2, x.shape[2] // 2), "area"))

    few = halved(meant[..., None])[..., 0]
    given = *map(halved, pair), few, np.ones_like(few), np.zeros_like(few)
    shares = [float(compose(*given, c)[1].mean()) for c in (WindowConfig().at(128), WindowConfig())]
    np.testing.assert_allclose(shares[0], float(covered.mean()), rtol=0.12)
    assert shares[1] > 1.3 * shares[0]


def test_without_a_membrane_the_drift_stays():
    image, inverted, edited, *_ = drawn_pair(drift=0.1)
    meant = in_square(SMALL, grown=6).astype(np.float32)[None]
    outside = ~in_square(LARGE, grown=12, factor=FACTOR)
    errors = {}
    for membrane in (True, False):
        source, _ = compose(
            image, inverted, edited, meant, EVERYWHERE, NOWHERE, WindowConfig(membrane=membrane)
        )
        errors[membrane] = np.abs(np.asarray(source - image)[0][outside].mean())
    drift = (edited - inverted)[0][outside].mean()
    assert errors[False] == pytest.approx(drift, rel=0.01) and drift > 0.07
    assert errors[True] < 0.01 * drift


def test_the_light_of_what_may_not_change_stays_out_of_the_edit():
    # Left of the square, where nothing may change, the edit turns everything red: a hood beside a
    # chin.
    image, inverted, edited, *_ = drawn_pair()
    meant = in_square(SMALL, grown=2).astype(np.float32)[None]
    left = np.argmax(meant[0].any(0))
    may = EVERYWHERE * (np.arange(SMALL[1]) >= left)
    red = edited.copy()
    red[:, :, : FACTOR * (left - 2), 0] += 0.5
    found, expected = (
        np.asarray(compose(image, inverted, t, meant, may, NOWHERE, WindowConfig())[0])
        for t in (red, edited)
    )
    inside = in_square(LARGE, factor=FACTOR)
    np.testing.assert_allclose(found[0][inside], expected[0][inside], atol=0.01)


def test_where_shapes_are_kept_the_photograph_takes_the_light_of_the_edit():
    # A pair of lenses, darker by 0.3, over a face: T has shapes of its own behind them, the
    # photograph's stay.
    image, inverted, edited, texture, square = drawn_pair()
    dark = edited - np.float32(0.3) * square[None, ..., None]
    meant = in_square(SMALL, grown=2).astype(np.float32)[None]
    source, mask = (
        np.asarray(x)
        for x in compose(image, inverted, dark, meant, EVERYWHERE, MEANT, WindowConfig())
    )
    inner = in_square(LARGE, grown=-6, factor=FACTOR)
    assert (mask[0][inner] == 1).all()
    light = (source - image)[0][inner]
    assert light.mean() == pytest.approx((texture[square] - 0.3).mean(), abs=0.01)
    assert light.std() < 0.05 * texture[square].std()  # of T's checks nothing is left


def test_what_is_not_meant_has_no_mask():
    image, inverted, edited, *_ = drawn_pair()
    config = WindowConfig(cam=0.3)
    _, mask = compose(image, inverted, edited, 0.29 * MEANT, EVERYWHERE, NOWHERE, config)
    assert not mask.any()
    left = MEANT * (np.arange(SMALL[1]) < 32)
    _, mask = compose(image, inverted, edited, left, EVERYWHERE, NOWHERE, config)
    mask = np.asarray(mask)[0]
    assert mask[48, 60] == 1  # within the left half of the square
    assert not mask[:, FACTOR * (32 + 2 * config.rim + 1) :].any()


def test_pictures_of_a_batch_do_not_know_of_each_other():
    pairs = [drawn_pair(0.1), drawn_pair(-0.1, 0.3)]
    image, inverted, edited = (np.concatenate(parts) for parts in list(zip(*pairs))[:3])
    both = compose(
        image, inverted, edited, *np.repeat([MEANT, EVERYWHERE, NOWHERE], 2, 1), WindowConfig()
    )
    for i, pair in enumerate(pairs):
        alone = compose(*pair[:3], MEANT, EVERYWHERE, NOWHERE, WindowConfig())
        for x, y in zip(both, alone):
            np.testing.assert_allclose(x[i], y[0], atol=1e-6)


def test_what_a_mask_encloses_is_filled():
    """Against SciPy, which joins the same four neighbours."""
    rng = np.random.default_rng(0)
    masks = ndimage.gaussian_filter(rng.standard_normal((3, 60, 71)), (0, 1, 1)) > -0.1
    filled = np.stack([ndimage.binary_fill_holes(mask) for mask in masks])
    assert (filled & ~masks).sum() > 100
    np.testing.assert_array_equal(fast(without_holes)(masks), filled)
