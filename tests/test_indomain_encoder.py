"""Both in-domain encoders against their definition in NumPy, their statistics, and where the
released file's keys go.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convert_weights.layouts import idinvert
from diffcam_jax.errors import UserError
from diffcam_jax.nn.indomain_encoder import InDomainEncoder, InDomainTrainingEncoder, encoder_widths
from tests.plain_layers import batch_norm, block_mean2, conv, leaky
from tests.random_variables import random_variables

RNG = np.random.default_rng(0)
WIDTHS = (4, 6, 6)  # a block that changes the channels and one that does not
MODELS = {
    "released": InDomainEncoder(WIDTHS, 3, 5),
    "training": InDomainTrainingEncoder(WIDTHS, 3, 5),
}


def expected(kind, variables, x):
    params, stats = (
        jax.tree.map(lambda a: np.asarray(a, np.float64), variables[c])
        for c in ("params", "batch_stats")
    )
    released = kind == "released"

    def unit(x, path, activate=True):
        layer, moments = params, stats
        for name in path:
            layer, moments = layer[name], moments[name]
        x = conv(x, layer["conv"]["kernel"]) + layer["conv"].get("bias", 0)
        act = leaky if activate else lambda x: x
        if released:
            return act(batch_norm(x, layer["bn"], moments["bn"]))
        return batch_norm(act(x), layer["bn"], moments["bn"])

    x = unit(x, ["block_0"])
    for i in (1, 2):
        x = block_mean2(x)
        main = unit(unit(x, [f"block_{i}", "main1"]), [f"block_{i}", "main2"])
        x = main + (unit(x, [f"block_{i}", "shortcut"], activate=released) if i == 1 else x)
    head, x = params["block_3"], x.reshape(len(x), -1)
    x = (
        x @ head["kernel"] / np.sqrt(96)
        if released
        else x @ head["dense"]["kernel"] + head["dense"]["bias"]
    )
    return batch_norm(x, head["bn"], stats["block_3"]["bn"]).reshape(len(x), 3, 5)


@pytest.mark.parametrize("kind", MODELS)
def test_codes_by_definition(kind):
    model = MODELS[kind]
    images = jnp.asarray(RNG.uniform(-1, 1, (2, 16, 16, 3)), jnp.float32)
    variables = random_variables(model, images)
    np.testing.assert_allclose(
        jax.jit(model.apply)(variables, images),
        expected(kind, variables, np.asarray(images)),
        atol=2e-5,
    )


@pytest.mark.parametrize("kind", MODELS)
def test_training_moves_the_statistics(kind):
    model = MODELS[kind]
    images = jnp.asarray(RNG.uniform(-1, 1, (4, 16, 16, 3)), jnp.float32)
    variables = random_variables(model, images)
    codes, new = jax.jit(lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"]))(
        variables, images
    )
    # Codes are normalised over the batch, so that only the last layer's own factor and shift are
    # left of their moments.
    last = variables["params"]["block_3"]["bn"]
    np.testing.assert_allclose(codes.reshape(4, -1).mean(0), last["bias"], atol=1e-5)
    np.testing.assert_allclose(
        codes.reshape(4, -1).std(0), jnp.abs(last.get("scale", jnp.ones(15))), rtol=0.01
    )
    old = variables["batch_stats"]["block_0"]["bn"]["mean"]
    stem = variables["params"]["block_0"]["conv"]
    drawn = conv(np.asarray(images), np.asarray(stem["kernel"])) + np.asarray(stem.get("bias", 0))
    batch = (drawn if kind == "released" else leaky(drawn)).mean((0, 1, 2))
    moved = new["batch_stats"]["block_0"]["bn"]["mean"]
    np.testing.assert_allclose(moved, 0.9 * old + 0.1 * batch, atol=1e-5)


def test_the_training_encoder_at_256():
    shapes = jax.eval_shape(
        InDomainTrainingEncoder().init, jax.random.key(0), jnp.zeros((1, 256, 256, 3))
    )["params"]
    assert (
        shapes["block_0"]["conv"]["kernel"].shape == (5, 5, 3, 64)
        and "bias" in shapes["block_0"]["conv"]
    )
    assert (
        shapes["block_6"]["main2"]["conv"]["kernel"].shape == (3, 3, 512, 512)
        and "block_8" not in shapes
    )
    assert shapes["block_7"]["dense"]["kernel"].shape == (16 * 512, 14 * 512)
    assert all(
        "scale" not in leaf.key
        for path, _ in jax.tree_util.tree_leaves_with_path(shapes)
        for leaf in path
    )


def test_widths_and_sides():
    assert encoder_widths(256) == (64, 128, 256, 512, 1024, 1024, 1024)
    assert encoder_widths(16, base=8) == (8, 16, 32)
    for resolution in (8, 48, 0):
        with pytest.raises(ValueError, match="power of two from 16"):
            encoder_widths(resolution)
    with pytest.raises(ValueError, match=r"side 16, got \(32, 16\)"):
        jax.eval_shape(MODELS["released"].init, jax.random.key(0), jnp.zeros((1, 32, 16, 3)))


def official_shapes(widths, rows):
    shapes = {"block0.conv.weight": (widths[0], 3, 3, 3)}
    norms = {"block0.bn": widths[0], f"block{len(widths)}.bn": rows * 512}
    for i, (before, after) in enumerate(itertools.pairwise(widths), 1):
        hidden = min(before, after)
        if before != after:
            shapes[f"block{i}.conv.weight"] = (after, before, 1, 1)
            norms[f"block{i}.bn"] = after
        for number, source, target in ((1, before, hidden), (2, hidden, after)):
            shapes[f"block{i}.conv{number}.weight"] = (target, source, 3, 3)
            shapes[f"block{i}.wscale{number}.bias"] = (target,)
            norms[f"block{i}.bn{number}"] = target
    shapes[f"block{len(widths)}.fc.weight"] = (rows * 512, 16 * widths[-1])
    for name, channels in norms.items():
        shapes |= {
            f"{name}.bn.{x}": (channels,) for x in ("weight", "bias", "running_mean", "running_var")
        }
        shapes[f"{name}.bn.num_batches_tracked"] = ()
    return shapes


@pytest.mark.parametrize(("widths", "rows"), [((4, 8, 16), 1), ((4, 8, 8, 6), 2)])
def test_official_keys_there_and_back(widths, rows):
    shapes = official_shapes(widths, rows)
    layout = idinvert.encoder(shapes)
    assert layout.module == InDomainEncoder(widths, rows)
    assert layout.faults(shapes) == []
    state = {
        key: np.asarray(RNG.standard_normal(shape), np.float32) for key, shape in shapes.items()
    }
    exported = layout.export(layout.convert(state))
    assert set(shapes) - set(exported) == {
        key for key in shapes if key.endswith("num_batches_tracked")
    }
    for key, array in exported.items():
        np.testing.assert_array_equal(array, state[key])


def test_files_of_other_networks_are_refused():
    for shapes in ({}, {"conv1.weight": (64, 3, 7, 7)}, {"block0.bn.bn.weight": (64,)}):
        with pytest.raises(UserError, match="in-domain encoder"):
            idinvert.encoder(shapes)
