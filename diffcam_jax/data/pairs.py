"""Pairs (I', T) of the embedded generator and the class of the edit between them (2207.08134,
section 3.3).

A sample is one face and its N edits: w = mapping(z), truncated, sometimes mixed from two faces;
T_c = G(w + strength n_c). Two sources give the same batches, {"inverted", "edited": uint8 [b,s,s,3]
RGB, "label": int32 [b]}, as a pure function of the step: `OnlinePairs` runs the generator (for a
GPU), `CachedPairs` reads a folder that this module writes once:

    python -m diffcam_jax.data.pairs --out DIR --count 1024 --seed 0

    DIR/index.json              classes, hashes of generator, directions and encoder, recipe
    DIR/00000.npy, 00001.npy    uint8 [samples, 1 + N, s, s, 3], picture 0 is I'; memory-mapped, nothing to decode

The first samples of either source are held out for evaluation. With --encoded 0.5 the codes of half
of the samples are not those that a face was drawn from, but what an encoder finds in the face as a
photograph might show it (`data.photographic`): pairs as an editor of photographs meets them.
"""

import argparse
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import sys
from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8
from tqdm import tqdm

from diffcam_jax.command.compilation import keep_compiled_programs
from diffcam_jax.data.photographic import Photographic
from diffcam_jax.directions import load_directions
from diffcam_jax.directions.scoring import draw_uint8
from diffcam_jax.editing import checkpoints, pipeline
from diffcam_jax.errors import UserError
from diffcam_jax.files import trees
from diffcam_jax.nn.latents import latent_stats
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN
from diffcam_jax.nn.network import Network
from diffcam_jax.ops.image import quantise, to_unit
from diffcam_jax.pretrained import networks as pretrained

Encode = Callable[[Float[Array, "b s s 3"]], Float[Array, "b rows k"]]

SHARD = 16  # samples a file
PHOTOGRAPHIC = Photographic()


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The distribution of samples.

    Attributes:
        seed: of all draws; sample i depends on seed and i only.
        size: side of the pictures in pixels.
        psi: range of the truncation, uniform.
        strength: range of the edit, uniform, in the directions' unit (1 is one clear edit).
        both_signs: draw negative strengths as well; the class stays that of the direction.
        mixing: probability that the fine layers come from a second face, which fills W+ beyond W.
        encoded: probability that an encoder finds the code again; for pairs in a folder.
    """

    seed: int = 0
    size: int = 256
    psi: tuple[float, float] = (0.5, 0.9)
    strength: tuple[float, float] = (0.6, 1.4)
    both_signs: bool = False
    mixing: float = 0.3
    encoded: float = 0.0


@flax.struct.dataclass
class EditWorld:
    """The generator and the edits that samples are drawn from.

    Attributes:
        generator: with methods mapping and synthesis.
        mean: average w [k].
        names: N class names.
        directions: [N,rows,k]; strength 1 adds the array to W+.
    """

    generator: Network
    mean: Float[Array, " k"]
    names: tuple[str, ...] = flax.struct.field(pytree_node=False)
    directions: Float[Array, "n rows k"]

    def fingerprint(self) -> dict:
        """Class names and content hashes, to recognise pairs made with other parts."""
        arrays = np.asarray(self.directions, np.float32)
        return {
            "classes": list(self.names),
            "direction_sha256": {
                name: hashlib.sha256(array.tobytes()).hexdigest()
                for name, array in zip(self.names, arrays, strict=True)
            },
            "generator_sha256": trees.tree_hash(self.generator.variables["params"]),
        }


def draw_code(world: EditWorld, recipe: Recipe, index: Int[Array, ""]) -> Float[Array, "rows k"]:
    """The W+ code of sample `index`."""
    key_z, key_psi, key_mix, key_cut = jax.random.split(
        jax.random.fold_in(jax.random.key(recipe.seed), index), 4
    )
    z = jax.random.normal(key_z, (2, world.mean.shape[0]))
    w = world.generator(z, method="mapping")
    psi = jax.random.uniform(key_psi, (), minval=recipe.psi[0], maxval=recipe.psi[1])
    w = world.mean + psi * (w - world.mean)
    rows = world.directions.shape[1]
    mixed = jax.random.uniform(key_mix) < recipe.mixing
    cut = jnp.where(mixed, jax.random.randint(key_cut, (), rows // 3, rows), rows)
    return jnp.where((jnp.arange(rows) < cut)[:, None], w[0], w[1])


def draw_strengths(world: EditWorld, recipe: Recipe, index: Int[Array, ""]) -> Float[Array, " n"]:
    """The strength of each of sample `index`'s edits."""
    key, key_sign = jax.random.split(jax.random.fold_in(jax.random.key(recipe.seed + 1), index))
    strengths = jax.random.uniform(
        key, (len(world.names),), minval=recipe.strength[0], maxval=recipe.strength[1]
    )
    return (
        strengths * jax.random.rademacher(key_sign, strengths.shape)
        if recipe.both_signs
        else strengths
    )


