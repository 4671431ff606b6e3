"""The ResNets of torchvision, and the DA classifier of Editing Out-of-Domain.

The classifier divides a ResNet into two lists of layers.
"""

import re

import jax
import jax.numpy as jnp

from convert_weights.layout import BATCH_COUNTERS, Layout, Origin, Path, Shapes, torch_leaf
from diffcam_jax.errors import UserError
from diffcam_jax.nn.classifier import DiffClassifier
from diffcam_jax.nn.resnet import BLOCKS, ResNet

_DOWNSAMPLE = {"downsample_conv": "downsample.0", "downsample_bn": "downsample.1"}


def torchvision_resnet(shapes: Shapes) -> Layout:
    """`resnet18-*.pth` to `resnet101-*.pth`; the linear layer may be absent.

    Args:
        shapes: official key -> shape.

    Raises:
        UserError: the numbers of blocks are those of no known depth.
    """
    depth = _depth(shapes, *(_count(shapes, rf"layer{stage}\.(\d+)\..+") for stage in (1, 2, 3, 4)))
    classes = _rows(shapes, "fc.weight")
    module = ResNet(depth, _rows(shapes, "conv1.weight") or 64, num_classes=classes)
    pictures = jnp.zeros((1, 64, 64, 3))

    def source(path: Path) -> Origin:
        *layers, leaf = path[1:]
        stage, _, block = layers[0].partition("_")
        inner = [_DOWNSAMPLE.get(name, name) for name in layers[1:]]
        return torch_leaf(
            ".".join([stage, *([block] if block else []), *inner]), leaf, 2 if stage == "fc" else 4
        )

    return Layout(
        module=module,
        init=lambda: module.init(jax.random.key(0), pictures),
        source=source,
        ignored=BATCH_COUNTERS,
        summary=f"ResNet-{depth}, {classes} classes"
        if classes
        else f"ResNet-{depth} without its linear layer",
    )


def diffcam(shapes: Shapes) -> Layout:
    """`diff_cam_weight.pt`: shared.0 to the middle of layer3, classifier.0 up to layer4, and fc.

    Args:
        shapes: official key -> shape.

    Raises:
        UserError: the numbers of blocks are those of no known depth, or there is no linear layer.
    """
    # An entry with its own conv1 is a block of layer3; the other layers are complete, and their
    # blocks are one level deeper.
    split = _count(shapes, r"shared\.(\d+)\.conv1\.weight")
    rest = _count(shapes, r"classifier\.(\d+)\.conv1\.weight")
    whole = {"layer1": "shared.4", "layer2": "shared.5", "layer4": f"classifier.{rest}"}
    first, second, last = (
        _count(shapes, rf"{re.escape(name)}\.(\d+)\..+") for name in whole.values()
    )
    depth = _depth(shapes, first, second, split + rest, last)
    classes = _rows(shapes, "fc.weight")
    if classes is None:
        raise UserError("the DA classifier's fc.weight is missing; get the whole checkpoint")
    module = DiffClassifier(depth, _rows(shapes, "shared.0.weight") or 64, classes, split)
    pictures = jnp.zeros((1, 64, 64, 3))
    stem = {"conv1": "shared.0", "bn1": "shared.1"}

    def source(path: Path) -> Origin:
        *layers, leaf = path[1:]
        if layers == ["fc"]:
            return torch_leaf("fc", leaf, 2)
        _, name, *inner = layers
        if name in stem:
            return torch_leaf(stem[name], leaf, 4)
        stage, _, block = name.partition("_")
        place = int(block)
        if stage in whole:
            prefix = f"{whole[stage]}.{place}"
        else:
            prefix = f"shared.{6 + place}" if place < split else f"classifier.{place - split}"
        return torch_leaf(
            ".".join([prefix, *(_DOWNSAMPLE.get(part, part) for part in inner)]), leaf, 4
        )

    return Layout(
        module=module,
        init=lambda: module.init(jax.random.key(0), pictures, pictures),
        source=source,
        ignored=BATCH_COUNTERS,
        summary=f"DA classifier, ResNet-{depth} cut after block {split} of layer3, {classes} "
        "classes",
    )


def _count(shapes: Shapes, pattern: str) -> int:
    return len({found[1] for found in (re.fullmatch(pattern, key) for key in shapes) if found})


def _depth(shapes: Shapes, *counts: int) -> int:
    bottleneck = any(key.endswith("conv3.weight") for key in shapes)
    for depth, known in BLOCKS.items():
        if known == counts and (depth >= 50) == bottleneck:
            return depth
    kind = "bottlenecks" if bottleneck else "blocks"
    raise UserError(
        f"{', '.join(map(str, counts))} {kind} are none of the ResNets "
        f"{', '.join(map(str, BLOCKS))}; get the file again"
    )


def _rows(shapes: Shapes, key: str) -> int | None:
    return next(iter(shapes.get(key, ())), None)
