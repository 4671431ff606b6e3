"""Encoder training: every kind takes steps, pSp overfits, and the parts follow their papers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.encoder import MODES, get_config
from diffcam_jax.editing import checkpoints, pipeline
from diffcam_jax.errors import UserError
from diffcam_jax.files import model_folder
from diffcam_jax.files.model_folder import ModelFolder
from diffcam_jax.nn.indomain_encoder import InDomainEncoder
from diffcam_jax.nn.network import Network
from diffcam_jax.nn.stylegan2 import StyleGAN2Generator
from diffcam_jax.ops.image import quantise
from diffcam_jax.train import encoder_networks, registry
from diffcam_jax.train.encoder_passes import Inverter
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
    """The generator above replaces the toy, and random numbers replace initialisers.

    In-domain's encoder keeps its own.
    """
    load, initialise = encoder_networks.load_generator, encoder_networks.initialise

    def random_encoder(module, key, picture):
        if isinstance(module, InDomainEncoder):
            return initialise(module, key, picture)
        return random_variables(module, picture)

    monkeypatch.setattr(
        encoder_networks,
        "load_generator",
        lambda source: toy() if source == "toy" else load(source),
    )
    monkeypatch.setattr(encoder_networks, "initialise", random_encoder)


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
    return registry.find(config).build(config, Faces(codes=codes), axis)


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


@pytest.mark.parametrize("field", ["r1", "r1_every"])
def test_r1_can_be_left_out(field):
    made = trainer("e4e_debug", **{f"discriminator.{field}": 0})
    assert [phase.name for phase in made.phases] == ["d", "e"]


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
    opened = checkpoints.from_checkpoints(
        generator=tmp_path / "generator", encoder=tmp_path / "encoder"
    )
    opened = opened.replace(encoder=opened.encoder.replace(steps=2 if kind == "restyle" else 0))
    pictures = Faces().batch["image"].astype(np.float32) / 127.5 - 1
    codes = pipeline.encode(opened, jnp.asarray(pictures))
    assert codes.shape == (4, ROWS, FEATURES)
    config = get_config(f"{kind}_debug")
    inverter = Inverter(config, opened.encoder.network.module, toy().network("generator").module)
    passes, _ = inverter.passes(state, state.nets["encoder"].params, jnp.asarray(pictures), False)
    np.testing.assert_allclose(codes, passes[-1].codes, rtol=1e-3, atol=1e-3)


@pytest.mark.nightly
def test_overfits_eight_pictures():
    """The squared error of pictures that the generator can draw falls at least tenfold."""
    data = Faces(8)
    config = get_config("psp_debug")
    config.optimiser.learning_rate, config.eval_size = 3e-3, 8
    made = registry.find(config).build(config, data, None)
    state = made.create()
    step = fast(made.phases[0].step, donate_argnums=0)
    losses = []
    for _ in range(400):
        state, metrics = step(state, data[0], state.phase_key(0))
        state = state.replace(step=state.step + 1)
        losses.append(metrics["loss"])
    assert float(np.mean(losses[-10:])) < float(losses[0]) / 10


# ----------------------------------------------------------------------------------------------
# on devices, in half precision


@pytest.mark.parametrize("kind", MODES)
def test_states_stay_equal_on_all_devices(kind):
    """Over a named axis, a state that differed between devices could not be returned unmapped."""
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


@pytest.mark.parametrize(
    ("mode", "changes", "message"),
    [
        ("psp_debug", {"model.kind": "pspp"}, "model.kind='pspp' is unknown; did you mean psp?"),
        ("psp_debug", {"loss.adversarial": 1.0}, "config.loss.adversarial is unknown"),
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
