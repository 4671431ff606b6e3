"""The small encoder: its size, its rows, its training in standard deviations.

And what it exports.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.encoder_mobile import MODES, get_config
from diffcam_jax.editing import checkpoints, pipeline
from diffcam_jax.errors import UserError
from diffcam_jax.files import model_folder
from diffcam_jax.nn.latents import wplus_rows
from diffcam_jax.nn.mobile_encoder import MobileEncoder
from diffcam_jax.train import encoder_mobile, encoder_networks
from diffcam_jax.train.encoder_passes import Inverter
from tests.fast import fast
from tests.random_variables import random_variables

MODEL = get_config("debug").model
SMALL = {
    name: MODEL[name]
    for name in ("channels", "features", "reduced", "grid", "rank", "stem", "rows")
}
PICTURES = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)


def test_what_ships_is_below_twelve_megabytes():
    module = MobileEncoder()
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros((1, 256, 256, 3))))
    halves, full = (
        sum(leaf.size for leaf in jax.tree.leaves(shapes[name]))
        for name in ("params", "batch_stats")
    )
    assert 2 * halves + 4 * full < 12e6
    config = get_config("pairs")
    made = encoder_mobile.make_encoder(config.model, 18, 512)
    assert {name: getattr(made, name) for name in SMALL} == {
        name: getattr(module, name) for name in SMALL
    }


def test_rows_are_one_w_and_offsets_of_three_levels():
    module, x = MobileEncoder(9, 32, 6, **SMALL), jnp.asarray(PICTURES, jnp.float32) / 127.5 - 1
    variables = random_variables(module, x)
    codes = module.apply(variables, x)
    assert codes.shape == (4, 9, 6)
    flat = jax.tree.map(
        jnp.zeros_like, {n: v for n, v in variables["params"].items() if n.startswith("level_")}
    )
    base = module.apply({**variables, "params": {**variables["params"], **flat}}, x)
    np.testing.assert_array_equal(base, np.broadcast_to(base[:, :1], base.shape))
    for number, rows in enumerate((slice(0, 3), slice(3, 7), slice(7, 9))):
        only = {**flat, f"level_{number}": variables["params"][f"level_{number}"]}
        found = module.apply({**variables, "params": {**variables["params"], **only}}, x)
        np.testing.assert_allclose(found[:, rows], codes[:, rows], atol=1e-5)
        np.testing.assert_array_equal(
            np.delete(found, np.r_[rows], 1), np.delete(base, np.r_[rows], 1)
        )


def test_parameters_serve_every_side():
    def shapes(size):
        module = MobileEncoder(4, size, 6, **SMALL)
        return jax.tree.map(
            jnp.shape, jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, size, size, 3)))
        )

    assert shapes(32) == shapes(96) == shapes(128)


def test_outputs_in_another_basis():
    module, x = MobileEncoder(4, 32, 6, **SMALL), jnp.asarray(PICTURES, jnp.float32) / 127.5 - 1
    variables = random_variables(module, x)
    matrix = np.random.default_rng(1).standard_normal((6, 6)).astype(np.float32)
    turned = encoder_mobile.in_basis(variables, jnp.asarray(matrix))
    np.testing.assert_allclose(
        module.apply(turned, x), module.apply(variables, x) @ matrix, rtol=1e-3, atol=1e-3
    )


# ----------------------------------------------------------------------------------------------
# training


class Faces:
    """Pictures in front of an object, what they were, and codes."""

    def __init__(self, rows, features, **left_out):
        codes = np.random.default_rng(2).standard_normal((4, rows, features)).astype(np.float32)
        self.batch = {"image": PICTURES, "target": PICTURES[:, ::-1], "code": codes}
        self.held_out = {"image": PICTURES, "code": codes}

    def __getitem__(self, step):
        return self.batch


@functools.cache
def trained():
    """Some steps on four pictures: (config, trainer, first state, last state, metrics of every
    step).
    """
    config = get_config("debug")
    config.loss.l2 = 0.1
    config.optimiser.learning_rate, config.optimiser.decay = 1e-2, 1.0
    generator = encoder_networks.load_generator("toy").network("generator").module
    data = Faces(wplus_rows(generator), generator.latent_size)
    made = encoder_mobile.build(config, data, None)
    first = state = made.create()
    step = fast(made.phases[0].step)
    seen = []
    for _ in range(25):
        state, metrics = step(state, data[0], state.phase_key(0))
        seen.append(jax.device_get(metrics))
    return config, made, data, first, state, seen


def passed(inverter, state, images):
    """What an encoder makes of pictures, as it stands in a state."""
    last = fast(
        lambda state, images: inverter.passes(state, state.nets["encoder"].params, images, False)[
            0
        ][-1]
    )
    return last(state, images)


@pytest.mark.nightly
def test_learns_codes_by_heart():
    _, made, _, first, last, seen = trained()
    assert set(seen[0]) == {"whitened", "delta", "l2", "loss", "grad_norm"}
    assert np.mean([m["whitened"] for m in seen[-5:]]) < 0.8 * seen[0]["whitened"]
    assert int(last.skipped) == 0
    for a, b in zip(
        jax.tree.leaves(first.nets["frozen/generator"]),
        jax.tree.leaves(last.nets["frozen/generator"]),
    ):
        np.testing.assert_array_equal(a, b)
    assert made.evaluate(last)["whitened"] < made.evaluate(first)["whitened"]


def test_whitened_error_is_that_of_principal_axes():
    _, _, data, first, _, seen = trained()
    folder = encoder_networks.load_generator("toy")
    module, variables = folder.network("generator")
    z = jax.random.normal(jax.random.key(0), (encoder_networks.MEAN_DRAWS, module.latent_size))
    values, axes = np.linalg.eigh(
        np.cov(np.asarray(module.apply(variables, z, method="mapping")).T)
    )
    # Heads begin near the average code.
    away = data.batch["code"] - np.asarray(first.extra["latent_avg"])
    expected = ((away @ axes) ** 2 / (values + encoder_mobile.WHITENING_EPSILON)).mean()
    assert seen[0]["whitened"] == pytest.approx(expected, rel=0.1)
    both = np.asarray(first.extra["whitening"]) @ np.asarray(first.extra["colouring"])
    np.testing.assert_allclose(both, np.eye(len(both)), atol=1e-4)


def test_reconstructions_are_compared_with_the_undisturbed_picture():
    config, _, data, first, _, seen = trained()
    codes = jnp.broadcast_to(first.extra["latent_avg"], data.batch["code"].shape)
    module = encoder_networks.load_generator("toy").network("generator").module
    network = encoder_mobile.make_encoder(config.model, *codes.shape[1:])
    drawn = Inverter(config, network, module).draw(first.nets["frozen/generator"].variables, codes)
    expected = np.mean((np.asarray(drawn) - (data.batch["target"] / 127.5 - 1)) ** 2)
    assert seen[0]["l2"] == pytest.approx(expected, rel=0.1)


def test_pictures_can_be_judged_larger_than_they_are_read():
    config = get_config("debug")
    config.model.judged = 64
    generator = encoder_networks.load_generator("toy").network("generator").module
    rows, features = wplus_rows(generator), generator.latent_size
    module = encoder_mobile.make_encoder(config.model, rows, features)
    inverter = Inverter(config, module, generator)
    large = np.random.default_rng(2).integers(0, 256, (2, 64, 64, 3), np.uint8)
    images = inverter.prepare(jnp.asarray(large))
    np.testing.assert_allclose(images, np.float32(large) / 127.5 - 1, atol=1e-6)
    state = encoder_mobile.build(config, Faces(inverter.rows, 32), None).create()
    found = passed(inverter, state, images)
    averaged = np.float32(images).reshape(2, 32, 2, 32, 2, 3).mean((2, 4))
    offsets = (
        fast(module.apply)(state.nets["encoder"].variables, jnp.asarray(averaged))
        @ state.extra["colouring"]
    )
    np.testing.assert_allclose(
        found.codes, offsets + state.extra["latent_avg"], rtol=1e-3, atol=1e-4
    )
    assert found.picture.shape == images.shape


def test_export_is_half_as_large_and_gives_the_same_codes(tmp_path):
    config, made, _, _, last, _ = trained()
    made.export(last, tmp_path / "encoder")
    folder = model_folder.load(tmp_path / "encoder")
    assert {
        leaf.dtype for leaf in jax.tree.leaves(folder.network("encoder").variables["params"])
    } == {np.dtype("f2")}
    toy = encoder_networks.load_generator("toy")
    model_folder.save(
        tmp_path / "generator", {"generator": toy.network("generator")}, {}, {"kind": "toy"}
    )
    opened = checkpoints.from_checkpoints(
        generator=tmp_path / "generator", encoder=tmp_path / "encoder"
    )
    pictures = jnp.asarray(PICTURES, jnp.float32) / 127.5 - 1
    codes = pipeline.encode(opened, pictures)
    inverter = Inverter(config, opened.encoder.network.module, toy.network("generator").module)
    expected = passed(inverter, last, pictures).codes
    np.testing.assert_allclose(codes, expected, atol=0.02 * float(abs(expected).max()))

    # Another run goes on from there.
    config = get_config("debug")
    config.model.start = str(tmp_path / "encoder")
    data = Faces(*codes.shape[1:])
    again = encoder_mobile.build(config, data, None).create()
    begun = passed(inverter, again, pictures).codes
    np.testing.assert_allclose(begun, expected, atol=0.02 * float(abs(expected).max()))
    config.model.rank = 5
    with pytest.raises(UserError, match="another architecture"):
        encoder_mobile.build(config, data, None).create()


@pytest.mark.parametrize("mode", MODES)
def test_only_finetuning_draws_pictures_and_nothing_mirrors_them(mode):
    config = get_config(mode)
    by_picture = [bool(config.loss[name]) for name in ("l2", "lpips", "identity")]
    assert by_picture == [mode == "finetune"] * 3
    assert config.loss.whitened > 0 and not config.data.flip


def test_mistakes_are_named():
    config = get_config("debug")
    config.model.size = 48
    with pytest.raises(UserError, match="multiple of 32"):
        encoder_mobile.build(config, Faces(6, 32), None)
    with pytest.raises(ValueError, match="pairs, finetune, debug"):
        get_config("psp")
