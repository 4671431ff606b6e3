"""The command line of programs with a configuration (absl flags, ml_collections).

A mistake becomes one line and exit code 2.
"""

import json
import re
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

from absl import flags
from ml_collections import ConfigDict

from diffcam_jax.errors import UserError

Fields = Mapping[str, tuple[type | tuple[type, ...], float | None]]


def check_fields(config: ConfigDict, fields: Fields, example: str) -> None:
    """Whether the fields that all configurations of a program share are there and make sense.

    Args:
        config: of a run.
        fields: name -> type, and least value or None.
        example: a configuration that has them all.

    Raises:
        UserError: says which field does not.
    """
    for name, (kind, least) in fields.items():
        kinds = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
        if name not in config:
            raise UserError(f"the config has no field {name} ({kinds}); add it, see {example}")
        value = config[name]
        if not isinstance(value, kind):
            raise UserError(f"config.{name}={value!r} is no {kinds}; correct it, see {example}")
        if least is not None and value < least:
            raise UserError(f"config.{name}={value} is too small; give {least:g} or more")


def plain(config: ConfigDict) -> dict[str, Any]:
    """The configuration as JSON has it."""
    return json.loads(config.to_json())


def parse_flags(argv: list[str]) -> list[str]:
    """For `app.run`: the arguments that are no flags.

    Leaves with one line when a flag or the config file is wrong.
    """
    try:
        rest = flags.FLAGS(argv)
        flags.FLAGS.config.keys()  # a config file that cannot be read fails on its first use only
        return rest
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        leave(UserError(_explain(error, argv)))


def leave(error: UserError) -> NoReturn:
    """Prints what is wrong and ends the program."""
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)


def _explain(error: Exception, argv: list[str]) -> str:
    text = str(error)
    if isinstance(error, AttributeError | KeyError) and (found := re.search(r"\w+", text)):
        name, close = found[0], re.search(r'Did you mean "(\w+)"', text)
        flag = next(
            (a for a in argv if re.match(rf"--?config\.(\w+\.)*{name}\b", a)), f"config.{name}"
        )
        hint = f"did you mean {close[1]}?" if close else "the config file lists all fields"
        return f"unknown field {flag.lstrip('-').partition('=')[0]}; {hint}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if isinstance(error, OSError) or "Error whilst parsing config file" in text:
        return f"the config file fails: {lines[-1]}"
    return f"{lines[0]}; --help lists the flags, the config file its fields"
