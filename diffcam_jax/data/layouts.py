"""The pictures of a folder: which of them are for testing, their labels and targets.

Folders are searched recursively. Recognised are

    FFHQ         images1024x1024/00000/00000.png ..., in-the-wild-images, thumbnails128x128, or one
                 of these folders itself
    CelebA-HQ    CelebA-HQ-img/0.jpg ... beside CelebAMask-HQ-attribute-anno.txt
    others       any pictures

FFHQ's first 65,000 numbers are for training. Elsewhere a hash of the name decides, so that further
files do not move existing ones between training and testing.
"""

import csv
import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from diffcam_jax.errors import UserError
from diffcam_jax.faces.photo import SUFFIXES

TEST_SHARE = 0.05
_FFHQ_FOLDERS = ("images1024x1024", "in-the-wild-images", "thumbnails128x128")
_FFHQ_TRAIN = 65_000
_FFHQ_NAME = re.compile(r"(?:.*/)?(\d\d)000/(\1\d{3})\.\w+")
_CELEBA_FOLDER, _CELEBA_LABELS = "CelebA-HQ-img", "CelebAMask-HQ-attribute-anno.txt"
# What systems and programs put beside pictures: previews, resource forks, bins of deleted files.
_FOREIGN = {"@eadir", "__macosx", "#recycle", "$recycle.bin", "lost+found", "@recycle"}
FOLDERS = "folders"  # in place of a file of labels: the folder of a picture is its class
_MOST_CLASSES = 1_000_000
_HEADERS = ("file", "filename", "file_name", "image", "name", "path")

Label = int | tuple[int, ...]


class Record(NamedTuple):
    """One picture of a folder.

    Attributes:
        name: path inside the folder, with forward slashes.
        path: of the file.
        split: "train" or "test".
        label: number of its class, or 0 and 1 for each attribute; None without labels.
        target: its target picture; None without pairs.
    """

    name: str
    path: Path
    split: str
    label: Label | None = None
    target: Path | None = None


class Labels(NamedTuple):
    """The contents of a file of labels.

    Attributes:
        names: of the classes or, with several labels a picture, of the attributes.
        several: whether each picture has a 0 or 1 for every name.
        of: file name -> label.
    """

    names: tuple[str, ...]
    several: bool
    of: dict[str, Label]


def pictures_folder(folder: str | os.PathLike[str], aligned: bool = True) -> Path:
    """Finds the folder with the pictures themselves, inside that of a known dataset.

    Args:
        folder: as the user named it.
        aligned: whether FFHQ's aligned faces are wanted, not the photographs they are cut from.

    Raises:
        UserError: there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; name the folder that holds the pictures")
    known = _FFHQ_FOLDERS if aligned else (_FFHQ_FOLDERS[1], _FFHQ_FOLDERS[0])
    for name in (*known, _CELEBA_FOLDER):
        if (folder / name).is_dir():
            return folder / name
    return folder


def attribute_file(folder: Path) -> Path | None:
    """Finds CelebA-HQ's list of attributes, in the pictures' folder or beside it."""
    places = (folder / _CELEBA_LABELS, folder.parent / _CELEBA_LABELS)
    return (
        next((path for path in places if path.is_file()), None)
        if folder.name == _CELEBA_FOLDER
        else None
    )


def list_names(folder: Path) -> list[str]:
    """Lists the names of all pictures in a folder and its subfolders, sorted.

    Hidden files and folders do not count, nor what systems put there (`@eaDir`, `__MACOSX`).

    Raises:
        UserError: there is none, or a folder cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise UserError(
            f"{error.filename}: cannot be listed ({error.strerror}); mend its permissions"
        )

    names = []
    for place, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [n for n in folders if n[0] != "." and n.casefold() not in _FOREIGN]
        inside = Path(place).relative_to(folder)
        names += [
            (inside / name).as_posix()
            for name in files
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
        ]
    if not names:
        raise UserError(
            f"{folder}: no pictures in it; it needs files ending in {', '.join(SUFFIXES)}"
        )
    return sorted(names)


def splits(names: Sequence[str], test_share: float = TEST_SHARE) -> list[str]:
    """Assigns each name to "train" or "test".

    Args:
        names: of all pictures of a dataset.
        test_share: expected share of test pictures where the names are not FFHQ's.
    """
    numbers = [_FFHQ_NAME.fullmatch(name) for name in names]
    if all(numbers):
        return ["train" if int(match[2]) < _FFHQ_TRAIN else "test" for match in numbers]
    return ["test" if _share(name) < test_share else "train" for name in names]


