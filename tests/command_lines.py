"""The flags of programs, without running them: what their own parsers say.

    python tests/command_lines.py edit.py diffcam_jax.directions ...     prints JSON

{program: {subcommand or "": [flags]}}; null for a program whose packages are not installed. Every
program is started as `python PROGRAM` would start it, up to the point where it reads its arguments.
absl keeps one table of flags per process, so ask for one absl program at a time.
"""

import argparse
import json
import runpy
import sys
from pathlib import Path

from absl import app, flags

ROOT = Path(__file__).parent.parent


class Reached(BaseException):
    """A program has come to read its arguments."""


def _argparse(parser: argparse.ArgumentParser, *args, **kwargs):
    found = {"": _own(parser)}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= {name: _own(sub) for name, sub in action.choices.items()}
    raise Reached(found)


def _own(parser: argparse.ArgumentParser) -> list[str]:
    return [flag for action in parser._actions for flag in action.option_strings]


def _absl(*args, **kwargs):
    names = list(flags.FLAGS)
    raise Reached({"": [f"--{name}" for name in names] + [f"--no{name}" for name in names]})


def flags_of(program: str) -> dict[str, list[str]] | None:
    """The flags of a script ("edit.py") or a module ("diffcam_jax.data")."""
    sys.argv = [program]
    try:
        if program.endswith(".py"):
            runpy.run_path(str(ROOT / program), run_name="__main__")
        else:
            runpy.run_module(program, run_name="__main__", alter_sys=True)
    except Reached as reached:
        return reached.args[0]
    except ImportError:
        return None
    raise RuntimeError(f"{program} read no arguments")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    argparse.ArgumentParser.parse_args = _argparse
    argparse.ArgumentParser.parse_known_args = _argparse
    app.run = _absl
    print(json.dumps({program: flags_of(program) for program in sys.argv[1:]}))
