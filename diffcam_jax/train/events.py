"""TensorBoard's file of a run: numbers and pictures, written in the thread that reports them.

tensorboardX's `SummaryWriter` writes in a thread of its own, in which a full disk can only end with
tracebacks.
"""

import os
import pathlib
import socket
import time

import numpy as np
from jaxtyping import UInt8
from tensorboardX import summary
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import RecordWriter


class Events:
    """A file of events.

    Args:
        folder: that exists.
        start: steps already taken; what an earlier part of the run has told of later ones is
            no longer shown.

    Raises:
        OSError: the file cannot be written; so do all methods.
    """

    def __init__(self, folder: str | os.PathLike, start: int) -> None:
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}"
        self._records = RecordWriter(str(pathlib.Path(folder) / name))
        self._write(Event(file_version="brain.Event:2"))
        self._write(Event(step=start, session_log=SessionLog(status=SessionLog.START)))

    def scalar(self, name: str, value: float, step: int) -> None:
        """Adds a number."""
        self._write(Event(step=step, summary=summary.scalar(name, value)))

    def image(self, name: str, picture: UInt8[np.ndarray, "_ _ 3"], step: int) -> None:
        """Adds a picture."""
        shown = summary.image(name, picture, dataformats="HWC")
        self._write(Event(step=step, summary=shown))

    def flush(self) -> None:
        """Writes what was added to disk."""
        self._records.flush()

    def close(self) -> None:
        """Writes what was added to disk, and closes the file in any case."""
        self._records.close()

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._records.write(event.SerializeToString())
