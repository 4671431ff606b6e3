"""Batches for training, as a pure function of the step: `source[step]`.

    kind         pictures                                              fields beside "image"
    prepared     of `python -m diffcam_jax.data prepare` or `draw`     "label", "target", "code"
    folder       a folder of pictures, read and resized on the fly     "label"
    generator    endless samples of a generator (`data.drawn`)         "code", their W+ codes
    toy          coloured shapes, without any file (`data.toy`)        "label"

Pictures are uint8 RGB [b, s, s, 3]. A batch depends on the seed and the step alone: neither on the
number of threads, nor on the number of processes, whose slices in order are the batch of a single
process.
"""

import functools
import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from diffcam_jax.data import layouts
from diffcam_jax.data.pictures import Records, read_square, resize_square
from diffcam_jax.data.toy import SHAPES, ToyPictures
from diffcam_jax.errors import UserError
from diffcam_jax.pretrained import store

Batch = dict[str, np.ndarray]
Change = Callable[[Any, np.random.Generator], dict[str, Any]]
_PICTURES = ("image", "target")
_MAX_WORKERS = 16


class Source:
    """Batches of records that can be asked for by number.

    Attributes:
        held_out: a fixed batch that training does not see, the whole one in every process.
        description: of the pictures, for the record of a run: "name", "count" of pictures, "sha256"
            of their list.
        classes: names of the classes, whose numbers are the labels; none where pictures have no
            labels or several.

    Args:
        records: for training; `records[i]` is a dict of arrays of equal shapes, read by several
            threads at once.
        held_out: see above.
        description: see above.
        batch_size: samples that this process brings to a batch.
        process: number of this process.
        processes: how many there are.
        seed: of order and flips. Every pass over the records has an order of its own.
        flip: mirror each picture, "image" together with "target", with probability one half. A
            mirrored picture does not have its code, so codes are left out then.
        change: (picture, random generator) -> new fields of a record, such as a changed "image";
            the unchanged picture becomes "target".
        workers: threads that read the records of a batch.
        classes: see above.
    """

    def __init__(
        self,
        records: Records,
        held_out: Batch,
        description: dict[str, Any],
        batch_size: int,
        *,
        process: int = 0,
        processes: int = 1,
        seed: int = 0,
        flip: bool = False,
        change: Change | None = None,
        workers: int = 1,
        classes: Sequence[str] = (),
    ) -> None:
        import grain

        self.held_out, self.description, self.classes = held_out, description, tuple(classes)
        self._first, self._batch_size, self._whole = (
            process * batch_size,
            batch_size,
            processes * batch_size,
        )
        order = grain.MapDataset.source(records).seed(seed).shuffle().repeat(None)
        mirrored = order.random_map(_mirror) if flip else order
        self._samples = (
            mirrored if change is None else mirrored.random_map(functools.partial(_changed, change))
        )
        self._pool = ThreadPoolExecutor(workers) if workers > 1 else None

    def __getitem__(self, step: int) -> Batch:
        first = step * self._whole + self._first
        read = map if self._pool is None else self._pool.map
        return stack(read(self._samples.__getitem__, range(first, first + self._batch_size)))


def stack(records: Iterable[dict[str, Any]]) -> Batch:
    """Stacks records with the same keys along a new first axis; no records give an empty batch."""
    records = list(records)
    return (
        {name: np.stack([record[name] for record in records]) for name in records[0]}
        if records
        else {}
    )


