"""The state of a training run: everything that a checkpoint has to hold."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PRNGKeyArray, UInt32


@flax.struct.dataclass
class TrainState:
    """State between two steps.

    Attributes:
        step: steps taken.
        params, batch_stats: of the network.
        opt_state: of the optimiser.
        key: raw data of the run's PRNG key; constant, the step is folded in.
    """

    step: Int[Array, ""]
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    key: UInt32[Array, "_"]

    @classmethod
    def create(cls, variables: dict, optimiser: optax.GradientTransformation, seed: int) -> "TrainState":
        """The state before the first step, from the network's initial variables."""
        params = variables["params"]
        key = jax.random.key_data(jax.random.key(seed))
        return cls(jnp.int32(0), params, variables.get("batch_stats", {}), optimiser.init(params), key)

    @property
    def variables(self) -> dict:
        """What `Module.apply` takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    def step_key(self) -> PRNGKeyArray:
        """The key of the coming step."""
        return jax.random.fold_in(jax.random.wrap_key_data(self.key), self.step)
