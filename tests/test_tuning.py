"""Pivotal tuning on small generators: what moves, what it costs, and that pictures do not know of
each other.
"""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from diffcam_jax.errors import UserError
from diffcam_jax.inversion import optimise
from diffcam_jax.inversion.adam import CHANCES
from diffcam_jax.inversion.shared_tuning import tune_together
from diffcam_jax.inversion.tuned_parts import is_tuned, tuned_generator, tuned_paths
from diffcam_jax.inversion.tuning import TuningSettings, tune
from diffcam_jax.inversion.tuning_problem import Frozen, TuningProblem, Weights
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN
from diffcam_jax.nn.network import Network
from diffcam_jax.nn.stylegan2 import StyleGAN2Generator
from diffcam_jax.ops.window import Window
from tests.fast import fast
from tests.random_variables import random_variables

MODELS = {
    "mobile": MobileStyleGAN(
        (16, 16, 16, 16, 8), latent_size=12, mapping_layers=1
    ),  # 128 pixels, 64 cells
    "stylegan2": StyleGAN2Generator(
        (6, 6, 6, 4), latent_size=12, mapping_layers=1
    ),  # 32 pixels, 32 cells
}
GENERATORS = pytest.mark.parametrize("kind", MODELS)
HEIGHT, WIDTH = 12, 16
SETTINGS = TuningSettings(steps=8, rate=0.1, warmup=2, lpips=0.0, half=0.7, full=0.3)
PLACES = np.array([[5, 16], [20, 0]])


@pytest.fixture(scope="module", autouse=True)
def quickly_compiled():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            optimise, "jitted_step", fast(optimise.step, static_argnums=0, donate_argnums=1)
        )
        yield


@functools.cache
def network(kind):
    return Network(MODELS[kind], random_variables(MODELS[kind], jnp.zeros((1, 12))))


def codes(count=2):
    return np.random.default_rng(1).standard_normal((2, 16, 12)).astype(np.float32)[:count]


@functools.cache
def pictures(kind):
    """Of the codes, by the generator as it is and without windows."""
    draw = fast(lambda variables, w: MODELS[kind].apply(variables, w, method="synthesis"))
    return np.asarray(draw(network(kind).variables, jnp.asarray(codes())))


@functools.cache
def photographs(kind):
    """Those pictures in a light of another colour, and coarse noise."""
    side = MODELS[kind].resolution
    coarse = (
        np.random.default_rng(2).uniform(-0.2, 0.2, (2, side // 4, side // 4, 3)).astype(np.float32)
    )
    return 0.5 * pictures(kind) + np.float32([0.4, -0.2, 0.1]) + coarse.repeat(4, 1).repeat(4, 2)


def window(*places):
    """Windows of the given numbers; a single one has a place that is no array."""
    top, left = PLACES[list(places)].T
    return (
        Window(top, left, HEIGHT, WIDTH)
        if len(places) > 1
        else Window(int(top[0]), int(left[0]), HEIGHT, WIDTH)
    )


@functools.cache
def tuned(kind, *which):
    which = list(which)
    return tune(network(kind), codes()[which], photographs(kind)[which], window(*which), SETTINGS)


def crop(picture, place, factor):
    top, left = factor * place
    return picture[top : top + factor * HEIGHT, left : left + factor * WIDTH]


def cost(drawn, photograph, settings=SETTINGS):
    """The two squared errors by NumPy in double precision."""

    def halved(x):
        return x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2, 3).mean((1, 3))

    drawn, photograph = np.float64(drawn), np.float64(photograph)
    half = ((halved(drawn) - halved(photograph)) ** 2).mean()
    return settings.half * half + settings.full * ((drawn - photograph) ** 2).mean()


def shapes(model):
    return jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, model.latent_size))))[
        "params"
    ]


