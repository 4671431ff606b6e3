"""Edits whose right result is known: faces that a generator drew, made to look like photographs,
with the edit of the face behind them.

A drawn face G(w) and a random edit n: I is G(w) and the truth is G(w + alpha n), both with the same
objects in front, the same light, lens and sensor (`data.photographic`). w' lies between w and what
the encoder makes of I: with all of the encoder's error T would often show another smile than the
truth, and a network that cannot know which draws the mean of both, without teeth. I' = G(w'), T =
G(w' + alpha n) and the Diff-CAM mask M of the two are what an editor has (2207.08134, Eq. 1 to 4).
A network that turns the blend of I and T into the truth learns to remove ghosts while the edit
stays, and what is in front of the face with it. The paper has no such truth: it trains on blends by
folded masks (Eq. 7), whose target is I; see `data.ghosts`.

    python -m diffcam_jax.data.known_edits --faces drawn256 --encoder RUN --out DIR [--count 1200
    --held-out 32]

    DIR/train/NUMBER.npz, DIR/test/NUMBER.npz    see `Pair`; a rerun continues, pair by pair
    DIR/index.json                               hashes of the networks and of the faces, recipe

Faces are a prepared dataset with codes (`python -m diffcam_jax.data draw`); pairs of "test" are of
its test pictures. A pair takes three passes of the generator: half a core-second at 1024 pixels.
"""

import argparse
import dataclasses
import functools
import hashlib
import io
import sys
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8
from tqdm import tqdm

from diffcam_jax.command.allocator import keep_freed_memory
from diffcam_jax.command.compilation import keep_compiled_programs
from diffcam_jax.data.builders import open_prepared
from diffcam_jax.data.ghosts import (
    GhostConfig,
    GhostWorld,
    claim_index,
    draw_edits,
    ghost_world,
    toy_ghost_world,
)
from diffcam_jax.data.pairs import Encode
from diffcam_jax.data.photographic import Photographic
from diffcam_jax.editing import checkpoints, diffcam, pipeline
from diffcam_jax.errors import UserError, exit_code
from diffcam_jax.files import trees
from diffcam_jax.ops.image import quantise, to_unit
from diffcam_jax.pretrained import store

Picture = UInt8[np.ndarray, "s s 3"]

OBJECTS = Photographic(align=0.0, light=0.0, objects=0.5, blur=0.0, noise=0.0, compress=0.0)
CAMERA = Photographic(objects=0.0)
_AT_ONCE = 2


@dataclasses.dataclass(frozen=True)
class KnownConfig(GhostConfig):
    """How a pair is made.

    Attributes:
        strength: see `GhostConfig`.
        error: range of the share of the encoder's error that codes have, uniform; 1 is the
            encoder's own code.
    """

    strength: tuple[float, float] = (0.5, 1.5)
    error: tuple[float, float] = (0.2, 0.7)


CONFIG = KnownConfig()


class Pair(NamedTuple):
    """An edit and what it should have given; the fields are the names inside a file.

    Attributes:
        original, inverted, edited, truth: I, I', T and the face as it should be, uint8 [s, s, 3].
        mask: Diff-CAM's, uint8 [s, s], 255 is 1.
        code: W+ code of T, float32 [rows, k].
    """

    original: np.ndarray
    inverted: np.ndarray
    edited: np.ndarray
    truth: np.ndarray
    mask: np.ndarray
    code: np.ndarray


def covered(face: Picture, truth: Picture, rng: np.random.Generator) -> tuple[Picture, Picture]:
    """Both pictures with the same objects in front, pixel by pixel."""
    changed = OBJECTS(face, rng)
    return changed, np.where((changed != face).any(-1, keepdims=True), changed, truth)


def photographed(
    face: Picture, truth: Picture, rng: np.random.Generator
) -> tuple[Picture, Picture]:
    """Both pictures as the same camera would see them, with the same objects in front."""
    face, truth = covered(face, truth, rng)
    seed = rng.integers(
        2**63
    )  # what the camera does depends on these numbers and not on the picture
    return CAMERA(face, np.random.default_rng(seed)), CAMERA(truth, np.random.default_rng(seed))


@functools.partial(jax.jit, static_argnames="size")
def draw(world: GhostWorld, codes: Float[Array, "b rows k"], size: int) -> UInt8[Array, "b s s 3"]:
    """Pictures of codes."""
    return quantise(
        world.generator(codes, method="synthesis", size=size)
    )


