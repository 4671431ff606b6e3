"""StyleGAN2 checkpoints in the names of rosinality, NVIDIA's ADA and mmgeneration.

All three hold the raw weights of our networks, so only names and axes differ. Sizes, widths and the
depth of the mapping are inferred from the shapes.
"""

import re
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from convert_weights.layout import (
    CONV,
    COPY,
    DENSE,
    Layout,
    Origin,
    Path,
    Shapes,
    Transform,
    dense_of_map,
    dropping,
)
from convert_weights.layouts import stylegan2_shapes as shapes_of
from diffcam_jax.nn.stylegan2 import StyleGAN2Generator
from diffcam_jax.nn.stylegan2_discriminator import StyleGAN2Discriminator

TAPS = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32) / 64
# Feature maps without a batch axis: [c, h, w] and [h, w, c].
_MAP = Transform(lambda a: a.transpose(1, 2, 0), lambda a: a.transpose(2, 0, 1))
# The official kernels of modulated convolutions have a batch axis.
_MODULATED = dropping(0, then=CONV)
_MODULATED_1X1 = dropping(0, 3, 4, then=DENSE)


def generator_rosinality(shapes: Shapes) -> Layout:
    """A generator in rosinality's names (`g_ema`, and the `decoder` of pSp, e4e and ReStyle).

    Args:
        shapes: official key -> shape, prefixes removed.

    Raises:
        UserError: keys from which sizes are inferred are missing.
    """
    names = {
        "modulation.kernel": "modulation.weight",
        "modulation.bias": "modulation.bias",
        "kernel": "weight",
    }
    conv = {leaf: f"conv.{name}" for leaf, name in names.items()}
    return _torch_generator(
        shapes,
        conv,
        strength="noise.weight",
        const="input.input",
        mapping="style.{}.weight",
        map_bias="style.{}.bias",
        noise="noises.noise_{}",
    )


def generator_mmgen(shapes: Shapes) -> Layout:
    """A generator in mmgeneration's names (also that of the deghosting network).

    Arguments as for `generator_rosinality`.
    """
    conv = {
        "modulation.kernel": "conv.style_modulation.linear.weight_orig",
        "modulation.bias": "conv.style_modulation.bias",
        "kernel": "conv.weight_orig",
    }
    return _torch_generator(
        shapes,
        conv,
        strength="noise_injector.weight",
        const="constant_input.input",
        mapping="style_mapping.{}.linear.weight_orig",
        map_bias="style_mapping.{}.bias",
        noise="injected_noise_{}",
        inside=False,
    )


def _torch_generator(
    shapes: Shapes,
    conv: dict[str, str],
    *,
    strength: str,
    const: str,
    mapping: str,
    map_bias: str,
    noise: str,
    inside: bool = True,
) -> Layout:
    """The generators of rosinality and mmgeneration.

    They differ in names and in the position of the pixel norm's epsilon.
    """
    modulation = f"conv1.{conv['modulation.kernel']}"
    shapes_of.require(shapes, {const: 4, modulation: 2})
    blocks = shapes_of.count(shapes, f"convs.{{}}.{conv['kernel']}", 0, 2, 5)
    widths = [
        shapes[const][1],
        *(shapes[f"convs.{2 * i}.{conv['kernel']}"][1] for i in range(blocks)),
    ]
    depth = shapes_of.count(shapes, mapping, 1, 1, 2)
    channels = shapes_of.channels(shapes, "to_rgb1.bias", 1)
    rgb_kernel = shapes_of.coloured(channels, _MODULATED_1X1)
    rgb_bias = shapes_of.coloured(channels, dropping(0, 2, 3))

    def source(path: Path) -> Origin:
        collection, layer, *rest = path
        leaf = ".".join(rest)
        official = _dotted(layer)
        if collection == "noise":
            return Origin(
                noise.format(0 if layer == "conv1" else int(layer[6:]) + 1), dropping(0, 1)
            )
        if layer == "const":
            return Origin(const, dropping(0, then=_MAP))
        if layer.startswith("dense_"):
            number = int(layer[6:]) + 1
            return (
                Origin(mapping.format(number), DENSE)
                if leaf == "kernel"
                else Origin(map_bias.format(number))
            )
        if leaf == "strength":
            return Origin(f"{official}.{strength}", dropping(0))
        rgb = layer.startswith("to_rgb")
        if leaf == "bias":
            return (
                Origin(f"{official}.bias", rgb_bias) if rgb else Origin(f"{official}.activate.bias")
            )
        kernel = rgb_kernel if rgb else _MODULATED
        return Origin(
            f"{official}.{conv[leaf]}",
            {"kernel": kernel, "modulation.kernel": DENSE}.get(leaf, COPY),
        )

    constants = {r"(convs\.\d+\.conv\.blur|to_rgbs\.\d+\.upsample)\.kernel": 4 * TAPS}
    latent = shapes[modulation][1]
    return _generator(tuple(widths), latent, depth, inside, source, {}, constants, channels)


