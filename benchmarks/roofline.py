"""How much of this machine the networks use: arithmetic, bytes, and the share of its peak.

    python -m benchmarks.roofline [--repeats 7] [--stylegan2 1024]

Peaks are measured first: a plain float32 matrix product and a copy (a byte read, a byte written).
Operations are the compiler's own count, bytes those that its programs read and write between
kernels. A program that uses little of both peaks waits for something else: small kernels, layouts,
or one core. Medians, compile time apart, batch 1.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffcam_jax.command.allocator import keep_freed_memory
from diffcam_jax.editor.editor import Editor
from diffcam_jax.inversion import tuning
from diffcam_jax.inversion.adam import initial, step
from diffcam_jax.nn.latents import wplus_rows
from diffcam_jax.nn.network import Network, initial_variables
from diffcam_jax.nn.stylegan2 import StyleGAN2Generator, config_widths
from diffcam_jax.ops.window import Window

SHAPE = (28, 32)


class Cost(NamedTuple):
    """Of one run: operations, bytes, seconds by the clock and of all cores."""

    flops: float
    bytes: float
    clock: float
    cpu: float


def measured(function: Callable[..., Any], arguments: tuple, repeats: int) -> Cost:
    """Compiles a function and runs it."""
    program = jax.jit(function).lower(*arguments).compile()
    account = program.cost_analysis()
    jax.block_until_ready(program(*arguments))
    clock, cpu = [], []
    for _ in range(repeats):
        start, busy = time.perf_counter(), time.process_time()
        jax.block_until_ready(program(*arguments))
        clock.append(time.perf_counter() - start)
        cpu.append(time.process_time() - busy)
    moved = account.get("bytes accessed", 0.0)
    return Cost(account["flops"], moved, statistics.median(clock), statistics.median(cpu))


def drawn(generator: Network, codes: jax.Array, window: Window | None = None) -> jax.Array:
    """A picture, or a window of it."""
    return generator(codes, method="synthesis", window=window)


def gradient(codes: jax.Array, generator: Network) -> jax.Array:
    """Of a mean square by the codes."""
    return jax.grad(lambda w: jnp.mean(drawn(generator, w) ** 2))(codes)


def tuning_step(generator: Network, codes: jax.Array) -> tuple[Callable, tuple]:
    """A step of pivotal tuning in a window, and its arguments."""
    settings, side = tuning.TuningSettings(), generator.module.resolution
    window = Window(20, 10, *SHAPE)
    ready = tuning.task(generator, window, settings)
    target = ready.target(codes, jnp.zeros((1, side, side, 3)), window)
    state = initial(tuple(jnp.zeros((1, *shape)) for shape in ready.shapes.values()))
    first = tuning.step_settings(settings, ready.deviations, 0)

    def run(state, frozen, target):
        return step(ready.problem, state, frozen, target, ready.weights, first)

    return run, (state, ready.frozen, target)


def main() -> None:
    """Runs the benchmark and prints its table; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--stylegan2", type=int, default=1024, help="side of its picture")
    options = parser.parse_args()
    keep_freed_memory()
    square, long = jnp.ones((2048, 2048)), jnp.ones((64 << 20) // 4)
    product = measured(lambda x: x @ x, (square,), options.repeats)
    copied = measured(lambda x: x + 1, (long,), options.repeats)
    peak, stream = product.flops / product.clock, 2 * long.nbytes / copied.clock
    print(f"a matrix product: {peak / 1e9:.0f} GFLOP/s; a copy: {stream / 1e9:.1f} GB/s\n")

    embedded = Editor.from_pretrained("ffhq").networks.generator
    codes = jnp.zeros((1, wplus_rows(embedded.module), 512))
    window = Window(np.int32(20), np.int32(10), *SHAPE)
    module = StyleGAN2Generator(config_widths(options.stylegan2))
    official = Network(module, initial_variables(module, jax.random.key(0), jnp.zeros((1, 512))))
    theirs = jnp.zeros((1, wplus_rows(module), 512))
    programs: dict[str, tuple[Callable, tuple]] = {
        "embedded generator": (drawn, (embedded, codes)),
        "its window of 28 x 32 cells": (drawn, (embedded, codes, window)),
        "a tuning step in it": tuning_step(embedded, codes),
        f"StyleGAN2 at {options.stylegan2}": (drawn, (official, theirs)),
        "its gradient by the codes": (gradient, (theirs, official)),
    }
    print("| program | GFLOP | GB | clock, s | CPU, s | of the product | of the copy |")
    print("|---|---|---|---|---|---|---|")
    for name, (function, arguments) in programs.items():
        cost = measured(function, arguments, options.repeats)
        rate, flow = cost.flops / cost.clock / peak, cost.bytes / cost.clock / stream
        print(
            f"| {name} | {cost.flops / 1e9:.1f} | {cost.bytes / 1e9:.2f} | {cost.clock:.3f} "
            f"| {cost.cpu:.3f} | {rate:.0%} | {flow:.0%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
