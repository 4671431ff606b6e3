"""The manifest of a run on a cluster: one row for each photograph, in Parquet.

    manifest.parquet            every row, written at the end of a run
    manifest_parts/*.parquet    rows of a run that goes on, or was killed

A worker writes a part after the pictures of its rows. Of several rows of one photograph the latest
counts: it was edited again with other settings, or failed at first. The file `diffcam_edit.json`
says whose results these are, and nothing is written to a place that holds other files.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from diffcam_jax.errors import UserError
from diffcam_jax.programs import cluster_files
from diffcam_jax.programs.cluster_files import Place, Stamp

WHOLE, PARTS, CLAIM = "manifest.parquet", "manifest_parts", "diffcam_edit.json"


class Row(NamedTuple):
    """What came of a photograph.

    Attributes:
        photo: its name, relative to the source.
        result: name of the edited picture, relative to the output; empty if it failed.
        reason: why it failed; empty otherwise.
        notes: what was left out of its file, a line each.
        settings: digest of everything that decides the result, see `digest`.
        report: JSON, see `Editor.edit`; empty if it failed.
        seconds: that everything took.
        written: when, in nanoseconds since 1970.
    """

    photo: str
    result: str
    reason: str
    notes: str
    settings: str
    report: str
    seconds: float
    written: int


def digest(settings: Mapping[str, Any], stamp: Stamp) -> str:
    """A photograph whose digest differs is edited again.

    Args:
        settings: of the edit, ready for JSON.
        stamp: of the photograph's file.
    """
    text = json.dumps([settings, stamp], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def check(out: Place, src: Place) -> dict[str, Stamp]:
    """Whether results of a source may be written to an output place.

    Returns:
        What it holds already, see `cluster_files.listing`.

    Raises:
        UserError: it holds other files, or results of another source.
    """
    held = cluster_files.listing(out)
    if CLAIM in held:
        try:
            of = json.loads(cluster_files.read(out, CLAIM, held[CLAIM].size))["src"]
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"{out.uri}/{CLAIM}: is damaged; choose another --out") from error
        if of != src.uri:
            raise UserError(
                f"--out {out.uri}: holds results of {of}, and not of {src.uri}; choose another"
            )
    elif held:
        raise UserError(
            f"--out {out.uri}: is not empty, and holds no earlier results; choose another"
        )
    return held


def claim(out: Place, src: Place) -> None:
    """Takes the output place for the results of a source, before the first is written.

    Raises:
        UserError: it cannot be written to.
    """
    cluster_files.put(out, CLAIM, json.dumps({"src": src.uri}).encode())


def write(out: Place, part: str, rows: Sequence[Row]) -> None:
    """Writes a part.

    Args:
        out: the output place.
        part: its name, the same whenever the same work is done again.
        rows: at least one.

    Raises:
        UserError: it cannot be written.
    """
    import pyarrow
    from pyarrow import parquet

    sink = pyarrow.BufferOutputStream()
    parquet.write_table(_table(rows), sink)
    cluster_files.put(out, f"{PARTS}/{part}.parquet", sink.getvalue())


def _table(rows: Iterable[Row]) -> Any:
    import pyarrow

    kinds = {str: pyarrow.string(), float: pyarrow.float64(), int: pyarrow.int64()}
    fields = [(name, kinds[kind]) for name, kind in Row.__annotations__.items()]
    return pyarrow.Table.from_pylist([row._asdict() for row in rows], pyarrow.schema(fields))


def done(out: Place, held: Iterable[str]) -> dict[str, str]:
    """The photographs whose results are there, with the digest of their settings.

    Args:
        out: the output place.
        held: what it holds.

    Raises:
        UserError: the manifest cannot be read.
    """
    held = set(held)
    latest: dict[str, tuple[int, str, str]] = {}
    for file in _files(held):
        table = _read(out, file, ["photo", "written", "result", "settings"])
        for photo, *facts in zip(*(column.to_pylist() for column in table.columns)):
            latest[photo] = max(latest.get(photo, (0, "", "")), tuple(facts))
    return {photo: settings for photo, (_, result, settings) in latest.items() if result in held}


def merge(out: Place) -> None:
    """Makes one file of all parts; afterwards each photograph has one row.

    Raises:
        UserError: the manifest cannot be read or written.
    """
    import pyarrow
    from pyarrow import parquet

    files = _files(cluster_files.listing(out))
    if not any(file.startswith(PARTS) for file in files):
        return
    latest: dict[str, tuple[int, int]] = {}
    for number, file in enumerate(files):
        table = _read(out, file, ["photo", "written"])
        for photo, written in zip(*(column.to_pylist() for column in table.columns)):
            latest[photo] = max(latest.get(photo, (0, 0)), (written, number))
    # Through a file of this machine, for a million reports need not fit into memory.
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / WHOLE
        with parquet.ParquetWriter(draft, _table([]).schema) as writer:
            for number, file in enumerate(files):
                table = _read(out, file)
                names, times = table["photo"].to_pylist(), table["written"].to_pylist()
                kept = [latest[n] == (t, number) for n, t in zip(names, times)]
                writer.write_table(table.filter(pyarrow.array(kept, pyarrow.bool_())))
        with pyarrow.memory_map(str(draft)) as content:
            cluster_files.put(out, WHOLE, content.read_buffer())
    for file in files:
        if file != WHOLE:
            out.files.delete_file(file)


def _files(held: Iterable[str]) -> list[str]:
    """The files of a manifest, the merged one first."""
    return sorted(n for n in held if n == WHOLE or (n.startswith(f"{PARTS}/") and _is_part(n)))


def _is_part(name: str) -> bool:
    return name.endswith(".parquet") and "/." not in name


def _read(out: Place, file: str, columns: list[str] | None = None) -> Any:
    from pyarrow import parquet

    try:
        return parquet.read_table(file, columns=columns, filesystem=out.files)
    except Exception as error:
        raise UserError(
            f"{out.uri}/{file}: is no part of a manifest ({error}); remove it and run again"
        ) from error
