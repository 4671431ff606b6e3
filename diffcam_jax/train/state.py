"""The state of a training run: everything that a checkpoint has to hold."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import PRNGKeyArray


@flax.struct.dataclass
class TrainState:
    """State between two steps.

    Attributes:
        step: steps taken, int32.
        params, batch_stats: of the network.
        opt_state: of the optimiser.
        key: raw data of the run's PRNG key, uint32; constant, the step is folded in.

    The fields carry no array annotations: tree transformations fill them with placeholders.
    """

    step: Any
    params: Any
    batch_stats: Any
    opt_state: Any
    key: Any

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
