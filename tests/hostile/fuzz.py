"""Reads hostile files with every reader, and tells which of them break the law of `law`.

    python -m tests.hostile.fuzz --runs 10000 [--only NAME ...] [--seed N] [--table FILE.md]
    python -m tests.hostile.fuzz --replay NAME FILE     one input again
    python -m tests.hostile.fuzz --shrink NAME FILE     the same, made as small as it can be

Inputs are changed bytes anywhere, changed pieces (Hypothesis) and, where atheris is installed, what
reaches new code. The same seed gives the same inputs, except for those of atheris, which depend on
how fast the machine is. Inputs that break the law are kept in out/hostile/.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.hostile.readers import READERS

ROOT = Path(__file__).parent.parent.parent
KEPT = ROOT / "out" / "hostile"
_IN_MEMORY = (
    "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
)  # files are written all the time
_MOST_ENDS = 20  # processes of a reader that may end before it is given up


class Fault(NamedTuple):
    """An input that breaks the law.

    Attributes:
        reader: that read it.
        what: is wrong.
        data: the input.
        told: a traceback.
    """

    reader: str
    what: str
    data: bytes
    told: str


class Found(NamedTuple):
    """What a run has found.

    Attributes:
        counts: reader -> inputs, valid, refused, faults, slowest (seconds) and peak (MiB).
        faults: up to three inputs for each.
    """

    counts: dict[str, dict[str, Any]]
    faults: list[Fault]


def plan(name: str, runs: int, covering: bool) -> list[list[Any]]:
    """The tasks of a process for one reader: its name, how inputs are made, and how many."""
    reader = READERS[name]
    runs = min(runs, reader.most_runs)
    covered = runs // 2 if covering else 0
    structured = (runs - covered) * 2 // 3 if reader.kind else 0
    shares = {"plain": runs - covered - structured, "structured": structured, "covering": covered}
    return [[name, way, count, 0] for way, count in shares.items() if count]


def run(tasks: Sequence[Sequence[Any]], seed: int) -> Found:
    """Does tasks in processes of their own: the next one goes on where one was ended.

    Args:
        tasks: see `plan`.
        seed: of all inputs.
    """
    found = Found({}, [])
    left, ends = [list(task) for task in tasks], 0
    while left:
        with tempfile.TemporaryDirectory(dir=_IN_MEMORY) as home:
            code = None
            asked = {"tasks": left, "seed": seed, "home": home}
            for fact in _answers(asked):
                if fact["line"] == "fault":
                    _add_fault(found, fact)
                elif fact["line"] == "counts":
                    _add_counts(found, fact["reader"], fact["counts"])
                    left.pop(0)
                else:
                    code, told = fact["code"], fact["told"]
            if not left:
                break
            current = Path(home) / "out" / "current"
            if code in (1, 77) or not current.exists():
                raise SystemExit(f"{left[0][0]} cannot be read at all: {told}")
            head, _, data = current.read_bytes().partition(b"\n")
            place = json.loads(head)
            name, number = place["reader"], place["number"]
            what = f"ends the process ({_ending(code)})"
            _add_fault(found, {"reader": name, "what": what, "data": data.hex(), "told": told})
            counts = place["counts"]
            _add_counts(
                found,
                name,
                counts | {"inputs": counts["inputs"] + 1, "faults": counts["faults"] + 1},
            )
            ends += 1
            if left[0][1] == "covering":  # these inputs are never the same again
                left[0][2], seed = left[0][2] - number, seed + 1
            else:
                left[0][3] = number
            if ends == _MOST_ENDS or left[0][2] <= 0:
                left.pop(0)
                ends = 0
    return found


def replay(cases: Sequence[tuple[str, bytes]], smallest: bool = False) -> list[Fault]:
    """Lets readers read inputs once more; where the law is kept, `what` is empty.

    Args:
        cases: reader and input.
        smallest: whether an input is to be made smaller as long as it shows the same fault.
    """
    found: list[Fault] = []
    while len(found) < len(cases):
        left = [(name, data.hex()) for name, data in cases[len(found) :]]
        with tempfile.TemporaryDirectory(dir=_IN_MEMORY) as home:
            asked = {"replay": left, "smallest": smallest, "home": home}
            for fact in _answers(asked):
                if fact["line"] == "replayed":
                    data = bytes.fromhex(fact["data"])
                    found.append(Fault(fact["reader"], fact["fault"], data, fact["told"]))
                elif fact["code"]:
                    what = f"ends the process ({_ending(fact['code'])})"
                    found.append(
                        Fault(*cases[len(found)][:1], what, cases[len(found)][1], fact["told"])
                    )
    return found


def save(fault: Fault) -> Path:
    """Keeps an input that breaks the law; the name of its file says which and how."""
    digest = hashlib.sha256(fault.data).hexdigest()[:8]
    KEPT.mkdir(parents=True, exist_ok=True)
    path = KEPT / f"{fault.reader}-{digest}"
    path.write_bytes(fault.data)
    return path


def table(counts: Mapping[str, Mapping[str, Any]]) -> str:
    """Counts as Markdown."""
    lines = ["| reader | inputs | valid | refused | faults | slowest, s | peak, MiB |"]
    lines.append("|---|---:|---:|---:|---:|---:|---:|")
    for name, row in counts.items():
        numbers = " | ".join(f"{row[key]:,}" for key in ("inputs", "valid", "refused", "faults"))
        lines.append(f"| `{name}` | {numbers} | {row['slowest']:.2f} | {row['peak']} |")
    return "\n".join(lines) + "\n"


def _answers(asked: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The lines of a process, and last how it ended."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.hostile.child"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        try:
            process.stdin.write(json.dumps(asked).encode())
            process.stdin.close()
            for line in process.stdout:
                if line.startswith(b'{"line"'):  # libraries write there, too
                    yield json.loads(line)
            code = process.wait()
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        errors.seek(0)
        told = errors.read().decode(errors="replace")[-2000:]
    yield {"line": "end", "code": code, "told": told}


def _ending(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name
    return "more than 20 s" if name == "SIGALRM" else name


def _add_fault(found: Found, fact: Mapping[str, Any]) -> None:
    data = bytes.fromhex(fact["data"])
    found.faults.append(Fault(fact["reader"], fact["what"], data, fact["told"]))


def _add_counts(found: Found, name: str, counts: Mapping[str, Any]) -> None:
    row = found.counts.setdefault(name, dict.fromkeys(counts, 0))
    for key, value in counts.items():
        row[key] = max(row[key], value) if key in ("slowest", "peak") else row[key] + value


def _arguments() -> argparse.Namespace:
    description, _, epilog = str(__doc__).partition("\n\n")
    parser = argparse.ArgumentParser(
        "python -m tests.hostile.fuzz",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=int, default=10_000, help="inputs for each reader")
    parser.add_argument("--only", nargs="+", choices=READERS, metavar="NAME", help="these readers")
    parser.add_argument("--seed", type=int, default=0, help="of the inputs")
    parser.add_argument("--table", type=Path, metavar="FILE", help="the counts as Markdown, too")
    parser.add_argument("--replay", nargs=2, metavar=("NAME", "FILE"), help="read one input")
    parser.add_argument("--shrink", nargs=2, metavar=("NAME", "FILE"), help="make one smaller")
    return parser.parse_args()


def main() -> int:
    """Runs the command line; returns the exit code, 1 where the law is broken."""
    given = _arguments()
    if one := given.replay or given.shrink:
        (fault,) = replay([(one[0], Path(one[1]).read_bytes())], bool(given.shrink))
        if given.shrink:
            print(f"{len(fault.data)} bytes in {save(fault)}")
        print(fault.what or "the law is kept", fault.told, sep="\n")
        return int(bool(fault.what))
    covering = importlib.util.find_spec("atheris") is not None
    counts: dict[str, dict[str, Any]] = {}
    told: set[tuple[str, str]] = set()
    for name in given.only or READERS:
        found = run(plan(name, given.runs, covering), given.seed)
        counts |= found.counts
        print(name, json.dumps(found.counts.get(name)), flush=True)
        for fault in found.faults:
            path = save(fault)
            if (name, fault.what) not in told:
                told.add((name, fault.what))
                print(f"  FAULT {fault.what}", flush=True)
                print(f"  python -m tests.hostile.fuzz --replay {name} {path.relative_to(ROOT)}")
        if given.table:
            given.table.write_text(table(counts))
    print(f"{len(told)} faults in {len(counts)} readers")
    return int(bool(told))


if __name__ == "__main__":
    sys.exit(main())
