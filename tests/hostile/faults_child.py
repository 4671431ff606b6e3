"""Runs a task while the system refuses one of its calls, or kills it there.

python -m tests.hostile.faults_child KIND NAME WORLD PLACE NUMBER LOG

Calls below PLACE that change the disk are counted: files opened for writing, every write to them,
folders made, names changed, removed and linked. From the call with this number on, or only at this
one, KIND happens instead, or the clock jumps; the calls are listed in LOG. The interpreter
announces most of these calls to a hook by itself; writes are seen because files are opened as
`Watched`.
"""

import builtins
import errno
import io
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.hostile.kills_tasks import run

_OPENING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_NAMES = {  # event of the interpreter -> position of the name that changes
    "os.mkdir": 0,
    "os.rename": 1,
    "os.remove": 0,
    "os.rmdir": 0,
    "os.link": 1,
    "os.truncate": 0,
    "os.utime": 0,
}
_SPACE = {"open", "write", "os.mkdir", "os.link"}  # calls that a full disk refuses


class Kind(NamedTuple):
    """What goes wrong.

    Attributes:
        number: errno of the refusal; 0 kills the process instead.
        stays: whether all later calls are refused as well.
        calls: that are refused; None means all.
        jump: seconds by which the clock jumps, and nothing is refused.
    """

    number: int = 0
    stays: bool = False
    calls: set[str] | None = None
    jump: int = 0


KINDS = {
    "full": Kind(errno.ENOSPC, True, _SPACE),
    "broken": Kind(errno.EIO),
    "read-only": Kind(errno.EROFS, True),
    "kill": Kind(),
    "tomorrow": Kind(jump=86_400),
    "yesterday": Kind(jump=-86_400),
}


class Faults:
    """Counts the calls of a process below a folder, and refuses some of them."""

    def __init__(self, kind: Kind, place: Path, number: int, log: int) -> None:
        self._kind, self._place, self._number = kind, str(place), number
        self._log, self._seen = log, 0

    def check(self, call: str, name: object) -> None:
        """Raises what the system would, if it is the turn of this call."""
        if not isinstance(name, str | os.PathLike):
            return
        path = os.path.abspath(os.fspath(name))
        if not path.startswith(self._place):
            return
        self._seen += 1
        os.write(self._log, f"{call} {path[len(self._place) :]}\n".encode())
        kind, late = self._kind, self._seen - self._number
        if self._number == 0 or late < 0 or (late > 0 and not kind.stays):
            return
        if kind.calls is not None and call not in kind.calls:
            return
        if kind.jump:
            set_clock(kind.jump)
        elif not kind.number:
            os.killpg(0, signal.SIGKILL)
        else:
            raise OSError(kind.number, os.strerror(kind.number), path)

    def hook(self, event: str, arguments: tuple) -> None:
        """An audit hook, see `sys.addaudithook`."""
        if event == "open" and arguments[2] and arguments[2] & _OPENING:
            self.check("open", arguments[0])
        elif event in _NAMES:
            self.check(event, arguments[_NAMES[event]])


def set_clock(jump: int) -> None:
    """Moves the time of day of this process by so many seconds."""
    before, before_ns = time.time, time.time_ns
    time.time = lambda: before() + jump
    time.time_ns = lambda: before_ns() + jump * 10**9


def watched(faults: Faults) -> Callable:
    """`open`, but for files whose writes are counted."""
    before = io.open

    class Watched(io.FileIO):
        def write(self, content):
            try:
                faults.check("write", self.name)
            except OSError as error:
                error.filename = None  # as that of the system
                raise OSError(error.errno, error.strerror) from None
            return super().write(content)

    def opening(
        file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, *others, **more
    ):
        if not set(mode) & set("wax+") or not isinstance(file, str | os.PathLike):
            return before(file, mode, buffering, encoding, errors, newline, *others, **more)
        raw = Watched(file, mode.replace("b", "").replace("t", ""), *others, **more)
        if buffering == 0:
            return raw
        buffer = (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw)
        if "b" in mode:
            return buffer
        return io.TextIOWrapper(buffer, encoding, errors, newline, line_buffering=buffering == 1)

    return opening


def main(kind: str, name: str, world: str, place: str, number: str, log: str) -> int | None:
    """Runs a task with its fault; returns its exit code."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    faults = Faults(KINDS[kind], Path(place), int(number), descriptor)
    io.open = builtins.open = watched(faults)
    sys.addaudithook(faults.hook)
    return run(name, Path(world), Path(place))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
