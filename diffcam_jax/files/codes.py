"""Inverted codes as safetensors files, with the names of the photographs and the method.

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
    """The content of a file of codes.

    Attributes:
        codes: [m, n, k] W+ codes.
        names: of the photographs, one for each code.
        method: the inversion method that found them.
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
        path: must end in .safetensors.
        codes: W+, finite.
        generator_hash: `trees.tree_hash` of the generator's parameters.
        method: the inversion method that found them, a name of `inversion.METHODS`.
        names: one for each code.

    Raises:
        UserError: a value is not finite, the number of names differs, or the file cannot be
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
            f"codes with values that are not finite are not written to {path}; invert again"
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
    """Reads codes and checks that they belong to a generator.

    Args:
        path: a file that `save` wrote.
        generator_hash: of the generator that will draw them.
        rows: number of rows of its W+ codes; None skips this check.

    Raises:
        UserError: the file is missing, holds no codes, or those of another generator; the number of
            rows differs, or a value is not finite.
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
            f"({str(header.get('generator'))[:8]}, this one is {generator_hash[:8]}); invert the "
            "photographs again, or use the generator they were made for"
        )
    if rows is not None and codes.shape[1] != rows:
        raise UserError(
            f"the codes in {path} have {codes.shape[1]} rows and the generator reads {rows}; "
            "invert again"
        )
    if not np.isfinite(codes).all():
        raise UserError(
            f"the codes in {path} hold values that are not finite; invert the photographs again"
        )
    return Codes(
        codes.astype(np.float32, copy=False),
        tuple(str(name) for name in names),
        str(header.get("method")),
    )
