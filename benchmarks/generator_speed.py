"""The generator at 1024x1024 on this CPU.

Ours, OpenVINO on the published network, and the same network written naively in JAX.

    python -m benchmarks.generator_speed --wheel random_face-2021.7.21.1-py3-none-any.whl

Medians of alternating runs, batch 1, compile time apart. The naive form uses grouped convolutions
for the depthwise layers and an interleaving transposed convolution for the inverse Haar transform.
Needs the `bench` extra; without --wheel OpenVINO is left out.
"""

import argparse
import contextlib
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from diffcam_jax.nn import mobile_stylegan
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN
from diffcam_jax.pretrained import store


def grouped_depthwise(x, kernel):
    """Depthwise convolution as XLA's grouped convolution."""
    return jax.lax.conv_general_dilated(
        x,
        kernel[:, :, None],
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


def transposed_haar(bands):
    """Inverse Haar transform as a grouped transposed convolution."""
    channels = bands.shape[-1] // 4
    x = jnp.stack(jnp.split(bands, 4, -1), -1).reshape(*bands.shape[:3], 4 * channels)
    signs = 0.5 * np.array(
        [[[1, 1], [1, 1]], [[1, 1], [-1, -1]], [[1, -1], [1, -1]], [[1, -1], [-1, 1]]], np.float32
    )
    kernel = jnp.asarray(
        np.tile(signs[:, ::-1, ::-1].transpose(1, 2, 0)[..., None], (1, 1, 1, channels))
    )
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        ((1, 1), (1, 1)),
        (2, 2),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=channels,
    )


def compiled(params: dict, naive: bool) -> tuple[Callable, Callable, float]:
    """Forward and gradient as compiled programs, and the seconds of compiling.

    The gradient is that of the mean square with respect to w.
    """
    model = MobileStyleGAN()

    def forward(params, w):
        return model.apply({"params": params}, w, method="synthesis")

    w = jnp.zeros((1, 512))
    start = time.perf_counter()
    with contextlib.ExitStack() as stack:
        if naive:
            forms = {"depthwise3x3": grouped_depthwise, "inverse_haar": transposed_haar}
            stack.enter_context(mock.patch.multiple(mobile_stylegan, **forms))
        run = jax.jit(forward).lower(params, w).compile()
        gradient = (
            jax.jit(jax.grad(lambda w, p: jnp.mean(forward(p, w) ** 2))).lower(w, params).compile()
        )
    return (lambda w: run(params, w)), (lambda w: gradient(w, params)), time.perf_counter() - start


def openvino(wheel: Path) -> Callable:
    """The published synthesis network under OpenVINO in float32."""
    import openvino as ov

    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        for suffix in ("xml", "bin"):
            archive.extract(f"random_face/data/SynthesisNetwork.{suffix}", folder)
        core = ov.Core()
        model = core.read_model(f"{folder}/random_face/data/SynthesisNetwork.xml")
        network = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda w: network(np.asarray(w))[0]


def medians(programs: dict[str, Callable], repeats: int) -> dict[str, float]:
    """Median seconds of each program, run in turn so that a drifting machine hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in programs}
    codes = [
        jnp.asarray(np.random.default_rng(i).standard_normal((1, 512)) * 0.4, jnp.float32)
        for i in range(repeats + 1)
    ]
    for w in codes:
        for name, program in programs.items():
            start = time.perf_counter()
            jax.block_until_ready(program(w))
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds[1:]) for name, seconds in times.items()}


def main() -> None:
    """Runs the benchmark and prints its table; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--wheel", type=Path)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    params = jax.device_put(store.load_pretrained("mobile_stylegan_ffhq")[0])
    forward, gradient, seconds = compiled(params, naive=False)
    naive_forward, naive_gradient, naive_seconds = compiled(params, naive=True)
    w = jnp.full((1, 512), 0.1)
    np.testing.assert_allclose(forward(w), naive_forward(w), atol=1e-3)
    programs = {"forward": forward, "naive forward": naive_forward}
    if options.wheel:
        programs["OpenVINO forward"] = openvino(options.wheel)
        np.testing.assert_allclose(
            forward(w), programs["OpenVINO forward"](w).transpose(0, 2, 3, 1), atol=1e-3
        )
    programs |= {"gradient": gradient, "naive gradient": naive_gradient}
    print(f"compile: {seconds:.1f} s (naive {naive_seconds:.1f} s)")
    print("| program | median s | against ours |\n|---|---|---|")
    found = medians(programs, options.repeats)
    for name, value in found.items():
        ours = found["gradient" if "gradient" in name else "forward"]
        print(f"| {name} | {value:.3f} | {value / ours:.2f}x |")


if __name__ == "__main__":
    main()
