"""The flags that all commands of `invert.py` share."""

import argparse

from diffcam_jax.command import arguments

METHODS = (
    "in_domain, image2stylegan, mse, encoder, prior or, for invert, pivotal_tuning "
    "(default: in_domain where there is an encoder, else prior)"
)


def add(parser: argparse.ArgumentParser, *steps: str) -> None:
    """Adds them to a command.

    Args:
        parser: of the command.
        steps: further names of the flag `--inversion-steps`.
    """
    arguments.add_output(parser)
    parser.add_argument("--method", metavar="NAME", help=METHODS)
    arguments.add_networks(parser, ("generator", "encoder"))
    arguments.add_faces(parser, every=False)
    parser.add_argument("--space", choices=("w+", "w"), default="w+")
    parser.add_argument(
        "--inversion-steps",
        *steps,
        dest="inversion_steps",
        type=int,
        metavar="N",
        help="of the optimiser, at most",
    )
    parser.add_argument(
        "--seconds", type=float, metavar="S", help="stop the search of a batch after so long"
    )
    parser.add_argument(
        "--restarts", type=int, default=0, metavar="R", help="further searches from random codes"
    )
    parser.add_argument(
        "--batch", type=int, default=4, metavar="N", help="photographs in one step (default: 4)"
    )
    arguments.add_cache(parser)
