"""Variables of a network filled with plausible random numbers.

Without compiling its initialisers.
"""

import jax
import jax.numpy as jnp
import numpy as np


def random_variables(model, *inputs, seed=0, **kwargs):
    """Kernels of unit gain, scales and variances near 1, biases and means near 0."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *inputs, **kwargs))

    def fill(path, leaf):
        name = path[-1].key
        value = rng.standard_normal(leaf.shape)
        if name in ("scale", "var"):
            value = 1 + 0.2 * np.tanh(value)
        elif name in ("bias", "mean"):
            value = 0.1 * value
        else:
            value = value * np.sqrt(2 / np.prod(leaf.shape[:-1]))
        return jnp.asarray(value, leaf.dtype)

    return jax.tree_util.tree_map_with_path(fill, shapes)
