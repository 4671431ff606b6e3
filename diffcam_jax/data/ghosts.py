"""Training pictures of the deghosting network (2207.08134, section 3.4, Eq.

6 and 7): a blend with ghosts, and what it should be.

From an aligned picture I with its code w and a random edit: T = G(w + alpha n), M the Diff-CAM mask
of (G(w), T), values above 0.5 folded to 1 - M, F = T M + I (1 - M). A network that turns F into I
learns to remove what a blend leaves behind. Pictures NHWC RGB in [-1, 1]. `make_ghosts` runs on the
device while training; the official release writes the pictures first:

    python -m diffcam_jax.data.ghosts --src ALIGNED_PICTURES --out DIR [--encoder FOLDER --generator
    FOLDER ...] python -m diffcam_jax.data.ghosts --samples 1000 --out DIR

    DIR/image/NAME.png, DIR/target/NAME.png     F and I, 8 bits; a rerun continues, picture by picture
    DIR/index.json                              hashes of the networks, recipe

Without an encoder codes are found by optimisation and kept in the cache. A generator's own samples
hold nothing that it cannot draw, which is what ghosts come from: `disturb` changes colours and puts
shapes in front of them.
"""

import argparse
import dataclasses
import functools
import json
import sys
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8
from tqdm import tqdm

from diffcam_jax.command.compilation import keep_compiled_programs
from diffcam_jax.data.augment import AugmentConfig, augment
from diffcam_jax.data.pairs import EditWorld, Recipe, draw_code, toy_world
from diffcam_jax.directions import Direction
from diffcam_jax.editing import checkpoints, diffcam
from diffcam_jax.editing.classifier import Classifier
from diffcam_jax.editing.compose import blend, resize_mask, training_mask
from diffcam_jax.editing.config import VARIANTS
from diffcam_jax.editing.pipeline import Pipeline
from diffcam_jax.editor.editor import Editor
from diffcam_jax.errors import UserError, exit_code
from diffcam_jax.faces import align, photo
from diffcam_jax.files import trees
from diffcam_jax.nn.classifier import DiffClassifier
from diffcam_jax.nn.latents import latent_stats
from diffcam_jax.nn.network import Network
from diffcam_jax.ops.image import from_unit, quantise, resize, to_unit

# What happens to a generator's sample so that its inversion differs from it.
DISTURBANCE = AugmentConfig(flip=0.0, shift=0, colour=0.1, blur=0.2, occlude=0.8, hide=0.0)


@dataclasses.dataclass(frozen=True)
class GhostConfig:
    """How a training picture is made; hashable. The defaults are those of the official release.

    Attributes:
        cam: how activations become a mask, and the mask is enlarged.
        strength: range of the edit, uniform, above 0, in the directions' unit.
        classifier_size: side at which the classifier compares, or that of the picture if it is
            smaller.
    """

    cam: diffcam.CamConfig = diffcam.OFFICIAL
    strength: tuple[float, float] = (1.0, 1.0)
    classifier_size: int = 256


@flax.struct.dataclass
class GhostWorld:
    """The frozen networks and the edits.

    Attributes:
        generator: with method synthesis.
        classifier: Diff-CAM's.
        names: of the edits, N.
        directions: [N, rows, k]; strength 1 adds the array to W+.
        classes: [N] index of each direction among the classifier's classes.
    """

    generator: Network
    classifier: Classifier
    names: tuple[str, ...] = flax.struct.field(pytree_node=False)
    directions: Float[Array, "n rows k"]
    classes: Int[Array, " n"]


class Ghosts(NamedTuple):
    """What `make_ghosts` gives: F and T [b, s, s, 3] in [-1, 1], and the folded mask [b, s, s]."""

    fused: Float[Array, "b s s 3"]
    edited: Float[Array, "b s s 3"]
    mask: Float[Array, "b s s"]


