"""Runs programs on disks that are too small for them: what the system itself then refuses.

    python -m tests.hostile.faults_disk [--only NAME]... [--sizes 10] [--folder DIR]

The disks are file systems in memory, which only root may mount. Each leaves so many parts of the
room that an undisturbed run takes. What must hold is said in `faults`; libraries that do not write
by way of Python meet the same end. The rerun has room. Prints a table; the exit code tells whether
all is well.
"""

import argparse
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.hostile.faults import judge
from tests.hostile.kills import Bench, surroundings
from tests.hostile.kills_tasks import TASKS

_NAMES = ("fetch", "convert", "convert_again", "prepare", "train", "edit", "edit_again", "caches")
_PAGE = 4096
_PLENTY = 4 << 30


@contextlib.contextmanager
def mounted(place: Path) -> Iterator[None]:
    """Mounts a file system in memory with plenty of room."""
    place.mkdir(parents=True)
    _mount("-t", "tmpfs", "-o", f"size={_PLENTY}", "tmpfs", place)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def limit(disk: Path, size: int) -> None:
    """Gives a mounted disk another size in bytes."""
    _mount("-o", f"remount,size={size}", disk)


def used(disk: Path) -> int:
    """Bytes that the files on a disk take."""
    return sum(path.stat().st_blocks * 512 for path in disk.rglob("*"))


def squeeze(bench: Bench, disk: Path, size: int) -> tuple[str, str]:
    """Runs a task with so much room, and again with plenty.

    Returns:
        How the first run ended, and what is wrong.
    """
    bench.fresh()
    limit(disk, max(used(disk) + size, _PAGE))  # 0 would be no limit
    process = bench.start("run", bench.world, bench.place)
    _, told = process.communicate()
    counted, wrong = judge(bench, process.returncode, told)
    limit(disk, _PLENTY)
    again = bench.start("run", bench.world, bench.place)
    _, told = again.communicate()
    differing, left = bench.compare()
    if again.returncode or differing or left:
        wrong.append(f"rerun: exit code {again.returncode}, {differing}, left {left}: {told}")
    return counted, "; ".join(wrong)


def _mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *arguments], check=True)


def main() -> int:
    """Runs the campaign; returns 0 if every run ended as it must."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.faults_disk")
    parser.add_argument("--only", action="append", choices=TASKS, default=[])
    parser.add_argument("--sizes", type=int, default=10, help="disks for each program")
    parser.add_argument("--folder", type=Path, help="of temporary files")
    options = parser.parse_args()
    failed = False
    print("| what | disks | one line, code 2 | without cache | went on | not as it must |")
    print("|---|---|---|---|---|---|")
    with surroundings(options.folder) as folder:
        for name in options.only or _NAMES:
            bench, disk, ends, bad = Bench(name, folder), folder / "disk", [], 0
            with mounted(disk):
                bench.place = disk / "place"
                bench.fresh()
                before = used(disk)
                bench.start("run", bench.world, bench.place).communicate()
                room = used(disk) - before
                for size in np.linspace(0, room, options.sizes, endpoint=False):
                    counted, wrong = squeeze(bench, disk, int(size) // _PAGE * _PAGE)
                    ends.append(counted)
                    bad += bool(wrong)
                    if wrong:
                        print(f"{name}, {size:.0f} of {room}: {wrong}", file=sys.stderr, flush=True)
            disk.rmdir()
            counts = [len(ends), *map(ends.count, ("one line", "without cache", "went on")), bad]
            print(f"| {bench.task.about} | {' | '.join(map(str, counts))} |", flush=True)
            failed |= bad > 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
