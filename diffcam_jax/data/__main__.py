"""Makes a dataset for training: python -m diffcam_jax.data prepare | draw.

prepare    from a folder of pictures
draw       with a generator
"""

import argparse
import sys
from typing import Any

from absl import logging

from diffcam_jax.command.compilation import keep_compiled_programs
from diffcam_jax.command.device import check_device
from diffcam_jax.data.builders import ERRORS, dataset_folder
from diffcam_jax.data.layouts import TEST_SHARE
from diffcam_jax.data.prepare import prepare
from diffcam_jax.errors import exit_code
from diffcam_jax.pretrained import store


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m diffcam_jax.data", description="Data for training."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    add = _command(commands, "prepare", "make a dataset out of a folder of pictures")
    add(
        "--src",
        required=True,
        help="folder of pictures, searched recursively; FFHQ and CelebA-HQ are recognised",
    )
    add("--size", type=int, required=True, help="side of the pictures in pixels")
    add(
        "--align",
        action="store_true",
        help="cut out the largest face as FFHQ does; default: the centred square",
    )
    add(
        "--labels",
        help="CSV of file name and class, NVIDIA's dataset.json, CelebAMask-HQ-attribute-anno.txt, "
        "or folders, each of a class",
    )
    add("--pairs", help="folder with the target of each picture under the same name")
    add("--workers", type=int, help="threads; default: one for each processor")
    add = _command(commands, "draw", "make a dataset of a generator's pictures and their codes")
    add("--count", type=int, required=True, help="pictures")
    add(
        "--size",
        type=int,
        default=0,
        help="side of the pictures, a power of two; default: the generator's own",
    )
    add(
        "--generator",
        default="",
        help="folder of converted weights; default: the embedded generator",
    )
    add("--psi", type=float, default=1.0, help="truncation; 1 is none")
    add(
        "--mixing",
        type=float,
        default=0.0,
        help="share of the pictures with fine layers from a second face",
    )
    add("--seed", type=int, default=0)
    options = vars(parser.parse_args(argv))
    command = options.pop("command")
    return exit_code(lambda: _run(command, options), command)


def _command(commands: Any, name: str, purpose: str) -> Any:
    """Adds a command with the options that both have."""
    add = commands.add_parser(name, help=purpose, description=purpose).add_argument
    add("--name", required=True, help="of the dataset")
    add(
        "--out",
        default=str(store.cache_dir() / "data"),
        help="folder of all datasets (default: %(default)s)",
    )
    add(
        "--test-share",
        type=float,
        default=TEST_SHARE,
        help="share of test pictures (default: %(default)s)",
    )
    return add


def _run(command: str, options: dict[str, Any]) -> int:
    # TensorFlow Datasets warns that it does not know this dataset.
    logging.set_verbosity(logging.ERROR)
    try:
        if command == "prepare":
            recipe = prepare(**options)
        else:
            from diffcam_jax.data.drawn import draw_dataset

            check_device()

            keep_compiled_programs()
            recipe = draw_dataset(**options)
    except KeyboardInterrupt:
        print(f"{command}: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    place, size = dataset_folder(options["out"], recipe["name"]), recipe["size"]
    whole = sum(recipe["counts"].values())
    if recipe["left_out"]:
        share = f"{recipe['left_out']} of {whole + recipe['left_out']} pictures"
        print(f"{command}: {share} left out, the reasons are in {place / ERRORS}", file=sys.stderr)
    if recipe["enlarged"]:
        print(
            f"{command}: {recipe['enlarged']} of {whole} pictures are smaller than {size} and "
            "were enlarged",
            file=sys.stderr,
        )
    counts = " and ".join(f"{count} for {split}" for split, count in recipe["counts"].items())
    print(
        f"{recipe['name']}: {counts}, {size}x{size}, in {place}; next: train.py with "
        "--config.data.source=prepared "
        f"--config.data.folder={place}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
