"""Lets the system refuse calls of programs: each place of failure once.

    python -m tests.hostile.faults [--only NAME]... [--kind KIND]... [--every N] [--folder DIR]

A first run lists the calls of a program that change the disk. Then each of them goes wrong in a run
of its own, the kinds of failure by turns (see `faults_child`): the disk is full from there on, or
read-only, or this one call is an input/output error, or the process is killed there, or the clock
jumps. What must hold:

* one clear line and exit code 2, and a note for each cache that is not kept; or, where only a cache
  fails, the undisturbed result and these notes;
* no traceback; every file under its final name is whole: the new one, or the one before;
* a clock that jumps by a day, and files of that day, change nothing;
* without the fault, the same command then ends bit for bit as an undisturbed run, and leaves
  nothing else.

Prints a table; the exit code tells whether all is well.
"""

import argparse
import os
import re
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tests.hostile.faults_child import KINDS
from tests.hostile.kills import Bench, surroundings
from tests.hostile.kills_tasks import TASKS
from tests.hostile.kills_trees import half_written, is_temporary

# What programs say while all is well.
_CHATTER = re.compile(r"fetching |begun at|prepare: \d+ of |.*\d%\||.*it/s\]|.*s/it\]")
_NOTE = re.compile("note: .* are not kept")
_ENDS = ("killed", "one line", "without cache", "went on")
_FAILED = "out/diffcam_errors.jsonl"
_LONG = ("train_numbers", "edit_portrait")  # left out unless they are asked for


class Outcome(NamedTuple):
    """How a run with a fault ended: what is wrong with it, and how it counts."""

    wrong: str
    counted: str


def places(log: Path) -> list[tuple[int, str]]:
    """Numbers and calls of a listed run; of writes to one file in a row, the first and last."""
    lines = ["", *log.read_text().splitlines(), ""]
    return [
        (number, lines[number])
        for number in range(1, len(lines) - 1)
        if not (
            lines[number].startswith("write ") and len(set(lines[number - 1 : number + 2])) == 1
        )
    ]


def calls(bench: Bench) -> list[tuple[int, str]]:
    """The places at which an undisturbed run may fail, see `places`."""
    bench.fresh()
    log = bench.world.parent / "log"
    process = bench.start("full", bench.world, bench.place, 0, log, module="faults_child")
    process.communicate()
    return places(log)


def fail(bench: Bench, kind: str, number: int) -> Outcome:
    """Runs a task with a fault, and then without."""
    bench.fresh()
    log = bench.world.parent / "log"
    process = bench.start(kind, bench.world, bench.place, number, log, module="faults_child")
    _, told = process.communicate()
    if kind == "kill":
        counted, wrong = "killed", half_written_files(bench)
        wrong += [] if process.returncode == -signal.SIGKILL else ["it was not killed"]
    else:
        counted, wrong = judge(bench, process.returncode, told, swept=kind != "read-only")
    if jump := KINDS[kind].jump:  # files of that other time
        for path in bench.place.rglob("*"):
            os.utime(path, (time.time() + jump, time.time() + jump))
    again = bench.start("run", bench.world, bench.place)
    _, told = again.communicate()
    differing, left = bench.compare()
    if again.returncode or differing or left:
        wrong.append(f"rerun: exit code {again.returncode}, {differing}, left {left}: {told}")
    return Outcome("; ".join(wrong), counted)


def judge(bench: Bench, code: int, told: str, swept: bool = True) -> tuple[str, list[str]]:
    """How a run with a fault ended, and what is wrong with that.

    Args:
        bench: with what the run left.
        code: its exit code.
        told: what it wrote to stderr.
        swept: whether it could remove what it began.
    """
    wrong = half_written_files(bench)
    lines = said(told)
    if re.search(r"Traceback|Exception ignored", told):
        wrong.append(f"traceback:\n{told}")
    differing, left = bench.compare()
    if not swept:
        left = [name for name in left if not is_temporary(name)]
    notes = [line for line in lines if _NOTE.match(line)]
    # Where one photograph of several fails, the others go on, and a list names it.
    if code == 2 or (code == 1 and _FAILED in left):
        if len(lines) - len(notes) != 1:
            wrong.append(f"{len(lines)} lines: {lines}")
        drafts = [name for name in left if re.match(r"(?!unfinished/).*\.tmp$", name)]
        return "one line", wrong + [f"left: {name}" for name in drafts]
    kept = [name for name in differing if not name.startswith("home/")]
    if code or kept or left or notes != lines:
        wrong.append(f"exit code {code}: {lines}, differing {kept}, left {left}")
    if differing and not lines:
        wrong.append(f"nothing is said of {differing}")
    return "without cache" if lines else "went on", wrong


def half_written_files(bench: Bench) -> list[str]:
    """The files under final names that are neither the new ones nor those from before."""
    half = half_written(bench.place, bench.whole, bench.task.growing, bench.before)
    gone = [name for name in bench.before if not (bench.place / name).exists()]
    return [f"half-written: {name}" for name in half] + [f"gone: {name}" for name in gone]


def said(told: str) -> list[str]:
    """The lines that were told beside what programs always tell."""
    lines = [line.split("\r")[-1].strip() for line in told.splitlines()]
    return [line for line in lines if line and not _CHATTER.match(line)]


def sweep(bench: Bench, kinds: list[str], every: int) -> list[Outcome]:
    """Lets calls fail, the kinds by turns; tells stderr of each run that did not end as it must."""
    outcomes = []
    for turn, (number, call) in enumerate(calls(bench)[::every]):
        kind = kinds[turn % len(kinds)]
        outcomes.append(outcome := fail(bench, kind, number))
        if outcome.wrong:
            print(f"{bench.name}, {kind} at {number} ({call}): {outcome.wrong}", file=sys.stderr)
            sys.stderr.flush()
    return outcomes


def main() -> int:
    """Runs the sweeps; returns 0 if every run ended as it must."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.faults")
    parser.add_argument("--only", action="append", choices=TASKS, default=[])
    parser.add_argument("--kind", action="append", choices=KINDS, default=[])
    parser.add_argument("--every", type=int, default=1, help="each of so many calls")
    parser.add_argument("--folder", type=Path, help="of temporary files")
    options = parser.parse_args()
    failed = False
    print(f"| what | places | {' | '.join(_ENDS)} | not as it must |\n{'|---' * 7}|")
    with surroundings(options.folder) as folder:
        for name in options.only or [name for name in TASKS if name not in _LONG]:
            bench = Bench(name, folder)
            outcomes = sweep(bench, options.kind or list(KINDS), options.every)
            ends = Counter(outcome.counted for outcome in outcomes)
            bad = sum(bool(outcome.wrong) for outcome in outcomes)
            failed |= bad > 0
            counts = [len(outcomes), *(ends[end] for end in _ENDS), bad]
            print(f"| {bench.task.about} | {' | '.join(map(str, counts))} |", flush=True)
            shutil.rmtree(folder / name)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
