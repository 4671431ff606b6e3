"""A training run of a few numbers, small enough to be started, killed and compared many times.

python -m tests.tiny_run run DIR STEPS         trains in DIR, then writes DIR/final.npz
python -m tests.tiny_run devices OUT           one against eight devices; arrays to the file OUT
python -m tests.tiny_run host DIR PORT I       process I of two; DIR/final.npz
"""

import contextlib
import pathlib
import sys
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from diffcam_jax.command.processes import connect
from diffcam_jax.nn.stylegan2_discriminator import minibatch_stddev
from diffcam_jax.train.checkpoint import Checkpoints
from diffcam_jax.train.devices import Devices
from diffcam_jax.train.loop import fit
from diffcam_jax.train.report import Report
from diffcam_jax.train.state import Net, TrainState, average, gradients, update
from diffcam_jax.train.trainer import Phase, Trainer

BATCH = 16


class Numbers:
    """Samples x [16, 4] with targets; `nan_from` is the first step with a target of NaN."""

    held_out = {"x": np.zeros((1, 4), np.float32)}

    def __init__(self, process=0, processes=1, pause=0.0, nan_from=10**9):
        self.part, self.pause, self.nan_from = slice(process, None, processes), pause, nan_from

    def __getitem__(self, step):
        time.sleep(self.pause)
        rng = np.random.default_rng(step)
        x = rng.standard_normal((BATCH, 4)).astype(np.float32)
        y = x.sum(axis=1) + (np.nan if step >= self.nan_from else 0)
        return {"x": x[self.part], "y": y.astype(np.float32)[self.part]}