def test_the_embedded_generator_moves_1_1_million_numbers():
    leaves = flatten_dict(shapes(MobileStyleGAN()))
    moving = {path: leaf for path, leaf in leaves.items() if is_tuned(path)}
    blocks = [
        (f"block_{i}", conv, leaf)
        for i in range(1, 7)
        for conv in ("conv1", "conv2")
        for leaf in ("pointwise", "bias")
    ]
    assert set(moving) == {*blocks, ("to_image", "kernel"), ("to_image", "bias")}
    # A block gets a quarter of the channels of the map before, whose values are wavelet bands.
    widths = [512, 512, 512, 512, 256, 128, 64]  # from 8 pixels on
    kernels = sum(before // 4 * width + width**2 for before, width in itertools.pairwise(widths))
    count = kernels + 2 * sum(widths[1:]) + 64 * 12 + 12
    assert sum(math.prod(leaf.shape) for leaf in moving.values()) == count == 1_116_812
    assert 2 * count < 3 << 20  # what `tuned_cache` keeps at most


def test_stylegan2_moves_its_layers_from_16_pixels_on():
    model = StyleGAN2Generator()
    leaves = flatten_dict(shapes(model))
    # The convolutions of 8 pixels are the first two, and their to-RGB the first.
    convs = [(f"convs_{i}", leaf) for i in range(2, 16) for leaf in ("kernel", "bias")]
    colours = [(f"to_rgbs_{i}", leaf) for i in range(1, 8) for leaf in ("kernel", "bias")]
    assert {path for path in leaves if is_tuned(path)} == {*convs, *colours}
    assert tuned_paths({"params": shapes(model)}) == tuple(sorted([*convs, *colours]))


@GENERATORS
def test_the_first_loss_is_the_squared_error_at_both_sizes(kind):
    found, factor = tuned(kind, 0, 1), MODELS[kind].resolution // MODELS[kind].cells
    expected = [
        cost(*(crop(x[i], PLACES[i], factor) for x in (pictures(kind), photographs(kind))))
        for i in range(2)
    ]
    np.testing.assert_allclose(found.begun, expected, rtol=1e-4)
    assert abs(expected[0] / expected[1] - 1) > 0.01  # each has its own


@GENERATORS
def test_the_loss_falls_to_what_the_tuned_generator_draws(kind):
    found, factor = tuned(kind, 0, 1), MODELS[kind].resolution // MODELS[kind].cells
    assert (
        (found.loss < 0.9 * found.begun).all()
        and found.steps == SETTINGS.steps
        and found.notes == ()
    )
    assert found.seconds > 0
    draw = fast(lambda generator, w: generator(w, method="synthesis"))
    for i in range(2):
        deltas = {path: x[i] for path, x in found.deltas.items()}
        drawn = draw(tuned_generator(network(kind), deltas), jnp.asarray(codes()[i : i + 1]))
        ours = cost(
            crop(np.asarray(drawn[0]), PLACES[i], factor),
            crop(photographs(kind)[i], PLACES[i], factor),
        )
        assert ours == pytest.approx(found.loss[i], rel=2e-3)  # deltas are halves


@GENERATORS
def test_only_what_is_tuned_changes(kind):
    found, variables = tuned(kind, 0, 1), network(kind).variables
    before = flatten_dict(variables["params"])
    moved = tuned_generator(network(kind), {path: x[1] for path, x in found.deltas.items()})
    assert moved.module is MODELS[kind]
    after = moved.variables
    assert set(found.deltas) == {path for path in before if is_tuned(path)}
    for path, array in flatten_dict(after["params"]).items():
        if is_tuned(path):
            assert found.deltas[path].dtype == np.float16 and found.deltas[path].shape == (
                2,
                *array.shape,
            )
            assert np.abs(found.deltas[path][1]).max() > 0
            expected = np.asarray(before[path]) + found.deltas[path][1].astype(np.float32)
            np.testing.assert_array_equal(array, expected)
        else:
            assert array is before[path]
    assert {name: after[name] for name in after if name != "params"} == {
        name: variables[name] for name in variables if name != "params"
    }
    untouched = flatten_dict(tuned_generator(network(kind), {}).variables["params"])
    assert all(untouched[path] is before[path] for path in before)


@GENERATORS
def test_pictures_do_not_know_of_each_other(kind):
    both, second = tuned(kind, 0, 1), tuned(kind, 1)
    for path, array in second.deltas.items():
        np.testing.assert_allclose(both.deltas[path][1], array[0], rtol=1e-2, atol=1e-4)
    np.testing.assert_allclose(both.loss[1], second.loss[0], rtol=1e-4)


@GENERATORS
def test_the_loss_of_a_batch_is_that_of_each_picture(kind):
    """On an accelerator pictures share a step, each with parameters and a place of its own."""
    generator = network(kind)
    paths = tuned_paths(generator.variables)
    problem, frozen = TuningProblem(HEIGHT, WIDTH, paths, ()), Frozen(generator, ())
    rng, leaves = np.random.default_rng(3), flatten_dict(generator.variables["params"])
    unknown = tuple(
        0.1 * rng.standard_normal((2, *leaves[path].shape), np.float32) for path in paths
    )

    @fast
    def loss(w, images, places, unknown):
        target = problem.target(frozen, w, images, places[:, 0], places[:, 1])
        return problem.loss(frozen, target, Weights((), 0.7, 0.3), unknown)

    given = codes(), photographs(kind), PLACES.astype(np.int32), unknown
    together = loss(*given)
    alone = [loss(*jax.tree.map(lambda x: x[i : i + 1], given))[0] for i in range(2)]  # noqa: B023
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    assert abs(together[0] / together[1] - 1) > 0.01


def test_a_photograph_of_no_numbers_stays_as_it_is_and_spoils_nobody():
    images = photographs("mobile").copy()
    images[0] = np.nan
    found, expected = (
        tune(network("mobile"), codes(), images, window(0, 1), SETTINGS),
        tuned("mobile", 1),
    )
    assert np.isnan(found.begun[0]) and np.isnan(found.loss[0])
    for path, array in found.deltas.items():
        np.testing.assert_array_equal(array[0], 0)
        np.testing.assert_array_equal(array[1], expected.deltas[path][0])
    assert found.loss[1] == expected.loss[0]
    (note,) = found.notes
    assert note.startswith(f"picture 1: the loss of the tuning was not finite {CHANCES} times")


def test_a_tuning_goes_on_where_one_ended():
    first = tuned("mobile", 0, 1)
    second = tune(
        network("mobile"), codes(), photographs("mobile"), window(0, 1), SETTINGS, first.deltas
    )
    np.testing.assert_allclose(second.begun, first.loss, rtol=2e-3)
    assert (second.loss < first.loss).all() and (first.loss < 0.9 * first.begun).all()
    # Tensors that an earlier tuning did not have begin at 0.
    some = {("to_image", "bias"): first.deltas["to_image", "bias"]}
    third = tune(
        network("mobile"),
        codes(1),
        photographs("mobile")[:1],
        window(0),
        SETTINGS.with_steps(1),
        some,
    )
    # The bias adds a block of 2 x 2 pixels, by the four Haar wavelets.
    ll, lh, hl, hh = (np.float32(some["to_image", "bias"][0]) / 2).reshape(4, 3)
    block = np.array(
        [[ll + lh + hl + hh, ll + lh - hl - hh], [ll - lh + hl - hh, ll - lh - hl + hh]]
    )
    parts = (pictures("mobile")[0] + np.tile(block, (64, 64, 1)), photographs("mobile")[0])
    np.testing.assert_allclose(
        third.begun, cost(*(crop(x, PLACES[0], 2) for x in parts)), rtol=1e-4
    )


def test_a_tuning_stops_when_its_time_is_over():
    settings = SETTINGS.with_steps(50)
    found = tune(
        network("mobile"), codes(1), photographs("mobile")[:1], window(0), settings, seconds=1e-9
    )
    assert found.steps == 2 and found.notes == ("the tuning ran out of time at step 2 of 50",)
    assert found.loss[0] < found.begun[0]


def test_the_same_input_gives_the_same_bytes():
    first = tuned("mobile", 0, 1)
    again = tune(network("mobile"), codes(), photographs("mobile"), window(0, 1), SETTINGS)
    for path, array in first.deltas.items():
        assert array.tobytes() == again.deltas[path].tobytes()
    np.testing.assert_array_equal(first.loss, again.loss)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps=0: take at least one step"),
        ({"steps": -1}, "steps=-1"),
        ({"rate": -0.1}, "rate=-0.1: settings of a tuning are finite and not negative"),
        ({"rate": math.nan}, "rate=nan"),
        ({"full": math.inf}, "full=inf"),
        ({"patience": -1}, "patience=-1"),
    ],
)
def test_impossible_settings_are_named(changes, message):
    settings = TuningSettings(**{"lpips": 0.0} | changes)
    with pytest.raises(UserError, match=message):
        tune(network("mobile"), codes(1), photographs("mobile")[:1], window(0), settings)


def test_a_generator_without_such_layers_is_refused():
    small = StyleGAN2Generator((8, 6), latent_size=12, mapping_layers=1)  # 8 pixels
    given = Network(small, {"params": shapes(small)})
    with pytest.raises(UserError, match="supports StyleGAN2 and MobileStyleGAN"):
        tune(given, codes(1), np.zeros((1, 8, 8, 3), np.float32), Window(0, 0, 4, 4), SETTINGS)


@GENERATORS
def test_pictures_share_a_generator(kind):
    """With one picture it is the tuning of that picture; with two it fits both."""
    window = Window(3, 8, HEIGHT, WIDTH)
    given = codes(), photographs(kind), window
    alone = tune(network(kind), codes(1), photographs(kind)[:1], window, SETTINGS)
    _, history = tune_together(network(kind), codes(1), photographs(kind)[:1], window, SETTINGS)
    np.testing.assert_array_equal(history, alone.history[:, 0])
    longer = SETTINGS.with_steps(24)
    deltas, history = tune_together(network(kind), *given, longer)
    assert (history[-2:] < 0.7 * history[:2]).all()
    assert {path for path in deltas} == set(tuned_paths(network(kind).variables))
