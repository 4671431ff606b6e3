"""The StyleGAN2 generator in rosinality's names: mapping, W+, truncation, mixing, every layer."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np

from convert_weights import probes
from convert_weights.fixture import Fixture, nchw
from convert_weights.layout import Layout, Shapes
from convert_weights.layouts.stylegan2 import generator_rosinality
from diffcam_jax.nn.latents import mix_styles, truncate
from diffcam_jax.ops.fir import upsample


def layouts(fixture: Fixture) -> list[tuple[Layout, Shapes]]:
    """The one network of the fixture."""
    return [(generator_rosinality(fixture.shapes()), fixture.shapes())]


def outputs(fixture: Fixture) -> dict[str, np.ndarray]:
    """All outputs of the fixture, NCHW."""
    layout = generator_rosinality(fixture.shapes())
    module, variables, inputs = layout.module, layout.convert(fixture.state()), fixture.inputs
    psi = float(_number(fixture, "img_truncated", r"truncation=([\d.]+)", "0.7"))
    index = int(_number(fixture, "img_mixed", r"inject_index=(\d+)", "4"))
    mapping = functools.partial(
        jax.jit(functools.partial(module.apply, method="mapping")), variables
    )
    draw = functools.partial(
        jax.jit(functools.partial(module.apply, method="synthesis")), variables
    )

    w, w2 = mapping(inputs["z"]), mapping(inputs["z2"])
    mixed = mix_styles(w, w2, index, module.num_styles)
    truncated = truncate(w, jnp.asarray(inputs["mean_latent"][0]), psi)
    wanted = {
        name: name[6:].replace(".", "_")
        for name in fixture.manifest["outputs"]
        if name.startswith("probe.")
    }
    pictures = ["to_rgb1", *(name for name in module.style_names if name.startswith("to_rgbs_"))]
    found = probes.run(
        module,
        variables,
        inputs["wplus"],
        probes=wanted | {name: name for name in pictures},
        method="synthesis",
    )
    image, values = found
    # The official layer adds the picture so far, ours does not.
    total = {}
    for before, name in zip([None, *pictures], pictures, strict=False):
        total[name] = values[name] if before is None else upsample(total[before]) + values[name]
    result = {
        "img_from_z": draw(w),
        "img_from_wplus": image,
        "img_truncated": draw(truncated),
        "img_mixed": draw(mixed),
        **{name: total.get(path, values[name]) for name, path in wanted.items()},
    }
    return {name: nchw(array) for name, array in result.items()} | {"w": w, "latent_mixed": mixed}


def _number(fixture: Fixture, output: str, pattern: str, usual: str) -> str:
    match = re.search(pattern, fixture.description(output))
    return match[1] if match else usual
