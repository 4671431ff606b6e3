"""Inverted codes as files: safetensors with the names of the photographs, the method, and whose
codes they are.

One array "codes", float32 W+ [m, n, k]; the header holds the generator's hash, the method and the
names, in the order of the codes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from diffcam_jax.errors import UserError
from diffcam_jax.files import trees


class Codes(NamedTuple):
    """What a file holds.

    Attributes:
        codes: [m, n, k] W+ codes.
        names: of the photographs, one for each.
        method: how they were found.
    """

    codes: Float[np.ndarray, "m n k"]
    names: tuple[str, ...]
    method: str


def save(
    path: str | Path,
    codes: Float[np.ndarray, "m n k"],
    generator_hash: str,
    method: str,
    names: Sequence[str],
) -> None:
    """Writes codes; the file appears whole or not at all.

    Args:
        path: ends in .safetensors.
        codes: W+, finite.
        generator_hash: `trees.tree_hash` of the generator's parameters.
        method: how they were found, a name of `inversion.METHODS`.
        names: one for each code.

    Raises:
        UserError: values that are no numbers, another number of names, or the file cannot be
            written.
    """
    codes = np.asarray(codes, np.float32)
    if codes.ndim != 3 or len(names) != len(codes):
        raise UserError(
            f"codes of shape {codes.shape} with {len(names)} names; give W+ codes [m, n, k] and "
            "m names"
        )
    if not np.isfinite(codes).all():
        raise UserError(
            f"codes with values that are no numbers are not kept in {path}; invert again"
        )
    try:
        trees.save(
            path,
            {"codes": codes},
            {"generator": generator_hash, "method": method, "names": list(names)},
        )
    except OSError as error:
        raise UserError(
            f"cannot write {path} ({error.strerror or error}); choose another place"
        ) from error


def load(path: str | Path, generator_hash: str, rows: int | None = None) -> Codes:
    """Reads codes, if they are a generator's own.

    Args:
        path: what `save` wrote.
        generator_hash: of the generator that is to draw them.
        rows: of its W+ codes; None does not ask.

    Raises:
        UserError: no such file, not codes, those of another generator, another number of rows,
            values that are no numbers.
    """
    tree, header = trees.load(path)
    codes, names = tree.get("codes"), header.get("names")
    if (
        not isinstance(codes, np.ndarray)
        or codes.ndim != 3
        or not isinstance(names, list)
        or len(names) != len(codes)
    ):
        raise UserError(f"{path} holds no inverted codes; write them with invert.py")
    if header.get("generator") != generator_hash:
        raise UserError(
            f"the codes in {path} were made for another generator "
            f"({str(header.get('generator'))[:8]}, this one is "
            f"{generator_hash[:8]}); invert the photographs again, or take the generator they "
            "were made for"
        )
    if rows is not None and codes.shape[1] != rows:
        raise UserError(
            f"the codes in {path} have {codes.shape[1]} rows, the generator reads {rows}; invert "
            "again"
        )
    if not np.isfinite(codes).all():
        raise UserError(
            f"the codes in {path} hold values that are no numbers; invert the photographs again"
        )
    return Codes(
        codes.astype(np.float32, copy=False),
        tuple(str(name) for name in names),
        str(header.get("method")),
    )
