"""Mistakes of the user: the one exception for them, its hints, and how a script ends with it."""

import io
import sys
from collections.abc import Callable, Iterable


class UserError(Exception):
    """A mistake that the user can correct: what is wrong, then what to do, on a single line.

    Scripts print it to stderr without a traceback and exit with code 2.
    """

    def __init__(self, message: str):
        super().__init__(" ".join(message.split()))


def suggestion(name: str, known: Iterable[str]) -> str:
    """The second half of a message about an unknown name: the closest known one, or all of them."""
    known = list(known)
    close = closest(name, known)
    return f"did you mean {close}?" if close else f"choose from {', '.join(known)}"


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is spelled most like `name`; None if none is similar."""
    import difflib  # here, because only mistakes need it

    return next(iter(difflib.get_close_matches(name, known, 1, 0.5)), None)


def exit_code(run: Callable[[], int], name: str = "error") -> int:
    """Runs a script that can be interrupted and resumed.

    A `UserError` becomes one line on stderr and code 2, and so does a file that the system
    refuses; ctrl-c becomes one line and code 130.

    Args:
        run: the script; returns its own exit code.
        name: prefix of the line that reports a mistake.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files may be no text that it can write
            stream.reconfigure(errors="backslashreplace")
    try:
        return run()
    except UserError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.filename is None:
            raise
        print(f"{name}: {refusal(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; run the same command again to continue", file=sys.stderr)
        return 130


def refusal(error: OSError) -> UserError:
    """What the system refused, as one line: the file, the reason, and what may help."""
    shown = str(error.filename)
    shown = shown if len(shown) <= 120 else f"{shown[:60]}...{shown[-40:]}"
    return UserError(f"{shown}: {error.strerror}; check the name and its permissions")
