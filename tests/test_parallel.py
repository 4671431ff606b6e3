"""One device against eight, one process against two, one batch against microbatches.

And what batch statistics mean under several devices.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffcam_jax.command.processes import connect
from diffcam_jax.errors import UserError
from diffcam_jax.train.devices import Devices
from diffcam_jax.train.state import Net, TrainState, average, gradients, update
from tests.tiny_run import Numbers, Tiny, go, sgd_trainer

ROOT = Path(__file__).parent.parent


def start(*arguments, devices=1):
    flags = f"--xla_force_host_platform_device_count={devices}"
    command = [sys.executable, "-W", "error", "-m", "tests.tiny_run", *map(str, arguments)]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process):
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output


def regression(steps):
    """Gradient descent on mean squares, in NumPy: w -= 0.1 * 2/n X^T (X w - y)."""
    w = np.zeros(4)
    for step in range(steps):
        batch = Numbers()[step]
        x, y = batch["x"].astype(np.float64), batch["y"].astype(np.float64)
        w -= 0.1 * 2 / len(x) * x.T @ (x @ w - y)
    return w


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    out = tmp_path_factory.mktemp("eight") / "out.npz"
    finish(start("devices", out, devices=8))
    return dict(np.load(out))


@pytest.mark.parametrize("how", ["sgd_1", "sgd_8", "sgd_8x2", "sgd_1_then_8"])
def test_gradient_descent_is_the_same_on_one_and_on_eight_devices(eight, how):
    np.testing.assert_allclose(eight[how], regression(5), atol=1e-5)


def test_two_processes_take_the_same_steps_and_their_checkpoint_opens_in_one(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    for process in [start("host", tmp_path, port, i, devices=2) for i in range(2)]:
        finish(process)
    with np.load(tmp_path / "final.npz") as final:
        np.testing.assert_allclose(final[".nets['net'].params['w']"], regression(5), atol=1e-5)
    resumed = go(tmp_path, sgd_trainer(None), 7)
    np.testing.assert_allclose(resumed.nets["net"].params["w"], regression(7), atol=1e-5)


def test_batch_norm_sees_a_devices_part_and_running_averages_are_averaged(eight):
    parts = Numbers()[0]["x"].reshape(8, 2, 4)
    np.testing.assert_allclose(eight["mean"], 0.5 * parts.mean(axis=1).mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(eight["var"], 0.5 + 0.5 * parts.var(axis=1).mean(axis=0), atol=1e-6)


def test_minibatch_deviation_is_that_of_a_devices_part(eight):
    parts = Numbers()[0]["x"].reshape(8, 2, 4)
    np.testing.assert_allclose(
        eight["stddev"], np.repeat(parts.std(axis=1).mean(axis=1), 2), rtol=1e-4
    )


def test_devices_draw_different_numbers_and_steps_are_compiled_once(eight):
    draws = [float(jax.random.normal(jax.random.fold_in(jax.random.key(7), i))) for i in range(8)]
    np.testing.assert_allclose(eight["noise"], np.mean(draws), rtol=1e-5)
    assert eight["traced"] == 1


def test_microbatches_give_the_gradient_of_the_batch(tmp_path):
    whole = go(tmp_path / "1", sgd_trainer(None), 3).nets["net"].params["w"]
    parts = go(tmp_path / "4", sgd_trainer(None, accumulate=4), 3).nets["net"].params["w"]
    np.testing.assert_allclose(parts, whole, rtol=1e-5)
    np.testing.assert_allclose(whole, regression(3), atol=1e-5)


def test_microbatches_need_less_memory():
    kernels = jnp.full((8, 32, 32), 0.1)

    def memory(accumulate):
        def loss(params, batch, key):
            x = batch["x"]
            for kernel in params:
                x = jnp.tanh(x @ kernel)
            return jnp.mean(x**2), ({}, {})

        def step(params, batch):
            return gradients(loss, params, batch, jax.random.key(0), accumulate=accumulate)[0], None

        return Devices(1).memory(step, kernels, {"x": np.ones((1024, 32), np.float32)})

    assert memory(8) < memory(1) / 2


def test_batch_statistics_of_microbatches():
    model = Tiny()
    variables = model.init(jax.random.key(0), jnp.zeros((2, 4)))

    def loss(params, batch, key):
        predicted, changed = model.apply(
            {**variables, "params": params}, batch["x"], mutable=["batch_stats"]
        )
        return jnp.mean((predicted - batch["y"]) ** 2), ({}, changed)

    batch = {name: jnp.asarray(value) for name, value in Numbers()[0].items()}
    changed = gradients(loss, variables["params"], batch, jax.random.key(0), accumulate=2)[2]
    parts = np.asarray(batch["x"]).reshape(8, 2, 4)  # samples 0, 2, 4 ... and 1, 3, 5 ...
    expected = 0.5 + 0.5 * parts.var(axis=0).mean(axis=0)
    np.testing.assert_allclose(changed["batch_stats"]["BatchNorm_0"]["var"], expected, rtol=1e-5)


def test_an_update_that_is_not_finite_is_left_out_and_counted():
    optimiser = optax.adam(0.1)
    state = TrainState.create(
        {"a": Net.create({"params": {"w": jnp.ones(2)}, "stats": {"m": jnp.ones(1)}}, optimiser)}, 0
    )
    for bad_loss, bad_gradient in ((jnp.nan, 1.0), (1.0, jnp.inf)):
        grads = {"w": jnp.array([1.0, bad_gradient])}
        state, _ = update(
            state,
            "a",
            optimiser,
            grads,
            {"loss": jnp.float32(bad_loss)},
            {"stats": {"m": jnp.zeros(1)}},
        )
    assert int(state.skipped) == 2 and int(state.in_a_row["a"]) == 2
    np.testing.assert_array_equal(state.nets["a"].params["w"], 1)
    np.testing.assert_array_equal(state.nets["a"].collections["stats"]["m"], 1)
    assert int(state.nets["a"].opt_state[0].count) == 0
    state, metrics = update(
        state, "a", optimiser, {"w": jnp.array([3.0, -4.0])}, {"loss": jnp.float32(1)}
    )
    assert (
        int(state.skipped) == 2
        and int(state.in_a_row["a"]) == 0
        and float(metrics["grad_norm"]) == 5
    )
    np.testing.assert_allclose(
        state.nets["a"].params["w"], [0.9, 1.1], rtol=1e-5
    )  # Adam's first step: the sign


def test_moving_average():
    state = TrainState.create(
        {"a": Net.create({"params": {"w": jnp.zeros(1)}}, optax.sgd(1.0))}, 0, ema=("a",)
    )
    state = state.replace(nets={"a": state.nets["a"].replace(params={"w": jnp.full(1, 8.0)})})
    for expected in (2.0, 3.5):
        state = average(state, "a", 0.75)
        np.testing.assert_allclose(state.ema["a"]["w"], expected)


def test_what_cannot_be_split_or_joined_is_one_clear_line():
    one = Devices(1)
    assert one.batch_size(12, 3) == 12 and one.axis is None
    with pytest.raises(UserError, match="batch of 10 cannot be split over 1 devices"):
        one.batch_size(10, 4)
    with pytest.raises(UserError, match="99 devices asked for, this machine has 1"):
        Devices(99)
    with pytest.raises(UserError, match="from 0 to 1"):
        connect("localhost:1", 2, 2)


def test_a_replicated_state_shares_no_buffer_with_what_it_was_made_from():
    # Two leaves of one buffer could not be donated, and a step would destroy the caller's array.
    array = jnp.arange(4.0)
    one = Devices(1)
    state, _ = one.compile(lambda s, b: (jax.tree.map(lambda x: x + b["x"], s), {}))(
        one.replicate({"a": array, "b": array}), {"x": np.ones(4, np.float32)}
    )
    np.testing.assert_array_equal(array, [0, 1, 2, 3])
    np.testing.assert_array_equal(state["b"], [1, 2, 3, 4])