@functools.partial(jax.jit, static_argnames="config")
def make_ghosts(
    world: GhostWorld,
    images: Float[Array, "b s s 3"],
    codes: Float[Array, "b rows k"],
    edits: Int[Array, " b"],
    strengths: Float[Array, " b"],
    config: GhostConfig = GhostConfig(),
) -> Ghosts:
    """The training picture of Eq. 7 for each picture.

    Args:
        world: networks and edits.
        images: I, at most as large as the generator's pictures.
        codes: W+ codes of I.
        edits: which of the world's edits each picture gets.
        strengths: of each.
        config: static choices.
    """
    size, small = images.shape[1], min(config.classifier_size, images.shape[1])

    def draw(w: Array, side: int) -> Array:
        return world.generator(w, method="synthesis", size=side)

    edited = draw(codes + strengths[:, None, None] * world.directions[edits], size)
    pair = draw(codes, small), resize(edited, (small, small), "area")
    classes = world.classes[edits]
    found = diffcam.diff_cam(world.classifier, *pair, classes, config.cam)
    mask = training_mask(resize_mask(found.mask, (size, size), config.cam.resize))
    edited = edited.clip(-1, 1)
    return Ghosts(blend(images, edited, mask), edited, mask)


def draw_edits(
    key: PRNGKeyArray, world: GhostWorld, count: int, config: GhostConfig
) -> tuple[Int[Array, " b"], Float[Array, " b"]]:
    """A random edit and strength for each of `count` pictures."""
    which, how = jax.random.split(key)
    low, high = config.strength
    edits = jax.random.randint(which, (count,), 0, len(world.names))
    return edits, jax.random.uniform(how, (count,), minval=low, maxval=high)


def disturb(
    key: PRNGKeyArray, images: Float[Array, "b s s 3"], config: AugmentConfig = DISTURBANCE
) -> Float[Array, "b s s 3"]:
    """Changes samples so that their codes no longer draw them: colour, blur, and an ellipse in
    front.

    Args:
        config: without flips and shifts, which would move the picture away from its code.
    """
    return augment(key, images, images, jnp.zeros(len(images), bool), config)[0]


def ghost_world(networks: Pipeline, directions: Mapping[str, Direction]) -> GhostWorld:
    """The edits that both the directions and the classifier know.

    Args:
        networks: generator and classifier.
        directions: by name, with the rows of the generator.

    Raises:
        UserError: there is none.
    """
    judge = networks.classifier
    names = tuple(name for name in directions if name in judge.names)
    if not names:
        raise UserError(
            f"the classifier knows {', '.join(judge.names)}, the directions are "
            f"{', '.join(directions)}; give a classifier trained with these directions"
        )
    arrays = jnp.stack([jnp.asarray(directions[name].array) for name in names])
    classes = jnp.asarray([judge.names.index(name) for name in names], jnp.int32)
    return GhostWorld(networks.generator, judge, names, arrays, classes)


@functools.cache
def toy_ghost_world() -> GhostWorld:
    """A tiny generator of 64 pixels and a tiny classifier with random weights, for trying things
    out without any file.
    """
    edits, classifier = (
        toy_world(),
        DiffClassifier(18, 4, num_classes=3, split=1, strides=(1, 2, 1, 1)),
    )
    blank, rng = jnp.zeros((1, 32, 32, 3)), np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: classifier.init(jax.random.key(0), blank, blank))

    def fill(path: tuple, leaf: jax.ShapeDtypeStruct) -> Array:
        name = path[-1].key
        if name == "kernel":
            value = rng.standard_normal(leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:-1]))
            # Activations are not negative: with such weights every class has evidence somewhere.
            return jnp.asarray(abs(value) if path[-2].key == "fc" else value, jnp.float32)
        return jnp.full(leaf.shape, float(name in ("scale", "var")))

    network = Network(classifier, jax.tree_util.tree_map_with_path(fill, shapes))
    judge = Classifier(network, edits.names)
    return GhostWorld(edits.generator, judge, edits.names, edits.directions, jnp.arange(3))


