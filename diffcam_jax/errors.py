"""Mistakes of the user: the one exception for them, its hints, and how a script ends with it."""

import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator

_LONGEST = 8000  # characters of a line


# What the system says when nothing more can be written, whatever it is.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


# Of flax, which is not imported here.
_MISFITS = {
    ("flax.errors", "ScopeParamShapeError"),
    ("flax.errors", "ScopeParamNotFoundError"),
    ("flax.errors", "ScopeCollectionNotFound"),
    ("flax.errors", "ScopeVariableNotFoundError"),
}


class UserError(Exception):
    """A mistake that the user can correct: what is wrong, then what to do, on a single line.

    Scripts print it to stderr without a traceback and exit with code 2. What a file says may be
    part of it, so characters that a terminal would obey are escaped and a long line is shortened.
    """

    def __init__(self, message: str):
        line = " ".join(message.split())
        line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
        if len(line) > _LONGEST:
            line = f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 4 :]}"
        super().__init__(line)


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
    refuses, or a network whose parameters do not fit; ctrl-c becomes one line and code 130.

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
    except BrokenPipeError:  # who read the output, such as head, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno is None:  # not the system's
            raise
        print(f"{name}: {refusal(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; run the same command again to continue", file=sys.stderr)
        return 130
    except Exception as error:
        if (told := misfit(error)) is None:
            raise
        print(f"{name}: {told}", file=sys.stderr)
        return 2


def misfit(error: Exception) -> UserError | None:
    """What to say where a network's parameters are not those of its module; None elsewhere.

    Folders of networks are read without their inputs, so flax is the first to notice.
    """
    kinds = {(kind.__module__, kind.__name__) for kind in type(error).__mro__}
    if kinds.isdisjoint(_MISFITS):
        return None
    said = str(error).partition(" (https:")[0].rstrip(".")
    return UserError(f"a network does not fit its parameters: {said}; convert or train it again")


def no_room(error: BaseException | None) -> bool:
    """Whether an error says that nothing more can be written: a full or a read-only disk."""
    return isinstance(error, OSError) and error.errno in _NO_ROOM


@contextlib.contextmanager
def refusing(tell: Callable[[Exception], str]) -> Iterator[None]:
    """Makes whatever a block raises a `UserError`: a damaged file can end in any exception.

    Args:
        tell: the message for an exception; a `UserError` has its own and passes.

    Raises:
        UserError: the block raised any exception.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(tell(error)) from error


def refusal(error: OSError) -> UserError:
    """What the system refused, as one line: the file, the reason, and what may help."""
    if error.filename is None:
        advice = "make room, or choose another folder, then run it" if no_room(error) else "try"
        return UserError(f"{error.strerror}; {advice} again")
    shown = str(error.filename)
    shown = shown if len(shown) <= 120 else f"{shown[:60]}...{shown[-40:]}"
    return UserError(f"{shown}: {error.strerror}; check the name and its permissions")
