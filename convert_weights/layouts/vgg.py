"""VGG16 and VGG19 of torchvision, numbered through all convolutions, ReLUs and pools."""

from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp

from convert_weights.layout import Layout, Origin, Path, Shapes, torch_leaf
from diffcam_jax.nn.vgg import VGG16, VGG16_WIDTHS, VGG19, VGG19_WIDTHS

IGNORED = {
    r"classifier\.\d+\.(weight|bias)": "ImageNet's classes; only the convolutions are used here"
}


def _numbers(widths: tuple[tuple[int, ...], ...]) -> dict[str, int]:
    """The position of conv2_1 and so on in the sequence of convolution, ReLU and pooling layers."""
    places, place = {}, 0
    for stage, convolutions in enumerate(widths, 1):
        for index in range(1, len(convolutions) + 1):
            places[f"conv{stage}_{index}"] = place
            place += 2
        place += 1
    return places


CONVOLUTIONS = {"vgg16": _numbers(VGG16_WIDTHS), "vgg19": _numbers(VGG19_WIDTHS)}


def vgg_leaf(pattern: str, places: Mapping[str, int], path: Path) -> Origin:
    """The official entry of a leaf of a VGG.

    Args:
        pattern: official name of a layer with {} for its number.
        places: our layers' numbers, from `CONVOLUTIONS`.
        path: of the leaf.
    """
    *_, layer, leaf = path
    return torch_leaf(pattern.format(places[layer]), leaf, 4)


def torchvision_vgg16(shapes: Shapes) -> Layout:
    """`vgg16-*.pth`, with or without its classifier."""
    return _torchvision(VGG16(), "vgg16")


def torchvision_vgg19(shapes: Shapes) -> Layout:
    """`vgg19-*.pth`, with or without its classifier."""
    return _torchvision(VGG19(), "vgg19")


def _torchvision(module: VGG16, name: str) -> Layout:
    return Layout(
        module,
        partial(module.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3))),
        partial(vgg_leaf, "features.{}", CONVOLUTIONS[name]),
        IGNORED,
        summary=f"{name.upper()}, {len(CONVOLUTIONS[name])} convolutions",
    )