@functools.partial(jax.jit, static_argnames="cam")
def find_mask(
    world: GhostWorld,
    inverted: UInt8[Array, "b s s 3"],
    edited: UInt8[Array, "b s s 3"],
    edits: Int[Array, " b"],
    cam: diffcam.CamConfig,
) -> UInt8[Array, "b s s"]:
    """Diff-CAM's masks of pairs (I', T)."""
    before, after = (to_unit(x) for x in (inverted, edited))
    found = diffcam.diff_cam(
        world.classifier, before, after, world.classes[edits], cam
    )
    return jnp.round(found.mask * 255).astype(jnp.uint8)


def make_pairs(
    world: GhostWorld,
    encode: Encode,
    names: list[str],
    faces: UInt8[np.ndarray, "b s s 3"],
    codes: Float[np.ndarray, "b rows k"],
    seed: int,
    config: KnownConfig = CONFIG,
) -> list[Pair]:
    """The pairs of some faces; each depends on the seed and its name only.

    Args:
        world: networks and edits.
        encode: from I in [-1, 1] to its code.
        names: of the faces.
        faces, codes: pictures and the W+ codes that they were drawn from.
        seed: of edits, strengths and photography.
        config: strengths, errors and masks.
    """
    keys = [jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode())) for name in names]
    drawn = [draw_edits(key, world, 1, config) for key in keys]
    edits, strengths = (jnp.concatenate(part) for part in zip(*drawn, strict=True))
    shifts, size = strengths[:, None, None] * world.directions[edits], faces.shape[1]
    truths = np.asarray(draw(world, jnp.asarray(codes) + shifts, size))
    rngs = [np.random.default_rng((seed, zlib.crc32(name.encode()))) for name in names]
    taken = [photographed(*both) for both in zip(faces, truths, rngs, strict=True)]
    originals, truths = (np.stack(part) for part in zip(*taken, strict=True))
    shares = jnp.asarray([rng.uniform(*config.error) for rng in rngs], jnp.float32)[:, None, None]
    found = codes + shares * (encode(jnp.asarray(to_unit(originals))) - codes)
    inverted, edited = draw(world, found, size), draw(world, found + shifts, size)
    mask = find_mask(world, inverted, edited, edits, config.cam)
    parts = originals, inverted, edited, truths, mask, found + shifts
    return [Pair(*pair) for pair in zip(*map(np.asarray, parts), strict=True)]


def write(
    world: GhostWorld,
    encode: Encode,
    faces: Any,
    split: str,
    count: int,
    folder: Path,
    seed: int = 0,
    config: KnownConfig = CONFIG,
) -> int:
    """Writes the pairs of the first `count` faces of a split; those that are there are kept.

    Args:
        world, encode: see `make_pairs`.
        faces: random access list of {"image", "code"}.
        split: "train" or "test".
        count: at most so many.
        folder: see above.
        seed, config: see `make_pairs`.

    Returns: how many there are now.
    """
    names = [f"{split}/{i:06d}" for i in range(min(count, len(faces)))]
    missing = [i for i, name in enumerate(names) if not (folder / f"{name}.npz").exists()]
    with tqdm(
        total=len(names), initial=len(names) - len(missing), unit="pair", desc=split, disable=None
    ) as bar:
        for first in range(0, len(missing), _AT_ONCE):
            numbers = missing[first : first + _AT_ONCE]
            # A short last part is filled up, so that one program does for all.
            padded = numbers + numbers[-1:] * (_AT_ONCE - len(numbers))
            records = [faces[i] for i in padded]
            images, codes = (
                np.stack([record[name] for record in records]) for name in ("image", "code")
            )
            made = make_pairs(
                world, encode, [names[i] for i in padded], images, codes, seed, config
            )
            for i, pair in zip(numbers, made, strict=False):
                buffer = io.BytesIO()
                np.savez(buffer, **pair._asdict())
                trees.write_atomically(folder / f"{names[i]}.npz", buffer.getvalue())
            bar.update(len(numbers))
    return len(names)


