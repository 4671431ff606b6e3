"""Seconds and peak memory of `edit.py` as a whole process.

One photograph, start-up and alignment included, and further ones of a folder.

    python -m benchmarks.edit_time [--photos 5] [--repeats 3] [-- --encoder RUN --deghoster RUN2
    --refine 100 ...]

Pictures of 1024 pixels, for which the landmarks are searched as in any photograph; what stands
behind -- goes to edit.py. Compiled programs come from the user's cache, and a first process that is
not counted sees to it that they are there; codes are not kept. A further photograph is what a
folder of N takes beyond a folder of one, divided by N - 1. CPU seconds are those of all threads: on
a shared machine they tell more than the clock.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from benchmarks.encoder_quality import photographs

ROOT = Path(__file__).parent.parent
SIDE = 1024


class Spent(NamedTuple):
    """Of one process, in seconds."""

    clock: float
    cpu: float


def run(arguments: list[str]) -> Spent:
    """Runs `edit.py`."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [
        sys.executable,
        "edit.py",
        *arguments,
        "--attribute",
        "smiling=1",
        "--force",
        "--no-cache",
    ]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    clock, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Spent(clock, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def main() -> None:
    """Runs the benchmark and prints its table; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", type=int, default=5, help="in the folder, from 2 on")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("rest", nargs="*", metavar="-- FLAGS", help="for edit.py")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        one, many = Path(root) / "one", Path(root) / "many"
        for folder, count in ((one, 1), (many, options.photos)):
            folder.mkdir()
            for index, picture in enumerate(photographs(SIDE, count)):
                Image.fromarray(picture).save(folder / f"{index}.png")
        given = (one / "0.png", f"{root}/out_one"), (one, f"{root}/out_one"), (many, f"{root}/out")
        photo, of_one, of_many = (
            [str(photos), *options.rest, "--out", out] for photos, out in given
        )
        run(of_one)
        single = [run(photo) for _ in range(options.repeats)]
        folders = [(run(of_one), run(of_many)) for _ in range(options.repeats)]
    further = [
        Spent(*((b - a) / (options.photos - 1) for a, b in zip(first, all_of_them)))
        for first, all_of_them in folders
    ]
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"| medians of {options.repeats} | seconds | CPU seconds |\n|---|---|---|")
    for name, found in (
        ("one photograph, start-up included", single),
        ("each further one of a folder", further),
    ):
        clock, cpu = (statistics.median(values) for values in zip(*found))
        print(
            f"| {name} | {clock:.2f} (from {min(found)[0]:.2f} to {max(found)[0]:.2f}) | "
            f"{cpu:.2f} |"
        )
    print(f"\npeak memory of a process: {peak:.2f} GiB")


if __name__ == "__main__":
    main()
