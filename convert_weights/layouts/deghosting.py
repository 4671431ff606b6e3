"""The released deghosting network of Diff-CAM: `FCN.*`, trained, and `generator.*`, the prior.

The prior has mmgen's names.
"""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np

from convert_weights.layout import Layout, Origin, Path, Shapes, Transform, dense_of_map, torch_leaf
from convert_weights.layouts.stylegan2 import generator_mmgen
from diffcam_jax.errors import UserError
from diffcam_jax.nn.deghosting import Deghoster

UNUSED = {
    r"FCN\.fusion_skip\.\d+\.(weight|bias)": "fuses the prior's own picture, from which nothing "
    "reaches the output",
}


def deghosting(shapes: Shapes) -> Layout:
    """The layout of deghosting.pt; sizes, widths and depths follow from the shapes.

    Raises:
        UserError: entries are missing that determine the network's form.
    """
    prior = generator_mmgen(
        {
            key.removeprefix("generator."): s
            for key, s in shapes.items()
            if key.startswith("generator.")
        }
    )
    levels, stages = (
        _count(shapes, rf"FCN\.{name}\.(\d+)\..*") for name in ("fusion_out", "decoder")
    )
    try:
        module = Deghoster(
            in_size=2 ** (levels + 1),
            widths=prior.module.widths,
            latent_size=prior.module.latent_size,
            mapping_layers=prior.module.mapping_layers,
            blocks=_count(shapes, r"FCN\.encoder\.0\.body\.(\d+)\..*"),
            rrdb_width=shapes["FCN.encoder.0.conv_first.weight"][0],
            growth=shapes["FCN.encoder.0.body.0.rdb1.conv1.weight"][0],
            image_width=shapes[f"FCN.decoder.{stages - 1}.0.weight"][0],
        )
    except (KeyError, IndexError) as error:
        raise UserError(
            f"not a deghosting network, entry {error} is missing; give the file deghosting.pt"
        ) from error
    if not 4 <= module.in_size < module.out_size:
        raise UserError(
            f"{levels} entries FCN.fusion_out do not fit a generator of {module.out_size} px; is "
            "the file whole?"
        )

    names = _names(module)

    def source(path: Path) -> Origin:
        collection, first, *rest = path
        if first == "generator":
            inner = prior.source((collection, *rest))
            return Origin(f"generator.{inner.key}", inner.transform)
        key, transform = torch_leaf(
            names["/".join(path[1:-1])], path[-1], 4 if path[-1] == "kernel" else 1
        )
        if first.startswith("up_"):
            transform = _shuffled(transform)
        elif path[-2:] == ("dense", "kernel"):
            transform = dense_of_map(module.widths[0], 4, 4)
        return Origin(key, transform)

    return Layout(
        module,
        lambda: module.init(jax.random.key(0), jnp.zeros((1, module.in_size, module.in_size, 3))),
        source,
        ignored=UNUSED
        | {rf"generator\.(?:{pattern})": why for pattern, why in prior.ignored.items()},
        constants={
            rf"generator\.(?:{pattern})": value for pattern, value in prior.constants.items()
        },
        summary=f"deghosting {module.in_size} -> {module.out_size} px, {module.blocks} dense "
        f"blocks, {module.num_styles} styles",
    )


def _names(module: Deghoster) -> dict[str, str]:
    """The official names of our layers outside the prior."""
    levels = module.in_size.bit_length() - 2
    stages = len(module.widths) - levels
    names = {
        "to_styles/conv": f"encoder.{levels}.0",
        "to_styles/dense": f"encoder.{levels}.3",
        "to_image/conv1": f"decoder.{stages}.0",
        "to_image/conv2": f"decoder.{stages}.2",
    }
    names |= {
        f"rrdb/{name}": f"encoder.0.{name}" for name in ("conv_first", "conv_body", "conv_up")
    }
    for block, dense, conv in itertools.product(range(module.blocks), (1, 2, 3), (1, 2, 3, 4, 5)):
        names[f"rrdb/body_{block}/rdb{dense}/conv{conv}"] = (
            f"encoder.0.body.{block}.rdb{dense}.conv{conv}"
        )
    for i in range(levels - 1):
        names |= {f"down_{i}/conv1": f"encoder.{i + 1}.0", f"down_{i}/conv2": f"encoder.{i + 1}.2"}
    names |= {f"fusion_{i}": f"fusion_out.{i}" for i in range(levels)}
    names |= {f"up_{i}/conv": f"decoder.{i}.upsample_conv" for i in range(stages)}
    return {ours: f"FCN.{official}" for ours, official in names.items()}


def _shuffled(then: Transform) -> Transform:
    """Reorders the last axis from pixels within a channel to blocks of channels.

    Another transform is applied first.
    """
    return Transform(
        lambda a: _swap(then.forward(a), -1, 4),
        lambda a: then.inverse(_swap(a, 4, -1)),
    )


def _swap(a: np.ndarray, outer: int, inner: int) -> np.ndarray:
    """Splits the last axis in two and swaps the resulting axes."""
    return a.reshape(*a.shape[:-1], outer, inner).swapaxes(-1, -2).reshape(a.shape)


def _count(shapes: Shapes, pattern: str) -> int:
    """One more than the largest index that a pattern finds among the keys."""
    return max(
        (int(match[1]) + 1 for match in (re.fullmatch(pattern, key) for key in shapes) if match),
        default=0,
    )
