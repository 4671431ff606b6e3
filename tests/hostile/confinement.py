"""What a reader may not do, watched from inside the process in which it reads.

Python tells an audit hook of every file that is opened, every program that is started and all code
that is compiled or run. A trespass is kept, whatever becomes of the exception that ends it, so that
no reader can hide one by catching it.
"""

import os
import resource
import signal
import sys
import sysconfig
from pathlib import Path
from typing import Any

SECONDS = 20  # for one input, after which the system ends the process
MEMORY = 2 << 30  # bytes of addresses beyond those in use before the first input

_ROOT = Path(__file__).parent.parent.parent
# What a reader may read besides its own folder: programs and their data, but nothing of the user's.
_TRUSTED = tuple(
    f"{os.path.realpath(place)}{os.sep}"
    for place in (sys.prefix, sys.base_prefix, sysconfig.get_path("stdlib"), _ROOT, "/usr", "/lib")
)
# Sources of PyAV, in whose name Cython runs `_getframe()` where an exception passes through them.
_CYTHON = "av/"
_PARSED = "<unknown>"  # how `ast.literal_eval` calls its text
_KERNEL = ("/proc/", "/sys/", "/dev/null", "/dev/urandom")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGING = {
    *("os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir"),
    *("os.symlink", "os.truncate", "os.utime", "shutil.copyfile", "shutil.move", "shutil.rmtree"),
    *("shutil.unpack_archive", "tempfile.mkdtemp", "tempfile.mkstemp"),
}
_COMMANDS = {
    *("os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "os.kill"),
    *("subprocess.Popen", "pty.spawn", "socket.connect", "socket.bind", "socket.getaddrinfo"),
    *("urllib.Request", "webbrowser.open", "pickle.find_class", "os.chdir"),
}


class Trespass(BaseException):
    """A reader does what no file may make it do."""


class Watch:
    """Watches one process.

    Args:
        scratch: the only folder in which a reader may write.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = f"{os.path.realpath(scratch)}{os.sep}"
        self._on = False
        self.trespasses: list[str] = []
        sys.addaudithook(self._hook)

    def __enter__(self) -> "Watch":
        self.trespasses = []
        self._on = True
        return self

    def __exit__(self, *exception: object) -> None:
        self._on = False

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._on:
            return
        if event == "open":
            self._opened(*arguments)
        elif event in _COMMANDS:
            self._refuse(f"{event} {arguments[0] if arguments else ''}")
        elif event in _CHANGING:
            for path in arguments[:2]:
                if isinstance(path, str | bytes) and not self._within(path, (self._scratch,)):
                    # Relative to a folder that is open, whose own removal was looked at.
                    if event in ("os.remove", "os.rmdir", "os.mkdir") and arguments[-1] != -1:
                        continue
                    self._refuse(f"{event} {os.fsdecode(path)}")
        elif event == "exec":
            self._run(arguments[0].co_filename)
        elif event in ("compile", "import") and arguments[0] is not None and arguments[1]:
            self._run(arguments[1])

    def _opened(self, path: Any, mode: str | None, flags: int) -> None:
        if isinstance(path, int):
            return
        if flags & _WRITING or set(mode or "r") & set("wax+"):
            if not self._within(path, (self._scratch, "/dev/null")):
                self._refuse(f"writes {os.fsdecode(path)}")
        elif not self._within(path, (self._scratch, *_TRUSTED, *_KERNEL)):
            self._refuse(f"reads {os.fsdecode(path)}")

    def _run(self, filename: Any) -> None:
        """Code may only come from the program itself; what `ast` parses is not run."""
        name = os.fsdecode(filename) if isinstance(filename, str | bytes | os.PathLike) else ""
        if name.startswith("<"):  # made from text, as modules do while they are imported
            is_allowed = name == _PARSED or _is_importing()
        else:
            is_source = name.startswith(_CYTHON) and not os.path.exists(name)
            is_allowed = is_source or self._within(name, _TRUSTED)
        if not is_allowed:
            self._refuse(f"runs code of {name!r}")

    def _within(self, path: Any, places: tuple[str, ...]) -> bool:
        found = os.path.realpath(os.fsdecode(path))
        return f"{found}{os.sep}".startswith(places) or found in places

    def _refuse(self, what: str) -> None:
        self.trespasses.append(what)
        raise Trespass(what)


def _is_importing() -> bool:
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def limit_memory() -> None:
    """Lets this process have `MEMORY` bytes more than it has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))


def limit_time(seconds: float) -> None:
    """Lets the system end this process after some seconds, also inside a library; 0 for never."""
    signal.setitimer(signal.ITIMER_REAL, seconds)


def forget_peak() -> None:
    """Begins to measure the peak of the memory anew."""
    Path("/proc/self/clear_refs").write_text("5")


def memory(of_peak: bool) -> int:
    """Bytes of memory in use, now or at most since `forget_peak`."""
    name = "VmHWM:" if of_peak else "VmRSS:"
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))
