"""Windows, the membrane and the blend of the product's edit, on pictures whose right answer is
known.
"""

import functools

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffcam_jax.editing import window_edit
from diffcam_jax.editing.window_edit import (
    SHAPES,
    WindowConfig,
    covering,
    fit_window,
    holds,
    smaller,
)
from diffcam_jax.nn.classifier import DiffClassifier
from diffcam_jax.ops.window import Window
from tests.fast import fast
from tests.random_variables import random_variables

CELLS = st.sampled_from([16, 32, 64])
fill = fast(window_edit.fill)
compose = fast(window_edit.compose, static_argnums=4)
missed = fast(window_edit.missed, static_argnums=3)
edit_window = fast(
    window_edit.edit_window,
    static_argnames=("classifier", "config", "cam_config", "method", "user_mode"),
)


def inside(window, cells):
    return 0 <= window.top <= cells - window.height and 0 <= window.left <= cells - window.width


def clipped(cells):
    return {(min(h, cells), min(w, cells)) for h, w in SHAPES}


@st.composite
def rectangles(draw):
    cells = draw(CELLS)
    sides = [
        sorted(draw(st.lists(st.integers(0, cells), min_size=2, max_size=2, unique=True)))
        for _ in range(2)
    ]
    return cells, np.array([side[0] for side in sides]), np.array([side[1] for side in sides])


@settings(max_examples=300, deadline=None, database=None)
@given(rectangles())
def test_a_window_holds_its_rectangle_and_stays_inside(rectangle):
    cells, low, high = rectangle
    window = covering(low, high, cells)
    assert inside(window, cells) and (window.height, window.width) in clipped(cells)
    assert holds(window, Window(*low.tolist(), *(high - low).tolist()))
    for height, width in SHAPES if cells == 64 else ():
        if height * width < window.height * window.width:  # a smaller one would not do
            assert high[0] - low[0] > height or high[1] - low[1] > width
    for (start, length), (first, last) in zip(
        [(window.top, window.height), (window.left, window.width)], zip(low, high)
    ):
        if 0 < start < cells - length:  # centred where it can be
            assert abs((first - start) - (start + length - last)) <= 1


@settings(max_examples=200, deadline=None, database=None)
@given(rectangles(), st.sampled_from([1, 2, 4]), st.integers(0, 2**32 - 1))
def test_a_fitted_window_holds_what_is_wanted(rectangle, grain, seed):
    cells, low, high = rectangle
    wanted = np.full((cells * grain,) * 2, 0.5, np.float32)
    part = wanted[low[0] * grain : high[0] * grain, low[1] * grain : high[1] * grain]
    part[:] = 0.6
    window = fit_window(wanted, cells)
    assert inside(window, cells)
    assert holds(window, Window(*low.tolist(), *(high - low).tolist()))
    # Of scattered places it may leave a few out on each side.
    part[np.random.default_rng(seed).random(part.shape) < 0.8] = 0.4
    part[0, 0] = 0.7
    window, acts = fit_window(wanted, cells), wanted > 0.5
    top, left = window.top * grain, window.left * grain
    bottom, right = top + window.height * grain, left + window.width * grain
    for beyond in (acts[:top], acts[bottom:], acts[:, :left], acts[:, right:]):
        assert beyond.sum() <= window_edit.TRIMMED * acts.sum() + 1e-6


def test_nothing_wanted_needs_no_window():
    assert fit_window(np.full((64, 64), 0.5, np.float32), 64) is None


@settings(max_examples=200, deadline=None, database=None)
@given(rectangles())
def test_smaller_windows_end_at_the_smallest(rectangle):
    cells, low, high = rectangle
    window, seen = covering(low, high, cells), []
    while window is not None:
        assert inside(window, cells) and (window.height, window.width) in clipped(cells)
        seen.append(window)
        window = smaller(window, cells)
    areas = [w.height * w.width for w in seen]
    assert areas == sorted(set(areas), reverse=True)
    assert areas[-1] == min(h * w for h, w in clipped(cells))


def test_the_next_smaller_window_has_the_same_centre(monkeypatch):
    monkeypatch.setattr(window_edit, "SHAPES", ((28, 32), (24, 56), (44, 48), (56, 56), (64, 64)))
    assert smaller(Window(8, 4, 56, 56), 64) == Window(14, 8, 44, 48)
    assert smaller(Window(14, 8, 44, 48), 64) == Window(24, 4, 24, 56)
    assert smaller(Window(24, 8, 24, 56), 64) == Window(22, 20, 28, 32)
    assert smaller(Window(0, 0, 28, 32), 64) is None


def test_holding():
    outer = Window(4, 6, 20, 30)
    assert (
        holds(outer, outer)
        and holds(outer, Window(5, 7, 3, 3))
        and holds(outer, Window(4, 35, 20, 1))
    )
    for other in (Window(3, 7, 3, 3), Window(5, 5, 3, 3), Window(22, 7, 3, 3), Window(5, 35, 3, 2)):
        assert not holds(outer, other) and not holds(other, outer)


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