# ------------------------------------------------------------------------------------------------------
# for training
class KnownEdits:
    """A source (see `data.sources`) of pairs, in every pass in another order, with further objects
    in front of some.

    Attributes:
        held_out: fixed pairs that training does not see.
        description: of the run's record.

    Args:
        pairs: for training, random access.
        held_out: for evaluation, at least one.
        description: "name", "count" of pairs, "sha256" of what they are.
        batch_size: pairs that this process brings to a batch.
        seed: of order and objects.
        process, processes: number of this process, and how many there are.
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
    """The pairs of a folder for training and for evaluation (training ones where there are no
    others), and what they are.

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


def toy_pairs(count: int, size: int) -> list[Pair]:
    """Pairs of a tiny generator with random weights, whose codes an encoder of its own misses by
    chance; no file is needed.
    """
    world = toy_ghost_world()
    key, key_error = jax.random.split(jax.random.key(0))
    w = jax.random.normal(key, (count, 1, world.generator.module.latent_size))
    codes = jnp.broadcast_to(w, (count, world.directions.shape[1], w.shape[-1]))
    missed = codes + 0.3 * jax.random.normal(key_error, codes.shape)
    faces = np.asarray(draw(world, codes, size))
    return make_pairs(
        world, lambda _: missed, [str(i) for i in range(count)], faces, np.asarray(codes), 0
    )


def read_pair(path: Path) -> Pair:
    """A written pair.

    Raises:
        UserError: the file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return Pair(**{name: file[name] for name in Pair._fields})
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} is damaged ({error}); delete it and run the same command again"
        ) from error


def _stacked(pairs: Iterable[Pair]) -> dict[str, np.ndarray]:
    return {
        name: np.stack(part)
        for name, part in zip(Pair._fields, zip(*pairs, strict=True), strict=True)
    }


# -------------------------------------------------------------------------------------------------------
# the command
def run(options: argparse.Namespace) -> int:
    roles = ("generator", "encoder", "classifier")
    dataset = open_prepared(options.data, options.faces)
    networks = jax.device_put(
        checkpoints.from_checkpoints(**{role: getattr(options, role) for role in roles})
    )
    found = checkpoints.read_directions(options.directions)
    directions = checkpoints.fit_directions(found, networks.generator)
    size, resolution = dataset.recipe["size"], networks.generator.module.resolution
    if "code" not in dataset.splits["train"][0] or resolution % size:
        raise UserError(
            f"{options.faces} is not of this generator's pictures with codes; python -m "
            "diffcam_jax.data draw makes such a dataset"
        )
    if networks.encoder is None:
        raise UserError(
            "without an encoder there are no reconstructions to edit; give --encoder=FOLDER"
        )
    encoder = trees.tree_hash(networks.encoder.network.variables)
    world, encode = (
        jax.device_put(ghost_world(networks, directions)),
        functools.partial(pipeline.encode, networks),
    )
    claim_index(options.out, world, options.seed, CONFIG, f"{dataset.recipe['sha256']} {encoder}")
    counts = {"test": options.held_out, "train": options.count}
    for split, count in counts.items():
        made = write(
            world,
            encode,
            dataset.splits.get(split, []),
            split,
            count,
            options.out,
            options.seed,
            CONFIG,
        )
        print(f"{made} pairs of {size} pixels in {options.out / split}")
    print(
        "next: python train.py --config configs/deghost_mobile.py --workdir RUN "
        f"--config.data.folder={options.out}"
    )
    return 0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Write edits whose right result is known, for the deghosting network."
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder; a rerun continues where it stopped"
    )
    parser.add_argument(
        "--faces", required=True, help="prepared dataset of a generator's pictures with codes"
    )
    parser.add_argument(
        "--data", type=Path, default=store.cache_dir() / "data", help="folder of all datasets"
    )
    parser.add_argument(
        "--encoder",
        type=Path,
        help="converted folder; default: the one that comes with the generator",
    )
    parser.add_argument(
        "--count", type=int, default=1200, help="pairs for training (default: %(default)s)"
    )
    parser.add_argument(
        "--held-out", type=int, default=32, help="pairs for evaluation (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0)
    for role in ("generator", "classifier", "directions"):
        parser.add_argument(
            f"--{role}", type=Path, help="converted folder; default: the embedded part"
        )
    keep_freed_memory()
    keep_compiled_programs()
    return exit_code(lambda: run(parser.parse_args(argv)), "known_edits")


if __name__ == "__main__":
    sys.exit(main())
