"""Layouts of the encoders on the IR-SE body, of ReStyle's ResNet-34 and of ArcFace.

Keys have no prefixes: "body.0.res_layer.1.weight". pSp's gradual encoder and e4e share all keys,
and so do the plain and the progressive encoders of ReStyle: the caller must know which one a
checkpoint holds.
"""

import itertools
import math
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from convert_weights.layout import (
    BATCH_COUNTERS,
    CONV,
    DENSE,
    Layout,
    Origin,
    Path,
    Shapes,
    Transform,
    dense_of_map,
    dropping,
    torch_leaf,
)
from diffcam_jax.errors import UserError
from diffcam_jax.nn.e4e import Encoder4Editing
from diffcam_jax.nn.irse import ArcFace
from diffcam_jax.nn.psp import BODY_STRIDE, GradualStyleEncoder, IntoW, IntoWPlus
from diffcam_jax.nn.restyle import BackboneEncoder, ResNetBackboneEncoder

INPUT = {"input_conv": "input_layer.0", "input_bn": "input_layer.1", "input_prelu": "input_layer.2"}
UNIT = {
    "bn1": "res_layer.0",
    "conv1": "res_layer.1",
    "prelu": "res_layer.2",
    "conv2": "res_layer.3",
    "bn2": "res_layer.4",
    "fc1": "res_layer.5.fc1",
    "fc2": "res_layer.5.fc2",
    "shortcut_conv": "shortcut_layer.0",
    "shortcut_bn": "shortcut_layer.1",
}
BLOCK = {"downsample_conv": "downsample.0", "downsample_bn": "downsample.1"}
UNITS = {"unit": UNIT, "body": BLOCK}
# The gates are 1x1 convolutions officially, dense layers here.
KERNELS = {"fc1": dropping(2, 3, then=DENSE), "fc2": dropping(2, 3, then=DENSE), "linear": DENSE}


def recognise(shapes: Shapes) -> str:
    """The encoder that a key list belongs to: the name of a function of this module.

    "gradual" stands for e4e too.

    Raises:
        UserError: it belongs to none of them.
    """
    marks = (
        ("gradual", "latlayer1.weight"),
        ("into_wplus", "output_layer_2.3.weight"),
        ("arcface", "output_layer.3.weight"),
        ("restyle_resnet", "body.0.conv1.weight"),
        ("restyle_irse", "styles.0.linear.weight"),
        ("into_w", "linear.weight"),
    )
    for name, key in marks:
        if key in shapes:
            return name
    raise UserError("no encoder has these keys; give a checkpoint of pSp, e4e, ReStyle or ArcFace")


def gradual(shapes: Shapes) -> Layout:
    """The layout of pSp's GradualStyleEncoder."""
    return pyramid(shapes, GradualStyleEncoder)


def encoder4editing(shapes: Shapes) -> Layout:
    """The layout of e4e's Encoder4Editing."""
    return pyramid(shapes, Encoder4Editing)


def pyramid(shapes: Shapes, encoder: type[GradualStyleEncoder]) -> Layout:
    """An encoder with the keys that pSp's and e4e's share."""
    styles, width, size, channels = _heads(shapes)
    module = encoder(styles, size, width, **_body(shapes), channels=channels)
    return _layout(module, shapes, size, f"{styles} styles")


def into_w(shapes: Shapes) -> Layout:
    """The layout of pSp's BackboneEncoderUsingLastLayerIntoW."""
    width, _ = _dense(shapes, "linear.weight")
    return _layout(IntoW(width, **_body(shapes)), shapes, 256, f"one code of {width}")