def _share(name: str) -> float:
    """Hashes a name, without the suffix of the file, to a number in [0, 1)."""
    digest = hashlib.sha256(name.rpartition(".")[0].encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def list_records(
    folder: Path,
    labels: Labels | None = None,
    pairs: Path | None = None,
    test_share: float = TEST_SHARE,
) -> tuple[list[Record], dict[str, str]]:
    """Lists the pictures of a folder with their splits, labels and targets.

    Args:
        folder: with pictures.
        labels: from `read_labels`.
        pairs: folder whose pictures of the same name, whatever their format, are the targets.
        test_share: see `splits`.

    Returns:
        Records sorted by name, and why some were left out, by name.

    Raises:
        UserError: there is no picture, pictures without a label, labels without a picture, or not
            one pair.
    """
    names = list_names(folder)
    found = {} if labels is None else _labels_of(names, labels)
    targets = (
        {}
        if pairs is None
        else {name.rpartition(".")[0]: pairs / name for name in list_names(pairs)}
    )
    records, errors = [], {}
    for name, split in zip(names, splits(names, test_share)):
        target = targets.get(name.rpartition(".")[0])
        if pairs is not None and target is None:
            errors[name] = f"no picture of this name in {pairs}"
        else:
            records.append(Record(name, folder / name, split, found.get(name), target))
    if not records:
        raise UserError(
            f"not one picture of {folder} has a partner in {pairs}; give both the same file names"
        )
    return records, errors


def _labels_of(names: Sequence[str], labels: Labels) -> dict[str, Label]:
    """Finds the labels of pictures by name; a file of labels may leave out the folders."""
    short = {name: name if name in labels.of else name.rpartition("/")[2] for name in names}
    missing = [name for name in names if short[name] not in labels.of]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(names)} pictures have no label, the first is {missing[0]}; "
            "add them to the file of labels"
        )
    return {name: labels.of[short[name]] for name in names}


def open_labels(given: str | os.PathLike[str], folder: Path) -> Labels:
    """The labels of the pictures of a folder.

    Args:
        given: "folders", where pictures of a class have a folder of their own, or a file, see
            `read_labels`.
        folder: with the pictures.

    Raises:
        UserError: there are no labels, or pictures without a label.
    """
    if given != FOLDERS:
        return read_labels(given)
    names = list_names(folder)
    if outside := [name for name in names if "/" not in name]:
        raise UserError(
            f"{folder}: {outside[0]} lies in no folder of a class; move it into one, or give a "
            "file of labels"
        )
    return _numbered({name: name.partition("/")[0] for name in names})


def read_labels(path: str | os.PathLike[str]) -> Labels:
    """Reads a table of file name and class, or CelebA-HQ's list of attributes.

    Args:
        path: a CSV with two columns, with or without a header; dataset.json of NVIDIA's datasets;
            or CelebAMask-HQ-attribute-anno.txt.

    Raises:
        UserError: the file cannot be read or is no such table.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: the labels cannot be read ({error}); give a CSV of file name and class"
        ) from error
    if path.suffix.lower() == ".json":
        return _numbers(path, text)
    lines = text.splitlines()
    if len(lines) > 2 and lines[0].strip().isdigit():
        return _attributes(path, lines)
    classes: dict[str, str] = {}
    for number, row in enumerate(csv.reader(lines), 1):
        cells = [cell.strip() for cell in row]
        if not any(cells) or (number == 1 and cells[0].lower() in _HEADERS):
            continue
        if len(cells) != 2 or not all(cells):
            raise UserError(
                f"{path}, line {number}: {len(cells)} columns; each line needs a file name and a "
                "class"
            )
        if classes.setdefault(cells[0], cells[1]) != cells[1]:
            raise UserError(f"{path}, line {number}: {cells[0]} has two classes; keep one of them")
    if not classes:
        raise UserError(f"{path}: no labels in it; each line needs a file name and a class")
    return _numbered(classes)


def _numbered(classes: dict[str, str]) -> Labels:
    """Labels of file name -> class: classes are numbered by name, or as numbers where all are."""
    found = set(classes.values())
    names = tuple(sorted(found, key=int if all(map(str.isdecimal, found)) else None))
    number_of = {name: number for number, name in enumerate(names)}
    return Labels(names, False, {name: number_of[value] for name, value in classes.items()})


def _numbers(path: Path, text: str) -> Labels:
    """Labels of a dataset.json: {"labels": [[name, number of the class], ...]}."""
    try:
        rows = json.loads(text)["labels"]
        table = {str(name): number for name, number in rows}
        if not table or not all(type(n) is int and 0 <= n < _MOST_CLASSES for n in table.values()):
            raise ValueError("a class is no number from 0 on")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError(
            f'{path}: no labels in it ({error}); it needs "labels", a list of file names and '
            "numbers of classes"
        ) from error
    return Labels(tuple(map(str, range(max(table.values()) + 1))), False, table)


def _attributes(path: Path, lines: Sequence[str]) -> Labels:
    names = tuple(lines[1].split())
    table: dict[str, Label] = {}
    for number, line in enumerate(lines[2:], 3):
        cells = line.split()
        if cells and (len(cells) != len(names) + 1 or set(cells[1:]) - {"1", "-1"}):
            raise UserError(
                f"{path}, line {number}: not a file name and {len(names)} times 1 or -1; get a "
                "fresh copy"
            )
        if cells:
            table[cells[0]] = tuple(int(cell == "1") for cell in cells[1:])
    return Labels(names, True, table)
