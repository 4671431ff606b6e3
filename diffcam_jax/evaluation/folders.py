"""Folders of pictures against a first one: pair by pair by file name, and as sets.

Pictures are paired by their name without its ending, so that a PNG may be compared with a JPEG.
With config.size all pictures are brought to that side first (the largest centred square, averaged
over areas); without it pairs must have one size. Folders that do not hold the same names are
compared as sets alone, as generated pictures are with photographs.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from diffcam_jax.data.layouts import list_names
from diffcam_jax.data.pictures import read_square
from diffcam_jax.errors import UserError
from diffcam_jax.evaluation.bench import Bench, groups
from diffcam_jax.evaluation.document import Section, picture_figure
from diffcam_jax.evaluation.instruments import SWD_SIDE, swd
from diffcam_jax.evaluation.store import Key
from diffcam_jax.evaluation.summary import (
    INTERVALS,
    pair_cells,
    pair_heads,
    set_cells,
    set_heads,
    set_notes,
)
from diffcam_jax.evaluation.tables import Table, number
from diffcam_jax.faces.panel import labelled_row, stack_rows
from diffcam_jax.faces.photo import read_photo, to_8_bits

NAME = "folders"
AT_A_TIME, SHOWN = 8, 4
LEAST = 2


def run(bench: Bench, compared: list[Path]) -> list[Section]:
    """Scores folders against the first one.

    Args:
        bench: of the run.
        compared: two folders or more; the first is the truth.

    Raises:
        UserError: a folder is missing or empty, sizes of pairs differ, or there are too few
            pictures.
    """
    files = {folder: _files(bench, folder) for folder in compared}
    truth, others = compared[0], compared[1:]
    told = {other: lacking(truth, files[truth], other, files[other]) for other in others}
    paired = [other for other in others if not told[other]]
    if not bench.config.size and paired:
        check_sizes({folder: files[folder] for folder in (truth, *paired)})
    rows, scores, shown = [], [], {}
    for other in others:
        if told[other]:
            print(f"only the sets are compared: {told[other]}", file=sys.stderr)
            sets = [readable(bench, folder, files[folder]) for folder in (truth, other)]
            cells = ["-"] * len(pair_heads(bench))
        else:
            records = pairs(bench, truth, files[truth], other, files[other])
            sets, shown[other] = [list(records)] * 2, records
            cells = pair_cells(bench, list(records.values()))
        counts = [len(names) for names in sets]
        if min(counts) < LEAST:
            reason = next((f" ({why})" for why in bench.problems.values()), "")
            raise UserError(
                f"{min(counts)} pictures can be compared in {truth} and {other}{reason}; at least "
                f"{LEAST} are needed"
            )
        features = [
            _features(bench, folder, files[folder], names)
            for folder, names in zip((truth, other), sets)
        ]
        scores.append(bench.sets(*features))
        paths = [
            [files[folder][name] for name in names] for folder, names in zip((truth, other), sets)
        ]
        number_of = " and ".join(map(str, counts)) if told[other] else str(counts[0])
        rows.append([str(other), number_of, *cells, number(sliced(bench, paths), 2)])
    columns = [
        "folder",
        "pictures",
        *pair_heads(bench),
        f"SWD x1000 at {SWD_SIDE} or less",
        *set_heads(bench, scores),
    ]
    cells = [[*row, *more] for row, more in zip(rows, set_cells(scores))]
    notes = [f"Only the sets are compared: {text}." for text in told.values() if text]
    notes += [*set_notes(bench, scores), INTERVALS]
    settings = {
        "truth": truth,
        "size": bench.config.size or "as they are",
        "seed": bench.config.seed,
    }
    settings |= bench.measuring
    table = Table(f"Against {truth}", columns, cells, notes, settings)
    sheet = _sheet(bench, {folder: files[folder] for folder in (truth, *shown)}, truth, shown)
    return [Section("Folders", [__doc__ or ""], [table], sheet)]


def _files(bench: Bench, folder: Path) -> dict[str, Path]:
    """Name without its ending -> file, of the pictures that belong to the part."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give folders of pictures")
    files: dict[str, Path] = {}
    for name in list_names(folder):
        stem = name.rpartition(".")[0]
        if stem in files:
            raise UserError(
                f"{folder} holds {files[stem].name} and {name}, which are one name; rename or "
                "remove one"
            )
        files[stem] = folder / name
    return {stem: files[stem] for stem in bench.own(list(files))}


