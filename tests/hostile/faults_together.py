"""Starts a program several times at once, on one cache and one output folder.

    python -m tests.hostile.faults_together [--only NAME]... [--count N]... [--folder DIR]

All of them must end well, or, where a folder belongs to one process at a time, all but one with one
clear line and exit code 2; then the folder must hold what a single run leaves. Prints a table; the
exit code tells whether all is well.
"""

import argparse
import re
import shutil
import sys
from pathlib import Path

from tests.hostile.faults import said
from tests.hostile.kills import Bench, surroundings
from tests.hostile.kills_tasks import TASKS

_NAMES = ("fetch", "convert", "convert_again", "prepare", "train", "edit", "caches", "compile")
_ALONE = {"train": "another run is using"}
_WAITS = re.compile(r"another process is fetching|.*being prepared by another process")


def together(bench: Bench, count: int) -> tuple[int, int, list[str]]:
    """Runs a task several times at once in one place.

    Returns:
        How many ended well, how many were turned away, and what is wrong.
    """
    bench.fresh()
    processes = [bench.start("run", bench.world, bench.place) for _ in range(count)]
    told = [process.communicate()[1] for process in processes]
    codes = [process.returncode for process in processes]
    wrong = [text for text in told if "Traceback" in text]
    for code, text in zip(codes, told):
        lines = [line for line in said(text) if not _WAITS.match(line)]
        turned_away = code == 2 and len(lines) == 1 and _ALONE.get(bench.name, "\n") in lines[0]
        if not turned_away and (code or lines):
            wrong.append(f"exit code {code}: {lines}")
    if bench.name in _ALONE and codes.count(0) != 1:
        wrong.append(f"exit codes {codes}")
    differing, left = bench.compare()
    if differing or left:
        wrong.append(f"differing {differing}, left {left}")
    return codes.count(0), codes.count(2), wrong


def main() -> int:
    """Runs the campaign; returns 0 if every folder holds what it must."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.faults_together")
    parser.add_argument("--only", action="append", choices=TASKS, default=[])
    parser.add_argument("--count", action="append", type=int, default=[], help="2 and 8")
    parser.add_argument("--folder", type=Path, help="of temporary files")
    options = parser.parse_args()
    failed = False
    print("| what | processes | ended well | turned away | as a single run leaves it |")
    print("|---|---|---|---|---|")
    with surroundings(options.folder) as folder:
        for name in options.only or _NAMES:
            bench = Bench(name, folder)
            for count in options.count or (2, 8):
                well, away, wrong = together(bench, count)
                failed |= bool(wrong)
                row = f"{count} | {well} | {away} | {'no' if wrong else 'yes'}"
                print(f"| {bench.task.about} | {row} |", flush=True)
                for line in wrong:
                    print(f"{name}, {count}: {line}", file=sys.stderr, flush=True)
            shutil.rmtree(folder / name)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
