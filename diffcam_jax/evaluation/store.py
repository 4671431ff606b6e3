"""What an evaluation has measured so far, kept as it comes.

A run that was cut short goes on behind its last line.

OUT/metrics.jsonl     a line for each measurement: "protocol", "subject", "picture", values by name
OUT/metrics_I.jsonl   the same of part I, until a run of everything takes them over
OUT/pictures          PNG by protocol, subject and picture: what was measured
OUT/arrays            features and codes, by the hash of what they were made from
"""

import contextlib
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from diffcam_jax.errors import UserError
from diffcam_jax.faces.photo import read_photo, write_photo
from diffcam_jax.files.json_text import decode
from diffcam_jax.files.trees import replacing, write_atomically
from diffcam_jax.formats import read_npy


class Key(NamedTuple):
    """What a measurement is of.

    The protocol, whose work (a method, a system, a folder), and the picture.
    """

    protocol: str
    subject: str
    picture: str


class Store:
    """The results of one run.

    Args:
        folder: of the run; made when missing.
        part: number of the part that is measured, which has a file of its own beside those of
            others; 0 measures everything, alone, and takes over what parts have measured.

    Raises:
        UserError: a file of measurements cannot be read.
    """

    def __init__(self, folder: Path, part: int = 0) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / (f"metrics_{part}.jsonl" if part else "metrics.jsonl")
        others = sorted({*folder.glob("metrics*.jsonl")} - {path})
        own = _records(path)
        self._values = own | {k: v for other in others for k, v in _records(other).items()}
        # A line cut short by a kill must not run into the next one.
        kept = own if part else self._values
        write_atomically(path, "".join(_line(key, values) for key, values in kept.items()).encode())
        if not part:
            for other in others:
                other.unlink()
        self._file = path.open("a", buffering=1)

    def close(self) -> None:
        """Lets go of the file."""
        self._file.close()

    def get(self, key: Key) -> dict[str, float] | None:
        """The values of a key, NaN for those that have none; None when it was not measured yet."""
        return self._values.get(key)

    def put(self, key: Key, values: Mapping[str, float]) -> dict[str, float]:
        """Keeps values; written to disk before this returns."""
        kept = {name: float(value) for name, value in values.items()}
        self._values[key] = kept
        self._file.write(_line(key, kept))
        return kept

    def measured(self, protocol: str, subject: str) -> dict[str, dict[str, float]]:
        """picture -> values of everything measured under a protocol and a subject."""
        return {
            k.picture: v
            for k, v in self._values.items()
            if (k.protocol, k.subject) == (protocol, subject)
        }

    def picture_path(self, key: Key) -> Path:
        """Where a picture lies; names from outside never lead out of the folder."""
        return self.folder.joinpath("pictures", *(_safe(part) for part in key)).with_suffix(".png")

    def save_picture(self, key: Key, picture: UInt8[np.ndarray, "h w 3"]) -> None:
        """Keeps a picture as PNG.

        Raises:
            UserError: it cannot be written.
        """
        write_photo(self.picture_path(key), picture)

    def load_picture(self, key: Key) -> UInt8[np.ndarray, "h w 3"]:
        """A kept picture.

        Raises:
            UserError: it is gone or damaged.
        """
        return read_photo(self.picture_path(key)).pixels

    def has(self, key: Key) -> bool:
        """Whether a key was measured and its picture is still there."""
        return key in self._values and self.picture_path(key).is_file()

    def array(self, name: str, source: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """An array that is made once.

        Args:
            name: what it is.
            source: what it depends on; another source makes it anew.
            make: makes it.
        """
        digest = hashlib.sha256(f"{name}\0{source}".encode(errors="surrogateescape")).hexdigest()[
            :16
        ]
        path = self.folder / "arrays" / f"{_safe(name)}_{digest}.npy"
        with contextlib.suppress(OSError, UserError):  # absent or damaged: made anew
            return read_npy(path.read_bytes())
        made = make()
        with replacing(path) as file:
            np.save(file, made)
        return made


@contextlib.contextmanager
def opened(folder: Path, part: int = 0) -> Iterator[Store]:
    """A store for the length of a block."""
    store = Store(folder, part)
    try:
        yield store
    finally:
        store.close()


def _safe(name: str) -> str:
    """A file name for any text: itself when it is harmless, else its harmless part and a hash."""
    if re.fullmatch(r"[\w-][\w.-]{0,80}", name, re.ASCII) and not name.endswith("."):
        return name
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:12]
    return f"{re.sub(r'[^a-zA-Z0-9-]+', '_', name)[:60]}_{digest}"


def _line(key: Key, values: Mapping[str, float]) -> str:
    valid = {name: value if math.isfinite(value) else str(value) for name, value in values.items()}
    return json.dumps({**key._asdict(), **valid}) + "\n"


def _records(path: Path) -> dict[Key, dict[str, float]]:
    try:
        lines = path.read_text().splitlines() if path.exists() else []
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); choose another --workdir") from error
    return dict(record for line in lines if (record := _record(line)))


def _record(line: str) -> tuple[Key, dict[str, float]] | None:
    """A line cut short by a kill is no record."""
    try:
        record = decode(line)
        key = Key(*(str(record.pop(name)) for name in Key._fields))
        return key, {name: float(value) for name, value in record.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
