"""What the shapes of a StyleGAN2 checkpoint tell: its size, its widths, its colours."""

import re

import numpy as np

from convert_weights.layout import Shapes, Transform
from diffcam_jax.errors import UserError
from diffcam_jax.nn.stylegan2 import config_widths

EMBED = "mapping.embed.weight"  # of labels, beside those of the mapping network


def size(widths: tuple[int, ...]) -> str:
    """Resolution and channel multiplier, for people.

    Where no multiplier gives the widths, they are listed.
    """
    side = 2 ** (len(widths) + 1)
    multiplier = widths[-1] * side / 2**14
    # Up to 32 pixels every multiplier gives the same widths.
    if side > 32 and config_widths(side, multiplier) == widths:
        return f"{side} px, channel multiplier {multiplier:g}"
    return f"{side} px, widths {', '.join(map(str, widths))}"


def require(shapes: Shapes, axes: dict[str, int]) -> None:
    """Checks that keys are there with their number of axes.

    Raises:
        UserError: names the first key that is not.
    """
    for key, ndim in axes.items():
        if len(shapes.get(key, ())) != ndim:
            raise UserError(
                f"no StyleGAN2 of these names: {key} is missing or misshapen; choose the kind of "
                "the file"
            )


def count(shapes: Shapes, pattern: str, start: int, step: int, ndim: int) -> int:
    """Number of consecutive numbered keys, from 0."""
    number = start
    while len(shapes.get(pattern.format(number), ())) == ndim:
        number += step
    return (number - start) // step


def sides(shapes: Shapes, pattern: str, ndim: int) -> list[int]:
    """8, 16, ... while keys of that pattern follow each other."""
    found = {
        int(match[1])
        for key, shape in shapes.items()
        if len(shape) == ndim and (match := re.fullmatch(pattern, key))
    }
    sides, side = [], 8
    while side in found:
        sides, side = [*sides, side], 2 * side
    return sides


def classes(shapes: Shapes) -> int:
    """Length of the labels of a conditional network; 0 for one without labels."""
    embed = shapes.get(EMBED, ())
    return embed[1] if len(embed) == 2 else 0


def channels(shapes: Shapes, key: str, axis: int) -> int:
    """Channels of the pictures, from the axis of a bias; 3 where it does not tell."""
    shape = shapes.get(key, ())
    return shape[axis] if len(shape) > axis else 3


def coloured(channels: int, transform: Transform) -> Transform:
    """The transform of a layer that gives colours; grey becomes three equal channels.

    Args:
        channels: of the pictures that the official network draws.
        transform: for three channels, which are the last axis of our array.

    Raises:
        UserError: pictures of another number of channels than 1 or 3.
    """
    if channels == 3:
        return transform
    if channels != 1:
        raise UserError(
            f"it draws pictures of {channels} channels; only grey and RGB ones can be converted"
        )
    return Transform(
        lambda a: np.repeat(transform.forward(a), 3, axis=-1),
        lambda a: transform.inverse(a[..., :1]),
    )
