"""Feature-style inversion's 143_enc.pth.

Its keys are `conv`, `block_1` to `block_4`, `content_layer` and `styles.0` to `styles.17`.
"""

import itertools
import re

import jax
import jax.numpy as jnp

from convert_weights.layout import (
    BATCH_COUNTERS,
    Layout,
    Origin,
    Path,
    Shapes,
    dense_of_map,
    torch_leaf,
)
from diffcam_jax.errors import UserError
from diffcam_jax.nn.feature_style import POOL, FeatureStyleEncoder

INPUT = {"input_conv": "conv.0", "input_bn": "conv.1", "input_prelu": "conv.2"}
CONTENT = {
    "content_bn1": "content_layer.0",
    "content_conv1": "content_layer.1",
    "content_bn2": "content_layer.2",
    "content_prelu": "content_layer.3",
    "content_conv2": "content_layer.4",
    "content_bn3": "content_layer.5",
}
SHORTCUT = {"shortcut_conv": "downsample.0", "shortcut_bn": "downsample.1"}


def encoder(shapes: Shapes) -> Layout:
    """The layout; rows, widths and depths follow from the shapes.

    Args:
        shapes: official key -> shape, prefixes removed.

    Raises:
        UserError: entries are missing that determine them.
    """
    found = [re.fullmatch(r"(block_(\d)|styles)\.(\d+)\.(?:conv2\.)?weight", key) for key in shapes]
    numbers: dict[str, int] = {}
    for match in filter(None, found):
        numbers[match[1]] = max(numbers.get(match[1], 0), int(match[3]) + 1)
    try:
        counts = [numbers[f"block_{group}"] for group in range(1, 5)]
        widths = [shapes[f"block_{group}.0.conv2.weight"][0] for group in range(1, 5)]
        width, content = shapes["styles.0.weight"][0], shapes["content_layer.4.weight"][0]
        module = FeatureStyleEncoder(
            numbers["styles"], 256, width, content, tuple(counts), tuple(widths)
        )
    except (KeyError, IndexError) as error:
        raise UserError(
            f"not a FeatureStyle encoder, entry {error} is missing; give the file 143_enc.pth"
        ) from error
    starts = [0, *itertools.accumulate(counts)]

    def source(path: Path) -> Origin:
        *_, layer, leaf = path
        if layer.startswith("styles_"):
            name = f"styles.{layer.removeprefix('styles_')}"
            return (
                Origin(f"{name}.weight", dense_of_map(sum(widths), POOL, POOL))
                if leaf == "kernel"
                else Origin(f"{name}.bias")
            )
        names = INPUT | CONTENT
        if layer in names:
            return torch_leaf(names[layer], leaf, 4)
        unit = int(path[-3].removeprefix("unit_"))
        group = max(i for i, start in enumerate(starts[:-1]) if start <= unit)
        return torch_leaf(
            f"block_{group + 1}.{unit - starts[group]}.{SHORTCUT.get(layer, layer)}", leaf, 4
        )

    return Layout(
        module,
        lambda: module.init(jax.random.key(0), jnp.zeros((1, module.size, module.size, 3))),
        source,
        BATCH_COUNTERS,
        summary=f"{module.n_styles} styles, body of {sum(counts)} units, features of {content} "
        "channels",
    )