def render_sample(
    world: EditWorld,
    recipe: Recipe,
    index: Int[Array, ""],
    code: Float[Array, "rows k"] | None = None,
) -> UInt8[Array, "_ s s 3"]:
    """All pictures of sample `index`, I' and its N edits; with a code in the place of its own."""
    code = draw_code(world, recipe, index) if code is None else code
    edits = code + draw_strengths(world, recipe, index)[:, None, None] * world.directions
    codes = jnp.concatenate([code[None], edits])
    return quantise(world.generator(codes, method="synthesis", size=recipe.size))


_draw_code, _render_sample = (
    jax.jit(function, static_argnums=1) for function in (draw_code, render_sample)
)


def make_sample(
    world: EditWorld, recipe: Recipe, index: int, encode: Encode | None = None
) -> UInt8[np.ndarray, "_ s s 3"]:
    """All pictures of sample `index`, whose code is found by `encode`, pictures [1, s, s, 3] in
    [-1, 1] -> codes, as often as the recipe says.
    """
    rng, number, code = np.random.default_rng((recipe.seed, index)), jnp.asarray(index), None
    if encode is not None and rng.random() < recipe.encoded:
        own = _draw_code(world, recipe, number)[None]
        face = np.asarray(draw_uint8(*world.generator, own, recipe.size))[0]
        code = encode(jnp.asarray(to_unit(PHOTOGRAPHIC(face, rng)[None])))[0]
    return np.asarray(_render_sample(world, recipe, number, code))


