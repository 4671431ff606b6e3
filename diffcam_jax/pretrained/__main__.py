"""The pretrained parts: `python -m diffcam_jax.pretrained` lists them, `... fetch NAME...` fetches.

`fetch all` makes every part ready.
"""

import argparse
import sys

from diffcam_jax.errors import exit_code
from diffcam_jax.pretrained import parts
from diffcam_jax.pretrained.store import cache_dir, fetch, state


def main(arguments: list[str] | None = None) -> int:
    """Lists or fetches pretrained parts; see the module docstring.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(
        prog="python -m diffcam_jax.pretrained", description="The store of pretrained parts."
    )
    commands = parser.add_subparsers(dest="command", title="commands (default: list)")
    commands.add_parser(
        "list", help="the parts, whether they are here, their download size and licence"
    )
    fetching = commands.add_parser("fetch", help="download and convert parts")
    fetching.add_argument("names", nargs="+", metavar="NAME", help="a part's name, or all")
    options = parser.parse_args(arguments)
    return exit_code(lambda: run(options))


def run(options: argparse.Namespace) -> int:
    """Does what the flags ask for; returns the exit code."""
    if options.command == "fetch":
        for name in parts.PARTS if "all" in options.names else options.names:
            print(f"{name}: {fetch(name)}")
        return 0
    print(f"cache: {cache_dir()}")
    for part in parts.PARTS.values():
        size = f"{part.archive.size / 1e6:.0f} MB" if part.archive else "-"
        print(
            f"{part.name:22}{state(part):10}{size:>7}  {part.description}\n{'':41}licence: "
            f"{part.licence}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