def _mirror(record: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    import cv2

    turn = rng.random() < 0.5
    return {
        # Many times faster than copying a reversed view.
        name: cv2.flip(value, 1) if turn and name in _PICTURES else value
        for name, value in record.items()
        if name != "code"
    }


def _changed(change: Change, record: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    return {"target": record["image"], **record, **change(record["image"], rng)}


class _Read:
    """Records that are read on demand."""

    def __init__(self, count: int, read: Callable[[int], dict[str, Any]]) -> None:
        self._count, self._read = count, read

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._read(index)


def make_source(config: ConfigDict, batch_size: int, process: int = 0, processes: int = 1) -> Any:
    """Opens the data of a run.

    Fields of config.data are source (the kind), size (of the pictures; 0 takes prepared ones as
    they are), flip, photographic (fields of `data.photographic.Photographic`; not for "generator"),
    masks (with photographic: "mask" shows where objects are), workers (threads; 0 is one for each
    processor), and by kind

        prepared     name and folder (of all datasets; "" is that of the user's cache), or only
                     folder (of the dataset)
        folder       folder, test_share (0.05; not for FFHQ), labels ("": none; see `layouts`)
        generator    see `data.drawn.make_drawn`
        toy          count (1000)

    Args:
        config: the whole configuration, of which `data`, seed and eval_size (held-out pictures) are
            read.
        batch_size: samples that this process brings to a batch.
        process: number of this process.
        processes: how many there are.

    Returns:
        `source[step]`, `source.held_out` and `source.description`, see `Source`.

    Raises:
        UserError: there is no such data, or it does not fit the configuration.
    """
    data, count = config.data, config.eval_size
    if data.source == "generator":
        from diffcam_jax.data.drawn import make_drawn

        return make_drawn(config, batch_size, process, processes)
    if data.source in ("folder", "toy") and data.get("size", 0) < 1:
        raise UserError(
            f"config.data.source={data.source} needs the side of the pictures; set config.data.size"
        )
    makers = {"prepared": _prepared, "folder": _folder, "toy": _toy}
    if data.source not in makers:
        raise UserError(
            f"config.data.source={data.source!r} is no kind of data; choose prepared, folder, "
            "generator or toy"
        )
    train, test, description, classes = makers[data.source](config)
    if not len(test):
        print(
            f"data: {description['name']} has no test pictures; training pictures are evaluated on",
            file=sys.stderr,
        )
        test = train
    held_out = stack(test[i] for i in range(min(count, len(test))))
    if data.get("flip", False):
        held_out.pop("code", None)
    return Source(
        train,
        held_out,
        description,
        batch_size,
        process=process,
        processes=processes,
        seed=config.seed,
        flip=data.get("flip", False),
        change=_photographic(data),
        workers=data.get("workers", 0) or min(_MAX_WORKERS, len(os.sched_getaffinity(0))),
        classes=classes,
    )


def _photographic(data: ConfigDict) -> Change | None:
    if not data.get("photographic"):
        return None
    from diffcam_jax.data.photographic import Photographic

    change, masked = Photographic(**data.photographic), data.get("masks", False)

    def changed(picture: Any, rng: np.random.Generator) -> dict[str, Any]:
        image, mask = change.with_objects(picture, rng)
        return {"image": image, "mask": mask} if masked else {"image": image}

    return changed


# Training, test, description, names of the classes.
Made = tuple[Records, Records, dict[str, Any], Sequence[str]]


def _toy(config: ConfigDict) -> Made:
    count, size = config.data.get("count", 1000), config.data.size
    described = f"toy pictures of seed {config.seed}, {count} of {size} pixels"
    description = {
        "name": "toy",
        "count": count,
        "sha256": hashlib.sha256(described.encode()).hexdigest(),
    }
    unseen = ToyPictures(max(config.eval_size, 1), size, config.seed + 1)
    return ToyPictures(count, size, config.seed), unseen, description, SHAPES


def _prepared(config: ConfigDict) -> Made:
    from diffcam_jax.data.builders import open_prepared

    data = config.data
    name = data.get("name", "")
    folder = data.get("folder", "") or store.cache_dir() / "data"
    if not name and not data.get("folder", ""):
        raise UserError(
            "which dataset? name a prepared one: --config.data.name=NAME, or "
            "--config.data.folder=DIR"
        )
    dataset = open_prepared(folder, name)
    stored = dataset.recipe["size"]
    size = data.get("size", 0) or stored
    if size > stored:
        raise UserError(
            f"{dataset.folder} holds pictures of {stored} pixels and config.data.size is {size}; "
            f"prepare it again with --size {size}"
        )

    def reader(examples: Records) -> Records:
        def read(index: int) -> dict[str, Any]:
            example = {key: value for key, value in examples[index].items() if key != "name"}
            for key in _PICTURES:
                if key in example and size != stored:
                    example[key] = resize_square(example[key], size)
            if "label" in example:
                example["label"] = np.asarray(example["label"], np.int32)
            return example

        return _Read(len(examples), read)

    if "train" not in dataset.splits:
        raise UserError(
            f"{dataset.folder} has no training pictures; prepare more of them, or with a smaller "
            "--test-share"
        )
    description = {
        "name": dataset.recipe["name"],
        "count": sum(dataset.recipe["counts"].values()),
        "sha256": dataset.recipe["sha256"],
    }
    train, test = reader(dataset.splits["train"]), reader(dataset.splits.get("test", []))
    classes = () if dataset.recipe.get("several_labels") else dataset.recipe.get("label_names", ())
    return train, test, description, classes


def _folder(config: ConfigDict) -> Made:
    size = config.data.size
    if not config.data.get("folder", ""):
        raise UserError("which pictures? name their folder: --config.data.folder=FOLDER")
    folder = layouts.pictures_folder(config.data.folder)
    given = config.data.get("labels", "")
    labels = layouts.open_labels(given, folder) if given else None
    share = config.data.get("test_share", layouts.TEST_SHARE)
    records, _ = layouts.list_records(folder, labels, test_share=share)

    def reader(split: str) -> Records:
        chosen = [record for record in records if record.split == split]

        def read(index: int) -> dict[str, Any]:
            record = chosen[index]
            label = {} if labels is None else {"label": np.asarray(record.label, np.int32)}
            return {"image": _readable(record.path, size)[0], **label}

        return _Read(len(chosen), read)

    if not any(record.split == "train" for record in records):
        raise UserError(f"{folder} has too few pictures for training; add some")
    if _readable(records[0].path, size)[1]:
        print(
            f"data: {records[0].path} is smaller than {size} pixels; such pictures are enlarged",
            file=sys.stderr,
        )
    lines = "\n".join(
        f"{record.name} {record.path.stat().st_size}" + (f" {record.label}" if labels else "")
        for record in records
    )
    description = {
        "name": str(folder),
        "count": len(records),
        "sha256": hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest(),
    }
    classes = () if labels is None or labels.several else labels.names
    return reader("train"), reader("test"), description, classes


def _readable(path: Path, size: int) -> tuple[np.ndarray, bool]:
    try:
        return read_square(path, size)
    except UserError as error:
        raise UserError(
            f"{error}; python -m diffcam_jax.data prepare leaves such files out"
        ) from error