# ---------------------------------------------------------------------------------------------------
# folders of pairs Name of a picture -> uint8 [s, s, 3] and its W+ code [rows, k].
Read = Callable[[str], tuple[UInt8[np.ndarray, "s s 3"], Float[np.ndarray, "rows k"]]]


def write(
    world: GhostWorld,
    names: Iterable[str],
    read: Read,
    folder: str | Path,
    seed: int = 0,
    config: GhostConfig = GhostConfig(),
    origin: str = "",
) -> dict[str, str]:
    """Writes the pairs of named pictures; those that are complete are kept.

    A pair depends on the seed and its name only.

    Args:
        names: without suffix.
        read: see `Read`; a UserError skips the picture.
        origin: what else the pairs depend on, the encoder's hash for instance.

    Returns: name -> why it was skipped.

    Raises:
        UserError: the folder holds pairs of other networks or another recipe, or cannot be written.
    """
    folder, skipped = Path(folder), {}
    claim_index(folder, world, seed, config, origin)
    try:
        for name in tqdm(list(names), unit="picture", disable=None):
            # The blend is written last: where it is, the pair is whole.
            if (folder / "image" / f"{name}.png").exists():
                continue
            try:
                pixels, code = read(name)
            except UserError as error:
                skipped[name] = str(error)
                continue
            key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
            image = jnp.asarray(to_unit(pixels))[None]
            ghosts = make_ghosts(
                world, image, jnp.asarray(code)[None], *draw_edits(key, world, 1, config), config
            )
            photo.write_photo(folder / "target" / f"{name}.png", pixels)
            photo.write_photo(folder / "image" / f"{name}.png", from_unit(ghosts.fused[0]))
    except OSError as error:
        raise UserError(
            f"cannot write to {folder} ({error.strerror or error}); choose another --out"
        ) from error
    return skipped


def claim_index(
    folder: Path, world: GhostWorld, seed: int, config: GhostConfig, origin: str
) -> None:
    """Writes what a folder of pairs depends on, or makes sure that it is the same as before.

    Arguments as in `write`.

    Raises:
        UserError: the folder holds pairs of other networks or another recipe, or cannot be written.
    """
    recipe = {"seed": seed, "origin": origin, **dataclasses.asdict(config)}
    recipe["cam"]["sign"] = world.classifier.sign
    index = {
        "edits": list(world.names),
        "directions": trees.tree_hash({"directions": world.directions}),
        "generator": trees.tree_hash(world.generator.variables),
        "classifier": trees.tree_hash(world.classifier.network.variables),
        "recipe": json.loads(json.dumps(recipe)),
    }
    path = folder / "index.json"
    try:
        if not path.exists():
            trees.write_atomically(path, json.dumps(index, indent=1).encode())
        elif json.loads(path.read_text()) != index:
            raise UserError(
                f"{folder} holds pairs of other networks or another recipe; choose an empty folder"
            )
    except OSError as error:
        raise UserError(
            f"cannot write to {folder} ({error.strerror or error}); choose another --out"
        ) from error


def photographs(editor: Editor, folder: Path, size: int) -> tuple[list[str], Read]:
    """Aligned pictures of a folder, reduced to `size` pixels, with the codes that the editor finds
    for them.
    """
    found = photo.list_photos(folder)
    paths = {path.stem: path for path in found}
    if twins := sorted({path.name for path in found} - {path.name for path in paths.values()}):
        raise UserError(
            f"{folder}: {twins[0]} and {paths[Path(twins[0]).stem].name} have the same name; "
            "rename one"
        )

    def read(name: str) -> tuple[np.ndarray, np.ndarray]:
        pixels = photo.read_photo(paths[name]).pixels
        quad = align.frame_quad(*pixels.shape[:2])
        whole = np.round(align.crop(pixels, quad, editor.generator.resolution) * 255).astype(
            np.uint8
        )
        code = editor.invert(whole)
        small = resize(jnp.asarray(to_unit(whole))[None], (size, size), "area")
        return from_unit(small[0]), code

    return sorted(paths), read


