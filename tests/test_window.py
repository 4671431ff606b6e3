"""Windows of a generator's picture against the crop of the whole picture."""

import collections
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffcam_jax.nn import mobile_stylegan, stylegan2
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN
from diffcam_jax.nn.stylegan2 import StyleGAN2Generator
from diffcam_jax.ops.window import CELLS, Window, cut, grown, narrowing, scaled, within
from tests.fast import fast
from tests.random_variables import random_variables

SMALL = {"latent_size": 12, "mapping_layers": 1}
STYLEGAN2 = StyleGAN2Generator((6, 6, 6, 6, 6, 4, 4), **SMALL)
# Two blocks after the map of cells.
MODELS = {
    "mobile": MobileStyleGAN((8, 8, 8, 8, 8, 4, 4), **SMALL),
    "stylegan2": STYLEGAN2,
    "clamped": STYLEGAN2.clone(conv_clamp=0.5),
}
KINDS = pytest.mark.parametrize("kind", MODELS)
SIZES = [(64, 5), (59, 64)]  # with a border 59 rows are all
GENERATORS = pytest.mark.parametrize("kind", ["mobile", "stylegan2"])
PLACES = [(0, 0), (0, 54), (56, 0), (56, 54), (0, 30), (30, 0), (56, 20), (20, 54)]  # of 8 x 10
PLACES += [(1, 2), (2, 1), (3, 3), (55, 52), (54, 53), (21, 34)]


@functools.cache
def variables(kind):
    def with_noise(path, leaf):
        # The convolutions add their maps by this factor, which is random but small.
        return jnp.ones_like(leaf) if path[-1].key == "strength" else leaf

    found = random_variables(MODELS[kind], jnp.zeros((1, 12)))
    return jax.tree_util.tree_map_with_path(with_noise, found)


def codes(seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal((2, 16, 12)), jnp.float32)


TRACES = collections.Counter()


@functools.cache
def drawing(kind):
    """The compiled program of windows, and of the whole picture for None."""
    model = MODELS[kind]

    @fast
    def draw(variables, w, window):
        TRACES[kind] += 1
        return model.apply(variables, w, window=window, method="synthesis")

    return draw


@functools.cache
def whole(kind):
    return np.asarray(drawing(kind)(variables(kind), codes(), None))


def crop(picture, window):
    """By NumPy; a window beyond the map is moved inside."""
    f = picture.shape[1] // CELLS
    top = np.clip(window.top, 0, CELLS - window.height) * f
    left = np.clip(window.left, 0, CELLS - window.width) * f
    return picture[:, top : top + window.height * f, left : left + window.width * f]


def assert_equal(ours, expected):
    np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


def check(kind, window):
    ours = drawing(kind)(variables(kind), codes(), window)
    assert_equal(ours, crop(whole(kind), window))


@KINDS
def test_a_window_is_the_crop_at_edges_corners_and_inside(kind):
    assert whole(kind).std() > 0.05
    for place in PLACES:
        check(kind, Window(*place, 8, 10))


@GENERATORS
@pytest.mark.parametrize("sides", SIZES)
def test_a_window_of_any_size_is_the_crop(kind, sides):
    for place in ((0, 0), (2, 3), (64 - sides[0], 64 - sides[1])):
        check(kind, Window(*place, *sides))


@GENERATORS
@settings(max_examples=25, deadline=None, database=None)
@given(place=st.tuples(st.integers(-70, 130), st.integers(-70, 130)))
def test_a_window_at_any_place_is_the_crop(kind, place):
    check(kind, Window(*place, 8, 10))


@GENERATORS
def test_a_smaller_border_would_not_do(kind, monkeypatch):
    module = {"mobile": mobile_stylegan, "stylegan2": stylegan2}[kind]
    monkeypatch.setattr(module, "BORDER", module.BORDER - 1)
    window = Window(20, 30, 8, 10)
    options = {"window": window, "method": "synthesis"}
    draw = fast(lambda variables, w: MODELS[kind].apply(variables, w, **options))
    ours = draw(variables(kind), codes())
    assert np.abs(ours - crop(whole(kind), window)).max() > 1e-4


@GENERATORS
def test_places_share_a_program(kind):
    check(kind, Window(5, 6, 8, 10))
    before = TRACES[kind]
    for place in PLACES:
        drawing(kind)(variables(kind), codes(), Window(*place, 8, 10))
    assert TRACES[kind] == before


@GENERATORS
def test_gradients_are_those_of_the_crop(kind):
    model, window = MODELS[kind], Window(jnp.int32(56), jnp.int32(33), 8, 10)
    late = {"mobile": ("block_4", "block_5", "to_im"), "stylegan2": ("convs_8", "to_rgbs_5")}[kind]
    found, w = variables(kind), codes()[:1]
    split = {name: layer for name, layer in found["params"].items() if name.startswith(late)}

    def picture(unknown, found, w, **options):
        layers, rows = unknown
        everything = found | {"params": found["params"] | layers}
        w_plus = jnp.concatenate([w[:, :10], rows], 1)
        return model.apply(everything, w_plus, method="synthesis", **options)

    def of_window(*inputs):
        return jnp.mean((picture(*inputs, window=window) - 0.3) ** 2)

    def of_whole(*inputs):
        cropped = cut(picture(*inputs), window, model.resolution // CELLS)
        return jnp.mean((cropped - 0.3) ** 2)

    # Of the layers behind the map of cells and the rows that drive them: all take long to compile.
    both = fast(lambda *inputs: [jax.grad(loss)(*inputs) for loss in (of_window, of_whole)])
    ours, theirs = both((split, w[:, 10:]), found, w)
    assert len(split) == {"mobile": 3, "stylegan2": 2}[kind]
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert np.abs(b).max() > 0
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())