def into_wplus(shapes: Shapes) -> Layout:
    """The layout of pSp's BackboneEncoderUsingLastLayerIntoWPlus."""
    total, width = _dense(shapes, "linear.weight")
    _, flat = _dense(shapes, "output_layer_2.3.weight")
    body = _body(shapes)
    pool = _side(flat, body["widths"][-1])
    names = {"output_bn": "output_layer_2.0", "output_dense": "output_layer_2.3"}
    flattened = {"output_dense": dense_of_map(body["widths"][-1], pool, pool)}
    module = IntoWPlus(total // width, width, pool, **body)
    return _layout(module, shapes, 256, f"{total // width} styles", names, flattened)


def restyle_irse(shapes: Shapes, progressive: bool = False) -> Layout:
    """ReStyle's BackboneEncoder, or ProgressiveBackboneEncoder."""
    styles, width, size, channels = _heads(shapes)
    module = BackboneEncoder(styles, progressive, size, width, **_body(shapes), channels=channels)
    return _layout(module, shapes, size, _kind(styles, progressive))


def restyle_resnet(shapes: Shapes, progressive: bool = False) -> Layout:
    """ReStyle's ResNetBackboneEncoder, or ResNetProgressiveBackboneEncoder."""
    styles, width, size, channels = _heads(shapes)
    counts, widths = _groups(shapes, r"body\.(\d+)\.conv1\.weight")
    module = ResNetBackboneEncoder(styles, progressive, size, width, counts, widths, channels)
    return _layout(module, shapes, size, _kind(styles, progressive), {"prelu": "relu"})


def arcface(shapes: Shapes) -> Layout:
    """ArcFace's recogniser with its IR-SE body."""
    features, flat = _dense(shapes, "output_layer.3.weight")
    body = _body(shapes)
    side = _side(flat, body["widths"][-1])
    names = {
        "output_bn": "output_layer.0",
        "output_dense": "output_layer.3",
        "embedding_bn": "output_layer.4",
    }
    flattened = {"output_dense": dense_of_map(body["widths"][-1], side, side)}
    module = ArcFace(features, **body)
    return _layout(module, shapes, side * BODY_STRIDE, f"embedding of {features}", names, flattened)


def _layout(
    module: nn.Module,
    shapes: Shapes,
    size: int,
    summary: str,
    names: Mapping[str, str] = MappingProxyType({}),
    kernels: Mapping[str, Transform] = MappingProxyType({}),
) -> Layout:
    """A layout for pictures of one size.

    Args:
        module: our network.
        shapes: official key -> shape.
        size: side of the pictures.
        summary: what was inferred, for people.
        names: our name of a layer outside the units and the heads -> the official one, where they
            differ.
        kernels: our name of a layer -> the rearrangement of its kernel, where it is not the usual
            one.
    """
    stem = shapes.get("input_layer.0.weight", shapes.get("conv1.weight", ()))
    channels = stem[1] if len(stem) == 4 else 3
    return Layout(
        module=module,
        init=lambda: module.init(jax.random.key(0), jnp.zeros((1, size, size, channels))),
        source=_source({**INPUT, **names}, {**KERNELS, **kernels}),
        ignored=BATCH_COUNTERS,
        summary=f"{summary}, body of {sum(module.counts)} units, {channels} input channels, "
        f"pictures of {size} px",
    )


def _source(names: Mapping[str, str], kernels: Mapping[str, Transform]) -> Callable[[Path], Origin]:
    def source(path: Path) -> Origin:
        *modules, layer, leaf = path[1:]
        kind, _, index = modules[-1].rpartition("_") if modules else ("", "", "")
        if kind == "styles":
            # In the official sequence every convolution is followed by an activation.
            step = layer if layer == "linear" else f"convs.{2 * int(layer.removeprefix('convs_'))}"
            prefix = f"styles.{index}.{step}"
        elif kind in UNITS:
            prefix = f"body.{index}.{UNITS[kind].get(layer, layer)}"
        else:
            prefix = names.get(layer, layer)
        if leaf == "kernel":
            return Origin(f"{prefix}.weight", kernels.get(layer, CONV))
        return torch_leaf(prefix, leaf, 1)

    return source


def _kind(styles: int, progressive: bool) -> str:
    return f"{styles} styles{', progressive' if progressive else ''}"


def _body(shapes: Shapes) -> dict[str, Any]:
    """Constructor arguments of the IR-SE body."""
    counts, widths = _groups(shapes, r"body\.(\d+)\.res_layer\.1\.weight")
    gate = shapes.get("body.0.res_layer.5.fc1.weight", ())
    return {
        "counts": counts,
        "widths": widths,
        "squeeze": widths[0] // gate[0] if len(gate) == 4 else None,
    }


def _groups(shapes: Shapes, pattern: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Units and channels of each group, from the first convolutions of all units."""
    matches = {
        key: match
        for key, shape in shapes.items()
        if len(shape) == 4 and (match := re.fullmatch(pattern, key))
    }
    found = {int(match[1]): shapes[key][0] for key, match in matches.items()}
    if not found:
        raise UserError(
            "the checkpoint holds no units of an encoder's body; give the complete official file"
        )
    # A missing unit is reported later; here it is assumed to be like the previous one.
    widths, last = [], found[min(found)]
    for index in range(max(found) + 1):
        last = found.get(index, last)
        widths.append(last)
    groups = [(len(list(units)), width) for width, units in itertools.groupby(widths)]
    if len(groups) != 4:
        raise UserError(
            "the units of the encoder's body have "
            f"{', '.join(str(width) for _, width in groups)} channels; "
            "an official file has four groups of units, each wider than the previous one"
        )
    return tuple(count for count, _ in groups), tuple(width for _, width in groups)


def _heads(shapes: Shapes) -> tuple[int, int, int, int | None]:
    """Number of heads, length of a row, size of the pictures, and channels of the heads.

    The channels are None where they equal the length.
    """
    found = [re.fullmatch(r"styles\.(\d+)\.linear\.weight", key) for key in shapes]
    numbers = [int(match[1]) for match in found if match]
    convs = [key for key in shapes if re.fullmatch(r"styles\.0\.convs\.\d+\.weight", key)]
    if not numbers or not convs:
        raise UserError(
            "the checkpoint holds no encoder heads (styles.0...); give the complete official file"
        )
    width, channels = _dense(shapes, f"styles.{numbers[0]}.linear.weight")
    return (
        max(numbers) + 1,
        width,
        BODY_STRIDE * 2 ** len(convs),
        None if channels == width else channels,
    )


def _side(flat: int, channels: int) -> int:
    side = math.isqrt(flat // channels)
    if side * side * channels != flat:
        raise UserError(
            f"a dense layer of {flat} inputs does not fit {channels} channels; give the complete "
            "official file"
        )
    return side


def _dense(shapes: Shapes, key: str) -> tuple[int, int]:
    if len(shapes.get(key, ())) != 2:
        raise UserError(
            f"{key} is missing or not a matrix, so the encoder's size is unknown; give the "
            "complete official file"
        )
    return shapes[key][0], shapes[key][1]
