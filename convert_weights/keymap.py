"""Whether converted parameters are exactly those of the network: strict in both directions, all faults at once."""

from collections.abc import Mapping
from typing import Any

from diffcam_jax import weights
from diffcam_jax.errors import UserError


def check_shapes(params: Mapping[str, Any], shapes: Mapping[str, Any]) -> None:
    """Compare converted parameters with what the network expects.

    Args:
      params: nested dict of arrays.
      shapes: nested dict of anything with `.shape`.

    Raises:
      UserError: names every entry that is missing, left over or of another shape.
    """
    have = {path: array.shape for path, array in weights.flatten(params).items()}
    want = {path: tuple(int(size) for size in leaf) for path, leaf in _leaves(shapes)}
    faults = [f"{path} is missing" for path in sorted(want.keys() - have.keys())]
    faults += [f"{path} is left over" for path in sorted(have.keys() - want.keys())]
    faults += [
        f"{path} is {have[path]} instead of {want[path]}"
        for path in sorted(have.keys() & want.keys())
        if have[path] != want[path]
    ]
    if faults:
        raise UserError(f"the checkpoint does not fit the network: {'; '.join(faults)}; get the original files")


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, tuple[int, ...]]]:
    leaves = []
    for name, value in tree.items():
        leaves += _leaves(value, f"{prefix}{name}/") if isinstance(value, Mapping) else [(prefix + name, value.shape)]
    return leaves
