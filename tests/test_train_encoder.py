"""Encoder training: every kind takes steps, pSp learns pictures by heart, and the parts do what
their papers say.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from configs.encoder import MODES, get_config
from diffcam_jax.editing import pipeline
from diffcam_jax.errors import UserError
from diffcam_jax.files import model_folder
from diffcam_jax.files.model_folder import ModelFolder
from diffcam_jax.nn.e4e import Encoder4Editing
from diffcam_jax.nn.indomain_encoder import InDomainEncoder
from diffcam_jax.nn.irse import ArcFace
from diffcam_jax.nn.latent_discriminator import LatentDiscriminator
from diffcam_jax.nn.network import Network
from diffcam_jax.nn.restyle import BackboneEncoder
from diffcam_jax.nn.stylegan2 import StyleGAN2Generator
from diffcam_jax.ops.image import quantise
from diffcam_jax.pretrained import store
from diffcam_jax.train import encoder, encoder_networks
from diffcam_jax.train.code_pool import CodePool
from diffcam_jax.train.encoder_losses import code_r1, delta_norm, masked_rows, stage_of, w_norm
from tests.fast import fast
from tests.random_variables import random_variables

SIDE, FEATURES, ROWS = 16, 32, 4


@functools.cache
def toy():
    """A generator of 8x8 pictures, whose initialisers nobody has to compile."""
    module = StyleGAN2Generator((8, 8), FEATURES, mapping_layers=1)
    return ModelFolder(
        {"generator": Network(module, random_variables(module, jnp.zeros((1, FEATURES))))}, {}, {}
    )


@pytest.fixture(autouse=True)
def little_to_compile(monkeypatch):
    """The generator above in the toy's place, and random numbers in that of initialisers.

    In-domain's encoder keeps its own.
    """
    load, initial = encoder_networks.load_generator, encoder_networks.initial_encoder

    def random_encoder(module, key, picture, mean, std):
        if isinstance(module, InDomainEncoder):
            return initial(module, key, picture, mean, std)
        return random_variables(module, picture)

    monkeypatch.setattr(
        encoder_networks,
        "load_generator",
        lambda source: toy() if source == "toy" else load(source),
    )
    monkeypatch.setattr(encoder_networks, "initial_encoder", random_encoder)


class Faces:
    """Pictures that the toy generator can draw, with their codes."""

    def __init__(self, count=4, codes=False):
        module, variables = toy().network("generator")
        w = module.apply(
            variables, jax.random.normal(jax.random.key(5), (count, FEATURES)), method="mapping"
        )
        pictures = np.asarray(quantise(module.apply(variables, w, method="synthesis")))
        self.batch = {
            "image": pictures.repeat(2, 1).repeat(2, 2),
            **({"code": np.asarray(w)} if codes else {}),
        }
        self.held_out = self.batch

    def __getitem__(self, step):
        return self.batch


def trainer(mode, axis=None, codes=False, **changes):
    config = get_config(mode)
    config.update_from_flattened_dict(changes)
    return encoder.build(config, Faces(codes=codes), axis)


@functools.cache
def trained(mode):
    """Two steps of a kind: (trainer, state before, state after, metrics by phase)."""
    made = trainer(mode, codes=mode == "traditional_debug")
    before = state = made.create()
    batch, metrics = Faces(codes=mode == "traditional_debug")[0], {}
    steps = {phase.name: fast(phase.step) for phase in made.phases}
    for number in range(2):
        for index, phase in enumerate(made.phases):
            if number % phase.every == 0:
                state, metrics[phase.name] = steps[phase.name](state, batch, state.phase_key(index))
        state = state.replace(step=state.step + 1)
    return made, before, state, metrics


PHASES = {"e4e": ["d", "r1", "e"], "indomain": ["e", "d"], "embedded": ["e", "d"]}


@pytest.mark.parametrize("kind", MODES)
def test_every_kind_trains(kind):
    made, before, after, metrics = trained(f"{kind}_debug")
    assert [phase.name for phase in made.phases] == PHASES.get(kind, ["e"])
    assert all(
        np.isfinite(float(value)) for values in metrics.values() for value in values.values()
    )
    assert int(after.skipped) == 0
    for name, net in after.nets.items():
        moved = [
            not np.array_equal(a, b)
            for a, b in zip(jax.tree.leaves(before.nets[name].params), jax.tree.leaves(net.params))
        ]
        if name.startswith("frozen/"):
            assert not any(moved)
            assert net.opt_state is None
        else:
            # Heads whose stage has not come yet stand still.
            assert np.mean(moved) > 0.7, name
    if kind == "e4e":
        assert int(after.extra["code_pool"].filled) == 8
        assert metrics["e"]["delta"] > 0  # the second step is the first with a delta


def test_restyle_shows_all_passes_and_scores_the_last():
    made, _, state, _ = trained("restyle_debug")
    assert made.samples(state)["reconstructions"].shape == (4 * SIDE, 3 * SIDE, 3)
    found = made.evaluate(state)
    assert found["score"] == -found["l2"] < 0


@pytest.mark.parametrize("kind", ["psp", "restyle"])
def test_export_opens_in_a_pipeline_and_gives_the_same_codes(kind, tmp_path):
    made, _, state, _ = trained(f"{kind}_debug")
    content = made.export(state, tmp_path / "encoder")
    assert content["kind"] == kind
    model_folder.save(
        tmp_path / "generator", {"generator": toy().network("generator")}, {}, {"kind": "toy"}
    )
    opened = pipeline.from_checkpoints(tmp_path / "generator", tmp_path / "encoder", directions={})
    opened = opened._replace(encoder=opened.encoder._replace(steps=2 if kind == "restyle" else 0))
    pictures = Faces().batch["image"].astype(np.float32) / 127.5 - 1
    codes = pipeline.encode(opened, jnp.asarray(pictures))
    assert codes.shape == (4, ROWS, FEATURES)
    config = get_config(f"{kind}_debug")
    inverter = encoder.Inverter(
        config, opened.encoder.network.module, toy().network("generator").module
    )
    passes, _ = inverter.passes(state, state.nets["encoder"].params, jnp.asarray(pictures), False)
    np.testing.assert_allclose(codes, passes[-1].codes, rtol=1e-3, atol=1e-3)


@pytest.mark.nightly
def test_overfits_eight_pictures():
    """The squared error of pictures that the generator can draw falls at least tenfold."""
    data = Faces(8)
    config = get_config("psp_debug")
    config.optimiser.learning_rate, config.eval_size = 3e-3, 8
    made = encoder.build(config, data, None)
    state = made.create()
    step = fast(made.phases[0].step, donate_argnums=0)
    losses = []
    for _ in range(400):
        state, metrics = step(state, data[0], state.phase_key(0))
        state = state.replace(step=state.step + 1)
        losses.append(metrics["loss"])
    assert float(np.mean(losses[-10:])) < float(losses[0]) / 10


# ---------------------------------------------------------------------------------------------- on
# devices, in halves


@pytest.mark.parametrize("kind", MODES)
def test_states_stay_equal_on_all_devices(kind):
    """Mapped over a named axis, a state that differed between devices could not come out unmapped."""
    state = trained(f"{kind}_debug")[1]
    batch = jax.tree.map(lambda x: jnp.stack([x, x]), Faces()[0])
    for phase in trainer(f"{kind}_debug", axis="data").phases:
        mapped = jax.vmap(
            phase.step, in_axes=(None, 0, None), out_axes=None, axis_name="data", axis_size=2
        )
        new, _ = jax.eval_shape(mapped, state, batch, state.phase_key(0))
        assert jax.tree.map(lambda x: (x.shape, x.dtype), new) == jax.tree.map(
            lambda x: (x.shape, x.dtype), state
        )


@pytest.mark.parametrize("kind", ["psp", "indomain"])
def test_half_precision_keeps_the_state_in_full(kind):
    state = trained(f"{kind}_debug")[1]
    made = trainer(f"{kind}_debug", precision="bfloat16", accumulate=2)
    text = str(jax.make_jaxpr(made.phases[0].step)(state, Faces()[0], state.phase_key(0)))
    assert "bf16" in text
    new, _ = jax.eval_shape(made.phases[0].step, state, Faces()[0], state.phase_key(0))
    assert jax.tree.map(lambda x: x.dtype, new) == jax.tree.map(lambda x: x.dtype, state)


# ----------------------------------------------------------------------------------------------
# e4e's parts


@pytest.mark.parametrize(
    ("step", "stage"), [(0, 0), (19_999, 0), (20_000, 1), (21_999, 1), (22_000, 2), (10**6, 17)]
)
def test_stages(step, stage):
    assert int(stage_of(jnp.int32(step), 20_000, 2000, 18)) == stage


def small_e4e():
    module = Encoder4Editing(ROWS, SIDE, 8, (1, 1, 1, 1), (8, 8, 8, 8), 4)
    pictures = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (2, SIDE, SIDE, 3)), jnp.float32)
    return module, random_variables(module, pictures), pictures


def test_masked_and_exported_rows_are_those_of_the_encoders_stage():
    module, variables, pictures = small_e4e()
    codes = module.apply(variables, pictures)
    for stage in range(ROWS):
        expected = module.apply(variables, pictures, stage=stage)
        np.testing.assert_allclose(masked_rows(codes, jnp.int32(stage)), expected, atol=1e-5)
        exported = encoder.without_deltas(jax.tree.map(np.asarray, variables), stage)
        np.testing.assert_allclose(module.apply(exported, pictures), expected, atol=1e-5)


def test_regularisers_are_lengths_and_have_gradients_at_zero():
    codes = jnp.zeros((2, 3, 4)).at[0, 1].set(3.0).at[0, 2, 0].set(2.0)
    np.testing.assert_allclose(delta_norm(codes), [6 + 2, 0])
    np.testing.assert_allclose(w_norm(codes + 1, jnp.ones(4)), [40**0.5, 0], rtol=1e-6)
    slope = jax.grad(
        lambda c: delta_norm(masked_rows(c, jnp.int32(0))).sum() + w_norm(c, jnp.zeros(4)).sum()
    )(codes)
    assert bool(jnp.isfinite(slope).all())


def test_r1_is_the_squared_slope():
    module = LatentDiscriminator(width=16)
    codes = np.random.default_rng(2).standard_normal((3, 5))
    variables = random_variables(module, jnp.zeros((1, 5)))
    found = code_r1(functools.partial(module.apply, variables), jnp.asarray(codes, jnp.float32))
    layers = [
        (np.float64(layer["kernel"]), np.float64(layer["bias"]))
        for _, layer in sorted(variables["params"].items())
    ]
    assert len(layers) == 4

    def logit(x):
        for index, (kernel, bias) in enumerate(layers):
            x = x / np.sqrt(len(kernel)) @ kernel + bias
            x = x if index == 3 else np.where(x > 0, x, 0.2 * x)
        return x[:, 0]

    slopes = np.stack(
        [(logit(codes + 1e-6 * unit) - logit(codes - 1e-6 * unit)) / 2e-6 for unit in np.eye(5)], 1
    )
    np.testing.assert_allclose(found, (slopes**2).sum(1), rtol=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=6))
def test_pool_fills_first_and_then_gives_old_or_new(seeds):
    """Batches of three numbered codes through five places."""
    pool, stored, number = CodePool.create(5, 1), [], 0
    for seed in seeds:
        fresh = np.arange(number, number + 3)
        number += 3
        pool, given_codes = QUERY(
            pool, jnp.asarray(fresh[:, None], jnp.float32), jax.random.key(seed)
        )
        for new, out in zip(fresh, np.asarray(given_codes)[:, 0].astype(int), strict=True):
            if len(stored) < 5:
                assert out == new
                stored.append(new)
            elif out != new:
                stored[stored.index(out)] = new  # an older one, which leaves
        assert np.asarray(pool.codes)[: len(stored), 0].astype(int).tolist() == stored
        assert int(pool.filled) == len(stored)


QUERY = jax.jit(CodePool.query)


def test_pool_swaps_half_of_the_time_and_never_keeps_what_is_not_finite():
    pool, _ = QUERY(CodePool.create(50, 2), jnp.zeros((50, 2)), jax.random.key(0))
    _, out = QUERY(pool, jnp.ones((400, 2)).at[0].set(jnp.nan), jax.random.key(1))
    again = 1 - float(jnp.nanmean(out[:60]))
    assert 0.2 < again < 0.6
    spoilt, _ = QUERY(CodePool.create(3, 2), jnp.full((9, 2), jnp.nan), jax.random.key(2))
    assert int(spoilt.filled) == 0
    assert bool(jnp.isfinite(spoilt.codes).all())


# ----------------------------------------------------------------------------------------------
# data and settings


def test_traditional_learns_the_codes_of_the_batch_or_its_own_draws():
    made, state, _, _ = trained("traditional_debug")
    step = made.phases[0].step
    for batch in (Faces()[0], Faces(codes=True)[0]):
        assert set(jax.eval_shape(step, state, batch, state.phase_key(0))[1]) == {
            "code",
            "grad_norm",
            "loss",
        }
    batch = Faces(codes=True)[0]
    far = {**batch, "code": batch["code"] + 100}
    run = fast(step)
    near, away = (float(run(state, b, state.phase_key(0))[1]["code"]) for b in (batch, far))
    assert near < 10
    assert away == pytest.approx(100**2, rel=0.1)


def test_absolute_encoders_begin_at_the_moments_of_the_codes():
    state = trained("indomain_debug")[1]
    mean, std = encoder_networks.code_moments(toy(), 0)
    head = state.nets["encoder"].params["block_3"]["bn"]
    np.testing.assert_array_equal(head["bias"], np.tile(mean, ROWS))
    np.testing.assert_array_equal(head["scale"], np.tile(std, ROWS))


def test_body_starts_as_the_recognisers():
    """ReStyle's first convolution has six channels and stays; another body is refused."""
    body = {"counts": (1, 1, 1, 1), "widths": (8, 8, 8, 8), "squeeze": 4}
    recogniser, restyle = ArcFace(4, **body), BackboneEncoder(2, size=SIDE, width=8, **body)
    given = random_variables(recogniser, jnp.zeros((1, 112, 112, 3)), seed=1)
    ours = random_variables(restyle, jnp.zeros((1, SIDE, SIDE, 6)))
    folder = ModelFolder({"identity": Network(recogniser, given)}, {}, {})
    started = encoder_networks.start_body(ours, folder)
    for collection in ("params", "batch_stats"):
        for path, leaf in jax.tree_util.tree_leaves_with_path(started[collection]["body"]):
            first = collection == "params" and path[0].key == "input_conv"
            source = ours if first else given
            np.testing.assert_array_equal(
                leaf, functools.reduce(lambda t, k: t[k.key], path, source[collection]["body"])
            )
    assert started["params"]["styles_0"] is ours["params"]["styles_0"]
    other = random_variables(
        BackboneEncoder(2, size=SIDE, width=8, **{**body, "squeeze": 2}),
        jnp.zeros((1, SIDE, SIDE, 6)),
    )
    with pytest.raises(UserError, match="another body"):
        encoder_networks.start_body(other, folder)


