"""Invertibility decomposition's net_g_*.pth.

Its keys are `encoder.*`, `generator.*` (rosinality's names), `feats_conv.*` and `modulation.*`.
Officially the levels are counted from 256 pixels down to 32, here from coarse to fine.
"""

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from convert_weights.layout import DENSE, Layout, Origin, Path, Shapes, dropping, torch_leaf
from convert_weights.layouts import encoders, feature_style
from convert_weights.layouts.stylegan2 import TAPS
from diffcam_jax.errors import UserError
from diffcam_jax.nn.invertibility import SIDES, Aligner, BicubicEncoder4Editing, SpatialAlignment

LAYERS = {
    "norm1": "res_layer.0",
    "conv1": "res_layer.1",
    "prelu": "res_layer.2",
    "conv2": "res_layer.3",
    "norm2": "res_layer.4",
    "shortcut": "shortcut_layer.0",
    "shortcut_norm": "shortcut_layer.1",
}
UNUSED = {
    r"(.*\.)?noiseInj\.weight": "strength of a noise that is not added in this arrangement",
    r"delta_latent": "a place for an edit, zero when inverting",
    r"avg_latent": "the average latent, kept beside the networks",
}
# The factor is 1 in every known file; the meaning of another value is unknown, so it is refused.
CONSTANTS = {
    r"(.*\.)?alignment\.blur\.kernel": TAPS,
    r"(modulation\.\d+\.)?weight": np.ones(1, np.float32),
}


def aligner(shapes: Shapes) -> Layout:
    """The trained part: net_g_*.pth without its encoder and its generator.

    Args:
        shapes: official key -> shape, prefixes removed.

    Raises:
        UserError: entries are missing that determine the number of levels and the widths.
    """
    numbers = [
        int(match[1])
        for match in (re.fullmatch(r"modulation\.(\d+)\..*", key) for key in shapes)
        if match
    ]
    levels = max(numbers, default=-1) + 1
    kernels = [shapes.get(f"feats_conv.{number}.weight", ()) for number in reversed(range(levels))]
    if not 0 < levels <= len(SIDES) or any(len(kernel) != 4 for kernel in kernels):
        raise UserError(
            f"its {levels} alignment modules and their feats_conv do not go together; give the "
            "complete net_g_*.pth"
        )
    module = Aligner(
        SIDES[:levels],
        tuple(kernel[0] for kernel in kernels),
        tuple(kernel[1] for kernel in kernels),
    )

    def source(path: Path) -> Origin:
        name, _, index = path[1].rpartition("_")
        number = levels - 1 - int(index)
        if name == "level":
            return _aligned(path[2:], f"modulation.{number}.")
        if path[-1] == "bias":
            return Origin(f"feats_conv.{number}.bias")
        return Origin(f"feats_conv.{number}.weight", dropping(2, 3, then=DENSE))

    def init() -> Mapping[str, Any]:
        maps = [
            [
                jnp.zeros((1, 4 * 2**level, 4 * 2**level, width))
                for level, width in enumerate(widths)
            ]
            for widths in (module.features, module.inputs)
        ]
        return module.init(jax.random.key(0), *maps)

    sides, channels = (", ".join(map(str, x)) for x in (module.sides, module.features))
    summary = f"alignment at {sides} px in {channels} channels"
    return Layout(module, init, source, UNUSED, CONSTANTS, summary)


def alignment(shapes: Shapes) -> Layout:
    """One alignment module alone, with its names below "modulation.0."; arguments as `aligner`."""
    kernel = shapes.get("alignment.body.body.0.res_layer.1.weight", ())
    if len(kernel) != 4:
        raise UserError("it holds no alignment module; give the complete net_g_*.pth")
    module, example = SpatialAlignment(), jnp.zeros((1, 4, 4, kernel[1] // 2))
    return Layout(
        module,
        lambda: module.init(jax.random.key(0), example, example),
        lambda path: _aligned(path[1:], ""),
        UNUSED,
        CONSTANTS,
        f"alignment in {kernel[1] // 2} channels",
    )


def encoder(shapes: Shapes) -> Layout:
    """The encoder of the file, of any of the three variants.

    That of ReStyle is its progressive one.

    Args:
        shapes: official key -> shape, prefixes removed.

    Raises:
        UserError: it is none of e4e's, ReStyle's and FeatureStyle's.
    """
    if "content_layer.0.weight" in shapes:
        return feature_style.encoder(shapes)
    found = encoders.recognise(shapes)
    if found == "gradual":
        return encoders.pyramid(shapes, BicubicEncoder4Editing)
    if found == "restyle_irse":
        return encoders.restyle_irse(shapes, progressive=True)
    raise UserError(
        "its encoder is none of e4e's, ReStyle's and FeatureStyle's; give the complete net_g_*.pth"
    )


def _aligned(path: Path, prefix: str) -> Origin:
    """The official entry of a leaf below a `SpatialAlignment`."""
    _, block, layer, leaf = path
    name = f"{prefix}alignment.body.body.{block.removeprefix('block_')}.{LAYERS[layer]}"
    return torch_leaf(name, leaf, 4 if leaf == "kernel" else 1)
