"""Pivotal tuning as a method of inversion, on small generators of both kinds, and its files."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from diffcam_jax import inversion
from diffcam_jax.directions.space import generator_hash
from diffcam_jax.errors import UserError
from diffcam_jax.files import trees
from diffcam_jax.inversion import METHODS, TUNING, SearchSettings, TuningSettings, tuned_files
from diffcam_jax.inversion.encoding import Encoder, read
from diffcam_jax.inversion.pivotal import invert_by_tuning
from diffcam_jax.inversion.result import Inversion
from diffcam_jax.inversion.tuned_parts import tuned_generator, tuned_paths
from diffcam_jax.nn.indomain_encoder import InDomainEncoder, encoder_widths
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN
from diffcam_jax.nn.network import Network
from diffcam_jax.nn.stylegan1 import StyleGAN1Generator
from diffcam_jax.nn.stylegan2 import StyleGAN2Generator
from tests.fast import fast
from tests.random_variables import random_variables

SIDE, ROWS, K = 32, 8, 8
PLAIN = TuningSettings(steps=12, rate=0.2, lpips=0.0)
ZEROS = np.zeros(K, np.float32)


def network(module, *inputs):
    return Network(module, random_variables(module, *inputs))


GENERATORS = {
    "mobile": network(MobileStyleGAN((8, 8, 8), K, 2), jnp.zeros((1, K))),
    "stylegan2": network(StyleGAN2Generator((8, 8, 8, 8), K, mapping_layers=2), jnp.zeros((1, K))),
}
MOBILE = GENERATORS["mobile"]
READER = InDomainEncoder(encoder_widths(SIDE, 8, 8), ROWS, K)
ENCODER = Encoder(network(READER, jnp.zeros((1, SIDE, SIDE, 3))), ZEROS, 0, ROWS)
PIVOTS = np.random.default_rng(0).normal(0, 0.4, (2, ROWS, K)).astype(np.float32)
# Of one colour: a network of random numbers can get nearer to those than to noise.
PHOTOGRAPHS = np.ones((2, SIDE, SIDE, 3), np.float32) * np.array([0.6, -0.4, 0.1], np.float32)


@fast
def draw(generator, codes):
    return generator(codes, method="synthesis")


def cost(generator, code, photograph):
    """Squared errors of a picture that is drawn whole, at full and at half size."""
    drawn = np.asarray(draw(generator, jnp.asarray(code[None]))[0])
    halves = [x.reshape(SIDE // 2, 2, SIDE // 2, 2, 3).mean((1, 3)) for x in (drawn, photograph)]
    return np.mean((drawn - photograph) ** 2) + np.mean((halves[0] - halves[1]) ** 2)


def cost_of(generator, found, index, photograph):
    own = {path: changes[index] for path, changes in found.tuned.items()}
    return cost(tuned_generator(generator, own), found.codes[index], photograph)


@functools.cache
def tuned(kind):
    return inversion.invert(GENERATORS[kind], None, PHOTOGRAPHS, TUNING, PLAIN, start=PIVOTS)


@pytest.mark.parametrize("kind", GENERATORS)
def test_the_generator_moves_and_the_pivots_stay(kind):
    generator, found = GENERATORS[kind], tuned(kind)
    np.testing.assert_array_equal(found.codes, PIVOTS)
    assert set(found.tuned) == set(tuned_paths(generator.variables))
    flat = flatten_dict(generator.variables["params"])
    for path, changes in found.tuned.items():
        assert changes.dtype == np.float16 and changes.shape == (2, *flat[path].shape)
    assert found.steps == len(found.history) == 12 and found.notes == ()
    np.testing.assert_array_equal(found.loss, found.history.min(0))
    assert np.all(found.loss < 0.9 * found.history[0])
    assert found.seconds > 0 and found.compile_seconds > 0


@pytest.mark.parametrize("kind", GENERATORS)
def test_the_loss_is_that_of_the_picture_the_tuned_generator_draws(kind):
    generator, found = GENERATORS[kind], tuned(kind)
    for index, photograph in enumerate(PHOTOGRAPHS):
        begun = cost(generator, PIVOTS[index], photograph)
        np.testing.assert_allclose(found.history[0, index], begun, rtol=1e-4)
        # The changes are rounded to half precision.
        again = cost_of(generator, found, index, photograph)
        np.testing.assert_allclose(found.loss[index], again, rtol=2e-3)


def test_the_same_photographs_give_the_same_changes():
    again = inversion.invert(MOBILE, None, PHOTOGRAPHS, TUNING, PLAIN, start=PIVOTS)
    for path, changes in tuned("mobile").tuned.items():
        np.testing.assert_array_equal(again.tuned[path], changes)


def test_the_pivot_is_the_encoders_code_and_in_w_the_mean_of_its_rows():
    one = dataclasses.replace(PLAIN, steps=1)
    inverter = inversion.Inverter(MOBILE, ENCODER, TUNING, one)
    codes = read(MOBILE, ENCODER, jnp.asarray(PHOTOGRAPHS))
    np.testing.assert_allclose(inverter(PHOTOGRAPHS).codes, codes, rtol=1e-5, atol=1e-6)
    shared = inversion.invert(MOBILE, ENCODER, PHOTOGRAPHS, TUNING, one, space="w").codes
    mean = np.broadcast_to(codes.mean(1, keepdims=True), codes.shape)
    np.testing.assert_allclose(shared, mean, rtol=1e-4, atol=1e-6)
    given = inversion.invert(MOBILE, ENCODER, PHOTOGRAPHS, TUNING, one, space="w", start=PIVOTS)
    np.testing.assert_allclose(given.codes[:, 0], PIVOTS.mean(1), rtol=1e-5, atol=1e-6)


def test_photographs_of_another_size_are_compared_at_the_generators():
    large = PHOTOGRAPHS.repeat(2, 1).repeat(2, 2)
    found = inversion.invert(MOBILE, None, large, TUNING, PLAIN, start=PIVOTS)
    np.testing.assert_allclose(found.loss, tuned("mobile").loss, rtol=1e-4)


def test_without_an_encoder_a_search_finds_the_pivots_in_half_of_the_time():
    asked = []

    def search(images, **limits):
        asked.append(limits)
        history = np.zeros((1, 2), np.float32)
        return Inversion(PIVOTS, np.zeros(2, np.float32), history, 1, 30.0, 7.0, ("searched",))

    one = dataclasses.replace(PLAIN, steps=1)
    given = MOBILE, None, search, jnp.asarray(PHOTOGRAPHS), one
    found = invert_by_tuning(*given, seconds=40.0)
    assert asked == [{"seconds": 20.0, "progress": False}]
    np.testing.assert_array_equal(found.codes, PIVOTS)
    assert found.compile_seconds > 7 and found.notes == ("searched",)
    invert_by_tuning(*given)
    assert asked[1]["seconds"] is None
    assert inversion.Inverter(MOBILE, None, TUNING).recipe["start"]["method"] == "prior"
    began = inversion.Inverter(MOBILE, ENCODER, TUNING).recipe["start"]
    assert began == trees.tree_hash(ENCODER.network.variables)


@pytest.mark.weights
def test_without_an_encoder_the_pivot_is_what_prior_finds(monkeypatch):
    quick = METHODS["prior"].defaults.with_steps(2)
    monkeypatch.setitem(METHODS, "prior", dataclasses.replace(METHODS["prior"], defaults=quick))
    larger = network(MobileStyleGAN((8, 8, 8, 8), K, 2), jnp.zeros((1, K)))  # LPIPS sees a quarter
    expected = inversion.invert(larger, None, PHOTOGRAPHS, "prior")
    found = inversion.invert(larger, None, PHOTOGRAPHS, TUNING, PLAIN.with_steps(1))
    np.testing.assert_array_equal(found.codes, expected.codes)


def test_a_photograph_that_is_no_number_and_time_that_ran_out_are_said():
    broken = PHOTOGRAPHS.copy()
    broken[1] = np.nan
    found = inversion.invert(MOBILE, None, broken, TUNING, PLAIN, start=PIVOTS)
    assert np.isnan(found.loss[1]) and all(not x[1].any() for x in found.tuned.values())
    np.testing.assert_allclose(found.loss[0], tuned("mobile").loss[0], rtol=1e-5)
    assert len(found.notes) == 1 and found.notes[0].startswith("picture 2: the loss of the tuning")
    hurried = inversion.invert(MOBILE, None, PHOTOGRAPHS, TUNING, PLAIN, start=PIVOTS, seconds=1e-6)
    assert hurried.steps == 2 and "ran out of time at step 2 of 12" in hurried.notes[0]


STYLEGAN1 = network(StyleGAN1Generator((8, 8, 8, 8), K, 2), jnp.zeros((1, K)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mask": np.ones((2, SIDE, SIDE), np.float32)}, "reads whole photographs"),
        ({"restarts": 1}, "omit restarts=1"),
        ({"generator": STYLEGAN1}, "supports StyleGAN2 and MobileStyleGAN"),
        ({"settings": SearchSettings()}, "pivotal_tuning takes TuningSettings, not SearchSettings"),
        ({"method": "mse"}, "mse takes SearchSettings, not TuningSettings"),
        ({"settings": PLAIN.with_steps(0)}, "at least one step"),
        ({"settings": dataclasses.replace(PLAIN, rate=-1.0)}, "rate=-1.0"),
        ({"settings": dataclasses.replace(PLAIN, patience=129)}, "at most 128"),
        ({"encoder": ENCODER.replace(rows=6)}, "gives 6 rows"),
        ({"start": PIVOTS[:, :6]}, "this generator's are"),
        ({"seconds": 0.0}, "seconds=0.0"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(arguments, message):
    given = {"generator": MOBILE, "encoder": None, "start": PIVOTS} | arguments
    given = {"method": TUNING, "settings": PLAIN, "images": PHOTOGRAPHS} | given
    with pytest.raises(UserError, match=message) as error:
        inversion.invert(**given)
    assert "\n" not in str(error.value)


def test_the_other_methods_tune_nothing():
    assert isinstance(METHODS[TUNING].defaults, TuningSettings) and TUNING in inversion.METHODS
    settings = SearchSettings(steps=1, perceptual=0.0, size=SIDE)
    assert inversion.invert(MOBILE, None, PHOTOGRAPHS, "mse", settings).tuned is None


def test_a_file_gives_the_changes_back_to_their_generator_alone(tmp_path):
    path, digest = tmp_path / f"ann{tuned_files.SUFFIX}", generator_hash(MOBILE)
    deltas = {name: changes[0] for name, changes in tuned("mobile").tuned.items()}
    tuned_files.save(path, deltas, digest, PLAIN)
    found = tuned_files.load(path, digest)
    assert set(found) == set(deltas)
    for name, changes in deltas.items():
        assert found[name].dtype == np.float16
        np.testing.assert_array_equal(found[name], changes)
    assert trees.load(path)[1]["settings"] == dataclasses.asdict(PLAIN)
    assert list(tmp_path.iterdir()) == [path]  # nothing half-written
    with pytest.raises(UserError, match="changes another generator"):
        tuned_files.load(path, "0" * 64)
    trees.save(path, {"codes": PIVOTS}, {"generator": digest})
    with pytest.raises(UserError, match="holds no tuned generator"):
        tuned_files.load(path, digest)
    broken = jax.tree.map(lambda x: np.full_like(x, np.nan), deltas)
    with pytest.raises(UserError, match="not finite"):
        tuned_files.save(path, broken, digest, PLAIN)
