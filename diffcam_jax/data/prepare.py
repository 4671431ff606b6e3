"""Makes a dataset of a folder of pictures: reads, aligns or crops, resizes, and writes shards.

Files that cannot be read are left out and listed in errors.json. An interrupted preparation
continues, see `data.shards`.
"""

import contextlib
import functools
import hashlib
import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from diffcam_jax.data import layouts
from diffcam_jax.data.builders import encode, make_features, serialise
from diffcam_jax.data.layouts import Record
from diffcam_jax.data.pictures import FaceReader, read_square
from diffcam_jax.data.shards import Job, Made, assemble, shard_length
from diffcam_jax.errors import UserError

_SIZES = (8, 4096)
Reader = Callable[[Path, int], tuple[np.ndarray, bool]]


def prepare(
    src: str | os.PathLike[str],
    name: str,
    size: int,
    out: str | os.PathLike[str],
    *,
    align: bool = False,
    labels: str | os.PathLike[str] | None = None,
    pairs: str | os.PathLike[str] | None = None,
    test_share: float = layouts.TEST_SHARE,
    workers: int | None = None,
) -> dict[str, Any]:
    """Makes a dataset, or finishes one that was begun.

    Args:
        src: folder of pictures, see `layouts`.
        name: of the dataset.
        size: side of its pictures in pixels.
        out: folder of all datasets.
        align: cut out the largest face of each photograph as FFHQ does, instead of the centred
            square.
        labels: see `layouts.open_labels`; CelebA-HQ's own is found automatically.
        pairs: folder with the target of each picture under the same name.
        test_share: see `layouts.splits`.
        workers: threads; by default one for each processor.

    Returns:
        The recipe: what recipe.json holds.

    Raises:
        UserError: nothing can be read, the dataset exists already with other contents, or it cannot
            be written.
    """
    check(name, size, test_share)
    if align and pairs is not None:
        raise UserError(
            "--align moves the faces of a pair apart; align the pictures before, or leave out "
            "--align"
        )
    folder = layouts.pictures_folder(src, aligned=not align)
    label_file = labels if labels is not None else layouts.attribute_file(folder)
    table = None if label_file is None else layouts.open_labels(label_file, folder)
    targets = None if pairs is None else layouts.pictures_folder(pairs)
    records, left_out = layouts.list_records(folder, table, targets, test_share)
    plan = {
        "name": name,
        "source": str(folder.resolve()),
        "size": size,
        "align": align,
        "test_share": test_share,
        "paired": pairs is not None,
        "label_names": [] if table is None else list(table.names),
        "several_labels": table is not None and table.several,
        "list_sha256": _list_hash(records),
    }
    features = make_features(size, plan["paired"], plan["label_names"], plan["several_labels"])
    with contextlib.ExitStack() as stack:
        read: Reader = stack.enter_context(FaceReader()) if align else read_square
        run = stack.enter_context(_threads(workers or len(os.sched_getaffinity(0))))
        make = functools.partial(run, functools.partial(_make, features, size, read))
        return assemble(out, plan, features, _jobs(records, size, make), left_out)


def check(name: str, size: int, test_share: float) -> None:
    """Checks name, side and share of a dataset.

    Raises:
        UserError: names the one that is not possible.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise UserError(f"--name {name!r}: take letters, digits, - and _ only")
    if not _SIZES[0] <= size <= _SIZES[1]:
        raise UserError(f"--size {size}: take {_SIZES[0]} to {_SIZES[1]} pixels")
    if not 0 <= test_share < 1:
        raise UserError(f"--test-share {test_share}: take a number from 0 to below 1")


def _list_hash(records: Sequence[Record]) -> str:
    """Hashes the list of pictures, to tell whether they are those that a preparation began with."""
    lines = []
    for record in records:
        sizes = [
            path.stat().st_size if path.exists() else -1
            for path in (record.path, record.target)
            if path
        ]
        lines.append(f"{record.name} {record.split} {record.label} {sizes}")
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()


def _jobs(
    records: Sequence[Record], size: int, make: Callable[[Sequence[Record]], Iterator[Made]]
) -> list[Job]:
    jobs, length = [], shard_length(size)
    for split in ("train", "test"):
        part = [record for record in records if record.split == split]
        for start in range(0, len(part), length):
            chunk = part[start : start + length]
            jobs.append(Job(split, len(chunk), functools.partial(make, chunk)))
    return jobs


@contextlib.contextmanager
def _threads(count: int) -> Iterator[Callable]:
    """`map` by several threads; tasks that have not begun are dropped after an exception."""
    pool = ThreadPoolExecutor(count)
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)


def _make(features: tfds.features.FeaturesDict, size: int, read: Reader, record: Record) -> Made:
    example: dict[str, Any] = {"name": record.name}
    digest = hashlib.sha256(f"{record.name} {record.label}".encode(errors="surrogateescape"))
    enlarged = False
    for key, path in (("image", record.path), ("target", record.target)):
        if path is None:
            continue
        try:
            picture, grown = read(path, size)
        except UserError as error:
            return Made(record.name, error=str(error).removeprefix(f"{path}: "))
        digest.update(picture.data)
        example[key] = io.BytesIO(encode(picture))
        enlarged |= grown
    if record.label is not None:
        example["label"] = (
            np.asarray(record.label, np.int64) if isinstance(record.label, tuple) else record.label
        )
    return Made(record.name, serialise(features, example), digest.hexdigest(), enlarged)
