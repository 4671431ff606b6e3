"""Pictures a second and core.

Encodings for shards, and whole batches from shards, a folder and the toy source.

    python -m benchmarks.data_speed [--src FOLDER] [--size 256] [--count 1024]

Rates are by processor time, so that they hold on a busy machine; those with several threads are by
the clock. Without --src, random cuts of scikit-image's photographs are taken.
"""

import argparse
import contextlib
import io
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import skimage
from absl import logging
from ml_collections import ConfigDict
from PIL import Image

from diffcam_jax.data.layouts import list_names
from diffcam_jax.data.pictures import read_square
from diffcam_jax.data.prepare import prepare
from diffcam_jax.data.sources import make_source

BATCH = 32
ENCODINGS = {
    "PNG, level 1": {"format": "PNG", "compress_level": 1},
    "PNG, level 6": {"format": "PNG", "compress_level": 6},
    "WebP, lossless, method 0": {"format": "WEBP", "lossless": True, "quality": 0, "method": 0},
    "WebP, lossless, method 4": {"format": "WEBP", "lossless": True, "quality": 75, "method": 4},
    "JPEG, quality 95 (lossy)": {"format": "JPEG", "quality": 95},
}


def rate(
    work: Callable[[], int], clock: Callable[[], float] = time.process_time, seconds: float = 1.0
) -> float:
    """Pictures a second of something that returns how many it did."""
    work()
    done, start = 0, clock()
    while clock() - start < seconds:
        done += work()
    return done / (clock() - start)


def encoded(picture: np.ndarray, options: dict) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, **options)
    return buffer.getvalue()


def decoded(data: bytes) -> np.ndarray:
    """As TensorFlow Datasets decodes a picture of a shard."""
    return cv2.cvtColor(
        cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED), cv2.COLOR_BGR2RGB
    )


def write_cuts(folder: Path, size: int, count: int) -> None:
    """Random cuts of scikit-image's photographs as JPEG files."""
    photographs = [
        getattr(skimage.data, name)() for name in ("astronaut", "chelsea", "coffee", "rocket")
    ]
    rng = np.random.default_rng(0)
    for i in range(count):
        photograph = photographs[i % len(photographs)]
        side = int(rng.integers(200, min(photograph.shape[:2]) + 1))
        top, left = (int(rng.integers(0, whole - side + 1)) for whole in photograph.shape[:2])
        cut = cv2.resize(
            photograph[top : top + side, left : left + side],
            (size, size),
            interpolation=cv2.INTER_CUBIC,
        )
        Image.fromarray(cut).save(folder / f"{i:05d}.jpg", quality=92)


def main() -> None:
    """Runs the benchmark and prints its table; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--src", help="folder of pictures")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--count", type=int, default=1024)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    logging.set_verbosity(logging.ERROR)
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        source = Path(options.src) if options.src else work / "cuts"
        if not options.src:
            source.mkdir()
            write_cuts(source, options.size, options.count)
        pictures = [
            read_square(source / name, options.size)[0]
            for name in list_names(source)[: min(32, options.count)]
        ]

        print(
            f"| {options.size} pixels, one core | KB | written a second | read a second "
            "|\n|---|---|---|---|"
        )
        for name, how in ENCODINGS.items():
            files = [encoded(picture, how) for picture in pictures]
            write = rate(lambda how=how: len([encoded(picture, how) for picture in pictures]))
            read = rate(lambda files=files: len([decoded(data) for data in files]))
            print(
                f"| {name} | {np.mean([len(data) for data in files]) / 1e3:.0f} | {write:.0f} | "
                f"{read:.0f} |",
                flush=True,
            )

        start = time.process_time()
        recipe = prepare(source, "speed", options.size, work, test_share=0.0)
        made = recipe["counts"]["train"] / (time.process_time() - start)
        print(f"\nprepare: {made:.0f} pictures a second and core\n")
        print(
            f"| batches of {BATCH}, flips | one core | {len(os.sched_getaffinity(0))} threads, "
            "by the clock |\n|---|---|---|"
        )
        kinds = {
            "prepared": {"folder": str(work), "name": "speed"},
            "folder": {"folder": str(source), "test_share": 0.0},
            "toy": {},
        }
        for kind, where in kinds.items():
            rates = []
            for workers, clock in ((1, time.process_time), (0, time.perf_counter)):
                data = {
                    "source": kind,
                    "size": options.size,
                    "flip": True,
                    "workers": workers,
                    **where,
                }
                batches = make_source(ConfigDict({"seed": 0, "eval_size": 0, "data": data}), BATCH)
                steps = iter(range(10**9))
                rates.append(rate(lambda b=batches, s=steps: len(b[next(s)]["image"]), clock, 2.0))
            print(f"| {kind} | {rates[0]:.0f} | {rates[1]:.0f} |", flush=True)


if __name__ == "__main__":
    main()
