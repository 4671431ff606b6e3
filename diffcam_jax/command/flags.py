"""The command line of programs with a configuration (absl flags, ml_collections).

A mistake becomes one line and exit code 2.
"""

import json
import re
import sys
import textwrap
from collections.abc import Callable
from typing import Any, NoReturn

from absl import app, flags
from ml_collections import ConfigDict

from diffcam_jax.command import configs
from diffcam_jax.command.allocator import keep_freed_memory
from diffcam_jax.command.program import as_called
from diffcam_jax.errors import UserError, misfit, no_room, refusal

_HELP = {"-h", "-help", "--help"}


def launch(
    main: Callable[[list[str]], None],
    about: str,
    module: str,
    parse: Callable[[list[str]], list[str]],
    room: str = "",
) -> None:
    """Runs a program that has the flags `config` and `workdir`; does not return.

    Args:
        main: the program, given the arguments that are no flags.
        about: what it does and how it is called, for its help.
        module: name of the module that defines its flags.
        parse: gives the arguments that are no flags, see `parse_flags`.
        room: of its configurations, see `configs.names`.
    """
    if _HELP & set(sys.argv[1:]):
        own = flags.FLAGS.module_help(module).partition(":\n")[2]
        own = own.replace("    (default: 'None')\n", "")
        known = textwrap.fill(", ".join(configs.names(room)), 96)
        print(as_called(about), f"flags:\n{own}", f"\nconfigurations:\n{known}", sep="\n")
        sys.exit(0)
    keep_freed_memory()
    app.run(lambda argv: _guarded(main, argv), flags_parser=parse)


def _guarded(main: Callable[[list[str]], None], argv: list[str]) -> None:
    try:
        main(argv)
    except UserError as error:
        leave(error)
    except KeyboardInterrupt:
        print("stopped; run the same command again to continue", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        if error.errno is None:  # not the system's
            raise
        if not no_room(error):
            leave(refusal(error))
        workdir, reason = flags.FLAGS.workdir, error.strerror
        leave(UserError(f"cannot write to {workdir} ({reason}); make room and run the same again"))
    except Exception as error:
        if (told := misfit(error)) is None:
            raise
        leave(told)


def plain(config: ConfigDict) -> dict[str, Any]:
    """The configuration as JSON has it."""
    return json.loads(config.to_json())


def parse_flags(argv: list[str], default: str, room: str = "") -> list[str]:
    """The arguments that are no flags.

    Ends the program with one line when a flag or the configuration is wrong.

    Args:
        argv: with the program's name.
        default: configuration where none is given.
        room: of the configurations, see `configs.with_file`.
    """
    try:
        configs.make_importable()
        rest = flags.FLAGS(configs.with_file(argv, default, room))
        flags.FLAGS.config.keys()  # a config file that cannot be read fails on its first use only
        return rest
    except UserError as error:
        leave(error)
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
