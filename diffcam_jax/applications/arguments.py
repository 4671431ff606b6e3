"""The command line of `invert.py`, without a network or an array: its help appears at once."""

import argparse
from pathlib import Path
from typing import Any

METHODS = (
    "in_domain, image2stylegan, mse, encoder, prior or, for invert, pivotal_tuning "
    "(default: in_domain where there is an encoder, else prior)"
)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options of one command; `command` names it."""
    parser = argparse.ArgumentParser(
        prog="invert.py", description="Invert photographs, and use their codes."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    invert = _command(
        commands, "invert", "codes of photographs, and how near their pictures come", "--steps"
    )
    invert.add_argument("photos", nargs="+", type=Path, metavar="PHOTO|FOLDER")

    interpolate = _command(
        commands, "interpolate", "pictures between two photographs, or four with --grid"
    )
    interpolate.add_argument(
        "sources", nargs="+", type=Path, metavar="A B", help="photographs or files of codes"
    )
    interpolate.add_argument(
        "--steps", type=int, default=5, help="pictures between two ends (default: 5)"
    )
    interpolate.add_argument(
        "--grid",
        action="store_true",
        help="between four corners: top left, right, bottom left, right",
    )
    interpolate.add_argument(
        "--frames", type=int, default=16, help="of the loop from one end to the next (default: 16)"
    )

    manipulate = _command(
        commands, "manipulate", "what a direction does to a photograph, from less to more"
    )
    manipulate.add_argument(
        "sources", nargs="+", type=Path, metavar="X", help="photographs or files of codes"
    )
    manipulate.add_argument(
        "--direction",
        action="append",
        required=True,
        metavar="NAME|FILE",
        help="shipped, or .npy, .pt, .safetensors; repeat for rows",
    )
    manipulate.add_argument(
        "--scale",
        type=float,
        default=1.0,
        help="of the array of a .npy or .pt file (Diff-CAM's: 20)",
    )
    manipulate.add_argument(
        "--layers", metavar="FIRST-LAST", help="keep to these layers, for instance 2-5"
    )
    manipulate.add_argument(
        "--range", type=float, nargs=2, default=(-3.0, 3.0), metavar=("LOW", "HIGH")
    )
    manipulate.add_argument(
        "--steps", type=int, default=7, help="strengths from LOW to HIGH (default: 7)"
    )

    mix = _command(commands, "mix", "the shape of one face in the colours of another")
    mix.add_argument(
        "sources", nargs="+", type=Path, metavar="CONTENT", help="photographs or files of codes"
    )
    mix.add_argument(
        "--style",
        action="extend",
        nargs="+",
        type=Path,
        required=True,
        metavar="STYLE",
        help="photographs or files of codes",
    )
    mix.add_argument(
        "--from-layer", type=int, default=10, help="the first layer of the style (default: 10)"
    )

    diffuse = _command(
        commands, "diffuse", "a part of a photograph in the surroundings of another", "--steps"
    )
    diffuse.add_argument("photos", nargs="+", type=Path, metavar="TARGET")
    diffuse.add_argument(
        "--context", action="extend", nargs="+", type=Path, required=True, metavar="CONTEXT"
    )
    part = diffuse.add_mutually_exclusive_group()
    part.add_argument(
        "--box",
        type=int,
        nargs=4,
        metavar=("X", "Y", "W", "H"),
        help="of an aligned face of 256 pixels (default: 70 90 110 110)",
    )
    part.add_argument(
        "--mask",
        type=Path,
        help="grey picture of the aligned faces' size, white where the target is taken",
    )
    return parser.parse_args(arguments)


def _command(commands: Any, name: str, text: str, *steps: str) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text)
    command.add_argument(
        "--out", type=Path, default=Path("out"), help="output folder (default: out)"
    )
    command.add_argument("--method", metavar="NAME", help=METHODS)
    command.add_argument(
        "--generator", type=Path, metavar="DIR", help="converted or trained generator"
    )
    command.add_argument(
        "--encoder", type=Path, metavar="DIR", help="converted or trained encoder of this generator"
    )
    command.add_argument(
        "--aligned", action="store_true", help="the photographs already are FFHQ crops"
    )
    command.add_argument(
        "--face",
        default="largest",
        metavar="N",
        help="which face of a photograph (1 is the largest)",
    )
    command.add_argument(
        "--landmarks",
        type=Path,
        metavar="FILE",
        help="of the one photograph: 5, 68 or 478 x y rows",
    )
    command.add_argument("--space", choices=("w+", "w"), default="w+")
    command.add_argument(
        "--inversion-steps",
        *steps,
        dest="inversion_steps",
        type=int,
        metavar="N",
        help="of the optimiser, at most",
    )
    command.add_argument(
        "--seconds", type=float, metavar="S", help="stop the search of a batch after so long"
    )
    command.add_argument(
        "--restarts", type=int, default=0, metavar="R", help="further searches from random codes"
    )
    command.add_argument(
        "--batch", type=int, default=4, metavar="N", help="photographs in one step (default: 4)"
    )
    command.add_argument(
        "--no-cache", action="store_true", help="neither read nor keep codes that were found"
    )
    return command