@pytest.mark.weights
def test_distances_of_photographs():
    """0 to itself.

    More to another person than to a slightly darker copy; VGG's on the scale that its weight is
    meant for.
    """
    config = get_config("psp")
    config.loss.vgg = 5e-5
    paths = sorted(store.fetch("ffhq_photos").glob("*.png"))[:2]
    photos = np.stack(
        [np.asarray(Image.open(path).resize((256, 256), Image.Resampling.BOX)) for path in paths]
    )
    first, second = jnp.asarray(photos, jnp.float32)[:, None] / 127.5 - 1
    found = encoder_networks.make_distances(config)
    assert set(found) == {"l2", "lpips", "identity", "vgg"}
    for name, (tree, function) in found.items():
        measure = functools.partial(jax.jit(function), tree, first)
        same, darker, other = (float(measure(x)[0]) for x in (first, first - 0.05, second))
        assert abs(same) < 1e-5, name
        assert darker < 0.2 * other, name
        if name == "vgg":
            assert 0.05 < 5e-5 * other < 5


@pytest.mark.parametrize(
    ("mode", "changes", "message"),
    [
        ("psp_debug", {"model.kind": "pspp"}, "choose psp, e4e"),
        ("traditional_debug", {"model.kind": "indomain"}, "encoder.py:indomain"),
        ("psp_debug", {"model.size": 24}, "power of two"),
        ("psp_debug", {"model.widths": (8, 8, 8, 16)}, "is config.model.channels, here 8"),
        ("psp_debug", {"model.heads": "pooled"}, "for 256"),
        ("psp_debug", {"optimiser.name": "sgd"}, "choose ranger or adam"),
        ("psp_debug", {"generator": "/nowhere"}, "/nowhere"),
    ],
)
def test_bad_settings_are_one_clear_line(mode, changes, message):
    with pytest.raises(UserError, match=message) as caught:
        trainer(mode, **changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mode", ["", "debug", *MODES, *(f"{kind}_debug" for kind in MODES)])
def test_configurations_name_what_all_trainers_need(mode):
    config = get_config(mode)
    assert config.trainer == "encoder"
    named = mode.partition("_")[0] if mode not in ("", "debug") else "psp"
    assert config.name == f"encoder_{named}"
    assert config.model.kind == {"embedded": "indomain"}.get(named, named)
    assert {
        "seed",
        "steps",
        "batch_size",
        "accumulate",
        "devices",
        "precision",
        "keep",
        "eval_size",
    } <= set(config)


def test_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="psp, e4e"):
        get_config("pspp")
