"""Configurations by name, from any folder.

A configuration is a Python file with `get_config(mode)`. Those of this project are in `configs/` of
a checkout; an installed package carries a copy. `diffcam_mobile`, `eval/masks:debug` and
`configs/eval/masks.py:debug` name them, with the mode after the colon; any other file is named by
its path.
"""

import sys
from pathlib import Path

from diffcam_jax.errors import UserError, suggestion

_PACKAGE = Path(__file__).parent.parent
_INSTALLED = _PACKAGE / "data_files" / "configs"


def folder() -> Path:
    """Where the configurations of this project are."""
    return _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent / "configs"


def names(room: str = "") -> list[str]:
    """The names of the configurations in a folder below `folder()`."""
    files = sorted((folder() / room).glob("*.py"))
    return [path.stem for path in files if "def get_config(" in path.read_text()]


def resolve(text: str, room: str = "") -> str:
    """The path of a configuration, with its mode.

    Args:
        text: a name or a path, perhaps with `:MODE`. A file that exists comes before a name.
        room: folder below `folder()` whose names need no prefix.

    Raises:
        UserError: there is no configuration of this name. A missing path is returned as it is:
            opening it says what is wrong.
    """
    path, colon, mode = text.partition(":")
    if Path(path).is_file():
        return text
    name = path.removeprefix("configs/").removesuffix(".py")
    for candidate in (folder() / room / f"{name}.py", folder() / f"{name}.py"):
        if candidate.is_file():
            return f"{candidate}{colon}{mode}"
    if path.endswith(".py"):
        return text
    raise UserError(
        f"no configuration is called {path!r}; {suggestion(path, names(room))}, or give a .py file"
    )


def with_file(argv: list[str], default: str, room: str = "") -> list[str]:
    """A command line whose `--config` is a path.

    Args:
        argv: with the program's name.
        default: configuration where none is given.
        room: see `resolve`.

    Raises:
        UserError: see `resolve`.
    """
    made, missing, follows = argv[:1], True, False
    for argument in argv[1:]:
        flag, equals, value = argument.partition("=")
        if follows:
            argument, follows = resolve(argument, room), False
        elif flag in ("--config", "-config"):
            missing, follows = False, not equals
            argument = f"{flag}={resolve(value, room)}" if equals else argument
        made.append(argument)
    return [*made[:1], f"--config={resolve(default, room)}", *made[1:]] if missing else made


def make_importable() -> None:
    """Lets configurations import each other as `configs.NAME`, also those of an installation."""
    if (root := str(folder().parent)) not in sys.path:
        sys.path.append(root)
