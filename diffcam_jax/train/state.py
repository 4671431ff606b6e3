"""The state of a training run: everything that a checkpoint has to hold, and the one way it is
changed.

A run trains one or more networks, each with an optimiser of its own. Losses are functions of one
network's parameters; `gradients` averages them over microbatches and devices, `update` applies them
unless anything in them is not finite.
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
# (params, batch, key) -> (loss, (metrics, collections that the network changed)); scalars, means
# over the batch.
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
        """From a network's initial variables."""
        rest = {name: value for name, value in variables.items() if name != "params"}
        return cls(
            variables["params"],
            rest,
            None if optimiser is None else optimiser.init(variables["params"]),
        )

    @property
    def variables(self) -> dict:
        """What `Module.apply` takes."""
        return {"params": self.params, **self.collections}


@flax.struct.dataclass
class TrainState:
    """State between two steps.

    Its fields, too, are filled with placeholders of all kinds by tree transformations and by orbax.

    Attributes:
        step: steps taken, int32.
        key: raw data of the run's PRNG key, uint32; constant, the step and the phase are folded in.
        nets: name -> network in training.
        ema: name -> moving average of a network's parameters.
        extra: name -> array that a trainer carries on: the mean path length, ADA's probability, a
            pool of codes.
        skipped: updates left out so far because something was not finite, int32.
        in_a_row: name of a network -> how many of its latest updates were left out, int32.
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
        """The state before the first step.

        Args:
            nets: name -> network.
            seed: of everything random in the run.
            ema: names of the networks whose parameters are averaged.
            extra: arrays to carry on.
        """
        key = jax.random.key_data(jax.random.key(seed))
        averages = {name: jax.tree.map(jnp.copy, nets[name].params) for name in ema}
        counts = {name: jnp.int32(0) for name, net in nets.items() if net.opt_state is not None}
        return cls(jnp.int32(0), key, nets, averages, dict(extra or {}), jnp.int32(0), counts)

    def phase_key(self, phase: int) -> PRNGKeyArray:
        """The key of a phase of the coming step."""
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
    """The gradient of a loss, averaged over microbatches and devices.

    Args:
        loss: see `Loss`.
        params: what it is differentiated by.
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
        # Parameters that wait for this microbatch: otherwise the compiler, which drops barriers
        # before it schedules, runs all of them side by side, in the memory of the whole batch.
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
    """Applies gradients to one network.

    Where the loss or a gradient is not finite the network stays as it is.

    Args:
        state: of the run.
        name: of the network.
        optimiser: of the network.
        grads, metrics, changed: from `gradients`.

    Returns:
        The next state (its step is not counted up: that is the loop's part), and the metrics with
        "grad_norm".
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
    """Moves the moving average of a network's parameters: decay * average + (1 - decay) * params."""
    params = state.nets[name].params
    ema = jax.tree.map(lambda old, new: old + (1 - decay) * (new - old), state.ema[name], params)
    return state.replace(ema={**state.ema, name: ema})


def young(decay: float, step: Array) -> Float[Array, ""]:
    """A decay for `average` that is smaller in the first steps: an average of few would be mostly
    that of the start.

    Args:
        decay: of later ones.
        step: steps taken.
    """
    return jnp.minimum(decay, (1 + step) / (10 + step))
