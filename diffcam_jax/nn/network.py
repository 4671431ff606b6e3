"""`Network`: a module together with its variables, the one form in which networks travel."""

from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp


@flax.struct.dataclass(eq=False)
class Network:
    """A module and its variables; a pytree whose module is static, so an argument of `jax.jit`.

    Attributes:
        module: a flax.linen module, which holds no arrays.
        variables: its collections, {"params": ..., "batch_stats": ..., "noise": ...}.
    """

    module: nn.Module = flax.struct.field(pytree_node=False)
    variables: dict[str, Any]

    def __iter__(self) -> Iterator[Any]:
        """Allows `module, variables = network`."""
        return iter((self.module, self.variables))

    def __call__(self, *inputs: Any, method: str | None = None, **options: Any) -> Any:
        """What the module gives for inputs; see `flax.linen.Module.apply`."""
        return self.module.apply(self.variables, *inputs, method=method, **options)


def initial_variables(module: nn.Module, key: jax.Array, *inputs: Any) -> dict[str, Any]:
    """The variables that a module begins with.

    The program runs once, so it is compiled without optimisation, which takes a third of the time.

    Args:
        module: to be initialised.
        key: for its random numbers.
        *inputs: that the module is called with; only their shapes and types matter.
    """
    # Within another traced function there is no program of its own to be compiled.
    if isinstance(jnp.zeros(()), jax.core.Tracer):
        return module.init(key, *inputs)
    init = jax.jit(module.init, compiler_options={"xla_backend_optimization_level": 0})
    return init(key, *inputs)