def samples(world: GhostWorld, count: int, size: int, seed: int) -> tuple[list[str], Read]:
    """Disturbed samples of the generator with their codes; the numbers of a sample are its name."""
    mean = latent_stats(*world.generator, jax.random.key(0)).mean
    source = EditWorld(world.generator, mean, world.names, world.directions)

    @jax.jit
    def render(world: GhostWorld, source: EditWorld, index: Array) -> tuple[Array, Array]:
        code = draw_code(source, Recipe(seed=seed, size=size), index)
        picture = world.generator(code[None], method="synthesis", size=size)
        key = jax.random.fold_in(jax.random.key(seed + 2), index)
        return quantise(disturb(key, picture))[0], code

    def read(name: str) -> tuple[np.ndarray, np.ndarray]:
        picture, code = render(world, source, jnp.asarray(int(name)))
        return np.asarray(picture), np.asarray(code)

    return [f"{i:06d}" for i in range(count)], read


def run(options: argparse.Namespace) -> int:
    if (options.src is None) == (options.samples is None):
        raise UserError(
            "say where pictures come from: --src FOLDER of aligned pictures, or --samples N of "
            "the generator"
        )
    roles = ("generator", "encoder", "classifier")
    networks = checkpoints.from_checkpoints(**{role: getattr(options, role) for role in roles})
    found = checkpoints.read_directions(options.directions)
    directions = checkpoints.fit_directions(found, networks.generator)
    world = jax.device_put(ghost_world(networks, directions))
    resolution = networks.generator.module.resolution
    size = options.size or resolution
    if not 32 <= size <= resolution or resolution % size:
        raise UserError(
            f"--size {size}: the generator draws {resolution} pixels; give a half, a quarter, "
            "... of them"
        )
    if options.samples is None:
        editor = Editor(networks, directions)
        names, read = photographs(editor, options.src, size)
        origin = f"photographs {size} {editor.hashes['encoder']}"
    else:
        names, read = samples(world, options.samples, size, options.seed)
        origin = f"samples {size}"
    config, names = GhostConfig(VARIANTS[options.variant].cam), names[: options.count]
    skipped = write(world, names, read, options.out, options.seed, config, origin)
    for name, reason in skipped.items():
        print(f"skipped {name}: {reason}", file=sys.stderr)
    written = len(names) - len(skipped)
    if not written:
        raise UserError(f"none of the {len(names)} pictures could be used; see above")
    print(f"{written} pairs of {size} pixels in {options.out}, {len(skipped)} pictures skipped")
    print(
        f"next: python -m diffcam_jax.data prepare --src {options.out / 'image'} --pairs "
        f"{options.out / 'target'} "
        f"--name ghosts --size {size}"
    )
    print(
        "then: python train.py --config configs/deghost.py --workdir RUN "
        "--config.data.source=prepared "
        f"--config.data.name=ghosts --config.data.size={size} --config.model.out_size={size}"
    )
    return 0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Write training pairs of the deghosting network to a folder."
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder; a rerun continues where it stopped"
    )
    parser.add_argument("--src", type=Path, help="folder of aligned pictures")
    parser.add_argument(
        "--samples", type=int, help="take so many disturbed samples of the generator instead"
    )
    parser.add_argument("--count", type=int, help="at most so many pictures of --src")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, help="side of the pictures; default: the generator's")
    parser.add_argument(
        "--variant", choices=("official", "paper"), default="official", help="of the mask"
    )
    for role in ("generator", "encoder", "classifier", "directions"):
        parser.add_argument(
            f"--{role}", type=Path, help="converted folder; default: the embedded part, no encoder"
        )
    keep_compiled_programs()
    return exit_code(lambda: run(parser.parse_args(argv)), "ghosts")


if __name__ == "__main__":
    sys.exit(main())
