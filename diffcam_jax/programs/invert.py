"""Inverts photographs, and does with the codes what In-Domain GAN Inversion does.

    python invert.py invert PHOTO|FOLDER --out out          codes, reconstructions, distances
    python invert.py interpolate A B --out out              strip, looping GIF and WebP
    python invert.py manipulate A --direction smiling       strip from -3 to 3
    python invert.py mix CONTENT... --style STYLE...        grid
    python invert.py diffuse TARGET... --context CONTEXT... grid

A, B, CONTENT and STYLE are photographs or files of codes that `invert` wrote. `python invert.py
COMMAND --help` lists the options. An installed package has the same as `diffcam-invert`. Each
command is a module of this folder, with its flags; `invert` is `invert_photographs`.
"""

import argparse
import os
import sys
from types import ModuleType

from diffcam_jax.command.program import launch
from diffcam_jax.errors import UserError
from diffcam_jax.programs import diffuse, interpolate, invert_photographs, manipulate, mix

COMMANDS: dict[str, ModuleType] = {
    "invert": invert_photographs,
    "interpolate": interpolate,
    "manipulate": manipulate,
    "mix": mix,
    "diffuse": diffuse,
}


def command() -> int:
    """The command line of this process; returns its exit code."""
    # So many photographs of a batch are searched for side by side on a CPU, see
    # `inversion.optimise`; JAX reads the number once, when it is first imported.
    os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(min(4, os.cpu_count() or 1)))
    return launch(main)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The flags of one command; `command` names it."""
    parser = argparse.ArgumentParser(description="Invert photographs, and use their codes.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        module.add_flags(commands.add_parser(name, help=module.ABOUT, description=module.ABOUT))
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: without the program's name; None takes those of the process.

    Returns:
        The exit code: 0, 1 when a photograph of several failed, 2 for bad input.
    """
    options = parse(arguments)
    try:
        return COMMANDS[options.command].run(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            f"stopped; {options.out} has what was finished; the same command goes on from the "
            "codes found",
            file=sys.stderr,
        )
        return 130
