"""Writes a dataset shard by shard, so that it can be interrupted and resumed at any moment.

Finished shards wait in DIR/unfinished/NAME, each with a report that is written last, until all are
finished; then they are moved to DIR/pictures/NAME/1.0.0 together. An interrupted preparation gives
the same dataset as an uninterrupted one.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from diffcam_jax.data.builders import ERRORS, RECIPE, Pictures, Shard, dataset_folder
from diffcam_jax.errors import UserError
from diffcam_jax.files import trees
from diffcam_jax.files.locks import held

_SHARD_BYTES = 1 << 27  # of pixels: what is held in memory until a shard is written
_SHARD_COUNTS = (64, 4096)


class Made(NamedTuple):
    """One example, or why there is none.

    Attributes:
        name: of the picture.
        example: serialised.
        digest: of everything in it.
        enlarged: whether the picture was smaller than those of the dataset.
        error: why it is left out; "" where it is not.
    """

    name: str
    example: bytes = b""
    digest: str = ""
    enlarged: bool = False
    error: str = ""


class Job(NamedTuple):
    """One shard to be made: its split, how many examples it has at most, and what makes them."""

    split: str
    count: int
    make: Callable[[], Iterable[Made]]


def shard_length(size: int) -> int:
    """Pictures of `size` pixels in a shard."""
    return int(np.clip(_SHARD_BYTES // (3 * size * size), *_SHARD_COUNTS))


def assemble(
    out: str | os.PathLike[str],
    plan: dict[str, Any],
    features: tfds.features.FeaturesDict,
    jobs: Sequence[Job],
    left_out: dict[str, str],
) -> dict[str, Any]:
    """Makes a dataset, or finishes one that was begun, or finds it finished.

    Args:
        out: folder of all datasets.
        plan: facts that determine the dataset, ready for JSON; "name" is its name.
        features: of the examples.
        jobs: the shards in their order, with those of a split in succession.
        left_out: name -> why, of pictures that are in no job.

    Returns:
        The recipe: what recipe.json holds.

    Raises:
        UserError: there is no example at all, the dataset exists already with other contents, or it
            cannot be written.
    """
    out, name = Path(out), plan["name"]
    place, work = dataset_folder(out, name), out / "unfinished" / name
    try:
        with held(
            out / "unfinished" / f"{name}.lock",
            f"{name} is being prepared by another process; waiting",
        ):
            done = _finished(place, plan)
            if done is not None:
                shutil.rmtree(work, ignore_errors=True)  # of a run that was killed at its very end
                return done
            _begin(work, plan)
            shards, lines, enlarged, errors = _write_all(work, jobs)
            errors = {**left_out, **errors}
            if not lines:
                shutil.rmtree(work)
                first = next(iter(errors))
                raise UserError(f"not one picture can be used; the first, {first}: {errors[first]}")
            _publish(out, name, features, shards)
            recipe = {
                **plan,
                "counts": {
                    split: sum(shard.count for shard in files) for split, files in shards.items()
                },
                "enlarged": enlarged,
                "left_out": len(errors),
                "sha256": hashlib.sha256(
                    "\n".join(lines).encode(errors="surrogateescape")
                ).hexdigest(),
            }
            _write_json(place / ERRORS, errors)
            _write_json(place / RECIPE, recipe)
            shutil.rmtree(work)
            return recipe
    except OSError as error:
        raise UserError(
            f"cannot write to {out} ({error.strerror or error}); free some space or choose "
            "another --out, then run the "
            f"same command again: what is finished stays"
        ) from error


def _finished(place: Path, plan: dict[str, Any]) -> dict[str, Any] | None:
    """The recipe of a dataset that is there already."""
    if not (place / RECIPE).is_file():
        return None
    recipe = json.loads((place / RECIPE).read_text())
    if any(recipe.get(key) != value for key, value in plan.items()):
        raise UserError(
            f"{place} holds another dataset of this name, made from other pictures or options; "
            "choose another --name, "
            f"or delete that folder"
        )
    return recipe


def _begin(work: Path, plan: dict[str, Any]) -> None:
    work.mkdir(parents=True, exist_ok=True)
    if not (work / "plan.json").exists():
        _write_json(work / "plan.json", plan)
    elif json.loads((work / "plan.json").read_text()) != plan:
        raise UserError(
            f"{work} holds an unfinished preparation of other pictures or with other options; "
            "delete it to begin anew"
        )


def _write_all(
    work: Path, jobs: Sequence[Job]
) -> tuple[dict[str, list[Shard]], list[str], int, dict[str, str]]:
    """Writes the shards that are missing.

    Returns:
        The shards by split, a line for each picture, how many pictures were enlarged, and why some
        were left out.
    """
    paths, number = [], dict.fromkeys((job.split for job in jobs), 0)
    for job in jobs:
        paths.append(work / f"{job.split}-{number[job.split]:05d}.array_record")
        number[job.split] += 1
    before = sum(job.count for job, path in zip(jobs, paths) if _report(path).exists())
    shards: dict[str, list[Shard]] = {}
    lines: list[str] = []
    errors: dict[str, str] = {}
    enlarged = 0
    total = sum(job.count for job in jobs)
    with tqdm(total=total, initial=before, unit="picture", disable=None) as bar:
        for job, path in zip(jobs, paths):
            if not _report(path).exists():
                _write_shard(path, job, bar)
            result = json.loads(_report(path).read_text())
            lines += [f"{job.split} {line}" for line in result["pictures"]]
            enlarged += result["enlarged"]
            errors.update(result["errors"])
            if result["pictures"]:
                shards.setdefault(job.split, []).append(Shard(path, len(result["pictures"])))
    return shards, lines, enlarged, errors


def _report(shard: Path) -> Path:
    """What is in a shard; written last, so that it tells a finished shard."""
    return shard.with_suffix(".json")


def _write_shard(path: Path, job: Job, bar: tqdm) -> None:
    """Writes one shard and, once that is whole, what is in it."""
    results = []
    for result in job.make():
        results.append(result)
        bar.update()
    made = [result for result in results if not result.error]
    if made:
        draft = path.with_suffix(".tmp")
        writer = tfds.core.ExampleWriter(tfds.core.FileFormat.ARRAY_RECORD)
        try:
            writer.write(draft, [(result.name, result.example) for result in made])
        except RuntimeError as error:  # what the writer makes of a full disk
            raise OSError(error) from error
        draft.replace(path)
    content = {
        "pictures": [f"{result.name} {result.digest}" for result in made],
        "enlarged": sum(result.enlarged for result in made),
        "errors": {result.name: result.error for result in results if result.error},
    }
    _write_json(_report(path), content)


def _publish(
    out: Path, name: str, features: tfds.features.FeaturesDict, shards: dict[str, list[Shard]]
) -> None:
    """Puts the finished shards where datasets lie."""
    place = dataset_folder(out, name)
    # What is there is of a run that was killed between here and its recipe.
    for rest in place.parent.glob(f"*{place.name}*"):
        shutil.rmtree(rest)
    downloads = out / "unfinished" / name / "downloads"  # stays empty, but it is made
    with contextlib.redirect_stdout(io.StringIO()):  # TensorFlow Datasets talks of downloads
        Pictures(out, name, features, shards).download_and_prepare(download_dir=downloads)


def _write_json(path: Path, content: Any) -> None:
    trees.write_atomically(path, json.dumps(content, indent=1).encode() + b"\n")
