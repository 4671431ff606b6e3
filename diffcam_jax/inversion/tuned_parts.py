"""Which parameters of a generator pivotal tuning changes, and a generator with such changes.

Source: Roich et al. (2106.05744) tune all parameters of the synthesis; see `inversion.tuning`.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float

from diffcam_jax.errors import UserError
from diffcam_jax.nn.network import Network

Path = tuple[str, ...]
Deltas = dict[Path, Float[np.ndarray, "..."]]

# A layer's name, and the number of its first layer of 16 pixels.
_LAYERS = (("block", 1), ("convs", 2), ("to_rgbs", 1))
_UNKNOWN = "pivotal tuning supports StyleGAN2 and MobileStyleGAN; choose another method"


def is_tuned(path: Path) -> bool:
    """Whether a parameter is tuned: kernels and biases from 16 pixels up, and the output's.

    Mapping, constant, modulations, depthwise kernels and noise are fixed. Tuning the latter two
    fits faster and burns the closed mouth in: a smile then lacks its teeth.
    """
    if path[-1] not in ("kernel", "pointwise", "bias") or {"modulation", "up"} & set(path):
        return False
    name, _, number = path[0].rpartition("_")
    return path[0] == "to_image" or any(
        name == layer and number.isdecimal() and int(number) >= first for layer, first in _LAYERS
    )


def tuned_paths(variables: Mapping[str, Any]) -> tuple[Path, ...]:
    """The parameters of a generator that are tuned, sorted.

    Raises:
        UserError: there are none, for instance because its pictures have sides below 16 pixels.
    """
    paths = tuple(sorted(path for path in flatten_dict(variables["params"]) if is_tuned(path)))
    if not paths:
        raise UserError(_UNKNOWN)
    return paths


def check_generator(generator: Network) -> None:
    """Checks that a generator can be tuned: it draws windows, and has tunable parameters.

    Raises:
        UserError: it is of another kind; see also `tuned_paths`.
    """
    # StyleGAN v1 has an output of the same name, but draws no windows.
    if not hasattr(generator.module, "cells"):
        raise UserError(_UNKNOWN)
    tuned_paths(generator.variables)


def tuned_generator(generator: Network, deltas: Mapping[Path, Array | np.ndarray]) -> Network:
    """A generator with one photograph's changes added.

    Args:
        generator: before it is tuned.
        deltas: path -> change of that tensor, any float type; may be empty.
    """
    flat = dict(flatten_dict(generator.variables["params"]))
    for path, delta in deltas.items():
        flat[path] = flat[path] + jnp.asarray(delta, flat[path].dtype)
    return generator.replace(variables={**generator.variables, "params": unflatten_dict(flat)})
