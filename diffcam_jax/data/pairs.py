"""Pairs (I', T) of a generator and the class of their edit (2207.08134, section 3.3).

Two sources give the same batches, {"inverted", "edited": uint8 [b, s, s, 3] RGB, "label": int32
[b]}, as a pure function of the step: `OnlinePairs` runs the generator (for a GPU), `CachedPairs`
reads a folder that this module writes once:

    python -m diffcam_jax.data.pairs --out DIR --count 1024 --seed 0

    DIR/index.json             classes, hashes of generator, directions and encoder, recipe
    DIR/00000.npy, 00001.npy   uint8 [samples, 1 + N, s, s, 3], picture 0 is I'; memory-mapped

The first samples of either source are held out for evaluation. With `--encoded 0.5` the codes of
half of the samples are not those that a face was drawn from, but those that an encoder finds in the
face as a photograph might show it (`data.photographic`): pairs as editors of photographs have them.
"""

import argparse
import dataclasses
import functools
import json
import os
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, UInt8
from tqdm import tqdm

from diffcam_jax.command import arguments
from diffcam_jax.command.compilation import keep_compiled_programs
from diffcam_jax.command.device import check_device
from diffcam_jax.data.edit_samples import (
    EditableGenerator,
    Encode,
    Recipe,
    draw_code,
    draw_strengths,
    editable_generator,
    make_sample,
    moved_codes,
)
from diffcam_jax.directions.scoring import draw_uint8
from diffcam_jax.editing import checkpoints, pipeline
from diffcam_jax.errors import UserError, exit_code
from diffcam_jax.files import trees
from diffcam_jax.files.json_text import decode
from diffcam_jax.formats.array_pickle import reason
from diffcam_jax.ops.image import quantise

SHARD = 16  # samples in a file


