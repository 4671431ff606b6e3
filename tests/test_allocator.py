"""Freed memory is kept: arrays that come and go are not faulted in page by page again."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import ctypes, resource, sys
from diffcam_jax.command.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
def use():
    place = libc.malloc(ctypes.c_size_t(1 << 26))
    ctypes.memset(place, 1, 1 << 26)
    libc.free(ctypes.c_void_p(place))
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")
def test_pages_are_faulted_in_once():
    root = Path(__file__).parent.parent
    faults = [
        int(
            subprocess.run(
                [sys.executable, "-c", CODE, mode], capture_output=True, check=True, cwd=root
            ).stdout
        )
        for mode in ("keep", "usual")
    ]
    assert (
        faults[0] < 50 < 200 < faults[1]
    )  # ten times 64 MB are 163,840 small pages, or 320 huge ones


COLLECTING = """
import gc, sys
from diffcam_jax.command.allocator import collect_rarely
if sys.argv[1] == "rarely":
    collect_rarely()
kept = [[] for _ in range(250_000)]
print(sum(stat["collections"] for stat in gc.get_stats()))
"""


def test_garbage_is_looked_for_rarely():
    root = Path(__file__).parent.parent
    rarely, usually = (
        int(
            subprocess.run(
                [sys.executable, "-c", COLLECTING, mode], capture_output=True, check=True, cwd=root
            ).stdout
        )
        for mode in ("rarely", "usual")
    )
    assert 1 < rarely < usually / 3
