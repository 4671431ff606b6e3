"""Flags that several programs share: networks, faces, output. Free of arrays: help is quick."""

import argparse
from collections.abc import Sequence
from pathlib import Path

# Role of a network, which is also its flag -> help.
ROLES = {
    "generator": "converted or trained generator",
    "encoder": "converted or trained encoder of this generator",
    "classifier": "converted or trained Diff-CAM classifier",
    "deghoster": "converted or trained deghosting network",
    "aligner": "converted or trained alignment network",
}


def add_output(parser: argparse.ArgumentParser) -> None:
    """Adds the output folder."""
    parser.add_argument(
        "--out", type=Path, default=Path("out"), help="output folder (default: out)"
    )


def add_cache(parser: argparse.ArgumentParser) -> None:
    """Adds the flag that leaves the cache of found codes alone."""
    parser.add_argument(
        "--no-cache", action="store_true", help="neither read nor keep what was optimised"
    )


def add_networks(parser: argparse.ArgumentParser, roles: Sequence[str] = tuple(ROLES)) -> None:
    """Adds a flag for the folder of each role; the default is the embedded network."""
    for role in roles:
        parser.add_argument(f"--{role}", type=Path, metavar="DIR", help=ROLES[role])


def networks(options: argparse.Namespace) -> dict[str, Path]:
    """The folders that replace embedded networks, by role."""
    return {role: folder for role in ROLES if (folder := getattr(options, role, None)) is not None}


def networks_again(options: argparse.Namespace) -> str:
    """The same flags once more, for the command that a message suggests."""
    return "".join(f" --{role} {folder}" for role, folder in networks(options).items())


def add_faces(parser: argparse.ArgumentParser, every: bool) -> None:
    """Adds the flags that say where the face is.

    Args:
        parser: of a program.
        every: whether the program can take all faces of a photograph.
    """
    text = "which face of a photograph (1 is the largest)" + (", or all" if every else "")
    parser.add_argument("--face", default="largest", metavar="N|all" if every else "N", help=text)
    parser.add_argument(
        "--aligned", action="store_true", help="the photographs already are FFHQ crops"
    )
    parser.add_argument(
        "--landmarks",
        type=Path,
        metavar="FILE",
        help="points of the face in one photograph: 5, 68 or 478 x y rows",
    )
