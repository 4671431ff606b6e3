"""Tests trace and compile networks most of the time.

What is compiled is kept below `.pytest_cache`, by content: for the other workers, for programs that
tests start, and for the next run. Programs are compiled with few optimisations: that takes two
thirds of the time, and most of them run once. Garbage is looked for rarely, as by
`diffcam_jax.command.allocator.collect_rarely`, which cannot be called here: shapes are only checked
in modules that are imported later.
"""

import gc
import os
from pathlib import Path

import pytest

gc.set_threshold(100_000, 20, 100)

_COMPILED = Path(__file__).parent.parent / ".pytest_cache" / "compiled"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_COMPILED))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.03")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

# Every compiled program is a few mappings of memory, and Linux allows a process 65,530 of them.
_MAPPINGS = 12_000


# The longest tests, where others test the same network or command more briefly; a name without
# brackets means all of its parameters.
_LONG = frozenset((Path(__file__).parent / "long_tests.txt").read_text().split())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves the longest tests to `make nightly`, so that the suite stays within its time."""
    for item in items:
        if not _LONG.isdisjoint((item.nodeid, item.nodeid.partition("[")[0])):
            item.add_marker("nightly")


@pytest.fixture(scope="module", autouse=True)
def forget_what_was_compiled():
    """Programs of past modules are let go, before a worker holds gigabytes of them."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > _MAPPINGS:
        import jax

        jax.clear_caches()
        gc.collect()
