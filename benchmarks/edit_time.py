"""Seconds and peak memory of `edit.py` as a whole process: the first edit of a photograph, and further ones with its code kept.

    python -m benchmarks.edit_time

Works in an empty folder of results; the cache of pretrained parts and compiled programs is the user's own, codes are not reused in the first run.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent


def run(arguments: list[str]) -> float:
    """Wall seconds of one `edit.py` process."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "edit.py", "--demo", "--force", *arguments], cwd=ROOT, check=True, capture_output=True
    )
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as out:
        first = run(["--attribute", "smiling=1", "--out", out, "--no-cache"])
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        run(["--attribute", "smiling=1", "--out", out])
        again = [run(["--attribute", "old=0.7", "--out", out]) for _ in range(options.repeats)]
    print("| run | seconds |\n|---|---|")
    print(f"| first edit, inversion included | {first:.1f} |")
    print(
        f"| further edit, median of {options.repeats} | {statistics.median(again):.1f} (from {min(again):.1f} to {max(again):.1f}) |"
    )
    print(f"\npeak memory of a process: {peak:.2f} GiB")


if __name__ == "__main__":
    main()
