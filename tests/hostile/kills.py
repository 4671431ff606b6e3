"""Kills programs at random moments; a rerun must end bit for bit where an undisturbed run does.

    python -m tests.hostile.kills --rounds 100 [--only NAME]... [--seed N] [--folder DIR]

Each round starts a program in an empty folder, waits for its first side effect, then for a time
drawn uniformly from what an undisturbed run takes from there to its end, and sends SIGKILL to the
whole process group. What lies there then must be whole, absent or named as unfinished. The same
command is run again: it must succeed, and leave exactly the files of an undisturbed run with the
same content (see `kills_trees.RULES`). Prints a table; the exit code tells whether all is well.
"""

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests import toy_index
from tests.hostile.kills_tasks import TASKS, copy
from tests.hostile.kills_trees import facts, half_written

ROOT = Path(__file__).parents[2]
SHARES = {  # of 100 rounds
    "fetch": 15,
    "convert": 10,
    "convert_again": 5,
    "prepare": 15,
    "train": 10,
    "train_numbers": 10,
    "edit": 10,
    "edit_again": 5,
    "edit_portrait": 3,
    "caches": 10,
    "compile": 7,
}


class Cut(NamedTuple):
    """What a kill and the rerun left.

    Attributes:
        killed: whether the kill came before the end.
        half: files with a final name that were not whole.
        wrong: files that differ from those of an undisturbed run, or are missing.
        left: files that an undisturbed run does not leave.
        told: what the rerun said, if it failed.
    """

    killed: bool
    half: list[str]
    wrong: list[str]
    left: list[str]
    told: str = ""


class Bench:
    """A task with its world, and the undisturbed run that others are compared with."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.task = name, TASKS[name]
        self.world, self.place = folder / name / "world", folder / name / "place"
        self.temporary = folder / name / "temporary"
        self.world.mkdir(parents=True)
        self.temporary.mkdir()
        self._finish(self.start("make", self.world))
        if self.task.compiles:
            self.fresh()
            self._finish(self.start("run", self.world, self.place))
            kept = self.place / "home" / "compiled"
            shutil.copytree(kept, self.world / "start" / "home" / "compiled")
        self.fresh()
        self.before = facts(self.place)
        process = self.start("run", self.world, self.place)
        self.wait_for_side_effect(process)
        begun = time.monotonic()
        self._finish(process)
        self.seconds = time.monotonic() - begun
        if left := [path.name for path in self.temporary.iterdir()]:
            raise SystemExit(f"{self.name} leaves temporary files: {left}")
        self.whole = facts(self.place)

    def fresh(self) -> None:
        """Empties the place, but for what earlier runs compiled."""
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir(parents=True)
        for earlier in self.world.glob("start/*"):
            shutil.copytree(earlier, self.place / earlier.name, copy_function=copy)

    def start(self, *arguments: str | int | Path, module: str = "kills_tasks") -> subprocess.Popen:
        """Starts a process of this task in a group of its own."""
        verb, *rest = arguments
        call = [sys.executable, "-m", f"tests.hostile.{module}", verb, self.name, *rest]
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        kept = {**os.environ, "TMPDIR": str(self.temporary)}
        return subprocess.Popen(
            [str(part) for part in call], cwd=ROOT, env=kept, start_new_session=True, **pipes
        )

    def wait_for_side_effect(self, process: subprocess.Popen) -> None:
        """Returns once something in the place changed, or the process ended."""
        before = _listing(self.place)
        while process.poll() is None and _listing(self.place) == before:
            time.sleep(0.002)

    def cut(self, moment: float) -> Cut:
        """Kills a run so many seconds after its first side effect, and runs it again."""
        self.fresh()
        self.before = facts(self.place)
        process = self.start("run", self.world, self.place)
        self.wait_for_side_effect(process)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moment)
        killed = process.poll() is None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        half = half_written(self.place, self.whole, self.task.growing, self.before)
        again = self.start("run", self.world, self.place)
        _, told = again.communicate()
        told = told if again.returncode or "Traceback" in told else ""
        return Cut(killed, half, *self.compare(), told)

    def compare(self) -> tuple[list[str], list[str]]:
        """The files that differ or are missing, and those that should not be there."""
        now = facts(self.place)
        wrong = [name for name, digest in self.whole.items() if now.get(name) != digest]
        return wrong, sorted(now.keys() - self.whole.keys())

    def _finish(self, process: subprocess.Popen) -> None:
        _, told = process.communicate()
        if process.returncode:
            raise SystemExit(f"{self.name} does not run undisturbed:\n{told}")


def _listing(folder: Path) -> set[tuple[str, int, int]]:
    found = set()
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # gone meanwhile
            state = path.stat()
            found.add((str(path), state.st_size, state.st_mtime_ns))
    return found


@contextlib.contextmanager
def surroundings(folder: Path | None) -> Iterator[Path]:
    """A folder for the campaign and a package index; no other index is asked."""
    index, before = toy_index.Index(toy_index.wheel_bytes(), "json"), dict(os.environ)
    for name in [name for name in os.environ if name.startswith(("PIP_", "JAX_"))]:
        del os.environ[name]
    os.environ |= {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": index.url}
    os.environ |= {"JAX_PLATFORMS": "cpu", "PYTHONWARNINGS": "default::ResourceWarning"}
    try:
        with tempfile.TemporaryDirectory(dir=folder) as made:
            yield Path(made)
    finally:
        os.environ.clear()
        os.environ |= before
        index.shutdown()
        index.server_close()


def shares(rounds: int, names: list[str]) -> dict[str, int]:
    """How many of the rounds each task gets, at least one."""
    whole = sum(SHARES[name] for name in names)
    return {name: max(1, round(rounds * SHARES[name] / whole)) for name in names}


def main() -> int:
    """Runs the campaign; returns 0 if every rerun ended as it must."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.kills")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--only", action="append", choices=TASKS, default=[])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="of temporary files")
    options = parser.parse_args()
    failed = False
    print("| what | seconds | kills | before the end | reruns equal | half-written | left over |")
    print("|---|---|---|---|---|---|---|")
    with surroundings(options.folder) as folder:
        for name, rounds in shares(options.rounds, options.only or list(TASKS)).items():
            rng = np.random.default_rng([options.seed, *name.encode()])
            bench = Bench(name, folder)
            cuts = []
            for moment in rng.uniform(0, bench.seconds, rounds):
                cuts.append(cut := bench.cut(moment))
                if cut.half or cut.wrong or cut.left or cut.told:
                    failed = True
                    print(f"{name} at {moment:.3f} s: {cut}", file=sys.stderr, flush=True)
            equal = sum(not (cut.wrong or cut.told) for cut in cuts)
            counts = [len(cuts), sum(cut.killed for cut in cuts), equal]
            counts += [sum(bool(cut.half) for cut in cuts), sum(bool(cut.left) for cut in cuts)]
            row = " | ".join(str(count) for count in counts)
            print(f"| {bench.task.about} | {bench.seconds:.1f} | {row} |", flush=True)
            shutil.rmtree(folder / name)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
