"""Writes the training pictures of the deghosting network to a folder, as the release does.

    python -m diffcam_jax.data.ghosts --src ALIGNED_PICTURES --out DIR [--encoder FOLDER ...]
    python -m diffcam_jax.data.ghosts --samples 1000 --out DIR

    DIR/image/NAME.png     the blend F of `data.ghost_blends`, 8 bits
    DIR/target/NAME.png    its picture I; a rerun continues, picture by picture
    DIR/index.json         hashes of the networks, recipe

Without an encoder codes are found by optimisation and kept in the cache.
"""

import argparse
import dataclasses
import json
import sys
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from tqdm import tqdm

from diffcam_jax.command import arguments
from diffcam_jax.command.compilation import keep_compiled_programs
from diffcam_jax.command.device import check_device
from diffcam_jax.data.edit_samples import EditableGenerator, Recipe, draw_code
from diffcam_jax.data.ghost_blends import (
    GhostConfig,
    GhostNetworks,
    disturb,
    draw_edits,
    ghost_networks,
    make_ghosts,
)
from diffcam_jax.directions import importers
from diffcam_jax.editing import checkpoints
from diffcam_jax.editing.config import VARIANTS
from diffcam_jax.editor.editor import Editor
from diffcam_jax.errors import UserError, exit_code
from diffcam_jax.faces import align, photo
from diffcam_jax.files import trees
from diffcam_jax.nn.latents import latent_stats
from diffcam_jax.ops.image import from_unit, quantise, resize, to_unit

# Name of a picture -> uint8 [s, s, 3] and its W+ code [rows, k].
Read = Callable[[str], tuple[UInt8[np.ndarray, "s s 3"], Float[np.ndarray, "rows k"]]]


def write(
    networks: GhostNetworks,
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
        networks: generator, classifier and edits.
        names: without suffix.
        read: see `Read`; a UserError skips the picture.
        folder: see the module.
        seed: of edits and strengths.
        config: of the blends.
        origin: what else the pairs depend on, such as the encoder's hash.

    Returns:
        Name -> why it was skipped.

    Raises:
        UserError: the folder holds pairs of other networks or another recipe, or cannot be written.
    """
    folder, skipped = Path(folder), {}
    claim_index(folder, networks, seed, config, origin)
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
                networks,
                image,
                jnp.asarray(code)[None],
                *draw_edits(key, networks, 1, config),
                config,
            )
            photo.write_photo(folder / "target" / f"{name}.png", pixels)
            photo.write_photo(folder / "image" / f"{name}.png", from_unit(ghosts.fused[0]))
    except OSError as error:
        raise UserError(
            f"cannot write to {folder} ({error.strerror or error}); choose another --out"
        ) from error
    return skipped


def claim_index(
    folder: Path, networks: GhostNetworks, seed: int, config: GhostConfig, origin: str
) -> None:
    """Writes what a folder of pairs depends on, or checks that it is the same as before.

    Args:
        folder: of the pairs.
        networks: generator, classifier and edits.
        seed: of edits and strengths.
        config: of the blends.
        origin: what else the pairs depend on.

    Raises:
        UserError: the folder holds pairs of other networks or another recipe, or cannot be written.
    """
    recipe = {"seed": seed, "origin": origin, **dataclasses.asdict(config)}
    recipe["cam"]["sign"] = networks.classifier.sign
    index = {
        "edits": list(networks.names),
        "directions": trees.tree_hash({"directions": networks.directions}),
        "generator": trees.tree_hash(networks.generator.variables),
        "classifier": trees.tree_hash(networks.classifier.network.variables),
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
    """Reads aligned pictures of a folder, and finds their codes.

    Args:
        editor: finds the codes.
        folder: of the pictures.
        size: side to which they are reduced.

    Returns:
        Names of the pictures, and what reads them.

    Raises:
        UserError: two pictures have the same name.
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


def samples(networks: GhostNetworks, count: int, size: int, seed: int) -> tuple[list[str], Read]:
    """Draws disturbed samples of the generator, whose names are their numbers.

    Args:
        networks: generator and edits.
        count: samples.
        size: side of the pictures.
        seed: of the samples.

    Returns:
        Names of the samples, and what draws them with their codes.
    """
    mean = latent_stats(*networks.generator, jax.random.key(0)).mean
    source = EditableGenerator(networks.generator, mean, networks.names, networks.directions)

    @jax.jit
    def render(
        networks: GhostNetworks, source: EditableGenerator, index: Array
    ) -> tuple[Array, Array]:
        code = draw_code(source, Recipe(seed=seed, size=size), index)
        picture = networks.generator(code[None], method="synthesis", size=size)
        key = jax.random.fold_in(jax.random.key(seed + 2), index)
        return quantise(disturb(key, picture))[0], code

    def read(name: str) -> tuple[np.ndarray, np.ndarray]:
        picture, code = render(networks, source, jnp.asarray(int(name)))
        return np.asarray(picture), np.asarray(code)

    return [f"{i:06d}" for i in range(count)], read


def run(options: argparse.Namespace) -> int:
    """Writes pairs as the command line asks.

    Raises:
        UserError: options that make no sense, or networks that do not fit together.
    """
    if (options.src is None) == (options.samples is None):
        raise UserError(
            "say where pictures come from: --src FOLDER of aligned pictures, or --samples N of "
            "the generator"
        )
    roles = ("generator", "encoder", "classifier")
    parts = checkpoints.from_checkpoints(**{role: getattr(options, role) for role in roles})
    found = importers.read_directions(options.directions)
    directions = checkpoints.fit_directions(found, parts.generator)
    networks = jax.device_put(ghost_networks(parts, directions))
    resolution = parts.generator.module.resolution
    size = options.size or resolution
    if not 32 <= size <= resolution or resolution % size:
        raise UserError(
            f"--size {size}: the generator draws {resolution} pixels; give a half, a quarter, "
            "... of them"
        )
    if options.samples is None:
        editor = Editor(parts, directions)
        names, read = photographs(editor, options.src, size)
        origin = f"photographs {size} {editor.hashes['encoder']}"
    else:
        names, read = samples(networks, options.samples, size, options.seed)
        origin = f"samples {size}"
    config, names = GhostConfig(VARIANTS[options.variant].cam), names[: options.count]
    skipped = write(networks, names, read, options.out, options.seed, config, origin)
    for name, reason in skipped.items():
        print(f"skipped {name}: {reason}", file=sys.stderr)
    written = len(names) - len(skipped)
    if not written:
        raise UserError(f"none of the {len(names)} pictures could be used; see above")
    print(f"{written} pairs of {size} pixels in {options.out}, {len(skipped)} pictures skipped")
    print(
        f"next: python -m diffcam_jax.data prepare --src {options.out / 'image'} --pairs "
        f"{options.out / 'target'} --name ghosts --size {size}"
    )
    print(
        "then: python train.py --config configs/deghost.py --workdir RUN "
        "--config.data.source=prepared "
        f"--config.data.name=ghosts --config.data.size={size} --config.model.out_size={size}"
    )
    return 0


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
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
    arguments.add_directions(parser)
    for role in ("generator", "encoder", "classifier"):
        parser.add_argument(
            f"--{role}", type=Path, help="converted folder; default: the embedded part, no encoder"
        )
    check_device()
    keep_compiled_programs()
    return exit_code(lambda: run(parser.parse_args(argv)), "ghosts")


if __name__ == "__main__":
    sys.exit(main())
