"""The state of a training run, which a checkpoint holds, and the functions that change it.

A run trains one or more networks, each with an optimiser of its own. Losses are functions of one
network's parameters; `gradients` averages their gradients over microbatches and devices, `update`
applies these unless anything in them is not finite, `average` keeps a moving average.
"""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, PRNGKeyArray

Metrics = dict[str, Array]
Batch = dict[str, Array]
# (params, batch, key) -> (loss, (metrics, changed collections of the network)); scalars, means over
# the batch.
Loss = Callable[[Any, Batch, PRNGKeyArray], tuple[Float[Array, ""], tuple[Metrics, dict]]]


@flax.struct.dataclass
class Net:
    """A network in training.

    The fields carry no array annotations: tree transformations fill them with placeholders.

    Attributes:
        params: its parameters.
        collections: what `apply` needs beside them: {"batch_stats": ..., "noise": ...}, or nothing.
        opt_state: of its optimiser; None for a network that is not trained.
    """

    params: Any
    collections: Any
    opt_state: Any = None

    @classmethod
    def create(
        cls, variables: dict, optimiser: optax.GradientTransformation | None = None
    ) -> "Net":
        """Creates the network's part of the state from its initial variables."""
        rest = {name: value for name, value in variables.items() if name != "params"}
        return cls(
            variables["params"],
            rest,
            None if optimiser is None else optimiser.init(variables["params"]),
        )

    @property
    def variables(self) -> dict:
        """The variables that `Module.apply` takes."""
        return {"params": self.params, **self.collections}


@flax.struct.dataclass
class TrainState:
    """The state between two steps; the names of its fields are in checkpoints.

    The fields carry no array annotations, for the reason given at `Net`.

    Attributes:
        step: steps taken, int32.
        key: raw data of the run's PRNG key, uint32; constant, as step and phase are folded in.
        nets: name -> network in training.
        ema: name -> moving average of a network's parameters.
        extra: name -> array that a trainer carries: the mean path length, ADA's probability, a pool
            of codes.
        skipped: updates skipped so far because something was not finite, int32.
        in_a_row: name of a network -> consecutive updates skipped up to now, int32.
    """

    step: Any
    key: Any
    nets: Any
    ema: Any
    extra: Any
    skipped: Any
    in_a_row: Any

    @classmethod
    def create(
        cls,
        nets: dict[str, Net],
        seed: int,
        ema: tuple[str, ...] = (),
        extra: dict[str, Any] | None = None,
    ) -> "TrainState":
        """Creates the state before the first step.

        Args:
            nets: name -> network.
            seed: of everything random in the run.
            ema: names of the networks whose parameters are averaged.
            extra: arrays to carry.
        """
        key = jax.random.key_data(jax.random.key(seed))
        averages = {name: jax.tree.map(jnp.copy, nets[name].params) for name in ema}
        counts = {name: jnp.int32(0) for name, net in nets.items() if net.opt_state is not None}
        return cls(jnp.int32(0), key, nets, averages, dict(extra or {}), jnp.int32(0), counts)

    def phase_key(self, phase: int) -> PRNGKeyArray:
        """Returns the key of a phase of the coming step."""
        return jax.random.fold_in(
            jax.random.fold_in(jax.random.wrap_key_data(self.key), self.step), phase
        )


def gradients(
    loss: Loss,
    params: Any,
    batch: Batch,
    key: PRNGKeyArray,
    *,
    axis: str | None = None,
    accumulate: int = 1,
) -> tuple[Any, Metrics, dict]:
    """Computes the gradient of a loss, averaged over microbatches and devices.

    Args:
        loss: see `Loss`.
        params: what to differentiate by.
        batch: arrays whose first axis is the device's batch, divisible by `accumulate`.
        key: of this phase; every device and microbatch gets its own.
        axis: name of the device axis inside pmap or shard_map; None on one device.
        accumulate: microbatches, run one after the other in less memory. Batch statistics are those
            of a microbatch.

    Returns:
        Gradients, metrics (with "loss") and changed collections, equal on all devices.
    """
    if axis is not None:
        key = jax.random.fold_in(key, jax.lax.axis_index(axis))
    total = None
    # Unrolled: convolutions' gradients inside a compiled loop are many times slower on a CPU.
    for part in range(accumulate):
        pick = {name: array[part::accumulate] for name, array in batch.items()}
        (value, (metrics, changed)), grads = jax.value_and_grad(loss, has_aux=True)(
            params, pick, jax.random.fold_in(key, part)
        )
        result = (grads, {"loss": value, **metrics}, changed)
        total = result if total is None else jax.tree.map(jnp.add, total, result)
        # Parameters that depend on this microbatch: otherwise the compiler, which drops barriers
        # before it schedules, runs all microbatches at once, in the memory of the whole batch.
        nothing = 0 * optax.tree.norm(grads)
        params = jax.tree.map(lambda p, zero=nothing: p + zero.astype(p.dtype), params)
    mean = jax.tree.map(lambda leaf: leaf / accumulate, total)
    return mean if axis is None else jax.lax.pmean(mean, axis)


def update(
    state: TrainState,
    name: str,
    optimiser: optax.GradientTransformation,
    grads: Any,
    metrics: Metrics,
    changed: dict | None = None,
) -> tuple[TrainState, Metrics]:
    """Applies gradients to one network; skips the update if loss or gradients are not finite.

    Args:
        state: of the run.
        name: of the network.
        optimiser: of the network.
        grads: from `gradients`.
        metrics: from `gradients`, with "loss".
        changed: collections of the network from `gradients`.

    Returns:
        The next state, whose step the loop increments, and the metrics with "grad_norm".
    """
    net = state.nets[name]
    norm = optax.tree.norm(grads)
    healthy = jnp.isfinite(norm) & jnp.isfinite(metrics["loss"])
    updates, opt_state = optimiser.update(grads, net.opt_state, net.params)
    new = net.replace(
        params=optax.apply_updates(net.params, updates),
        collections={**net.collections, **(changed or {})},
        opt_state=opt_state,
    )
    state = state.replace(
        nets={**state.nets, name: _choose(healthy, new, net)},
        skipped=state.skipped + jnp.where(healthy, 0, 1),
        in_a_row={**state.in_a_row, name: jnp.where(healthy, 0, state.in_a_row[name] + 1)},
    )
    return state, {**metrics, "grad_norm": norm}


def _choose(condition: Bool[Array, ""], new: Any, old: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


def average(state: TrainState, name: str, decay: float | Float[Array, ""]) -> TrainState:
    """Updates the moving average of a network: decay * average + (1 - decay) * parameters."""
    # Not optax.incremental_update: in this form frozen parameters, such as those of a prior, keep
    # their average exactly.
    params = state.nets[name].params
    ema = jax.tree.map(lambda old, new: old + (1 - decay) * (new - old), state.ema[name], params)
    return state.replace(ema={**state.ema, name: ema})


def warmed_up(decay: float, step: Array) -> Float[Array, ""]:
    """Decay of `average` with warm-up: smaller in the first steps, to forget the initialisation.

    Args:
        decay: the final one.
        step: steps taken.
    """
    return jnp.minimum(decay, (1 + step) / (10 + step))
