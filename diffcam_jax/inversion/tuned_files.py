"""A tuned generator as a file: its difference from the generator, for one photograph.

One array for each tensor that changed, in half precision, under its name in the generator; the
header holds the generator's hash and the settings of the tuning. The corresponding code, the pivot,
is in the file of codes beside it under the photograph's name.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path as FilePath

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Float

from diffcam_jax.errors import UserError
from diffcam_jax.files import trees
from diffcam_jax.inversion.settings import TuningSettings
from diffcam_jax.inversion.tuned_parts import Deltas, Path

SUFFIX = ".tuned.safetensors"
_KIND = "tuned"


def save(
    path: str | FilePath,
    deltas: Mapping[Path, Float[np.ndarray, "..."]],
    generator_hash: str,
    settings: TuningSettings,
) -> None:
    """Writes the changes of one photograph; the file appears whole or not at all.

    Args:
        path: must end in .tuned.safetensors.
        deltas: without a batch axis.
        generator_hash: `trees.tree_hash` of the parameters of the generator that was tuned.
        settings: of the tuning.

    Raises:
        UserError: a value is not finite, or the file cannot be written.
    """
    tree = {name: np.asarray(change, np.float16) for name, change in deltas.items()}
    if not all(np.isfinite(change).all() for change in tree.values()):
        raise UserError(f"changes that are not finite are not written to {path}; tune again")
    given = {name: round(value, 9) for name, value in dataclasses.asdict(settings).items()}
    header = {"kind": _KIND, "generator": generator_hash, "settings": given}
    try:
        trees.save(path, unflatten_dict(tree), header)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"cannot write {path} ({reason}); choose another place") from error


def load(path: str | FilePath, generator_hash: str) -> Deltas:
    """Reads changes and checks that they belong to a generator.

    Args:
        path: a file that `save` wrote.
        generator_hash: of the generator to which they will be added.

    Returns:
        Path of a tensor -> its change, without a batch axis, for `tuning.tuned_generator`.

    Raises:
        UserError: the file is missing or of another kind, belongs to another generator, or holds a
            value that is not finite.
    """
    tree, header = trees.load(path)
    if header.get("kind") != _KIND:
        raise UserError(f"{path} holds no tuned generator; write one with invert.py")
    if header.get("generator") != generator_hash:
        hashes = f"{str(header.get('generator'))[:8]}, this one is {generator_hash[:8]}"
        raise UserError(f"{path} changes another generator ({hashes}); tune again")
    deltas = flatten_dict(tree)
    if not all(np.isfinite(change).all() for change in deltas.values()):
        raise UserError(f"the changes in {path} hold values that are not finite; tune again")
    return deltas
