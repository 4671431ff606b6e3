"""Looks at somebody's pictures and labels before anything is trained, and says all that is wrong.

A training takes hours; what would end it, or make it pointless, is found within seconds.
"""

import collections
import csv
import hashlib
import io
import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from diffcam_jax.data.layouts import list_names
from diffcam_jax.directions.labels import read_table
from diffcam_jax.errors import UserError
from diffcam_jax.faces.decoding import MAX_PIXELS, open_header, read_bytes

FEWEST = 200  # pictures; with fewer a generator repeats them
LEAST_LABELS = 20  # pictures of the rarer side of an attribute
LEFT_OUT = 0.05  # share of files that may be unreadable
EXAMPLES = 3
# Bytes for each pixel of a picture: the dataset, drawn pictures and pairs; and for the runs.
_BYTES_A_PIXEL, _BYTES_OF_RUNS = 12, 1 << 30


class Findings(NamedTuple):
    """What was found.

    Attributes:
        names: of the pictures that can be read, as paths inside their folder.
        values: attribute -> value by picture, for all that have one.
        problems: what has to be mended first, a line each.
        notes: what is good to know, a line each.
    """

    names: list[str]
    values: dict[str, dict[str, float]]
    problems: list[str]
    notes: list[str]


def look(
    pictures: Path, labels: Path | None, size: int, place: Path, fewest: int = FEWEST
) -> Findings:
    """Looks at everything and collects what it finds.

    Args:
        pictures: folder, searched with its subfolders.
        labels: CSV with the columns "file" and one for each attribute, numbers in the cells; None
            where directions are found without labels.
        size: side of the pictures to be trained on.
        place: folder of the domain; on its disk everything will be written.
        fewest: pictures that are enough.

    Raises:
        UserError: there is no such folder, or no table.
    """
    if not pictures.is_dir():
        raise UserError(f"{pictures}: no such folder; name the folder that holds the pictures")
    names, seen, broken = [], collections.defaultdict(list), {}
    sizes, modes, small = collections.Counter(), collections.Counter(), []
    for name in list_names(pictures):
        try:
            data = read_bytes(pictures / name)
            image = open_header(pictures / name, data, MAX_PIXELS).image
        except UserError as error:
            broken[name] = str(error).removeprefix(f"{pictures / name}: ")
            continue
        names.append(name)
        seen[hashlib.sha256(data).digest()].append(name)
        sizes["x".join(map(str, image.size))] += 1
        modes[image.mode] += 1
        small += [name] if min(image.size) < size else []
    problems, notes = [], []
    if len(names) < fewest:
        problems.append(f"{len(names)} pictures can be read, at least {fewest} are needed")
    if broken:
        told = [f"{name} ({reason.partition(';')[0]})" for name, reason in broken.items()]
        many = len(broken) > LEFT_OUT * (len(names) + len(broken))
        line = f"{len(broken)} files cannot be read: {_examples(told)}"
        (problems if many else notes).append(line)
    if double := [group for group in seen.values() if len(group) > 1]:
        groups = [" = ".join(group[:2]) for group in double]
        extra = sum(len(group) - 1 for group in double)
        notes.append(f"{extra} pictures are there more than once: {_examples(groups)}")
    if small:
        notes.append(f"{len(small)} pictures are smaller than {size}, enlarged: {_examples(small)}")
    if len(sizes) > 1:
        notes.append(f"sizes differ, all become {size}x{size}: {_counts(sizes)}")
    if set(modes) - {"RGB"}:
        notes.append(f"colours become RGB, transparent places white: {_counts(modes)}")
    needed = _BYTES_OF_RUNS + _BYTES_A_PIXEL * size * size * max(len(names), 4000)
    free = shutil.disk_usage(next(p for p in (place, *place.absolute().parents) if p.exists())).free
    if needed > free:
        problems.append(
            f"the disk of {place} has {free / 1e9:.1f} GB left, about {needed / 1e9:.1f} are needed"
        )
    values, wrong = ({}, []) if labels is None else _labels(labels, {*names, *broken})
    return Findings(names, values, problems + wrong, notes)


def _labels(path: Path, known: set[str]) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Values by attribute and picture, and what is wrong with them."""
    header, rows = _table(path)
    short = {name.rpartition("/")[2]: name for name in known}
    missing, twice, ragged = [], [], []
    values: dict[str, dict[str, float]] = {name: {} for name in header[1:]}
    no_numbers: dict[str, list[str]] = {name: [] for name in header[1:]}
    done: set[str] = set()
    for line, (file, *cells) in rows:
        name = file if file in known else short.get(file)
        if len(cells) != len(values):
            ragged.append(f"line {line}")
        elif name is None:
            missing.append(file)
        elif name in done:
            twice.append(file)
        else:
            done.add(name)
            for attribute, cell in zip(values, cells, strict=True):
                if cell and (value := _number(cell)) is None:
                    no_numbers[attribute].append(f"{cell!r} in line {line}")
                elif cell:
                    values[attribute][name] = value
    problems = [
        f"{path.name}: {count} rows {what}: {_examples(found)}"
        for found, what in (
            (missing, "name pictures that are not there"),
            (twice, "name a picture again"),
            (ragged, f"do not have {len(header)} cells as the header does"),
        )
        if (count := len(found))
    ]
    for attribute, of in values.items():
        if texts := no_numbers[attribute]:
            problems.append(
                f"{path.name}: {len(texts)} cells of {attribute} are no numbers: {_examples(texts)}"
            )
        elif fault := _one_sided(of):
            problems.append(f"{path.name}: {attribute} {fault}")
    return values, problems


def _one_sided(of: Mapping[str, float]) -> str:
    """Why an attribute cannot be learned from its values; "" if it can."""
    levels = collections.Counter(of.values())
    if len(levels) < 2:
        only = f"the value {next(iter(levels)):g} only" if levels else "no values"
        return f"has {only}; an attribute needs pictures with it and without it"
    if len(levels) == 2:
        value, count = min(levels.items(), key=lambda item: item[1])
        if count < LEAST_LABELS:
            return f"has {count} pictures of value {value:g}; at least {LEAST_LABELS} are needed"
    if len(of) < 2 * LEAST_LABELS:
        return f"has {len(of)} labelled pictures; at least {2 * LEAST_LABELS} are needed"
    return ""


def _table(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and the cells of every other line by its number."""
    header, rows = read_table(path)
    header = [cell.strip() for cell in header]
    if len(header) < 2 or header[0].lower() != "file" or len({*header}) < len(header):
        raise UserError(
            f'{path}: the first line must be "file" and then a name for each attribute, all '
            f"different; it is {','.join(header)!r}"[:300]
        )
    return header, [(line, [cell.strip() for cell in cells]) for line, cells in rows]


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _examples(found: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(found) - EXAMPLES} more" if len(found) > EXAMPLES else ""
    return ", ".join(map(str, found[:EXAMPLES])) + more


def _counts(counted: collections.Counter) -> str:
    return _examples([f"{count} {name}" for name, count in counted.most_common()])


def table(names: Iterable[str], values: Mapping[str, Mapping[str, float]]) -> str:
    """Labels as `directions.labels.read_labels` takes them: a row for each picture."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", *values])
    for name in names:
        writer.writerow([name, *(f"{of[name]:g}" if name in of else "" for of in values.values())])
    return text.getvalue()
