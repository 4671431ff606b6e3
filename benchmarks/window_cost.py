"""What a window of the embedded generator's picture costs, beside its share of 1024 x 1024 pixels.

    python -m benchmarks.window_cost

Forward, and the gradient of a mean square by the parameters of the blocks from 64 pixels on and of
the output. Medians of alternating runs, batch 1, compile time apart. Every repetition takes another
code and another place. The maps up to 64 pixels are drawn whole, so the smallest windows cost more
than their area.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from diffcam_jax.command.allocator import keep_freed_memory
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN
from diffcam_jax.ops.window import Window, cut
from diffcam_jax.pretrained import store

SIDES = ((24, 32), (40, 40), (48, 64))
MODEL = MobileStyleGAN()
FIRST_BLOCK = 4  # from 64 to 128 pixels

Program = Callable[[jax.Array, Window | None], jax.Array]


def programs(params: dict) -> tuple[Program, Program]:
    """Forward and gradient, each for codes [1, 512] and a window, None for the whole picture."""
    late = [f"block_{i}" for i in range(FIRST_BLOCK, len(MODEL.widths) - 1)] + ["to_image"]
    tuned = {name: params[name] for name in late}

    def draw(tuned: dict, params: dict, w: jax.Array, window: Window | None) -> jax.Array:
        layers = {"params": params | tuned}
        return MODEL.apply(layers, w, window=window, method="synthesis")

    def loss(*inputs) -> jax.Array:
        return jnp.mean(draw(*inputs) ** 2)

    forward, gradient = jax.jit(draw), jax.jit(jax.grad(loss))
    return (
        lambda w, window: forward(tuned, params, w, window),
        lambda w, window: gradient(tuned, params, w, window),
    )


def inputs(repeats: int) -> Iterator[tuple[jax.Array, dict[tuple[int, int], Window | None]]]:
    """A code, and the whole picture and windows of all sizes at random places."""
    rng = np.random.default_rng(0)
    for _ in range(repeats):
        w = jnp.asarray(0.4 * rng.standard_normal((1, 512)), jnp.float32)
        windows: dict = {(MODEL.cells, MODEL.cells): None}
        for sides in SIDES:
            place = (rng.integers(MODEL.cells - side + 1, dtype=np.int32) for side in sides)
            windows[sides] = Window(*place, *sides)
        yield w, windows


def medians(program: Program, repeats: int) -> dict[tuple[int, int], float]:
    """Median seconds by size; the first repetition compiles and does not count."""
    times: dict[tuple[int, int], list[float]] = {}
    for w, windows in inputs(repeats + 1):
        for sides, window in windows.items():
            start = time.perf_counter()
            jax.block_until_ready(program(w, window))
            times.setdefault(sides, []).append(time.perf_counter() - start)
    return {sides: statistics.median(seconds[1:]) for sides, seconds in times.items()}


def difference(forward: Program) -> float:
    """Largest difference of a pixel to the crop of the whole picture, on a scale of 2."""
    ((w, windows),) = inputs(1)
    whole = forward(w, None)
    factor = MODEL.resolution // MODEL.cells
    found = []
    for window in windows.values():
        if window is not None:
            found.append(abs(forward(w, window) - cut(whole, window, factor)).max())
    return float(max(found))


def main() -> None:
    """Runs the benchmark and prints its table; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    keep_freed_memory()
    params = jax.device_put(store.load_pretrained("mobile_stylegan_ffhq")[0])
    forward, gradient = programs(params)
    print(f"largest difference to the crop of the whole picture: {difference(forward):.1e}\n")
    drawn, derived = (medians(program, options.repeats) for program in (forward, gradient))
    print("| cells | area | forward s | of the whole | gradient s | of the whole |")
    print("|---|---|---|---|---|---|")
    whole = (MODEL.cells, MODEL.cells)
    for sides in drawn:
        area = sides[0] * sides[1] / MODEL.cells**2
        columns = [f"{sides[0]} x {sides[1]}", f"{area:.2f}"]
        for found in (drawn, derived):
            columns += [f"{found[sides]:.3f}", f"{found[sides] / found[whole]:.2f}"]
        print("| " + " | ".join(columns) + " |")


if __name__ == "__main__":
    main()
