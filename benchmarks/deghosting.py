"""Does the deghosting network help? Edits of generated faces whose right result is known.

The plain blend and the deghosted picture against it.

    python -m benchmarks.deghosting [--deghoster RUN] [--encoder RUN] [--faces drawn256] [--count
    16] [--out table.json] [--strip strip.png]

Every face is drawn at the generator's full size, photographed with objects in front
(`data.known_edits`), encoded, edited with strength 1 by one attribute after the other, and blended
as the product does. Measured is the region that the deghosted picture is pasted into, everything
else is the photograph's in both: PSNR inside (pixels weighted by the region, at full size), LPIPS
of both trunks of the result pasted into the truth at 256 pixels, sharpness (mean absolute Laplacian
inside as a share of the truth's, the median of the faces). `better` counts faces. Faces are test
pictures of a prepared dataset, which no training saw; codes are the encoder's own.
"""

import argparse
import json
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from diffcam_jax.command.allocator import keep_freed_memory
from diffcam_jax.command.compilation import keep_compiled_programs
from diffcam_jax.data.builders import open_prepared
from diffcam_jax.data.edit_pairs import draw, photographed
from diffcam_jax.data.ghost_blends import ghost_networks
from diffcam_jax.directions import importers
from diffcam_jax.editing import checkpoints, pipeline
from diffcam_jax.editing.compose import blend
from diffcam_jax.editing.edit import Edits, edit_batch
from diffcam_jax.editor.editor import PRODUCT_CONFIG
from diffcam_jax.faces.panel import titled_grid
from diffcam_jax.files import trees
from diffcam_jax.metrics.perceptual import Lpips
from diffcam_jax.ops.image import from_unit, resize, to_unit
from diffcam_jax.pretrained import store
from diffcam_jax.train.deghost_mobile_losses import psnr_inside
from diffcam_jax.train.report import save_picture

SHOWN, SIDE = 8, 256
KINDS = ("blend", "deghosted")


@jax.jit
def sharpness(picture: jax.Array, region: jax.Array) -> jax.Array:
    """Mean absolute Laplacian inside a region."""
    middle = picture[:, 1:-1, 1:-1]
    around = (
        picture[:, :-2, 1:-1] + picture[:, 2:, 1:-1] + picture[:, 1:-1, :-2] + picture[:, 1:-1, 2:]
    )
    inside = region[:, 1:-1, 1:-1]
    return (jnp.abs(4 * middle - around).mean(-1) * inside).sum() / jnp.maximum(inside.sum(), 1e-6)


def small(picture: jax.Array) -> np.ndarray:
    """uint8 at 256 pixels."""
    return from_unit(resize(picture, (SIDE, SIDE), "area"))[0]


def main() -> None:
    """Runs the benchmark and prints its table; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--deghoster", type=Path, help="folder; default: the one that comes with the generator"
    )
    parser.add_argument(
        "--encoder", type=Path, help="folder; default: the one that comes with the generator"
    )
    parser.add_argument(
        "--faces", default="drawn256", help="prepared dataset with codes (default: %(default)s)"
    )
    parser.add_argument("--count", type=int, default=16, help="faces (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="JSON file for the numbers")
    parser.add_argument("--strip", type=Path, help="picture of the first faces")
    options = parser.parse_args()
    keep_freed_memory()
    keep_compiled_programs()
    networks = jax.device_put(
        checkpoints.from_checkpoints(encoder=options.encoder, deghoster=options.deghoster)
    )
    if networks.encoder is None or networks.deghoster is None:
        parser.error("encoder and deghosting network are needed; give --encoder and --deghoster")
    directions = checkpoints.fit_directions(importers.read_directions(None), networks.generator)
    world = jax.device_put(ghost_networks(networks, directions))
    size = networks.generator.module.resolution
    faces = open_prepared(store.cache_dir() / "data", options.faces).splits["test"]

    rows, found, cells = [], {name: [] for name in (*KINDS, "truth")}, []
    for number in tqdm(range(min(options.count, len(faces))), unit="face", disable=None):
        code, which = jnp.asarray(faces[number]["code"])[None], number % len(world.names)
        direction = world.directions[which][None]
        both = (np.asarray(draw(world, code + shift, size))[0] for shift in (0.0, direction))
        rng = np.random.default_rng(zlib.crc32(faces[number]["name"]))
        image, truth = (jnp.asarray(to_unit(x))[None] for x in photographed(*both, rng))
        codes = pipeline.encode(networks, image)
        edits = Edits(direction, jnp.ones((1, 1)), world.classes[which][None])
        result = edit_batch(networks, image, codes, edits, PRODUCT_CONFIG)
        region = result.paste_mask
        if not np.asarray(region).any():
            continue
        pictures = {"blend": result.fused, "deghosted": result.deghosted}
        row: dict[str, float | str] = {
            "attribute": world.names[which],
            "area": float(region.mean()),
        }
        for name, picture in pictures.items():
            row[f"psnr_{name}"] = float(psnr_inside(picture, truth, region)[0])
            row[f"sharpness_{name}"] = float(sharpness(picture, region) / sharpness(truth, region))
            found[name].append(small(blend(truth, picture, region)))
        found["truth"].append(small(truth))
        if len(cells) < SHOWN:
            final = blend(image, result.deghosted, region)
            cells.append([small(x) for x in (image, result.edited, result.fused, final, truth)])
        rows.append(row)

    for net in ("alex", "vgg"):
        lpips = Lpips(net, SIDE, batch=4)
        for name in KINDS:
            for row, value in zip(
                rows, lpips(np.stack(found[name]), np.stack(found["truth"])), strict=True
            ):
                row[f"lpips_{net}_{name}"] = float(value)
    report(rows)
    if options.out:
        trees.write_atomically(options.out, json.dumps(rows, indent=1).encode() + b"\n")
    if options.strip:
        save_picture(
            options.strip,
            titled_grid(
                cells, ["photograph", "edited inversion", "blend", "deghosted", "truth"], SIDE
            ),
        )


def report(rows: list[dict]) -> None:
    """Prints the table: all faces, then every attribute."""
    measures = ("psnr", "lpips_alex", "lpips_vgg")
    print(
        "| faces | picture | PSNR inside | LPIPS-Alex | LPIPS-VGG | sharpness | better (PSNR, "
        "LPIPS-Alex) |"
    )
    print("|---|---|---|---|---|---|---|")
    for name in ("all", *dict.fromkeys(row["attribute"] for row in rows)):
        chosen = [row for row in rows if name in ("all", row["attribute"])]
        won = sum(row["psnr_deghosted"] > row["psnr_blend"] for row in chosen)
        nearer = sum(row["lpips_alex_deghosted"] < row["lpips_alex_blend"] for row in chosen)
        for kind, better in zip(KINDS, ("", f"{won}, {nearer} of {len(chosen)}"), strict=True):
            means = [np.mean([row[f"{measure}_{kind}"] for row in chosen]) for measure in measures]
            sharp = np.median([row[f"sharpness_{kind}"] for row in chosen])
            numbers = "{:.2f} | {:.4f} | {:.4f} | {:.2f}".format(*means, sharp)
            print(f"| {len(chosen)} {name} | {kind} | {numbers} | {better} |")


if __name__ == "__main__":
    main()