def choose(
    seed: int, step: int, batch_size: int, held_out: int, samples: int, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sample numbers in [held_out, samples) and classes of the batch of `step`."""
    rng = np.random.default_rng((seed, step))
    return rng.integers(held_out, samples, batch_size), rng.integers(0, classes, batch_size).astype(
        np.int32
    )


class OnlinePairs:
    """Batches made by the generator on demand; never repeats a face, however many are asked for."""

    def __init__(self, world: EditWorld, recipe: Recipe, batch_size: int, held_out: int) -> None:
        self.names, self.held_out, self.fingerprint = world.names, held_out, world.fingerprint()
        self.count = sys.maxsize
        self._recipe, self._batch_size = recipe, batch_size

        @jax.jit
        def render(
            world: EditWorld, indices: Int[Array, " b"], labels: Int[Array, " b"]
        ) -> UInt8[Array, "b2 s s 3"]:
            codes = jax.vmap(lambda i: draw_code(world, recipe, i))(indices)
            strengths = jax.vmap(lambda i, c: draw_strengths(world, recipe, i)[c])(indices, labels)
            codes = jnp.concatenate(
                [codes, codes + strengths[:, None, None] * world.directions[labels]]
            )
            return quantise(world.generator(codes, method="synthesis", size=recipe.size))

        self._render = functools.partial(render, world)
        self._sample = functools.partial(_render_sample, world, recipe)

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        first = self.held_out + step * self._batch_size
        indices = jnp.arange(first, first + self._batch_size)
        _, labels = choose(self._recipe.seed, step, self._batch_size, 0, 1, len(self.names))
        before, after = np.split(np.asarray(self._render(indices, jnp.asarray(labels))), 2)
        return {"inverted": before, "edited": after, "label": labels}

    def sample(self, index: int) -> UInt8[np.ndarray, "_ s s 3"]:
        """I' and its N edits of sample `index`; those below `held_out` are for evaluation."""
        return np.asarray(self._sample(jnp.asarray(index)))


class CachedPairs:
    """Batches from a prepared folder, drawn with replacement.

    Args:
        folder: what `write` made; the complete files in it are used.
        batch_size: pairs a batch.
        held_out: samples at the front that batches never contain.
        seed: of the order.
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
        self.fingerprint = json.loads((folder / "index.json").read_text())
        self.recipe = self.fingerprint.pop("recipe")
        self.names, self.held_out = tuple(self.fingerprint["classes"]), held_out
        self._shards = [
            np.load(f, mmap_mode="r", allow_pickle=False) for f in sorted(folder.glob("[0-9]*.npy"))
        ]
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
        """I' and its N edits of sample `index`; those below `held_out` are for evaluation."""
        return self._shards[index // SHARD][index % SHARD]


def write(
    world: EditWorld,
    recipe: Recipe,
    folder: str | os.PathLike,
    count: int,
    encode: Encode | None = None,
    encoder: str = "",
) -> None:
    """Write samples 0 .. count-1 (rounded up to whole files); files that exist are kept.

    Args:
        world, recipe: of the samples.
        folder: made when missing.
        count: how many.
        encode, encoder: finds codes in pictures (see `make_sample`), and the hash of its weights.

    Raises:
        UserError: the folder holds pairs of other directions, another generator or encoder, or
            another recipe.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    index = world.fingerprint() | ({"encoder_sha256": encoder} if encoder else {})
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
                    samples.append(make_sample(world, recipe, i, encode))
                    bar.update()
                with trees.replacing(path) as file:
                    np.save(file, np.stack(samples), allow_pickle=False)
            else:
                bar.update(SHARD)


def pretrained_world(directions: str | None = None) -> EditWorld:
    """The embedded generator with the shipped directions, or those of a file."""
    generator = jax.device_put(pretrained.load("mobile_stylegan_ffhq").network("generator"))
    table = load_directions(directions)
    names = tuple(sorted(table))  # the official order: class i is the i-th file name
    arrays = jnp.stack([jnp.asarray(table[name].array) for name in names])
    mean = latent_stats(*generator, jax.random.key(0)).mean
    return EditWorld(generator, mean, names, arrays)


def shipped_encode(folder: pathlib.Path | None) -> tuple[Encode, str]:
    """What finds codes of the embedded generator's pictures, the shipped encoder or that of a
    folder, and the hash of its weights.
    """
    networks = jax.device_put(checkpoints.from_checkpoints(encoder=folder))
    digest = trees.tree_hash(networks.encoder.network.variables)
    return lambda images: pipeline.encode(networks, images), digest


def toy_world() -> EditWorld:
    """A tiny generator with random weights and three random edits, for trying things out without
    any file.
    """
    model = MobileStyleGAN(widths=(16, 16, 16, 8), latent_size=8, mapping_layers=2)
    generator = Network(model, jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8))))
    directions = 2 * jax.random.normal(jax.random.key(1), (3, 18, 8))
    return EditWorld(generator, jnp.zeros(8), ("a", "b", "c"), directions)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Write training pairs of the Diff-CAM classifier to a folder."
    )
    parser.add_argument("--out", required=True, help="folder; a rerun continues where it stopped")
    parser.add_argument(
        "--count", type=int, default=1024, help="faces (each comes with all its edits)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=256, help="side of the pictures")
    parser.add_argument("--directions", help="safetensors file; default: the shipped directions")
    parser.add_argument(
        "--encoded",
        type=float,
        default=0.0,
        help="share of faces whose code an encoder finds again",
    )
    parser.add_argument("--encoder", type=pathlib.Path, help="its folder; default: the shipped one")
    args = parser.parse_args(argv)
    keep_compiled_programs()
    recipe = Recipe(seed=args.seed, size=args.size, encoded=args.encoded)
    try:
        if not 0 <= args.encoded <= 1:
            raise UserError(f"--encoded {args.encoded:g} is a share of the faces; give 0 to 1")
        if args.encoder is not None and not args.encoded:
            raise UserError(
                f"--encoder {args.encoder} is of no use without --encoded; add --encoded 0.5"
            )
        found = shipped_encode(args.encoder) if args.encoded else ()
        write(pretrained_world(args.directions), recipe, args.out, args.count, *found)
    except UserError as error:
        print(f"pairs: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
