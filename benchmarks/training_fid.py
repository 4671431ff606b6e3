"""FID of a StyleGAN2 run at every checkpoint that it kept.

The reference is the pictures that it was trained on.

    python -m benchmarks.training_fid RUN --pictures 3000

As many generated pictures as training pictures, at most --pictures of each. Published FIDs take
50,000 generated ones: with fewer the number is higher, so compare it within a run or at equal
counts only.
"""

import argparse
import json
import sys
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from diffcam_jax.command.allocator import keep_freed_memory
from diffcam_jax.command.compilation import keep_compiled_programs
from diffcam_jax.data import sources
from diffcam_jax.errors import UserError
from diffcam_jax.metrics.features import InceptionFeatures
from diffcam_jax.metrics.frechet import frechet_distance, statistics
from diffcam_jax.train import samples, stylegan2
from diffcam_jax.train.checkpoint import Checkpoints

BATCH = 16


def main() -> int:
    """Runs the benchmark and prints its table; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path, help="folder of a run of configs/stylegan2*.py")
    parser.add_argument("--pictures", type=int, default=3000, help="of each kind, at most")
    parser.add_argument(
        "--every", type=int, default=1, help="only checkpoints at multiples of so many steps"
    )
    options = parser.parse_args()
    keep_freed_memory()
    keep_compiled_programs()
    try:
        report(options.run, options.pictures, options.every)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def report(run: Path, pictures: int, every: int) -> None:
    """Prints a table of steps and FIDs; of the checkpoints at multiples of `every` steps.

    Raises:
        UserError: the folder holds no run of StyleGAN2.
    """
    config = ConfigDict(json.loads((run / "run.json").read_text()))
    if config.trainer != "stylegan2":
        raise UserError(f"{run} is a run of {config.trainer}; give one of configs/stylegan2*.py")
    data = sources.make_source(config, BATCH)
    count = min(pictures, data.description["count"]) // BATCH * BATCH
    real = np.concatenate([data[step]["image"] for step in range(count // BATCH)])
    generator, _ = stylegan2.networks(config)
    features = InceptionFeatures()
    target = statistics(features(tqdm(real, desc="training pictures", leave=False)))
    drawing = samples.Samples(generator, data.held_out, config.seed, BATCH, False)
    state = jax.device_put(stylegan2.build(config, data, None).create())
    print(f"{count} pictures of each kind\n\n| step | pictures seen | FID |\n|---|---|---|")
    with Checkpoints(run / "checkpoints", 0, 100) as checkpoints:
        for step in (step for step in checkpoints.steps if step % every == 0):
            state = checkpoints.restore(state, step)
            drawn = tqdm(drawing.draw(state, count, 1.0), desc=f"step {step}", leave=False)
            found = frechet_distance(target, statistics(features(drawn)))
            print(f"| {step} | {step * config.batch_size:,} | {found:.1f} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