class Tiny(nn.Module):
    """Batch normalisation and a linear layer."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(nn.BatchNorm(use_running_average=False, momentum=0.5)(x))[:, 0]


def full_trainer(axis):
    """All that a state can hold: two phases, Adam, running and moving averages, random numbers."""
    model, optimiser = Tiny(), optax.adam(1e-2)

    def step(state, batch, key):
        def loss(params, batch, key):
            variables = {"params": params, **state.nets["net"].collections}
            predicted, changed = model.apply(variables, batch["x"], mutable=["batch_stats"])
            noise = jax.random.normal(key, predicted.shape)
            return jnp.mean((predicted + 0.1 * noise - batch["y"]) ** 2), ({}, changed)

        result = gradients(loss, state.nets["net"].params, batch, key, axis=axis)
        state, metrics = update(state, "net", optimiser, *result)
        return average(state, "net", 0.9), metrics

    def shrink(state, batch, key):
        def loss(params, batch, key):
            return 1e-3 * optax.tree.norm(params) ** 2, ({}, {})

        return update(
            state,
            "net",
            optimiser,
            *gradients(loss, state.nets["net"].params, batch, key, axis=axis),
        )

    def create():
        variables = model.init(jax.random.key(1), jnp.zeros((2, 4)))
        return TrainState.create(
            {"net": Net.create(variables, optimiser)}, 5, ("net",), {"extra": jnp.ones(2)}
        )

    def score(state):
        return {"score": -float(jnp.abs(state.nets["net"].params["Dense_0"]["kernel"] - 1).sum())}

    def samples(state):
        return {"grey": np.full((4, 6, 3), 128, np.uint8)}

    phases = (Phase("fit", step), Phase("shrink", shrink, every=3))
    return Trainer(create, phases, samples, score, lambda state, path: None, "look at {workdir}")


def sgd_trainer(axis, accumulate=1):
    """Linear regression by gradient descent, which does not hide a wrong factor in gradients."""
    optimiser = optax.sgd(0.1)

    def step(state, batch, key):
        def loss(params, batch, key):
            return jnp.mean((batch["x"] @ params["w"] - batch["y"]) ** 2), ({}, {})

        result = gradients(
            loss, state.nets["net"].params, batch, key, axis=axis, accumulate=accumulate
        )
        return update(state, "net", optimiser, *result)

    def create():
        return TrainState.create({"net": Net.create({"params": {"w": jnp.zeros(4)}}, optimiser)}, 0)

    return Trainer(create, (Phase("fit", step),), lambda s: {}, lambda s: {}, lambda s, p: None, "")


def go(folder, trainer, until, data=None, devices=None, report=False, every=5, **options):
    """Trains in a folder from its newest checkpoint to a step; returns the state on one device."""
    devices = devices or Devices(1)
    state = devices.replicate(trainer.create())
    with Checkpoints(pathlib.Path(folder) / "checkpoints", every) as checkpoints:
        state = checkpoints.restore(state)
        with Report(folder, int(state.step), until) if report else contextlib.nullcontext() as r:
            options = {"log_every": 10, "eval_every": 20, "report": r, **options}
            state = fit(
                trainer,
                state,
                data or Numbers(),
                until,
                devices=devices,
                checkpoints=checkpoints,
                **options,
            )
    return devices.view(state)


def save_state(path, state):
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    np.savez(path, **{jax.tree_util.keystr(name): np.asarray(leaf) for name, leaf in leaves})


class Announcing(Numbers):
    """Announces the first batch, and is slow, so that kills come at all moments of a run."""

    def __getitem__(self, step):
        if self.pause == 0:
            self.pause = 0.002
            print("begun at", step, flush=True)
        return super().__getitem__(step)


def run(folder, steps):
    state = go(folder, full_trainer(None), int(steps), Announcing(), report=True)
    save_state(pathlib.Path(folder) / "final.npz", state)


def devices(out):
    """What the batch statistics, keys and gradients are on eight devices."""
    found, eight = {}, Devices(8)
    folder = pathlib.Path(out).parent
    found["sgd_1"] = go(folder / "one", sgd_trainer(None), 5).nets["net"].params["w"]
    found["sgd_8"] = (
        go(folder / "eight", sgd_trainer(eight.axis), 5, devices=eight).nets["net"].params["w"]
    )
    # Two microbatches of one sample on each of eight devices.
    found["sgd_8x2"] = (
        go(folder / "sixteen", sgd_trainer(eight.axis, 2), 5, devices=eight).nets["net"].params["w"]
    )
    go(folder / "moved", sgd_trainer(None), 2)
    found["sgd_1_then_8"] = (
        go(folder / "moved", sgd_trainer(eight.axis), 5, devices=eight).nets["net"].params["w"]
    )

    traced = []

    def statistics(state, batch):
        traced.append(1)
        deviation = minibatch_stddev(batch["x"][:, None, None, :], 2)
        key = jax.random.fold_in(state["key"], jax.lax.axis_index("data"))
        mean = jax.lax.pmean(jax.random.normal(key), "data")
        return state, {"deviation": jax.lax.all_gather(deviation, "data"), "noise": mean}

    program = eight.compile(statistics)
    state = eight.replicate({"key": jax.random.key(7)})
    for _ in range(2):
        state, seen = program(state, Numbers()[0])
    found |= {
        "stddev": seen["deviation"].reshape(-1),
        "noise": seen["noise"],
        "traced": len(traced),
    }

    trainer = full_trainer(eight.axis)
    state = eight.replicate(trainer.create())
    step = eight.compile(lambda s, b: trainer.phases[0].step(s, b, s.phase_key(0)))
    state, _ = step(state, Numbers()[0])
    found |= dict(eight.view(state).nets["net"].collections["batch_stats"]["BatchNorm_0"])
    np.savez(out, **{name: np.asarray(value) for name, value in found.items()})


def host(folder, port, process):
    connect(f"localhost:{port}", 2, int(process))
    both = Devices()
    state = go(
        folder, sgd_trainer(both.axis), 5, Numbers(both.process, both.processes), both, log_every=1
    )
    if both.process == 0:
        save_state(pathlib.Path(folder) / "final.npz", state)


if __name__ == "__main__":
    {"run": run, "devices": devices, "host": host}[sys.argv[1]](*sys.argv[2:])
