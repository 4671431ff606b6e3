"""Reads the edits that `data.known_edits` wrote, as batches for training."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffcam_jax.data.edit_pairs import Pair, covered
from diffcam_jax.errors import UserError
from diffcam_jax.formats import read_npz


class KnownEdits:
    """A source (see `data.sources`) of pairs, with random objects in front of some.

    Every pass over the pairs has an order of its own.

    Args:
        pairs: for training, random access.
        held_out: for evaluation, at least one.
        description: "name", "count" of pairs, "sha256" of their contents.
        batch_size: pairs that this process brings to a batch.
        seed: of order and objects.
        process: number of this process.
        processes: how many there are.

    Attributes:
        held_out: fixed pairs that training does not see.
        description: for the record of a run.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        held_out: Iterable[Pair],
        description: dict[str, Any],
        batch_size: int,
        seed: int = 0,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        self.held_out, self.description, self._pairs = _stacked(held_out), description, pairs
        self._seed, self._batch_size = seed, batch_size
        self._first, self._whole = process * batch_size, processes * batch_size

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        first = step * self._whole + self._first
        return _stacked(map(self._changed, range(first, first + self._batch_size)))

    def _changed(self, number: int) -> Pair:
        turn, place = divmod(number, len(self._pairs))
        order = np.random.default_rng((self._seed, turn)).permutation(len(self._pairs))
        pair = self._pairs[order[place]]
        original, truth = covered(
            pair.original, pair.truth, np.random.default_rng((self._seed, turn, place))
        )
        return pair._replace(original=original, truth=truth)


def open_pairs(folder: Path) -> tuple[Sequence[Pair], Sequence[Pair], dict[str, Any]]:
    """Opens the pairs of a folder.

    Returns:
        Those for training, those for evaluation (where there are none, those for training), and
        their description.

    Raises:
        UserError: no such folder, or no pairs for training in it.
    """
    try:
        index = (folder / "index.json").read_bytes()
    except OSError as error:
        raise UserError(
            f"no pairs in {folder}; write them with python -m diffcam_jax.data.known_edits"
        ) from error
    train, test = (_Files(sorted((folder / split).glob("*.npz"))) for split in ("train", "test"))
    if not len(train):
        raise UserError(
            f"{folder} holds no pairs for training; write some with python -m "
            "diffcam_jax.data.known_edits"
        )
    names = "".join(path.name for path in [*train.paths, *test.paths])
    digest = hashlib.sha256(index + names.encode()).hexdigest()
    return (
        train,
        test if len(test) else train,
        {"name": folder.resolve().name, "count": len(train), "sha256": digest},
    )


class _Files(Sequence[Pair]):
    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Any) -> Any:
        return (
            [read_pair(path) for path in self.paths[index]]
            if isinstance(index, slice)
            else read_pair(self.paths[index])
        )


def read_pair(path: Path) -> Pair:
    """Reads a pair.

    Raises:
        UserError: the file is damaged.
    """
    try:
        stored = read_npz(path)
        return Pair(**{name: stored[name] for name in Pair._fields})
    except (OSError, KeyError, UserError) as error:
        raise UserError(
            f"{path} is damaged ({error}); delete it and run the same command again"
        ) from error


def _stacked(pairs: Iterable[Pair]) -> dict[str, np.ndarray]:
    return {
        name: np.stack(part)
        for name, part in zip(Pair._fields, zip(*pairs, strict=True), strict=True)
    }
