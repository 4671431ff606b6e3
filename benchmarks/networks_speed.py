"""The official networks on this CPU: ours in JAX against the same networks in plain torch.nn.

    python -m benchmarks.networks_speed [--only synthesis] [--runs 5]

Medians of alternating runs of one process, float32, compile time apart; torch runs eagerly with as
many threads as the machine has cores. Weights are random: neither framework's time depends on their
values. Needs the `bench` extra.
"""

import argparse
import dataclasses
import itertools
import os
import statistics
import time
from collections.abc import Callable, Iterator

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks.torch_networks.classifier import DiffCam
from benchmarks.torch_networks.deghosting import Deghoster as TorchDeghoster
from benchmarks.torch_networks.encoder import PSPEncoder
from benchmarks.torch_networks.stylegan2 import Synthesis
from diffcam_jax.editing.diffcam import diff_cam
from diffcam_jax.nn.classifier import DiffClassifier
from diffcam_jax.nn.deghosting import Deghoster
from diffcam_jax.nn.psp import GradualStyleEncoder
from diffcam_jax.nn.stylegan2 import StyleGAN2Generator, config_widths

WIDTHS = config_widths(1024)


@dataclasses.dataclass(frozen=True)
class Case:
    """One row: the name, what to run in each framework, and the ratio that is aimed at."""

    name: str
    ours: Callable[[], jax.Array]
    torch: Callable[[], torch.Tensor]
    target: float


def random_variables(model: nn.Module, *inputs: jax.Array) -> dict:
    """Variables of a network with small random numbers, without compiling its initialisers."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *inputs))
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.05 * rng.standard_normal(leaf.shape) + 0.05, jnp.float32), shapes
    )


def synthesis() -> Iterator[Case]:
    """StyleGAN2's synthesis and its gradient by W+."""
    rng = np.random.default_rng(1)
    generator, peer = StyleGAN2Generator(WIDTHS), Synthesis(WIDTHS).eval().requires_grad_(False)
    variables = random_variables(generator, jnp.zeros((1, 512)))
    draw = jax.jit(lambda v, w: generator.apply(v, w, method="synthesis"))
    slope = jax.jit(jax.grad(lambda w, v: jnp.mean(generator.apply(v, w, method="synthesis") ** 2)))
    for batch in (1, 4):
        w = rng.standard_normal((batch, 18, 512)).astype(np.float32)
        ours, theirs = jnp.asarray(w), torch.from_numpy(w)
        yield Case(
            f"synthesis 1024, batch {batch}",
            lambda w=ours: draw(variables, w),
            _eager(peer, theirs),
            2,
        )

    def torch_gradient() -> torch.Tensor:
        w = theirs[:1].clone().requires_grad_()
        return torch.autograd.grad(peer(w).square().mean(), w)[0]

    yield Case("its gradient by W+, batch 1", lambda: slope(ours[:1], variables), torch_gradient, 2)


def encoder() -> Iterator[Case]:
    """pSp's encoder."""
    nhwc, nchw = picture(256)
    model, peer = GradualStyleEncoder(), PSPEncoder().eval()
    variables, encode = random_variables(model, nhwc), jax.jit(model.apply)
    yield Case("pSp encoder 256, batch 1", lambda: encode(variables, nhwc), _eager(peer, nchw), 1)


def classifier() -> Iterator[Case]:
    """The DA classifier with the mask of one class."""
    nhwc, nchw = picture(256)
    model, peer, chosen = DiffClassifier(), DiffCam().eval(), jnp.array([3])
    variables = random_variables(model, nhwc, nhwc)
    mask = jax.jit(lambda v, a, b: diff_cam(model, v, a, b, chosen).mask)
    other, torch_other = nhwc[:, ::-1], nchw.flip(2)
    yield Case(
        "DA classifier with mask 256, batch 1",
        lambda: mask(variables, nhwc, other),
        lambda: peer(nchw, torch_other, 3),
        1,
    )


def deghosting() -> Iterator[Case]:
    """The deghosting network."""
    nhwc, nchw = picture(128)
    model, peer = Deghoster(), TorchDeghoster(WIDTHS).eval()
    variables, restore = random_variables(model, nhwc), jax.jit(model.apply)
    yield Case(
        "deghosting 128 -> 1024, batch 1", lambda: restore(variables, nhwc), _eager(peer, nchw), 1
    )


def picture(side: int) -> tuple[jax.Array, torch.Tensor]:
    """The same random picture for both."""
    image = np.random.default_rng(2).uniform(-1, 1, (1, side, side, 3)).astype(np.float32)
    return jnp.asarray(image), torch.from_numpy(image.transpose(0, 3, 1, 2).copy())


def _eager(network: torch.nn.Module, *inputs: torch.Tensor) -> Callable[[], torch.Tensor]:
    def run() -> torch.Tensor:
        with torch.no_grad():
            return network(*inputs)

    return run


def measure(case: Case, runs: int) -> tuple[float, float, float]:
    """Seconds to compile, and the medians of ours and torch's."""
    start = time.perf_counter()
    jax.block_until_ready(case.ours())
    compiling = time.perf_counter() - start
    case.torch()
    seconds: dict[str, list[float]] = {"ours": [], "torch": []}
    for _ in range(runs):
        for name, function in (
            ("ours", lambda: jax.block_until_ready(case.ours())),
            ("torch", case.torch),
        ):
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return compiling, statistics.median(seconds["ours"]), statistics.median(seconds["torch"])


def main() -> None:
    """Runs the benchmark and prints its table; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="part of a row's name")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    print(
        "| network | JAX | torch | ratio | target | first call, compiling "
        "|\n|---|---|---|---|---|---|"
    )
    # A row's networks are freed before the next one's are built.
    for case in itertools.chain.from_iterable(
        rows() for rows in (synthesis, encoder, classifier, deghosting)
    ):
        if options.only in case.name:
            compiling, ours, theirs = measure(case, options.runs)
            ratios = f"{theirs / ours:.2f}x | {case.target:g}x | {compiling:.1f} s"
            print(f"| {case.name} | {ours:.3f} s | {theirs:.3f} s | {ratios} |", flush=True)


if __name__ == "__main__":
    main()
