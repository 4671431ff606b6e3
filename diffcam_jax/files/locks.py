"""Locks between processes, held on a file.

The operating system releases a lock when its process ends, however that happens.
"""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def held(path: Path, waiting: str | None = None) -> Iterator[None]:
    """Holds a lock.

    Args:
        path: the lock file, which stays behind; its folder is made.
        waiting: printed to stderr once when another process holds the lock, which is then waited
            for; None does not wait.

    Raises:
        BlockingIOError: another process holds the lock, and `waiting` is None.
        OSError: the file cannot be written.
    """
    from filelock import FileLock, Timeout  # here: a tenth of a second that most programs can save

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        if waiting is None:
            raise BlockingIOError(f"{path} is held by another process") from error
        print(waiting, file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
