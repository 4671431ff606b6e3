"""The command line and the fields that all configurations share; a mistake becomes one line and exit code 2."""

import json
import re
import sys
from typing import Any, NoReturn

from absl import flags
from ml_collections import ConfigDict

from diffcam_jax.errors import UserError

# Fields of every configuration: type and least value.
COMMON: dict[str, tuple[type, int | None]] = {
    "name": (str, None),
    "trainer": (str, None),
    "seed": (int, 0),
    "steps": (int, 0),
    "batch_size": (int, 1),
    "accumulate": (int, 1),
    "devices": (int, 0),
    "precision": (str, None),
    "checkpoint_every": (int, 0),
    "keep": (int, 1),
    "eval_every": (int, 0),
    "sample_every": (int, 0),
    "log_every": (int, 0),
    "eval_size": (int, 1),
    "patience_nan": (int, 1),
    "data": (ConfigDict, None),
    "model": (ConfigDict, None),
}
PRECISIONS = ("float32", "bfloat16")


def check(config: ConfigDict, trainers: tuple[str, ...]) -> None:
    """Whether the common fields are there and make sense.

    Args:
        config: of a run.
        trainers: names that config.trainer may have.

    Raises:
        UserError: says which field does not.
    """
    for name, (kind, least) in COMMON.items():
        if name not in config:
            raise UserError(f"the config has no field {name} ({kind.__name__}); add it, see configs/diffcam_mobile.py")
        value = config[name]
        if not isinstance(value, kind):
            raise UserError(f"config.{name}={value!r} is no {kind.__name__}; correct it in the config file")
        if least is not None and value < least:
            raise UserError(f"config.{name}={value} is too small; give {least} or more")
    for name, allowed in (("trainer", trainers), ("precision", PRECISIONS)):
        if config[name] not in allowed:
            raise UserError(f"config.{name}={config[name]!r}: allowed are {', '.join(allowed)}")


def plain(config: ConfigDict) -> dict[str, Any]:
    """The configuration as JSON has it."""
    return json.loads(config.to_json())


def parse_flags(argv: list[str]) -> list[str]:
    """For `app.run`: the arguments that are no flags; leaves with one line when a flag is wrong."""
    try:
        rest = flags.FLAGS(argv)
        flags.FLAGS.config.keys()  # a config file that cannot be read fails on its first use only
        return rest
    except (flags.Error, AttributeError, TypeError, ValueError, OSError) as error:
        leave(UserError(_explain(error, argv)))


def leave(error: UserError) -> NoReturn:
    """Prints what is wrong and ends the program."""
    print(f"train.py: {error}", file=sys.stderr)
    sys.exit(2)


def _explain(error: Exception, argv: list[str]) -> str:
    text = str(error)
    if isinstance(error, AttributeError) and (found := re.search(r"\w+", text)):
        name, close = found[0], re.search(r'Did you mean "(\w+)"', text)
        flag = next((a for a in argv if re.match(rf"--?config\.(\w+\.)*{name}\b", a)), f"config.{name}")
        hint = f"did you mean {close[1]}?" if close else "--dry-run prints all fields"
        return f"unknown field {flag.lstrip('-').partition('=')[0]}; {hint}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if isinstance(error, OSError) or "Error whilst parsing config file" in text:
        return f"the config file fails: {lines[-1]}"
    return f"{lines[0]}; --help lists the flags, --dry-run the fields of a config"
