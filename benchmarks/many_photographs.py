"""Memory of a program that edits a large folder: it must not grow with the number of pictures.

    python -m benchmarks.many_photographs [--count 10000] [--side 256] [-- FLAGS of edit.py]

A folder of pictures is made, edited by one process of `edit.py` with small random networks, so that
ten thousand pictures take minutes, and its memory is read after every twentieth of them. Then the
same command runs again and has nothing to do. What stands behind -- goes to edit.py in place of the
small networks.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from tests import small_editor

ROOT = Path(__file__).parent.parent
COLUMNS = "| pictures | seconds | memory, GiB |\n|---|---|---|"


def draw(folder: Path, count: int, side: int) -> None:
    """Smooth pictures, each of its own."""
    folder.mkdir()
    for i in tqdm(range(count), "drawing", unit="picture"):
        coarse = np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8)
        picture = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
        picture.save(folder / f"{i:06d}.jpg", quality=85)


def memory(process: subprocess.Popen) -> float:
    """Resident memory of a process in GiB; of Linux only."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(found[1]) / 2**20 if (found := re.search(r"VmRSS:\s+(\d+)", status)) else 0.0


def watch(process: subprocess.Popen, out: Path, count: int) -> list[tuple[int, float, float]]:
    """(pictures done, seconds, memory) after every twentieth of the pictures."""
    began, rows = time.perf_counter(), []
    while process.poll() is None:
        time.sleep(0.5)
        done = sum(entry.name.endswith(".png") for entry in os.scandir(out)) if out.exists() else 0
        if done >= len(rows) * count / 20 + 1 and (held := memory(process)):
            rows.append((done, time.perf_counter() - began, held))
    return rows


def main() -> int:
    """Runs the benchmark and prints its table; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("rest", nargs="*", metavar="-- FLAGS", help="for edit.py")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        draw(work / "in", options.count, options.side)
        flags = options.rest or small_editor.edit_flags(work)
        line = [sys.executable, "edit.py", str(work / "in"), "--out", str(work / "out"), *flags]
        rows = []
        for _ in range(2):
            with subprocess.Popen(line, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
                rows.append(watch(process, work / "out", options.count))
            if process.returncode:
                return process.returncode
        print(COLUMNS)
        for done, seconds, held in rows[0]:
            print(f"| {done} | {seconds:.0f} | {held:.3f} |")
        done = sum(1 for _ in (work / "out").glob("*.png"))
        print(f"{done} of {options.count} pictures were edited")
        return int(done != options.count)


if __name__ == "__main__":
    sys.exit(main())
