"""Labels of codes from a CSV file, as numbers that boundaries are fitted to.

    file,wings,age            or    index,wings
    00012.png,1,34.5                0,1
    00013.png,,12                   1,0

The first column names the code, by its number in the file of codes or by its name there; every
other column is an attribute. An empty cell is a missing label; a missing row is an error.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from diffcam_jax.errors import UserError, suggestion

MAX_BYTES = 64 << 20


def read_labels(
    path: Path, count: int, columns: Sequence[str] = (), names: Sequence[str] = ()
) -> dict[str, Float[np.ndarray, " n"]]:
    """Reads the labels of `count` codes.

    Args:
        path: CSV file, UTF-8, with a header whose first column is "index" or "file".
        count: number of codes.
        columns: attributes to read; all when empty.
        names: of the codes, as in a "file" column, with or without folders and suffixes.

    Returns:
        Attribute -> [count] numbers, NaN where a cell is empty.

    Raises:
        UserError: the file is missing or not a table, a column is unknown, a row is missing,
            duplicate or of no code, or a cell is not a number.
    """
    header, rows = read_table(path)
    kind = header[0].strip().lower() if header else ""
    if kind not in ("index", "file") or len(header) < 2:
        raise UserError(
            f'{path}: the header must be "index" or "file" and then the attributes, it is '
            f"{','.join(header)!r}"[:300]
        )
    attributes = [name.strip() for name in header[1:]]
    if len(set(attributes)) != len(attributes) or "" in attributes:
        raise UserError(
            f"{path}: every column needs a name of its own; the header is {','.join(header)!r}"[
                :300
            ]
        )
    for name in columns:
        if name not in attributes:
            raise UserError(f"{path} has no column {name!r}; {suggestion(name, attributes)}")
    if kind == "file" and not names:
        raise UserError(
            f"{path} labels files, but the codes have no names; number them by a first column index"
        )
    known = (
        {str(i): i for i in range(count)}
        if kind == "index"
        else {Path(n).stem: i for i, n in enumerate(names)}
    )
    table = np.full((count, len(attributes)), np.nan)
    seen: dict[int, int] = {}
    for line, row in rows:
        if len(row) != len(header):
            raise UserError(f"{path}, line {line}: {len(row)} cells, the header has {len(header)}")
        key = row[0].strip() if kind == "index" else Path(row[0].strip()).stem
        if key not in known:
            raise UserError(
                f"{path}, line {line}: there is no code {row[0].strip()!r} among the {count}"[:300]
            )
        code = known[key]
        if code in seen:
            raise UserError(
                f"{path}, line {line}: code {key} is already in line {seen[code]}; keep one of them"
            )
        seen[code] = line
        table[code] = [_number(cell, path, line, name) for name, cell in zip(attributes, row[1:])]
    if missing := [key for key, code in known.items() if code not in seen]:
        raise UserError(
            f"{path} has no row for {len(missing)} of {count} codes, the first is {missing[0]}; "
            "add it, with empty cells if it has no labels"
        )
    return {
        name: table[:, i] for i, name in enumerate(attributes) if not columns or name in columns
    }


def read_table(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Header, and (line number, cells) of every other line that is not empty; both may be.

    Raises:
        UserError: the file is missing, too large, or no CSV file.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; give a CSV file of labels")
    if path.stat().st_size > MAX_BYTES:
        raise UserError(
            f"{path}: {path.stat().st_size >> 20} MiB is too large for labels; at most "
            f"{MAX_BYTES >> 20}"
        )
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a CSV file ({error})") from error
    return (lines[0][1], lines[1:]) if lines else ([], [])


def _number(cell: str, path: Path, line: int, name: str) -> float:
    if not cell.strip():
        return np.nan
    try:
        value = float(cell)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise UserError(
            f"{path}, line {line}: {cell.strip()!r} in column {name} is not a number"[:300]
        )
    return value
