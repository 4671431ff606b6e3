"""A new process that edits one photograph, or a folder, against an older checkout.

    git worktree add /somewhere/else REVISION
    python -m benchmarks.cold_start --against /somewhere/else [--repeats 5] [--folder 8]
    [--theirs=--refine --theirs=0]

Both edit the same photograph by the encoder's code, without any optimisation, in turn: the clock,
CPU seconds of all threads, peak memory, and the share of both together that the cores were busy.
Compiled programs are in the caches, each checkout's in a folder of its own, which a first process
that is not counted fills. With --folder a further photograph is what a folder of N takes beyond a
folder of one, divided by N - 1. `--list` is measured, too.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from benchmarks.encoder_quality import photographs
from diffcam_jax.files.cache_dir import cache_dir

ROOT = Path(__file__).parent.parent
SIDE = 1024


class Spent(NamedTuple):
    """Of one process: seconds by the clock and of all cores, and bytes."""

    clock: float
    cpu: float
    peak: float


class Checkout(NamedTuple):
    """One of the two that are compared."""

    root: Path
    home: Path
    flags: list[str]

    def run(self, *arguments: str) -> Spent:
        """Runs its `edit.py`."""
        environment = {**os.environ, "PYTHONPATH": str(self.root), "DIFFCAM_HOME": str(self.home)}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as users have it
        command = [sys.executable, "edit.py", *arguments]
        start = time.perf_counter()
        with tempfile.TemporaryFile() as told:
            process = subprocess.Popen(
                command, cwd=self.root, env=environment, stdout=subprocess.DEVNULL, stderr=told
            )
            _, status, usage = os.wait4(process.pid, 0)
            clock = time.perf_counter() - start
            if status:
                told.seek(0)
                last = told.read().decode(errors="replace").splitlines()[-5:]
                raise SystemExit("\n".join([f"{self.root}: {' '.join(command)}", *last]))
        return Spent(clock, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)

    def edit(self, photos: Path, out: Path) -> Spent:
        """Edits a photograph or a folder."""
        given = ["--attribute", "smiling=1", "--force", "--no-cache", *self.flags]
        return self.run(str(photos), "--out", str(out), *given)


def median(runs: list[Spent]) -> Spent:
    """The median of every number by itself."""
    return Spent(*(statistics.median(column) for column in zip(*runs)))


def line(name: str, runs: list[Spent]) -> str:
    """A row of the table."""
    found = median(runs)
    busy = found.cpu / found.clock / (os.cpu_count() or 1)
    return (
        f"| {name} | {found.clock:.2f} | {found.cpu:.2f} | {busy:.0%} | {found.peak / 2**30:.2f} |"
    )


def main() -> None:
    """Runs the benchmark and prints its table; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--against", type=Path, required=True, help="the other checkout")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=int, default=0, metavar="N", help="photographs in it")
    parser.add_argument(
        "--ours", action="append", default=[], help="further flags of this checkout"
    )
    parser.add_argument("--theirs", action="append", default=[], help="of the other one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        both = {}
        for label, place, flags in (
            ("this", ROOT, ["--tune", "0", *options.ours]),
            ("other", options.against, options.theirs),
        ):
            shutil.copytree(cache_dir() / "pretrained", root / label / "pretrained")
            both[label] = Checkout(place, root / label, flags)
        one, many = root / "one", root / "many"
        for folder, count in ((one, 1), (many, options.folder)):
            folder.mkdir()
            for index, picture in enumerate(photographs(SIDE, count) if count else []):
                Image.fromarray(picture).save(folder / f"{index}.png")
        single, further, lists = ({label: [] for label in both} for _ in range(3))
        for turn in range(options.repeats + 1):
            for label, checkout in both.items():
                out = root / f"out_{label}"
                spent = checkout.edit(one / "0.png", out)
                listed = checkout.run("--list")
                if turn:  # the first fills the caches
                    single[label].append(spent)
                    lists[label].append(listed)
                if options.folder and turn < 2:
                    alone = checkout.edit(one, out)
                    all_of_them = checkout.edit(many, root / f"all_{label}")
                    each = [(b - a) / (options.folder - 1) for a, b in zip(alone, all_of_them)]
                    if not turn:
                        continue
                    further[label].append(Spent(each[0], each[1], all_of_them.peak))
    print("| process | clock, s | CPU, s | cores busy | peak, GiB |\n|---|---|---|---|---|")
    for title, runs in (("one edit", single), ("`--list`", lists), ("each further", further)):
        for label, found in runs.items():
            if found:
                print(line(f"{title}, {label}", found))
        if all(runs.values()):
            ours, theirs = (median(runs[label]) for label in both)
            print(
                f"| {title}, ratio | {ours.clock / theirs.clock:.2f} "
                f"| {ours.cpu / theirs.cpu:.2f} | | {ours.peak / theirs.peak:.2f} |"
            )


if __name__ == "__main__":
    main()
