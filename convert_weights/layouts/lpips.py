"""LPIPS v0.1: the state dict of the official module of one net, trunk and heads."""

import re

import jax
import jax.numpy as jnp
import numpy as np

from convert_weights.layout import Layout, Origin, Path, Shapes, dropping, torch_leaf
from convert_weights.layouts.vgg import CONVOLUTIONS
from diffcam_jax.errors import UserError
from diffcam_jax.nn.lpips import LPIPS_SCALE, LPIPS_SHIFT, Lpips

# Our layer -> the official one: the slice between two taps, and torchvision's number of the layer.
_LAYERS = {
    "alex": {
        "conv1": "slice1.0",
        "conv2": "slice2.3",
        "conv3": "slice3.6",
        "conv4": "slice4.8",
        "conv5": "slice5.10",
    },
    "vgg": {name: f"slice{name[4]}.{place}" for name, place in CONVOLUTIONS["vgg16"].items()},
    "squeeze": {
        "conv1": "slice1.0",
        "fire2": "slice2.3",
        "fire3": "slice2.4",
        "fire4": "slice3.6",
        "fire5": "slice3.7",
        "fire6": "slice4.9",
        "fire7": "slice5.10",
        "fire8": "slice6.11",
        "fire9": "slice7.12",
    },
}


def lpips(shapes: Shapes) -> Layout:
    """Layout of one net, which is recognised by its keys.

    Args:
        shapes: official key -> shape.

    Raises:
        UserError: it is none of the three nets.
    """
    net = _net(shapes)
    layers, module = _LAYERS[net], Lpips(net)
    picture = jnp.zeros((1, 64, 64, 3))

    def source(path: Path) -> Origin:
        _, part, *names, leaf = path
        if part == "heads":
            return Origin(f"{leaf}.model.1.weight", dropping(0, 2, 3))
        layer, *inner = names
        return torch_leaf(".".join(["net", layers[layer], *inner]), leaf, 4)

    return Layout(
        module=module,
        init=lambda: module.init(jax.random.key(0), picture, picture),
        source=source,
        ignored={r"lins\.\d+\.model\.1\.weight": "the heads a second time, under another name"},
        constants={
            r"scaling_layer\.shift": np.reshape(np.float32(LPIPS_SHIFT), (3, 1, 1)),
            r"scaling_layer\.scale": np.reshape(np.float32(LPIPS_SCALE), (3, 1, 1)),
        },
        summary=f"LPIPS v0.1 on {net}",
    )


def _net(shapes: Shapes) -> str:
    if any(re.fullmatch(r"net\.slice\d\.\d+\.squeeze\.weight", key) for key in shapes):
        return "squeeze"
    first = tuple(shapes.get("net.slice1.0.weight", ()))
    if first[2:] == (11, 11):
        return "alex"
    if first[2:] == (3, 3):
        return "vgg"
    raise UserError(
        "no LPIPS net: net.slice1.0.weight is missing or has an unknown size; save the whole "
        "module's state dict"
    )
