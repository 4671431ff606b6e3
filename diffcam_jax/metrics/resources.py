"""Time and memory that a computation takes."""

import contextlib
import resource
import statistics
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

import jax


class Seconds(NamedTuple):
    """The measurement of a `Clock`.

    Attributes:
        each: median seconds for a picture, without the first lap unless there is only one.
        first: seconds of the first lap, which compiles.
        total: of all laps.
        pictures: of all laps.
    """

    each: float
    first: float
    total: float
    pictures: int


class Clock:
    """Wall-clock time of laps.

    JAX works asynchronously, so a lap must end with its results on the host.
    """

    def __init__(self) -> None:
        self._laps: list[tuple[float, int]] = []

    @contextlib.contextmanager
    def lap(self, pictures: int = 1) -> Iterator[None]:
        """Times the block.

        Args:
            pictures: number of pictures processed. A lap that raises does not count.
        """
        start = time.perf_counter()
        yield
        self._laps.append((time.perf_counter() - start, pictures))

    def compute(self) -> Seconds:
        """The times so far; NaN without a lap."""
        if not self._laps:
            return Seconds(float("nan"), float("nan"), 0.0, 0)
        warm = self._laps[1:] or self._laps
        total, pictures = (sum(column) for column in zip(*self._laps, strict=True))
        return Seconds(statistics.median(s / n for s, n in warm), self._laps[0][0], total, pictures)


class Memory(NamedTuple):
    """Peaks in bytes; `device` is None where the device does not measure it, as CPUs do not."""

    host: int
    device: int | None


def peak_memory() -> Memory:
    """The largest memory of this process and the largest use of any device since its start.

    Peaks never fall: methods are compared in separate processes.
    """
    # Linux counts in KiB, macOS in bytes.
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )
    accounts = [account for device in jax.local_devices() if (account := device.memory_stats())]
    peaks = [account["peak_bytes_in_use"] for account in accounts if "peak_bytes_in_use" in account]
    return Memory(host, max(peaks, default=None))
