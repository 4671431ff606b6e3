"""StyleFlow: a flow that can be inverted, whose density is that of the change of variables."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convert_weights.layouts.styleflow import styleflow
from diffcam_jax.errors import UserError
from diffcam_jax.nn.network import Network
from diffcam_jax.nn.styleflow import (
    MovingBatchNorm,
    StyleFlow,
    VectorField,
    exact_trace,
    flow,
    hutchinson,
    inverse,
)
from tests.random_variables import random_variables

SIZE, CONDITIONS = 4, 3


def small(blocks: int = 2) -> Network:
    module = StyleFlow(SIZE, (6, 5), CONDITIONS, blocks)
    variables = random_variables(module, jnp.zeros((1, 1, SIZE)), jnp.zeros((1, CONDITIONS)))
    # Gentle ones: the way back multiplies the error of the way there.
    variables["params"] = jax.tree.map(lambda x: 0.5 * x, variables["params"])
    variables["batch_stats"] = jax.tree.map(lambda x: jnp.abs(x) + 0.5, variables["batch_stats"])
    return Network(module, variables)


@pytest.fixture(scope="module")
def given():
    rng = np.random.default_rng(0)
    codes = rng.normal(0, 1, (2, 3, SIZE)).astype(np.float32)
    return codes, rng.normal(0, 1, (2, CONDITIONS)).astype(np.float32)


def test_the_inverse_comes_back_and_another_condition_elsewhere(given):
    network, (codes, condition) = small(), given
    z, _ = jax.jit(flow)(network, codes, condition)
    assert np.abs(z - codes).max() > 0.1
    np.testing.assert_allclose(inverse(network, z, condition), codes, atol=2e-4)
    assert np.abs(inverse(network, z, condition + 1) - codes).max() > 1e-2


def test_rows_flow_one_by_one(given):
    network, (codes, condition) = small(blocks=1), given
    whole, change = flow(network, codes, condition, exact_trace)
    run = jax.jit(lambda codes: flow(network, codes, condition, exact_trace))
    for row in range(codes.shape[1]):
        z, alone = run(codes[:, row : row + 1])
        np.testing.assert_allclose(z, whole[:, row : row + 1], atol=2e-4)
        np.testing.assert_allclose(alone, change[:, row : row + 1], atol=2e-4)


def test_the_density_changes_by_the_jacobians_determinant(given):
    """log p(w) = log p(z) + log |det dz/dw|, and the change is what is taken off."""
    network, (codes, condition) = small(), given
    one, label = codes[:1, :1], condition[:1]
    _, change = flow(network, one, label, exact_trace)

    def mapped(w):
        return flow(network, w.reshape(1, 1, SIZE), label)[0].reshape(-1)

    jacobian = jax.jacobian(mapped)(jnp.asarray(one.reshape(-1)))
    _, determinant = np.linalg.slogdet(np.asarray(jacobian, np.float64))
    np.testing.assert_allclose(-float(change[0, 0, 0]), determinant, atol=1e-3)


def test_traces_are_those_of_the_jacobian(given):
    codes, condition = given
    module = VectorField((6, 5))
    variables = random_variables(module, 0.0, codes, condition)

    def field(x):
        return module.apply(variables, 0.3, x, condition)

    full = jax.jacobian(field)(jnp.asarray(codes))  # [b, n, k, b, n, k]
    wanted = np.einsum("bnkbnk->bn", full)
    value, found = exact_trace(field, jnp.asarray(codes))
    np.testing.assert_allclose(found[..., 0], wanted, atol=1e-5)
    np.testing.assert_allclose(value, field(codes), atol=1e-6)
    # Hutchinson's estimate over all sign vectors is the trace itself.
    signs = np.array(np.meshgrid(*[[-1.0, 1.0]] * SIZE)).reshape(SIZE, -1).T.astype(np.float32)
    guesses = [
        hutchinson(np.broadcast_to(s, codes.shape))(field, jnp.asarray(codes)) for s in signs
    ]
    np.testing.assert_allclose(np.mean([g[1] for g in guesses], 0)[..., 0], wanted, atol=1e-5)


def test_a_batch_norm_in_training_takes_the_batch_and_follows_it(given):
    codes, _ = given
    module = MovingBatchNorm(SIZE)
    variables = module.init(jax.random.key(0), codes)
    (y, scale), changed = module.apply(variables, codes, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(np.mean(y, (0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(np.std(y, (0, 1)), 1, atol=1e-3)
    np.testing.assert_allclose(scale, -0.5 * np.log(codes.var((0, 1)) + 1e-4).sum(), rtol=1e-5)
    np.testing.assert_allclose(
        changed["batch_stats"]["mean"], 0.1 * codes.mean((0, 1)), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(
        changed["batch_stats"]["var"], 0.9 + 0.1 * codes.var((0, 1)), rtol=1e-4
    )


@pytest.mark.parametrize("blocks", [1, 3])
def test_official_files_go_there_and_back(blocks):
    network = small(blocks)
    layer = "chain.{}.odefunc.diffeq.layers.{}.{}"
    state = {}
    for i in range(blocks + 1):
        for name in ("weight", "bias", "running_mean", "running_var"):
            state[f"chain.{2 * i}.{name}"] = np.ones(SIZE, np.float32) * i
        state[f"chain.{2 * i}.step"] = np.zeros(1, np.float32)
    widths = [SIZE, 6, 5, SIZE]
    for i in range(blocks):
        state[f"chain.{2 * i + 1}.sqrt_end_time"] = np.float32(i)
        state[f"chain.{2 * i + 1}.odefunc._num_evals"] = np.float32(7)
        for j, (before, after) in enumerate(itertools.pairwise(widths)):
            for name, inputs in (("_layer", before), ("_hyper_gate", 4), ("_hyper_bias", 4)):
                values = np.arange(after * inputs, dtype=np.float32).reshape(after, inputs)
                state[layer.format(2 * i + 1, j, name) + ".weight"] = values
                if name != "_hyper_bias":
                    state[layer.format(2 * i + 1, j, name) + ".bias"] = np.zeros(after, np.float32)
    layout = styleflow({key: array.shape for key, array in state.items()})
    assert layout.module == network.module
    variables = layout.convert(state)
    assert jax.tree.map(np.shape, variables) == jax.tree.map(np.shape, dict(network.variables))
    back = layout.export(variables)
    kept = {key: array for key, array in state.items() if not re.search("step|_num_evals", key)}
    assert back.keys() == kept.keys()
    for key, array in kept.items():
        np.testing.assert_array_equal(back[key], array)


def test_a_file_that_is_no_flow_is_refused():
    with pytest.raises(UserError, match="no conditional flow"):
        styleflow({"chain.0.weight": (4,)})
