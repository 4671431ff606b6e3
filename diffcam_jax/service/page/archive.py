"""Archives of photographs: what is taken out of one that was sent, and what is put into one."""

import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from diffcam_jax.errors import UserError, refusing
from diffcam_jax.faces.photo import SUFFIXES

MOST_PHOTOGRAPHS = 200
_CHUNK = 1 << 20


def photographs(paths: Iterable[Path], folder: Path, most_bytes: int) -> list[tuple[str, Path]]:
    """The photographs among files that were sent, those within archives included.

    Args:
        paths: files of any kind; names within archives never become part of a path.
        folder: into which archives are unpacked.
        most_bytes: that all unpacked photographs may have together.

    Returns:
        Name, for people and unique, and file of each.

    Raises:
        UserError: there are none, too many, or an archive is damaged or too large.
    """
    found: list[tuple[str, Path]] = []
    left = most_bytes
    for path in paths:
        if not zipfile.is_zipfile(path):
            found.append((path.name, path))
            continue
        for name, unpacked in _unpacked(path, folder, left):
            left -= unpacked.stat().st_size
            found.append((name, unpacked))
        if len(found) > MOST_PHOTOGRAPHS:
            break
    if not found:
        raise UserError("there is no photograph among these files; send pictures, or a zip of them")
    if len(found) > MOST_PHOTOGRAPHS:
        raise UserError(f"more than {MOST_PHOTOGRAPHS} photographs; send fewer at a time")
    return _unique(found)


def pack(path: Path, done: Mapping[str, Path], failed: Mapping[str, str]) -> None:
    """Writes an archive of results.

    Args:
        path: of the archive.
        done: name within the archive -> file.
        failed: photograph -> reason, which becomes errors.json.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, file in done.items():
            archive.write(file, name)
        if failed:
            archive.writestr("errors.json", json.dumps(dict(failed), indent=1) + "\n")


def _unpacked(path: Path, folder: Path, most_bytes: int) -> Iterable[tuple[str, Path]]:
    """Each picture of an archive under a number of its own, read no further than is allowed."""
    damaged = f"{path.name}: the archive is damaged or encrypted"
    refused = refusing(lambda e: f"{damaged} ({e}); pack it again")
    with refused, zipfile.ZipFile(path) as archive:
        for number, entry in enumerate(archive.infolist()):
            name = entry.filename.replace("\\", "/").rsplit("/", 1)[-1]
            hidden = name.startswith(".") or "__MACOSX" in entry.filename
            if entry.is_dir() or hidden or Path(name).suffix.lower() not in SUFFIXES:
                continue
            if number > 10 * MOST_PHOTOGRAPHS:
                raise UserError(f"{path.name}: too many files; send fewer at a time")
            target = folder / f"{path.stem[:40]}-{number}"
            with archive.open(entry) as source, target.open("wb") as file:
                while chunk := source.read(_CHUNK):
                    most_bytes -= len(chunk)
                    if most_bytes < 0:
                        raise UserError(f"{path.name}: too large once unpacked; send less")
                    file.write(chunk)
            yield name[:100], target


def _unique(found: list[tuple[str, Path]]) -> list[tuple[str, Path]]:
    """Names of which no two give the same file name without its suffix."""
    taken: set[str] = set()
    named = []
    for name, path in found:
        stem, suffix, number = Path(name).stem, Path(name).suffix, 1
        while (unique := stem if number == 1 else f"{stem}-{number}") in taken:
            number += 1
        taken.add(unique)
        named.append((unique + suffix, path))
    return named
