"""The loop that all methods share, on problems with known answers: Adam, convergence, restarts,
time, one compilation.
"""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffcam_jax.inversion.adam import CHANCES, StepSettings
from diffcam_jax.inversion.optimise import minimise

TRACED = []
# The way to the first picture's target with steps of 0.7 leaves the region where the loss is a
# number.
LIMIT = 2.3


@dataclasses.dataclass(frozen=True)
class Bowl:
    """weight * |x - target|^2 for each picture; no number where x leaves [-limit, limit]."""

    name: str = "bowl"
    b2 = 0.999

    def loss(self, frozen, target, weights, unknown):
        TRACED.append(self.name)
        x = unknown[0]
        distance = weights * ((x - target) ** 2).sum(1)
        return jnp.where(jnp.abs(x).max(1) > frozen, jnp.nan, distance)


TARGET = np.array([[1.0, -2.0, 0.5], [0.1, 0.1, 0.1]], np.float32)


def run(
    target=TARGET,
    steps=60,
    rate=0.05,
    patience=0,
    tolerance=0.003,
    limit=1e9,
    start=0.0,
    problem=None,
    **kwargs,
):
    def pace(index):
        return StepSettings((rate,), patience, tolerance, index + 1 > patience)

    begin = (jnp.full(target.shape, start, jnp.float32),)
    return minimise(
        problem or Bowl(),
        jnp.float32(limit),
        jnp.asarray(target),
        1.0,
        begin,
        steps,
        pace,
        **kwargs,
    )


def adam(target, steps, rate):
    """The same search by optax, one picture alone: the lowest loss among the points before each
    step.
    """
    optimiser = optax.adam(rate)
    x = jnp.zeros(target.shape)
    state, history = optimiser.init(x), []
    for _ in range(steps):
        value, gradient = jax.value_and_grad(lambda x: ((x - target) ** 2).sum())(x)
        history.append(float(value))
        change, state = optimiser.update(gradient, state)
        x = x + change
    return history


def test_every_picture_has_an_adam_of_its_own():
    found = run()
    for i, target in enumerate(TARGET):
        np.testing.assert_allclose(
            found.history[:, i], adam(target, 60, 0.05), rtol=1e-4, atol=1e-6
        )
    np.testing.assert_array_equal(found.loss, found.history.min(0))
    assert found.active.all() and not found.failures.any() and not found.late


def settled_after(history, patience, tolerance):
    """The rule as it reads: nothing fell by `tolerance` within `patience` steps.

    Independent of the window on the device.
    """
    for count in range(patience + 1, len(history) + 1):
        before, recent = history[: count - patience].min(), history[count - patience : count].min()
        if not recent < before * (1 - tolerance):
            return count
    return None


@pytest.mark.parametrize("patience", [3, 20])
def test_a_settled_picture_rests_at_its_best_while_others_go_on(patience):
    tolerance = 0.05
    free = run(steps=250).history
    expected = [settled_after(free[:, i], patience, tolerance) for i in range(2)]
    assert expected[1] < expected[0]
    found = run(steps=250, patience=patience, tolerance=tolerance)
    assert len(found.history) == expected[0] and not found.active.any()
    np.testing.assert_allclose(found.history[: expected[1], 1], free[: expected[1], 1], rtol=1e-6)
    np.testing.assert_allclose(
        found.history[expected[1] :, 1], free[: expected[1], 1].min(), rtol=1e-6
    )
    np.testing.assert_allclose(((found.best[0] - TARGET) ** 2).sum(1), found.loss, rtol=1e-5)
    np.testing.assert_array_equal(found.loss, found.history.min(0))


def test_a_picture_does_not_depend_on_the_rest_of_the_batch():
    both, alone = run(steps=250, patience=10), run(TARGET[:1], steps=250, patience=10)
    np.testing.assert_allclose(both.best[0][0], alone.best[0][0], rtol=1e-6)
    np.testing.assert_allclose(
        both.history[: len(alone.history), 0], alone.history[:, 0], rtol=1e-6
    )


def test_a_loss_that_is_no_number_restarts_the_picture_with_a_lower_rate():
    found = run(limit=LIMIT, rate=0.7, steps=80)
    assert 1 <= found.failures[0] < CHANCES and found.failures[1] == 0
    broken = np.flatnonzero(np.isnan(found.history[:, 0]))
    assert len(broken) == found.failures[0]
    # It goes on from its best point, so the loss after a failure is the lowest of those before.
    np.testing.assert_allclose(
        found.history[broken[0] + 1, 0], np.nanmin(found.history[: broken[0], 0]), rtol=1e-6
    )
    assert np.isfinite(found.loss).all() and found.loss[0] < 0.05
    alone = run(TARGET[1:], limit=LIMIT, rate=0.7, steps=80)
    np.testing.assert_allclose(found.history[:, 1], alone.history[:, 0], rtol=1e-6)


def test_a_hopeless_picture_is_given_up_and_spoils_nobody():
    target = TARGET.copy()
    target[0] = np.nan
    found = run(target)
    assert np.isinf(found.loss[0]) and found.failures[0] == CHANCES and not found.active[0]
    np.testing.assert_array_equal(found.best[0][0], 0)
    np.testing.assert_allclose(found.history[:, 1], run().history[:, 1], rtol=1e-6)
    assert len(run(target[:1]).history) == CHANCES


def test_time_runs_out():
    found = run(steps=100, seconds=1e-9)
    assert found.late and len(found.history) == 2
    np.testing.assert_array_equal(found.loss, found.history.min(0))


def test_numbers_compile_nothing_anew():
    first = Bowl("one compilation")
    run(problem=first, steps=1)
    once = TRACED.count(first.name)
    run(problem=first, rate=0.2, patience=5, tolerance=0.1, limit=3.0, steps=7)
    assert TRACED.count(first.name) == once > 0


ROOT = Path(__file__).parent.parent
SIDE_BY_SIDE = """
import sys
import jax
if "accelerators" in sys.argv:
    jax.default_backend = lambda: "gpu"  # which have no lanes of their own for every picture
import numpy as np
from tests.test_inversion_optimise import run
target = np.random.default_rng(0).normal(0, 1, (3, 4)).astype(np.float32)
found = run(target, steps=120, patience=10, tolerance=0.05)
np.savez(sys.argv[1], best=found.best[0], history=found.history, devices=jax.local_device_count())
"""


def test_devices_of_a_cpu_share_the_pictures_out(tmp_path):
    """Three pictures on two devices come out as on one."""
    for count in (1, 2):
        environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(count), "JAX_PLATFORMS": "cpu"}
        command = [sys.executable, "-c", SIDE_BY_SIDE, str(tmp_path / f"{count}.npz")]
        subprocess.run(command, env=environment, check=True, cwd=ROOT)
    one, two = (np.load(tmp_path / f"{count}.npz") for count in (1, 2))
    assert (one["devices"], two["devices"]) == (1, 2)
    np.testing.assert_array_equal(two["best"], one["best"])
    np.testing.assert_array_equal(two["history"], one["history"])
    subprocess.run([*command, "accelerators"], env=environment, check=True, cwd=ROOT)
    shared = np.load(tmp_path / "2.npz")
    np.testing.assert_allclose(shared["best"], one["best"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(shared["history"], one["history"], rtol=1e-5, atol=1e-6)
