"""FID's Inception-V3: `pt_inception-2015-12-05-*.pth`, with torchvision's names."""

import jax
import jax.numpy as jnp

from convert_weights.layout import BATCH_COUNTERS, Layout, Origin, Path, Shapes, torch_leaf
from diffcam_jax.nn.inception import InceptionV3


def inception(shapes: Shapes) -> Layout:
    """Layout of the whole network; the linear layer may be absent.

    Args:
        shapes: official key -> shape.
    """
    classes = next(iter(shapes.get("fc.weight", ())), None)
    module = InceptionV3(num_classes=classes)
    return Layout(
        module=module,
        init=lambda: module.init(jax.random.key(0), jnp.zeros((1, 299, 299, 3))),
        source=_source,
        ignored=BATCH_COUNTERS,
        summary="Inception-V3 of FID, "
        + (f"{classes} classes" if classes else "without its linear layer"),
    )


def _source(path: Path) -> Origin:
    *layers, leaf = path[1:]
    if layers == ["fc"]:
        return torch_leaf("fc", leaf, 2)
    layers[0] = layers[0].capitalize()  # Mixed_5b, Conv2d_1a_3x3
    return torch_leaf(".".join(layers), leaf, 4)
