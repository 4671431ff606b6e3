"""Files of directions."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from diffcam_jax.directions.record import MOST_ROWS, Direction, check_layers
from diffcam_jax.errors import UserError
from diffcam_jax.files import trees
from diffcam_jax.nn.conventions import WPLUS_ROWS
from diffcam_jax.pretrained import store


def save_directions(path: Path, directions: Mapping[str, Direction]) -> None:
    """Writes directions into one safetensors file."""
    tables = {}
    for name, direction in directions.items():
        record = dataclasses.asdict(direction)
        record["rows"] = len(record.pop("array"))
        if math.isinf(direction.ceiling):  # JSON has no infinity
            del record["ceiling"]
        tables[name] = record
    # Rows outside the layers are zero: only those in use are stored.
    params = {name: d.array[slice(*d.layers)] for name, d in directions.items()}
    trees.save(path, params, {"kind": "directions", "directions": tables})


def load_directions(path: Path | str | None = None) -> dict[str, Direction]:
    """Reads a directions file, by default the one that ships for the embedded generator.

    Args:
        path: a file written by `save_directions`, or None.

    Returns:
        Name -> Direction, in the order of the file.

    Raises:
        UserError: the file is missing, is not a directions file, or holds an invalid record.
    """
    params, metadata = (
        store.load_pretrained("directions_mobile") if path is None else trees.load(Path(path))
    )
    if metadata.get("kind") != "directions":
        raise UserError(
            f"{path}: not a directions file; make one with python -m diffcam_jax.directions import"
        )
    try:
        return {
            name: _of_record(record, params[name])
            for name, record in metadata["directions"].items()
        }
    except (AttributeError, KeyError, TypeError, ValueError, UserError) as error:
        raise UserError(
            f"{path}: no record of a direction ({type(error).__name__}: {error}); make the "
            "directions file again"
        ) from error


def _of_record(record: Mapping[str, Any], stored: np.ndarray) -> Direction:
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}
    # The shipped file has no row counts: all its directions have the rows of 1024 pixels.
    rows, (first, end) = given.pop("rows", WPLUS_ROWS), given["layers"]
    if not 1 <= rows <= MOST_ROWS:
        raise ValueError(f"{rows} rows")
    if stored.ndim != 2 or len(stored) != end - first:
        raise ValueError(f"numbers of shape {stored.shape} for the layers {first} to {end}")
    if not np.isfinite(stored).all():
        raise ValueError(f"some numbers of {given.get('name')} are not finite")
    check_layers((first, end), rows)
    array = np.zeros((rows, stored.shape[1]), np.float32)
    array[first:end] = stored
    return Direction(array=array, **given)