def generator_ada(shapes: Shapes) -> Layout:
    """A generator in the names of NVIDIA's ADA release (`G_ema`).

    Arguments as for `generator_rosinality`.
    """
    shapes_of.require(shapes, {"synthesis.b4.const": 3, "synthesis.b4.conv1.affine.weight": 2})
    sides = shapes_of.sides(shapes, r"synthesis\.b(\d+)\.conv0\.weight", 4)
    widths = [
        shapes["synthesis.b4.const"][0],
        *(shapes[f"synthesis.b{side}.conv0.weight"][0] for side in sides),
    ]
    depth = shapes_of.count(shapes, "mapping.fc{}.weight", 0, 1, 2)
    channels = shapes_of.channels(shapes, "synthesis.b4.torgb.bias", 0)
    rgb_kernel = shapes_of.coloured(channels, dropping(2, 3, then=DENSE))
    rgb_bias = shapes_of.coloured(channels, COPY)

    def source(path: Path) -> Origin:
        collection, layer, *rest = path
        leaf = ".".join(rest)
        if layer == "const":
            return Origin("synthesis.b4.const", _MAP)
        if layer == "embed" or layer.startswith("dense_"):
            return _ada_mapping(layer, leaf)
        number = int(layer.rpartition("_")[2]) if "_" in layer.removeprefix("to_") else None
        rgb = layer.startswith("to_rgb")
        if number is None:
            key = "synthesis.b4." + ("torgb" if rgb else "conv1")
        elif rgb:
            key = f"synthesis.b{8 * 2**number}.torgb"
        else:
            key = f"synthesis.b{8 * 2 ** (number // 2)}.conv{number % 2}"
        if collection == "noise":
            return Origin(f"{key}.noise_const")
        names = {
            "kernel": ("weight", rgb_kernel if rgb else CONV),
            "bias": ("bias", rgb_bias if rgb else COPY),
            "strength": ("noise_strength", COPY),
            "modulation.kernel": ("affine.weight", DENSE),
            "modulation.bias": ("affine.bias", COPY),
        }
        name, transform = names[leaf]
        return Origin(f"{key}.{name}", transform)

    ignored = {r"mapping\.w_avg": "the average latent, kept beside the network"}
    constants = {r"synthesis\.b\d+\.((conv[01]|torgb|skip)\.)?resample_filter": TAPS}
    latent = shapes["synthesis.b4.conv1.affine.weight"][1]
    classes = shapes_of.classes(shapes)
    return _generator(
        tuple(widths), latent, depth, True, source, ignored, constants, channels, classes
    )


def _ada_mapping(layer: str, leaf: str) -> Origin:
    """A layer of the mapping network in the names of NVIDIA's ADA release."""
    key = f"mapping.{'embed' if layer == 'embed' else 'fc' + layer[6:]}"
    return Origin(f"{key}.weight", DENSE) if leaf == "kernel" else Origin(f"{key}.bias")


def _generator(
    widths: tuple[int, ...],
    latent: int,
    depth: int,
    inside: bool,
    source: Callable[[Path], Origin],
    ignored,
    constants,
    channels: int,
    classes: int = 0,
) -> Layout:
    module = StyleGAN2Generator(widths, latent, depth, inside, num_classes=classes)
    summary = f"{shapes_of.size(widths)}, {module.num_styles} styles, {depth} mapping layers"
    summary += ", grey, drawn as RGB" if channels == 1 else ""
    summary += f", {classes} classes" if classes else ""
    init = lambda: module.init(jax.random.key(0), jnp.zeros((1, latent)))  # noqa: E731
    return Layout(module, init, source, ignored, constants, summary)