def lacking(truth: Path, of_truth: dict[str, Path], other: Path, of_other: dict[str, Path]) -> str:
    """Says why the pictures of two folders are no pairs: names that only one of them holds.

    Returns:
        How many each folder lacks, and the first; "" where both hold the same names.
    """
    lacks = [
        (folder, sorted(a.keys() - b.keys()))
        for folder, a, b in ((other, of_truth, of_other), (truth, of_other, of_truth))
    ]
    told = [
        f"{folder} lacks {len(names)} pictures (the first is {names[0]})"
        for folder, names in lacks
        if names
    ]
    if not told:
        return ""
    return (
        f"{truth} has {len(of_truth)} pictures and {other} {len(of_other)}: "
        f"{' and '.join(told)}; measures of pairs need the same file names in both"
    )


def readable(bench: Bench, folder: Path, files: dict[str, Path]) -> list[str]:
    """The names of the pictures that can be read; the others are listed among the problems."""
    good = []
    for name in bench.progress(files, str(folder)):
        with bench.listing(str(files[name])):
            read(files[name], bench.config.size)
            good.append(name)
    return good


def check_sizes(files: dict[Path, dict[str, Path]]) -> None:
    """Whether the pictures of all folders have one size.

    Those that cannot be opened are passed over here.

    Raises:
        UserError: names two that differ.
    """
    first: tuple[Path, tuple[int, int]] | None = None
    for path in (path for of_folder in files.values() for path in of_folder.values()):
        try:
            with Image.open(path) as image:
                size = image.size
        except Exception:
            continue
        first = first or (path, size)
        if size != first[1]:
            raise UserError(
                f"mixed sizes: {first[0]} has {first[1][0]}x{first[1][1]} pixels and {path} "
                f"{size[0]}x{size[1]}; "
                "bring all to one side with --config.size=256, for instance"
            )


def pairs(
    bench: Bench, truth: Path, of_truth: dict[str, Path], other: Path, of_other: dict[str, Path]
) -> dict[str, dict[str, float]]:
    """name -> values of the pair; pictures that cannot be read are listed among the problems."""
    waiting = _read(bench, of_truth, of_other, str(other))
    for group in groups(waiting, AT_A_TIME):
        names, a, b = zip(*group)
        for name, values in zip(names, bench.pairs(np.stack(a), np.stack(b))):
            bench.store.put(Key(NAME, str(other), name), values)
    found = {name: bench.store.get(Key(NAME, str(other), name)) for name in of_truth}
    return {name: values for name, values in found.items() if values is not None}


def _read(
    bench: Bench, of_truth: dict[str, Path], of_other: dict[str, Path], subject: str
) -> Iterator[tuple]:
    """Pairs that were not measured yet."""
    shape: tuple[int, ...] | None = None
    for name in bench.progress(of_truth, subject):
        if bench.store.get(Key(NAME, subject, name)) is None:
            with bench.listing(str(of_other[name])):
                pair = [read(of[name], bench.config.size) for of in (of_truth, of_other)]
                shape = shape or pair[0].shape
                if any(
                    picture.shape != shape for picture in pair
                ):  # turned by its EXIF data, for instance
                    raise UserError(
                        f"{of_other[name]}: it or its partner is not upright as the others are; "
                        "turn it"
                    )
                yield name, *pair


def read(path: Path, size: int) -> np.ndarray:
    """A picture of 8 bits, as it is or as a square of a side."""
    return read_square(path, size)[0] if size else to_8_bits(read_photo(path).pixels)


def _features(
    bench: Bench, folder: Path, files: dict[str, Path], names: Sequence[str]
) -> np.ndarray:
    source = "\n".join(
        f"{folder.absolute()} {name} {files[name].stat().st_mtime_ns}" for name in names
    )
    label = f"features of {folder}"
    chosen = (read(files[name], bench.config.size) for name in bench.progress(names, label))
    return bench.sets.features("folder", source, lambda: chosen)


def sliced(bench: Bench, sets: list[list[Path]]) -> float:
    """SWD of two sets, at the largest power of two that fits, up to 256.

    Of the larger set the first pictures are taken, as many as the smaller one has.
    """
    count = min(map(len, sets))
    sides = [min(read(path, bench.config.size).shape[:2]) for path in (sets[0][0], sets[1][0])]
    side = min(SWD_SIDE, 1 << (min(sides).bit_length() - 1))
    truth, found = (
        np.stack([read_square(path, side)[0] for path in paths[:count]]) for paths in sets
    )
    return swd(truth, found, bench.config.seed)


def _sheet(
    bench: Bench, files: dict[Path, dict[str, Path]], truth: Path, shown: dict[Path, dict]
) -> list:
    if not shown:  # nothing to put side by side
        return []
    names = [name for name in files[truth] if all(name in records for records in shown.values())][
        :SHOWN
    ]
    rows = [
        labelled_row(
            {
                folder.name or str(folder): read(files[folder][name], bench.config.size)
                for folder in files
            },
            160,
        )
        for name in names
    ]
    return (
        [picture_figure("folders_pictures", "The first pictures of every folder", stack_rows(rows))]
        if rows
        else []
    )