def test_each_of_a_batch_may_have_its_own_parameters_and_place():
    kind = "mobile"
    own = [variables(kind), jax.tree.map(lambda a: 1.1 * a, variables(kind))]
    places = np.array([[3, 5], [60, 0]], np.int32)

    @fast
    @functools.partial(jax.vmap, in_axes=(0, 0, 0))
    def together(variables, w, place):
        window = Window(*place, 8, 10)
        return MODELS[kind].apply(variables, w[None], window=window, method="synthesis")[0]

    ours = together(jax.tree.map(lambda *a: jnp.stack(a), *own), codes(), places)
    for i in range(2):
        window = Window(*map(int, places[i]), 8, 10)
        alone = drawing(kind)(own[i], codes(), window)
        assert_equal(ours[i], alone[i])


@GENERATORS
def test_the_trunk_serves_every_window_and_later_rows(kind):
    model, window = MODELS[kind], Window(9, 50, 8, 10)

    @fast
    def draw(variables, trunk_codes, w, window):
        trunk = model.apply(variables, trunk_codes, method="trunk")
        return trunk, model.apply(variables, trunk, w, window, method="window_of")

    # Row 9 is the last that a map of 64 sees, where it drives the picture so far.
    changed = codes().at[:, 10:].set(codes(1)[:, 10:])
    trunk, picture = draw(variables(kind), codes(), changed, window)
    widths = [leaf.shape for leaf in jax.tree.leaves(trunk)]
    assert widths == [(2, 64, 64, c) for c in {"mobile": (8,), "stylegan2": (6, 3)}[kind]]
    expected = crop(np.asarray(drawing(kind)(variables(kind), changed, None)), window)
    assert_equal(picture, expected)
    assert np.abs(expected - crop(whole(kind), window)).max() > 1e-3


def test_other_noise(monkeypatch):
    monkeypatch.setattr(stylegan2, "CELLS", 16)  # fewer layers
    model, window = StyleGAN2Generator((4, 4, 4, 4), **SMALL), Window(5, 9, 3, 4)

    @fast
    def draw(found, w, key):
        def part(noise, window):
            options = {"noise": noise, "window": window, "method": "synthesis"}
            return model.apply(found, w, **options, rngs={"noise": key})

        return part("none", None), part("none", window), part("random", window)

    found = random_variables(model, jnp.zeros((1, 12)))
    picture, silent, random = draw(found, codes()[:1], jax.random.key(3))
    assert_equal(silent, cut(picture, window, 2))
    assert random.shape == silent.shape and np.abs(random - silent).max() > 1e-3


@pytest.mark.parametrize(
    ("model", "cells"),
    [
        (MobileStyleGAN(), 64),
        (MobileStyleGAN((8, 8, 4), **SMALL), 16),
        (StyleGAN2Generator(), 64),
        (StyleGAN2Generator((8, 6, 4), **SMALL), 16),
    ],
)
def test_windows_begin_at_64_or_at_the_last_map(model, cells):
    assert model.cells == cells
    if cells == 16:
        found, window = random_variables(model, jnp.zeros((1, 12))), Window(11, 3, 5, 9)
        draw = fast(lambda w, window=None: model.apply(found, w, window=window, method="synthesis"))
        expected = cut(draw(codes()), window, model.resolution // 16)
        assert_equal(draw(codes(), window), expected)


@GENERATORS
def test_what_no_window_can_be(kind):
    def draw(window, **options):
        options = {"window": window, "method": "synthesis"} | options
        return jax.eval_shape(lambda: MODELS[kind].apply(variables(kind), codes(), **options))

    with pytest.raises(ValueError, match="without size and after_up"):
        draw(Window(0, 0, 8, 8), size=64)
    with pytest.raises(ValueError, match="without size and after_up"):
        draw(Window(0, 0, 8, 8), after_up=lambda _, x: x)
    for sides in ((65, 8), (8, 65), (0, 8), (8, -1)):
        with pytest.raises(ValueError, match="sides from 1 to 64"):
            draw(Window(0, 0, *sides))


def test_borders_stay_on_the_map():
    assert grown(Window(5, 60, 4, 4), 2, 64) == Window(3, 56, 8, 8)
    assert grown(Window(0, 1, 62, 3), 2, 64) == Window(0, 0, 64, 7)
    assert scaled(Window(1, 2, 3, 4), 2) == Window(2, 4, 6, 8)
    assert within(Window(5, 7, 3, 3), Window(4, 4, 8, 8)) == Window(1, 3, 3, 3)


@settings(max_examples=100, deadline=None, database=None)
@given(
    st.tuples(*[st.integers(0, 63)] * 2, *[st.integers(1, 64)] * 2),
    st.integers(0, 3),
    st.integers(0, 3),
)
def test_narrowing_keeps_the_window_and_its_border(numbers, doublings, border):
    parts = list(narrowing(Window(*numbers), 64, 64 * 2**doublings, border))
    assert len(parts) == doublings + 1
    for axis in (0, 1):
        side, start, stop = 64, 0, 64  # what is there of a map of this side
        first = min(numbers[axis], 64 - numbers[axis + 2])
        last = first + numbers[axis + 2]
        for k, (part, place) in enumerate(parts):
            offset = int((part.top, part.left)[axis])
            length = (part.height, part.width)[axis]
            assert offset >= 0 and offset + length <= stop - start
            start, stop = start + offset, start + offset + length
            around = 0 if k == doublings else border
            assert start <= max(0, first * 2**k - around)
            assert stop >= min(side, last * 2**k + around)
            assert length == min(side, (last - first) * 2**k + 2 * around)
            side, start, stop = 2 * side, 2 * start, 2 * stop
            assert (place.top, place.left)[axis] == start
            assert (place.height, place.width)[axis] == stop - start
