"""Pictures a second of the networks that metrics look through.

Ours in JAX against the packages `lpips` and `pytorch-fid`.

    python -m benchmarks.metrics_speed [--runs 5] [--pictures 16]

The product's own calls, from uint8 pictures to numbers, against the packages' networks on ready
tensors, with gradients off, in the batch that each is given here; medians of alternating runs of
one process, float32, compile time apart. Torch runs eagerly with as many threads as the machine has
cores. Weights are those of the store in both. Needs the `bench` extra, `pip install lpips
pytorch-fid torchvision`, and pretrained parts.
"""

import argparse
import os
import statistics
import time
import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import torch

from convert_weights.layouts.inception import inception as inception_layout
from convert_weights.layouts.lpips import lpips as lpips_layout
from diffcam_jax.command.allocator import keep_freed_memory
from diffcam_jax.metrics.features import InceptionFeatures
from diffcam_jax.metrics.perceptual import Lpips
from diffcam_jax.pretrained import networks as pretrained

SIDE, BATCH = 256, 8
Call = Callable[[], np.ndarray]


def pictures(count: int, seed: int) -> np.ndarray:
    """Smooth random pictures, uint8 [count, SIDE, SIDE, 3]."""
    coarse = np.random.default_rng(seed).uniform(0, 255, (count, 16, 16, 3))
    return np.asarray(
        jax.image.resize(jnp.asarray(coarse), (count, SIDE, SIDE, 3), "cubic").clip(0, 255)
    ).astype(np.uint8)


def tensors(images: np.ndarray) -> torch.Tensor:
    """NCHW in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float() / 255


def state_dict(layout, variables: dict) -> dict[str, torch.Tensor]:
    return {
        name: torch.from_numpy(value.copy()) for name, value in layout.export(variables).items()
    }


def lpips_calls(net: str, count: int) -> tuple[Call, Call]:
    """Ours and the package's, on the same pairs."""
    import lpips

    network = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    first = {"alex": (64, 3, 11, 11), "vgg": (64, 3, 3, 3)}[net]
    layout = lpips_layout({"net.slice1.0.weight": first})
    network.load_state_dict(
        state_dict(layout, pretrained.load("lpips").network(f"lpips_{net}").variables), strict=False
    )
    a, b = pictures(count, 0), pictures(count, 1)
    ready = [2 * tensors(x) - 1 for x in (a, b)]
    ours = Lpips(net, SIDE, batch=BATCH)

    def theirs() -> np.ndarray:
        with torch.no_grad():
            return (
                torch.cat(
                    [network(x, y) for x, y in zip(*(t.split(BATCH) for t in ready), strict=True)]
                )
                .flatten()
                .numpy()
            )

    return lambda: ours(a, b), theirs


def inception_calls(count: int) -> tuple[Call, Call]:
    """Ours and the package's, on the same pictures."""
    from pytorch_fid import inception

    state = state_dict(
        inception_layout({}), pretrained.load("inception").network("inception").variables
    )
    # The package fetches its weights when it is built; the linear layer among them is not used.
    head = {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    inception.load_state_dict_from_url = lambda *_, **__: state | head
    network = inception.InceptionV3().eval()
    images = pictures(count, 0)
    ready, ours = tensors(images), InceptionFeatures(batch=BATCH)

    def theirs() -> np.ndarray:
        with torch.no_grad():
            return torch.cat([network(x)[0][..., 0, 0] for x in ready.split(BATCH)]).numpy()

    return lambda: ours(images), theirs


def measure(ours: Call, theirs: Call, runs: int) -> tuple[float, float, float]:
    """Seconds of our first call, and the medians of ours and theirs, whose results must agree."""
    start = time.perf_counter()
    found = ours()
    first = time.perf_counter() - start
    np.testing.assert_allclose(found, theirs(), rtol=1e-3, atol=1e-3)
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(runs):
        for name, call in (("ours", ours), ("theirs", theirs)):
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return first, statistics.median(seconds["ours"]), statistics.median(seconds["theirs"])


def main() -> None:
    """Runs the benchmark and prints its table; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--pictures", type=int, default=16, help="pictures, or pairs, of a run")
    options = parser.parse_args()
    keep_freed_memory()  # torch gains by it as well
    warnings.simplefilter("ignore")
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    rows = {
        "LPIPS alex, pairs of 256": lambda: lpips_calls("alex", options.pictures),
        "LPIPS vgg, pairs of 256": lambda: lpips_calls("vgg", options.pictures),
        "Inception features, 256 -> 299": lambda: inception_calls(options.pictures),
    }
    print(
        "| what | JAX | package | ratio | target | first call, compiling "
        "|\n|---|---|---|---|---|---|"
    )
    for name, build in rows.items():
        first, ours, theirs = measure(*build(), options.runs)
        rates = (options.pictures / seconds for seconds in (ours, theirs))
        print(
            f"| {name} | {' | '.join(f'{rate:.1f}/s' for rate in rates)} | {theirs / ours:.2f}x "
            f"| 1x | {first:.1f} s |",
            flush=True,
        )


if __name__ == "__main__":
    main()
