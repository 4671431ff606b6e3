"""Flags that several programs share: networks, faces, output. Free of arrays: help is quick."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# Role of a network, which is also its flag -> help.
ROLES = {
    "generator": "converted or trained generator",
    "encoder": "converted or trained encoder of this generator",
    "classifier": "converted or trained Diff-CAM classifier",
    "deghoster": "converted or trained deghosting network",
    "aligner": "converted or trained alignment network",
}


def positive(text: str) -> int:
    """A whole number from 1 on.

    Raises:
        argparse.ArgumentTypeError: the text is something else.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def part(text: str) -> tuple[int, int]:
    """A part of a whole, "2/8", as (number from 1 on, count).

    Raises:
        argparse.ArgumentTypeError: the text is something else.
    """
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} is no part such as 2/8, the second of eight")
    return int(number), int(count)


def place(text: str) -> Path | str:
    """A path, or a URI as it is."""
    return text if "://" in text else Path(text)


def add_output(parser: argparse.ArgumentParser, kind: Callable[[str], Any] = Path) -> None:
    """Adds the output folder.

    Args:
        parser: of a program.
        kind: `Path`, or `place` for a program that can also write elsewhere.
    """
    parser.add_argument(
        "--out", type=kind, default=Path("out"), help="output folder (default: out)"
    )


def add_cache(parser: argparse.ArgumentParser) -> None:
    """Adds the flag that leaves the cache of found codes alone."""
    parser.add_argument(
        "--no-cache", action="store_true", help="neither read nor keep what was optimised"
    )


def add_networks(parser: argparse.ArgumentParser, roles: Sequence[str] = tuple(ROLES)) -> None:
    """Adds a flag for the folder of each role, and one for the class of a conditional generator.

    The default is the embedded network.
    """
    for role in roles:
        parser.add_argument(f"--{role}", type=Path, metavar="DIR", help=ROLES[role])
    parser.add_argument("--class", metavar="N", help="which class a conditional generator draws")


def networks(options: argparse.Namespace) -> dict[str, Path | str]:
    """The folders that replace embedded networks, by role, and the "chosen" class of the generator.

    They are the arguments of `editing.checkpoints.resolve`.
    """
    found = {role: getattr(options, role, None) for role in ROLES}
    found["chosen"] = getattr(options, "class", None)
    return {name: value for name, value in found.items() if value is not None}


def networks_again(options: argparse.Namespace) -> str:
    """The same flags once more, for the command that a message suggests."""
    flags = {"chosen": "class"}
    given = networks(options).items()
    return "".join(f" --{flags.get(name, name)} {value}" for name, value in given)


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