def choose(
    seed: int, step: int, batch_size: int, held_out: int, samples: int, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draws sample numbers in [held_out, samples) and classes for the batch of `step`."""
    rng = np.random.default_rng((seed, step))
    return rng.integers(held_out, samples, batch_size), rng.integers(0, classes, batch_size).astype(
        np.int32
    )


class OnlinePairs:
    """Batches that the generator draws on demand, without ever repeating a face."""

    def __init__(
        self, editable: EditableGenerator, recipe: Recipe, batch_size: int, held_out: int
    ) -> None:
        self.names, self.held_out, self.fingerprint = (
            editable.names,
            held_out,
            editable.fingerprint(),
        )
        self.count = sys.maxsize
        self._editable, self._recipe, self._batch_size = editable, recipe, batch_size

        @jax.jit
        def render(
            editable: EditableGenerator, indices: Int[Array, " b"], labels: Int[Array, " b"]
        ) -> UInt8[Array, "b2 s s 3"]:
            codes = jax.vmap(lambda i: draw_code(editable, recipe, i))(indices)
            strengths = jax.vmap(lambda i, c: draw_strengths(editable, recipe, i)[c])(
                indices, labels
            )
            codes = jnp.concatenate(
                [codes, codes + strengths[:, None, None] * editable.directions[labels]]
            )
            return quantise(editable.generator(codes, method="synthesis", size=recipe.size))

        self._render = functools.partial(render, editable)

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        first = self.held_out + step * self._batch_size
        indices = range(first, first + self._batch_size)
        _, labels = choose(self._recipe.seed, step, self._batch_size, 0, 1, len(self.names))
        if self._editable.edits:
            given = self._editable, self._recipe
            codes = [moved_codes(*given, i, [int(c)]) for i, c in zip(indices, labels, strict=True)]
            codes = jnp.asarray(np.stack(codes, 1).reshape(-1, *codes[0].shape[1:]))
            drawn = np.asarray(draw_uint8(*self._editable.generator, codes, self._recipe.size))
        else:
            drawn = np.asarray(self._render(jnp.asarray(indices), jnp.asarray(labels)))
        before, after = np.split(drawn, 2)
        return {"inverted": before, "edited": after, "label": labels}

    def sample(self, index: int) -> UInt8[np.ndarray, "_ s s 3"]:
        """Returns I' and its N edits of a sample; those below `held_out` are for evaluation."""
        return make_sample(self._editable, self._recipe, index)


class CachedPairs:
    """Batches of a folder, drawn with replacement.

    Args:
        folder: written by `write`; all complete files in it are used.
        batch_size: pairs in a batch.
        held_out: number of first samples, which batches never contain.
        seed: of the order.

    Raises:
        UserError: the folder holds no pairs, or too few.
    """

    def __init__(
        self, folder: str | os.PathLike, batch_size: int, held_out: int, seed: int = 0
    ) -> None:
        folder = pathlib.Path(folder)
        if not (folder / "index.json").is_file():
            raise UserError(
                f"no pairs in {folder}; make them with python -m diffcam_jax.data.pairs --out "
                f"{folder}"
            )
        try:
            self.fingerprint = decode((folder / "index.json").read_text())
            self.recipe = self.fingerprint.pop("recipe")
            self.names, self.held_out = tuple(self.fingerprint["classes"]), held_out
            self._shards = [
                np.load(f, mmap_mode="r", allow_pickle=False)
                for f in sorted(folder.glob("[0-9]*.npy"))
            ]
        except Exception as error:  # a damaged head of an array can end in nearly any exception
            raise UserError(
                f"the pairs in {folder} are damaged ({reason(error)}); make them again"
            ) from error
        self._batch_size, self._seed = batch_size, seed
        self.count = SHARD * len(self._shards)
        if self.count <= held_out:
            raise UserError(
                f"{folder} has {self.count} samples and {held_out} are held out; write more with "
                "--count"
            )

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        indices, labels = choose(
            self._seed, step, self._batch_size, self.held_out, self.count, len(self.names)
        )
        pictures = [self.sample(int(i)) for i in indices]
        before = np.stack([p[0] for p in pictures])
        after = np.stack([p[1 + c] for p, c in zip(pictures, labels, strict=True)])
        return {"inverted": before, "edited": after, "label": labels}

    def sample(self, index: int) -> UInt8[np.ndarray, "_ s s 3"]:
        """Returns I' and its N edits of a sample; those below `held_out` are for evaluation."""
        return self._shards[index // SHARD][index % SHARD]


def write(
    editable: EditableGenerator,
    recipe: Recipe,
    folder: str | os.PathLike,
    count: int,
    encode: Encode | None = None,
    encoder: str = "",
) -> None:
    """Writes the first `count` samples, rounded up to whole files; existing files are kept.

    Args:
        editable: generator and directions.
        recipe: of the samples.
        folder: created if it does not exist.
        count: number of samples.
        encode: finds codes in pictures, see `make_sample`.
        encoder: hash of its weights.

    Raises:
        UserError: the folder holds pairs of other directions, another generator or encoder, or
            another recipe.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    index = editable.fingerprint() | ({"encoder_sha256": encoder} if encoder else {})
    index = {**index, "recipe": json.loads(json.dumps(dataclasses.asdict(recipe)))}
    if (folder / "index.json").exists():
        if json.loads((folder / "index.json").read_text()) != index:
            raise UserError(
                f"{folder} holds pairs made from other parts or another recipe; choose an empty "
                "folder"
            )
    else:
        trees.write_atomically(folder / "index.json", json.dumps(index, indent=1).encode())
    files = -(-count // SHARD)
    with tqdm(total=files * SHARD, unit="sample", disable=None) as bar:
        for number in range(files):
            path = folder / f"{number:05d}.npy"
            if not path.exists():
                samples = []
                for i in range(number * SHARD, (number + 1) * SHARD):
                    samples.append(make_sample(editable, recipe, i, encode))
                    bar.update()
                with trees.replacing(path) as file:
                    np.save(file, np.stack(samples), allow_pickle=False)
            else:
                bar.update(SHARD)


def shipped_encode(folder: pathlib.Path | None) -> tuple[Encode, str]:
    """Loads the shipped encoder of the embedded generator, or that of a folder.

    Returns:
        What finds codes in pictures, and the hash of its weights.
    """
    networks = jax.device_put(checkpoints.from_checkpoints(encoder=folder))
    digest = trees.tree_hash(networks.encoder.network.variables)
    return lambda images: pipeline.encode(networks, images), digest


def run(options: argparse.Namespace) -> int:
    """Writes pairs as the command line asks.

    Raises:
        UserError: options that contradict one another, or see `write`.
    """
    recipe = Recipe(seed=options.seed, size=options.size, encoded=options.encoded)
    if not 0 <= options.encoded <= 1:
        raise UserError(f"--encoded {options.encoded:g} is a share of the faces; give 0 to 1")
    if options.encoder is not None and not options.encoded:
        raise UserError(
            f"--encoder {options.encoder} is of no use without --encoded; add --encoded 0.5"
        )
    found = shipped_encode(options.encoder) if options.encoded else ()
    editable = editable_generator(options.directions, options.generator)
    write(editable, recipe, options.out, options.count, *found)
    return 0


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        description="Write training pairs of the Diff-CAM classifier to a folder."
    )
    parser.add_argument("--out", required=True, help="folder; a rerun continues where it stopped")
    parser.add_argument(
        "--count", type=int, default=1024, help="faces (each comes with all its edits)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=256, help="side of the pictures")
    arguments.add_directions(parser)
    parser.add_argument(
        "--generator", type=pathlib.Path, metavar="DIR", help="default: the embedded generator"
    )
    parser.add_argument(
        "--encoded",
        type=float,
        default=0.0,
        help="share of faces whose code an encoder finds again",
    )
    parser.add_argument("--encoder", type=pathlib.Path, help="its folder; default: the shipped one")
    check_device()
    keep_compiled_programs()
    return exit_code(lambda: run(parser.parse_args(argv)), "pairs")


if __name__ == "__main__":
    sys.exit(main())
