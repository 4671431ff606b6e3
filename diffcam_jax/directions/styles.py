"""The style channels of a generator: what its affine layers make of the rows of a W+ code."""

import math
from collections.abc import Iterator, Mapping

import flax.linen as nn
import numpy as np
from jaxtyping import Array

from diffcam_jax.errors import UserError
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN
from diffcam_jax.nn.stylegan1 import StyleGAN1Generator
from diffcam_jax.nn.stylegan2 import StyleGAN2Generator

Path = tuple[str, ...]


def modulations(model: nn.Module) -> list[list[Path]]:
    """For each row of W+, the places in the parameter tree of the affine layers that read it.

    The to-RGB layers of StyleGAN2, which mix colours, do not count.

    Args:
        model: MobileStyleGAN, StyleGAN2 or StyleGAN v1.

    Raises:
        UserError: the generator is of another kind.
    """
    match model:
        case MobileStyleGAN():
            by_row = [[("conv1", "modulation")]]
            for i in range(len(model.widths) - 1):
                block = f"block_{i}"
                by_row.append([(block, "up"), (block, "conv1", "modulation")])
                by_row.append([(block, "conv2", "modulation")])
            return [*by_row, [("to_image", "modulation")]]
        case StyleGAN2Generator():
            convolutions = [f"convs_{i}" for i in range(2 * len(model.widths) - 2)]
            return [*([(name, "modulation")] for name in ("conv1", *convolutions)), []]
        case StyleGAN1Generator():
            return [[(f"layer_{i}", "style")] for i in range(model.num_styles)]
        case _:
            raise UserError(
                f"the style channels of {type(model).__name__} are not known; use StyleGAN v1 or 2"
            )


def gain(model: nn.Module) -> float:
    """What the stored kernels of the affine layers are multiplied by when they are applied."""
    return 1.0 if isinstance(model, MobileStyleGAN) else 1 / math.sqrt(model.latent_size)


def at(params: Mapping, path: Path) -> Mapping:
    """The parameters of an affine layer: its kernel [k, channels] and its bias [channels]."""
    for name in path:
        params = params[name]
    return params


def with_biases(params: Mapping, biases: Mapping[Path, Array]) -> dict:
    """A parameter tree with other biases of some affine layers, by their place."""
    changed = dict(params)
    for path, bias in biases.items():
        head, *rest = path
        changed[head] = (
            with_biases(changed[head], {tuple(rest): bias})
            if rest
            else changed[head] | {"bias": bias}
        )
    return changed


def kernels(model: nn.Module, params: Mapping) -> Iterator[list[np.ndarray]]:
    """For each row of W+, the stored kernels [k, channels] of the affine layers that read it."""
    for paths in modulations(model):
        yield [np.asarray(at(params, path)["kernel"]) for path in paths]
