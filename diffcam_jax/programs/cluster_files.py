"""Photographs and results at a URI: a local folder, a bucket, or whatever fsspec can open."""

import os
import secrets
import urllib.parse
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from diffcam_jax.errors import UserError
from diffcam_jax.faces.decoding import MAX_BYTES
from diffcam_jax.faces.photo import SUFFIXES
from diffcam_jax.files.trees import replacing

# A new object of these is seen once its stream is closed, and whole.
_OBJECT_STORES = ("s3", "gcs", "abfs")


class Place(NamedTuple):
    """A folder or a prefix.

    Attributes:
        uri: for messages and records, without what may be secret.
        files: `pyarrow.fs.SubTreeFileSystem`, whose paths begin in the folder.
    """

    uri: str
    files: Any

    @property
    def kind(self) -> str:
        """Name of the file system, such as "local" or "s3"."""
        return self.files.base_fs.type_name


class Stamp(NamedTuple):
    """What tells whether a file has changed: bytes, and the time of change in nanoseconds."""

    size: int
    changed: int


def open_place(flag: str, uri: str) -> Place:
    """Opens a place; nothing is read of it, or made.

    Args:
        flag: that gives it, for messages.
        uri: a local path, or a URI such as s3://bucket/photographs.

    Raises:
        UserError: there is no such kind of place, or its package or rights are missing.
    """
    from pyarrow import fs

    try:
        if "://" not in uri:
            uri = os.path.abspath(uri)
            system, path = fs.LocalFileSystem(), uri
        else:
            system, path = _from_uri(uri)
        files = fs.SubTreeFileSystem(path.rstrip("/") or "/", system)
    except Exception as error:  # of pyarrow, fsspec and their drivers
        raise UserError(
            f"{flag} {_public(uri)}: cannot be opened ({_line(error)}); give a folder, or a URI "
            "such as s3://bucket/photographs or gs://bucket/photographs"
        ) from error
    return Place(_public(uri), files)


def _from_uri(uri: str) -> tuple[Any, str]:
    """File system and path of a URI."""
    import pyarrow
    from pyarrow import fs

    try:
        return fs.FileSystem.from_uri(uri)
    except pyarrow.ArrowInvalid:  # not a scheme of pyarrow's
        import fsspec

        system, path = fsspec.core.url_to_fs(uri)
        return fs.PyFileSystem(fs.FSSpecHandler(system)), path


def _public(uri: str) -> str:
    """The URI without its user, password and options."""
    if "://" not in uri:
        return uri
    parts = urllib.parse.urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")


def _line(error: Exception) -> str:
    """The beginning of what a driver says, which may be pages."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]}..."


def overlap(one: Place, other: Place) -> bool:
    """Whether one place is the other or lies in it."""
    if not one.files.base_fs.equals(other.files.base_fs):
        return False
    first, second = (PurePosixPath(place.files.base_path) for place in (one, other))
    return first.is_relative_to(second) or second.is_relative_to(first)


def listing(place: Place) -> dict[str, Stamp]:
    """Every file below a place, by its path in it; none where there is no such place.

    Raises:
        UserError: it cannot be listed.
    """
    from pyarrow import fs

    try:
        selector = fs.FileSelector("", allow_not_found=True, recursive=True)
        found = place.files.get_file_info(selector)
    except Exception as error:
        raise UserError(
            f"{place.uri}: cannot be listed ({_line(error)}); check the name, and the rights of "
            "this machine"
        ) from error
    return {
        info.path: Stamp(info.size or 0, info.mtime_ns or 0)
        for info in found
        if info.type == fs.FileType.File
    }


def photographs(place: Place) -> dict[str, Stamp]:
    """The pictures below a place, sorted by name; what is hidden is left out.

    Raises:
        UserError: there are none, or two of them would be written to one file.
    """
    names: dict[str, str] = {}
    found = listing(place)
    for name in sorted(found):
        path = PurePosixPath(name)
        if path.suffix.lower() not in SUFFIXES or any(part.startswith(".") for part in path.parts):
            continue
        if other := names.get(result_of(name)):
            raise UserError(
                f"{other} and {name} would both be written to {result_of(name)}; rename one"
            )
        names[result_of(name)] = name
    if not names:
        raise UserError(
            f"--src {place.uri}: no pictures there; it needs files ending in {', '.join(SUFFIXES)}"
        )
    return {name: found[name] for name in names.values()}


def result_of(name: str) -> str:
    """Where the result of a photograph goes, which depends on its name only."""
    return f"{name.rpartition('.')[0]}.png"


def read(place: Place, name: str, size: int) -> bytes:
    """The content of a photograph's file.

    Args:
        place: where it is.
        name: of the file, relative to the place.
        size: in bytes, as listed.

    Raises:
        UserError: it cannot be read, is empty or too large.
    """
    if size > MAX_BYTES:
        raise UserError(
            f"{name}: {size / 1e6:,.0f} MB is too large a file; the limit is "
            f"{MAX_BYTES / 1e6:,.0f} MB"
        )
    try:
        with place.files.open_input_stream(name) as stream:
            data = stream.read()
    except Exception as error:
        raise UserError(f"{name}: cannot be read ({_line(error)}); check its rights") from error
    if not data:
        raise UserError(f"{name}: the file is empty (0 bytes); get a fresh copy of it")
    return data


def put(place: Place, name: str, data: Any) -> None:
    """Writes a file that appears under its name only once it is complete, or replaces it so.

    Args:
        place: where it goes; folders are made.
        name: of the file, relative to the place.
        data: bytes, or a buffer.

    Raises:
        UserError: it cannot be written.
    """
    try:
        if place.kind == "local":
            with replacing(Path(place.files.base_path) / name) as file:
                file.write(data)
        elif place.kind in _OBJECT_STORES:
            _stream(place, name, data)
        else:
            folder, _, last = name.rpartition("/")
            draft = f"{folder}/.{last}.{secrets.token_hex(4)}.tmp".lstrip("/")
            place.files.create_dir(folder)
            _stream(place, draft, data)
            place.files.move(draft, name)
    except Exception as error:
        raise UserError(
            f"{place.uri}/{name}: cannot be written ({_line(error)}); make room, check the rights, "
            "or choose another --out"
        ) from error


def _stream(place: Place, name: str, data: Any) -> None:
    with place.files.open_output_stream(name) as stream:
        stream.write(data)
