"""The StyleGAN2 generator in the names of NVIDIA's ADA release.

Compared are W+, noise modes, truncation of some layers, and every layer.
"""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np

from convert_weights import probes
from convert_weights.fixture import Fixture, nchw
from convert_weights.layout import Layout, Shapes
from convert_weights.layouts.stylegan2 import generator_ada
from diffcam_jax.nn.latents import mix_styles, truncate


def layouts(fixture: Fixture) -> list[tuple[Layout, Shapes]]:
    """The one network of the fixture."""
    return [(generator_ada(fixture.shapes()), fixture.shapes())]


def outputs(fixture: Fixture) -> dict[str, np.ndarray]:
    """All outputs of the fixture, NCHW."""
    layout, state, inputs = generator_ada(fixture.shapes()), fixture.state(), fixture.inputs
    module, variables, mean = (
        layout.module,
        layout.convert(state),
        jnp.asarray(state["mapping.w_avg"]),
    )
    draw = functools.partial(
        jax.jit(functools.partial(module.apply, method="synthesis")), variables
    )

    w = jax.jit(functools.partial(module.apply, method="mapping"))(variables, inputs["z"])
    truncated = truncate(w, mean, _psi(fixture, "ws_truncated"))
    partly = truncate(w, mean, _psi(fixture, "img_truncated_cutoff"))
    cutoff = re.search(r"first (\d+) layers", fixture.description("img_truncated_cutoff"))
    first = mix_styles(partly, w, int(cutoff[1]) if cutoff else 4, module.num_styles)
    wanted = {
        name: _path(name[6:]) for name in fixture.manifest["outputs"] if name.startswith("probe.")
    }
    image, values = probes.run(module, variables, inputs["ws"], probes=wanted, method="synthesis")
    silent, _ = probes.run(module, variables, inputs["ws"], method="synthesis", noise="none")
    result = {
        "img_from_z": draw(w),
        "img_from_ws": image,
        "img_no_noise": silent,
        "img_truncated_cutoff": draw(first),
        **values,
    }
    return {name: nchw(array) for name, array in result.items()} | {
        "w": w,
        "ws_truncated": truncated,
    }


def _psi(fixture: Fixture, output: str) -> float:
    match = re.search(r"psi=([\d.]+)", fixture.description(output))
    return float(match[1]) if match else 0.7


def _path(name: str) -> str:
    """The path of our module: of "b16.conv0", for instance."""
    side, layer = re.fullmatch(r"b(\d+)\.(\w+)", name).groups()
    block = int(side).bit_length() - 4
    if block < 0:
        return {"conv1": "conv1", "torgb": "to_rgb1"}[layer]
    return {
        "conv0": f"convs_{2 * block}",
        "conv1": f"convs_{2 * block + 1}",
        "torgb": f"to_rgbs_{block}",
    }[layer]