def discriminator_rosinality(shapes: Shapes) -> Layout:
    """A discriminator in rosinality's names (`d`); arguments as for `generator_rosinality`."""
    return _torch_discriminator(shapes, conv="{}.weight", dense="{}.weight")


def discriminator_mmgen(shapes: Shapes) -> Layout:
    """A discriminator in mmgeneration's names; arguments as for `generator_rosinality`."""
    return _torch_discriminator(shapes, conv="{}.conv.weight_orig", dense="{}.linear.weight_orig")


def _torch_discriminator(shapes: Shapes, conv: str, dense: str) -> Layout:
    first, last = conv.format("convs.0.0"), conv.format("final_conv.0")
    shapes_of.require(shapes, {first: 4, last: 4})
    blocks = shapes_of.count(shapes, "convs.{}." + conv.format("conv2.1"), 1, 1, 4)
    widths = [
        shapes[first][0],
        *(shapes[f"convs.{i + 1}." + conv.format("conv2.1")][0] for i in range(blocks)),
    ]

    def source(path: Path) -> Origin:
        _, layer, *inner, leaf = path
        official = _dotted(layer)
        if layer.startswith("final_linear"):
            return (
                Origin(dense.format(official), _dense(layer, widths))
                if leaf == "kernel"
                else Origin(f"{official}.bias")
            )
        # A stage of torch.nn.Sequential: [blur,] convolution[, bias and activation].
        stage = ".".join([official, *inner])
        at = 1 if inner and inner[0] != "conv1" else 0
        return (
            Origin(conv.format(f"{stage}.{at}"), CONV)
            if leaf == "kernel"
            else Origin(f"{stage}.{at + 1}.bias")
        )

    return _discriminator(
        tuple(widths[::-1]), source, {r"convs\.\d+\.(conv2|skip)\.0\.kernel": TAPS}
    )


def discriminator_ada(shapes: Shapes) -> Layout:
    """A residual discriminator in the names of NVIDIA's ADA release (`D`).

    Arguments as for `generator_rosinality`.
    """
    sides = shapes_of.sides(shapes, r"b(\d+)\.conv1\.weight", 4)
    top = f"b{sides[-1] if sides else 4}"
    shapes_of.require(shapes, {f"{top}.fromrgb.weight": 4, "b4.conv.weight": 4})
    widths = [shapes["b4.conv.weight"][0], *(shapes[f"b{side}.conv0.weight"][0] for side in sides)]

    def source(path: Path) -> Origin:
        _, layer, *inner, leaf = path
        if layer == "embed" or layer.startswith("dense_"):
            return _ada_mapping(layer, leaf)
        transform = CONV if leaf == "kernel" else COPY
        if layer == "convs_0":
            key = f"{top}.fromrgb"
        elif inner:
            side = 2 ** (len(widths) + 2 - int(layer[6:]))
            key = f"b{side}.{ {'conv1': 'conv0', 'conv2': 'conv1', 'skip': 'skip'}[inner[0]] }"
        else:
            key = {"final_conv": "b4.conv", "final_linear_0": "b4.fc", "final_linear_1": "b4.out"}[
                layer
            ]
            if layer != "final_conv" and leaf == "kernel":
                transform = _dense(layer, widths[::-1])
        return Origin(f"{key}.{'weight' if leaf == 'kernel' else 'bias'}", transform)

    labels = {}
    if classes := shapes_of.classes(shapes):
        depth = shapes_of.count(shapes, "mapping.fc{}.weight", 0, 1, 2)
        labels = {"num_classes": classes, "mapping_layers": depth}
    constants = {r"b\d+\.(\w+\.)?resample_filter": TAPS}
    return _discriminator(tuple(widths), source, constants, **labels)


def _discriminator(
    widths: tuple[int, ...], source: Callable[[Path], Origin], constants, **labels: int
) -> Layout:
    module = StyleGAN2Discriminator(widths, **labels)
    side = module.resolution
    init = lambda: module.init(jax.random.key(0), jnp.zeros((1, side, side, 3)))  # noqa: E731
    return Layout(module, init, source, {}, constants, shapes_of.size(widths))


def _dense(layer: str, widths: list[int]) -> Transform:
    return dense_of_map(widths[-1], 4, 4) if layer == "final_linear_0" else DENSE


def _dotted(layer: str) -> str:
    """Official spelling: "convs_3" to "convs.3"; names without a number are kept."""
    return re.sub(r"_(\d+)$", r".\1", layer)
