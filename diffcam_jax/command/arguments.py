"""Flags that several programs share: networks, faces, output. Free of arrays: help is quick."""

import argparse
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffcam_jax.files.domain import Domain

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
    parser.add_argument(
        "--domain", type=Path, metavar="DIR", help="all of them, of a folder of diffcam-domain"
    )


def domain(options: argparse.Namespace) -> tuple["Domain", dict[str, Path]]:
    """What kind of pictures is meant, and the places of its networks and directions.

    Raises:
        UserError: the folder of --domain holds none.
    """
    return _domain(options.domain)


@functools.cache  # asked for again for each photograph of a folder
def _domain(folder: Path | None) -> tuple["Domain", dict[str, Path]]:
    from diffcam_jax.files.domain import FACES, read

    return (FACES, {}) if folder is None else read(folder)


def directions(options: argparse.Namespace) -> list[Path] | None:
    """The sources of directions: those that were given, else the domain's; None for the shipped."""
    own = domain(options)[1].get("directions")
    return options.directions or (None if own is None else [own])


def networks(options: argparse.Namespace) -> dict[str, Path | str]:
    """The folders that replace embedded networks, by role, and the "chosen" class of the generator.

    They are the arguments of `editing.checkpoints.resolve`.
    """
    own = domain(options)[1]
    roles = [role for role in ROLES if hasattr(options, role)]
    found = {role: getattr(options, role) or own.get(role) for role in roles}
    found["chosen"] = getattr(options, "class", None)
    return {name: value for name, value in found.items() if value is not None}


def networks_again(options: argparse.Namespace) -> str:
    """The same flags once more, for the command that a message suggests."""
    flags, own = {"chosen": "class"}, domain(options)[1]
    given = [(n, value) for n, value in networks(options).items() if value != own.get(n)]
    given += [] if options.domain is None else [("domain", options.domain)]
    return "".join(f" --{flags.get(name, name)} {value}" for name, value in given)


def add_directions(parser: argparse.ArgumentParser) -> None:
    """Adds the flag for directions and other edits, which may be given several times."""
    parser.add_argument(
        "--directions",
        type=Path,
        action="append",
        metavar="FILE|DIR",
        help="what to use instead of the shipped directions: a file, a folder of .npy, or a flow; "
        "repeat for several, among them the word shipped for the shipped ones",
    )


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
