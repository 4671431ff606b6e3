"""What splitting a batch over devices costs.

Milliseconds a step of one small trainer on 1, 2, 4 and 8 devices.

    python -m benchmarks.training_scaling

The devices are forced ones of a single CPU: they share its cores, so nothing can become faster. The
table shows the overhead of splitting, averaging gradients and replicating the state, and nothing
about real accelerators.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
BATCH, SIZE = 32, 64


def measure(count: int, steps: int) -> float:
    """Milliseconds a step of the Diff-CAM trainer, median after warming up.

    To be run in a process with that many devices.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np

    from diffcam_jax.data.augment import AugmentConfig
    from diffcam_jax.nn.classifier import DiffClassifier
    from diffcam_jax.train.devices import Devices
    from diffcam_jax.train.diffcam import NAME, make_optimiser, make_step
    from diffcam_jax.train.loop import keyed
    from diffcam_jax.train.state import Net, TrainState
    from diffcam_jax.train.trainer import Phase

    devices, names = Devices(count), ("a", "b", "c", "d")
    model = DiffClassifier(
        depth=18, width=16, num_classes=len(names), split=1, strides=(1, 2, 1, 1), shrink=2
    )
    optimiser = make_optimiser(1e-3, 1000, 10, 0.05)
    step = make_step(model, optimiser, names, augmentation=AugmentConfig(), axis=devices.axis)
    program = devices.compile(keyed(Phase(NAME, step), 0))
    blank = jnp.zeros((1, SIZE, SIZE, 3))
    variables = jax.jit(model.init)(jax.random.key(0), blank, blank)
    state = devices.replicate(TrainState.create({NAME: Net.create(variables, optimiser)}, 0))
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (BATCH, SIZE, SIZE, 3), np.uint8) for _ in range(2)]
    batch = {
        "inverted": pictures[0],
        "edited": pictures[1],
        "label": rng.integers(0, 4, BATCH).astype(np.int32),
    }
    times = []
    for _ in range(steps + 3):
        began = time.perf_counter()
        state, metrics = program(state, batch)
        jax.block_until_ready((state, metrics))
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times[3:])


def main() -> None:
    """Runs the benchmark and prints its table; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--count", type=int, help="measure in this process, with that many devices")
    options = parser.parse_args()
    if options.count:
        print(measure(options.count, options.steps))
        return
    print(
        f"Diff-CAM trainer, batch {BATCH} of {SIZE} x {SIZE}, {os.cpu_count()} cores shared by "
        "all devices\n"
    )
    print("| forced devices | ms a step | against one |\n|---|---|---|")
    one = None
    for count in (1, 2, 4, 8):
        flags = {
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={count}",
        }
        command = [
            sys.executable,
            "-m",
            "benchmarks.training_scaling",
            f"--count={count}",
            f"--steps={options.steps}",
        ]
        done = subprocess.run(
            command, cwd=ROOT, env=flags, check=True, capture_output=True, text=True
        )
        took = float(done.stdout.split()[-1])
        one = one or took
        print(f"| {count} | {took:.0f} | {took / one:.2f} |", flush=True)
    print("\nForced devices share the cores: this is overhead only, no speed-up can show here.")


if __name__ == "__main__":
    main()