MEANT = np.ones((1, *SMALL), np.float32)


def test_an_unchanged_pair_has_an_empty_mask_and_gives_the_photograph():
    image, inverted, *_ = drawn_pair()
    source, mask = compose(image, inverted, inverted, MEANT, WindowConfig())
    assert not mask.any()
    np.testing.assert_allclose(source, image, atol=5e-6)


def test_light_alone_is_no_change():
    image, inverted, edited, *_ = drawn_pair(drift=0.2, change=0.0)
    source, mask = compose(image, inverted, edited, 0.0 * MEANT, WindowConfig())
    assert not mask.any()
    # The membrane takes off what is known everywhere.
    np.testing.assert_allclose(source, image, atol=0.005)


@pytest.mark.parametrize("drift", [0.0, 0.1, -0.2])
def test_a_change_in_a_square_under_a_drift_of_light(drift):
    image, inverted, edited, texture, square = drawn_pair(drift)
    config = WindowConfig()
    meant = in_square(SMALL, grown=6).astype(np.float32)[None]
    source, mask = (np.asarray(x) for x in compose(image, inverted, edited, meant, config))
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


def test_without_a_membrane_the_drift_stays():
    image, inverted, edited, *_ = drawn_pair(drift=0.1)
    meant = in_square(SMALL, grown=6).astype(np.float32)[None]
    outside = ~in_square(LARGE, grown=12, factor=FACTOR)
    errors = {}
    for membrane in (True, False):
        source, _ = compose(image, inverted, edited, meant, WindowConfig(membrane=membrane))
        errors[membrane] = np.abs(np.asarray(source - image)[0][outside].mean())
    drift = (edited - inverted)[0][outside].mean()
    assert errors[False] == pytest.approx(drift, rel=0.01) and drift > 0.07
    assert errors[True] < 0.01 * drift


def test_what_is_not_meant_has_no_mask():
    image, inverted, edited, *_ = drawn_pair()
    config = WindowConfig(cam=0.3)
    _, mask = compose(image, inverted, edited, 0.29 * MEANT, config)
    assert not mask.any()
    left = MEANT * (np.arange(SMALL[1]) < 32)
    _, mask = compose(image, inverted, edited, left, config)
    mask = np.asarray(mask)[0]
    assert mask[48, 60] == 1  # within the left half of the square
    assert not mask[:, FACTOR * (32 + 2 * config.rim + 1) :].any()


def test_pictures_of_a_batch_do_not_know_of_each_other():
    pairs = [drawn_pair(0.1), drawn_pair(-0.1, 0.3)]
    image, inverted, edited = (np.concatenate(parts) for parts in list(zip(*pairs))[:3])
    both = compose(image, inverted, edited, np.repeat(MEANT, 2, 0), WindowConfig())
    for i, pair in enumerate(pairs):
        alone = compose(*pair[:3], MEANT, WindowConfig())
        for x, y in zip(both, alone):
            np.testing.assert_allclose(x[i], y[0], atol=1e-6)


SIDE, SIZE, PARTS = 128, 64, 64  # the photograph, the classifier's picture, cells
PLACE = Window(jnp.int32(10), jnp.int32(20), 28, 32)


@functools.cache
def classifier():
    model, picture = (
        DiffClassifier(depth=18, width=4, num_classes=2, split=1),
        jnp.zeros((1, SIZE, SIZE, 3)),
    )
    variables = random_variables(model, picture, picture)
    # Positive weights over positive activations: every map has something to show.
    variables["params"]["fc"]["kernel"] = jnp.abs(variables["params"]["fc"]["kernel"])
    return model, variables


@functools.cache
def scene():
    """Photographs, the windows of I' and of two edits."""
    rng = np.random.default_rng(4)
    images = rng.uniform(-1, 1, (2, SIDE, SIDE, 3)).astype(np.float32)
    inverted = images[:, 20:76, 40:104] * np.float32(0.8)
    windows = [inverted]
    for where in (np.s_[:, 10:40, 10:30], np.s_[:, 20:50, 30:54]):
        windows.append(windows[-1].copy())
        windows[-1][where] += np.float32(0.7)
    return images, np.stack(windows)


def edited(may=None, config=None, place=PLACE, **options):
    images, windows = scene()
    may = np.ones((2, 2, SIZE, SIZE), np.float32) if may is None else may
    config = config or WindowConfig(cam=0.05, rim=2)
    given = (
        images,
        windows,
        place,
        jnp.asarray(may),
        jnp.array([0, 1]),
        jnp.array([False, True]),
        config,
    )
    return edit_window(*classifier(), *given, **options)


