"""The one exception that is meant for the person at the keyboard, and how a script ends with it."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """What is wrong; how to mend it. Always a single line.

    Scripts print it to stderr without a traceback and exit with code 2.
    """

    def __init__(self, message: str):
        super().__init__(" ".join(message.split()))


def exit_code(run: Callable[[], int], name: str = "error") -> int:
    """Runs a script whose work can be gone on with.

    A mistake becomes one line and code 2, ctrl-c one line and code 130.

    Args:
        run: the script; returns its own code.
        name: what the line of a mistake begins with.
    """
    try:
        return run()
    except UserError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        return 130
