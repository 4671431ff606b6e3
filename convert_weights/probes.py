"""Runs a network once, compiled, and also returns intermediate values of chosen modules."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax


def run(
    module: nn.Module,
    variables: Mapping[str, Any],
    *inputs: Any,
    probes: Mapping[str, str] | None = None,
    **kwargs: Any,
) -> tuple[Any, dict[str, Any]]:
    """Applies a module.

    Args:
        module: an unbound linen module.
        variables: its variables.
        *inputs: arrays (traced).
        probes: name of an intermediate value -> path of the module whose first `__call__` returns
            it ("block_1/conv").
        **kwargs: static arguments of the method; `method` names it.

    Returns:
        (output, {name of a probe: value}).

    Raises:
        KeyError: a module of that path was never called.
    """
    wanted = dict(probes or {})
    paths = set(wanted.values())

    @jax.jit
    def apply(variables, *inputs):
        output, state = module.apply(
            variables,
            *inputs,
            capture_intermediates=lambda inner, name: (
                name == "__call__" and "/".join(inner.path) in paths
            ),
            mutable=["intermediates"],
            **kwargs,
        )
        return output, state.get("intermediates", {})

    output, found = apply(variables, *inputs)
    values = {}
    for name, path in wanted.items():
        node = found
        for part in path.split("/"):
            node = node[part]
        values[name] = node["__call__"][0]
    return output, values