def test_outside_the_mask_is_the_photograph_bit_for_bit():
    images = scene()[0]
    found = edited()
    mask, fused, source = (np.asarray(x) for x in (found.mask, found.fused, found.source))
    assert (
        mask.shape == (2, SIDE, SIDE)
        and found.logits.shape == (2, 2, 2)
        and found.cam_mask.shape == (2, SIZE, SIZE)
    )
    assert (
        0.01 < (mask > 0).mean() < 0.215
        and (mask == 1).any()
        and mask.max() == 1
        and mask.min() == 0
    )
    np.testing.assert_array_equal(fused[mask == 0], images[mask == 0])
    around = np.ones((SIDE, SIDE), bool)
    around[20:76, 40:104] = False
    assert not mask[:, around].any()
    np.testing.assert_array_equal(source[:, around], images[:, around])
    # Eq. 5 within.
    blend = mask[..., None] * source + (1 - mask[..., None]) * images
    np.testing.assert_allclose(fused, blend, atol=1e-6)
    assert (fused != images).any(-1)[mask > 0.5].mean() > 0.9
    assert np.abs(source).max() <= 1


def test_a_mask_ends_at_the_sides_of_its_window():
    """Whatever the change at the border of the window: the mask rises from 0 within a cell."""
    config = WindowConfig(cam=0.0, rim=2, least=-1.0, share=-1.0)  # a core everywhere
    mask = np.asarray(edited(config=config).mask)
    within = mask[:, 20:76, 40:104]
    assert within[:, 10:-10, 10:-10].min() == 1
    for edge in (within[:, 0], within[:, -1], within[:, :, 0], within[:, :, -1]):
        assert edge.max() <= 0.26  # a quarter of a cell in
    # At the picture's own sides it does not end.
    corner = Window(jnp.int32(0), jnp.int32(0), 28, 32)
    mask = np.asarray(edited(config=config, place=corner).mask)
    assert mask[:, 0, :50].min() == 1 and mask[:, :40, 0].min() == 1
    assert not mask[:, 56:].any() and not mask[:, :, 64:].any()


@pytest.mark.parametrize("rim", [2, 9])
def test_where_nothing_may_change_the_mask_is_exactly_0(rim):
    may = np.zeros((2, 2, SIZE, SIZE), np.float32)
    may[:, 0, 15:24, 25:40] = 1
    may[:, 1, 20:28, 30:44] = 0.7
    config = WindowConfig(cam=0.05, rim=rim)
    found = edited(may, config)
    mask, images = np.asarray(found.mask), scene()[0]
    # A place is two pixels a side, and enlarging reaches one pixel beyond it.
    free = np.zeros((SIDE, SIDE), bool)
    free[29:49, 49:81] = free[39:57, 59:89] = True
    assert mask[:, free].max() > 0.9
    assert not mask[:, ~free].any()
    np.testing.assert_array_equal(np.asarray(found.fused)[:, ~free], images[:, ~free])
    nothing = edited(0 * may, config)
    assert not np.asarray(nothing.mask).any()
    np.testing.assert_array_equal(nothing.fused, images)


def test_a_mask_by_hand_confines_or_adds():
    images, plain = scene()[0], np.asarray(edited().mask)
    by_hand = np.zeros((2, SIDE, SIDE), np.float32)
    by_hand[:, :, :72] = 0.5
    found = edited(user_mask=jnp.asarray(by_hand))
    np.testing.assert_array_equal(found.mask, np.minimum(plain, by_hand))
    assert np.asarray(found.mask).any()
    np.testing.assert_array_equal(np.asarray(found.fused)[:, :, 72:], images[:, :, 72:])
    added = np.asarray(edited(user_mask=jnp.asarray(by_hand), user_mode="union").mask)
    within = np.s_[:, 20:76, 40:104]
    np.testing.assert_array_equal(added[within], np.maximum(plain, by_hand)[within])


def test_an_edit_that_is_undone_is_seen_the_other_way_round():
    """Taking an attribute away shows the classifier the pair with its pictures exchanged."""
    images, windows = scene()
    model, variables = classifier()
    may = jnp.ones((2, 1, SIZE, SIZE))
    there, back = (
        edit_window(
            model,
            variables,
            images,
            given,
            PLACE,
            may,
            jnp.array([1]),
            jnp.array([undo]),
            WindowConfig(cam=0.05, rim=2),
        )
        for given, undo in ((windows[:2], False), (windows[1::-1], True))
    )
    np.testing.assert_allclose(there.logits, back.logits, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(there.cam_mask, back.cam_mask, atol=1e-5)
    assert np.asarray(there.cam_mask).max() == 1


def test_what_the_window_misses_is_known():
    images = scene()[0]
    drawn = images[:, 20:76, 40:104].copy()
    drawn[:, 20:40, 20:44] += np.float32(0.5)
    found = np.asarray(missed(images, drawn, PLACE, SIZE))
    # The rows 20 to 29 and columns 30 to 41, smoothed over a pixel.
    np.testing.assert_allclose(found[:, 21:29, 31:41], 0.5, atol=1e-5)
    far = np.ones((SIZE, SIZE), bool)
    far[19:31, 29:43] = False
    np.testing.assert_allclose(found[:, far], 0, atol=1e-6)
