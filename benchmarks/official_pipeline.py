"""The official pipeline at full size from official checkpoint layouts to a picture.

Time and peak memory.

    python -m benchmarks.official_pipeline --work /tmp/official

The published files cannot be fetched by a program, so their layouts are filled with seeded numbers
(tests/data/parity holds the key lists): psp_ffhq_encode.pt with a 1024 generator,
diff_cam_weight.pt, deghosting.pt and one direction. Each is converted by the command line, then
edit.py runs inversion, edit, mask, blend and deghosting on a portrait, each as its own process.
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from convert_weights.fixture import Fixture
from diffcam_jax.formats.torch_writer import write_torch

ROOT = Path(__file__).parent.parent
DATA = ROOT / "tests/data/parity"


def write_checkpoints(folder: Path) -> None:
    """The four official files, 2 GB together."""
    steps = tqdm(total=4, desc="seeded checkpoints")
    encoder = Fixture(DATA / "psp_gradual").state("gradual.")
    decoder = Fixture(DATA / "stylegan2_generator_1024").state()
    rng = np.random.default_rng(0)
    content = {
        "state_dict": {f"encoder.{k}": v for k, v in encoder.items()}
        | {f"decoder.{k}": v for k, v in decoder.items()},
        "latent_avg": rng.normal(0, 0.2, (18, 512)).astype(np.float32),
        "opts": {"encoder_type": "GradualStyleEncoder", "output_size": 1024},
    }
    write_torch(folder / "psp_ffhq_encode.pt", content)
    steps.update()
    del encoder, decoder, content
    write_torch(folder / "diff_cam_weight.pt", Fixture(DATA / "diffcam").state())
    steps.update()
    write_torch(folder / "deghosting.pt", Fixture(DATA / "deghosting_1024").state())
    steps.update()
    (folder / "directions").mkdir(exist_ok=True)
    np.save(folder / "directions" / "Smiling.npy", rng.standard_normal((18, 512)))
    steps.update()


def run(title: str, *arguments: str) -> None:
    """One command as its own process: its time, and the largest memory of any so far."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"{title}: {time.perf_counter() - start:.1f} s, peak so far {peak:.2f} GiB", flush=True)


def main() -> None:
    """Runs the benchmark and prints its table; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for 4 GB of checkpoints and the result"
    )
    options = parser.parse_args()
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    if not (work / "directions").exists():
        write_checkpoints(work)
    roles = {
        "encoder": "psp_ffhq_encode",
        "classifier": "diff_cam_weight",
        "deghoster": "deghosting",
    }
    edit = [
        "edit.py",
        "--demo",
        "--attribute",
        "Smiling=1",
        "--out",
        str(work / "out"),
        "--stages",
        "--force",
    ]
    # The edit comes before the conversions when they are there, since the peak is that of all
    # children.
    for file in roles.values():
        if not (work / file).exists():
            run(
                f"convert {file}",
                "-m",
                "convert_weights",
                "auto",
                "--src",
                str(work / f"{file}.pt"),
                "--dst",
                str(work / file),
            )
    for role, file in roles.items():
        edit += [f"--{role}", str(work / file)]
    run("edit, first", *edit, "--directions", str(work / "directions"))
    run("edit, again", *edit, "--directions", str(work / "directions"))
    print(
        f"look at {work / 'out/grace_hopper/stages.png'}; run again for the peak of the edit alone"
    )


if __name__ == "__main__":
    main()
