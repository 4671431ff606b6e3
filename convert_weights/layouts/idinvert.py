"""In-domain inversion: its StyleGAN v1 generator, its encoder and its perceptual network.

They are three files, whose keys have no prefixes.
"""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from convert_weights.layout import (
    BATCH_COUNTERS,
    BATCH_NORM,
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
from convert_weights.layouts.vgg import CONVOLUTIONS, vgg_leaf
from diffcam_jax.errors import UserError
from diffcam_jax.nn.indomain_encoder import InDomainEncoder
from diffcam_jax.nn.stylegan1 import StyleGAN1Generator
from diffcam_jax.nn.vgg import VGG16

MOST_LAYERS = 40  # far more than any generator has
BLUR = np.outer([1, 2, 1], [1, 2, 1]).astype(np.float32) / 16
# A transposed convolution turns its kernel by 180 degrees; the official parameter is HWIO already.
FUSED = Transform(lambda a: a[::-1, ::-1], lambda a: a[::-1, ::-1])
_CHW = Transform(lambda a: a.transpose(1, 2, 0), lambda a: a.transpose(2, 0, 1))

GENERATOR_IGNORED = {
    r"truncation\.w_avg": "the average of w belongs to the pipeline, which keeps it as latent_avg",
    r"truncation\.truncation": "0.7 for eight layers, an argument of `truncate`",
    r"synthesis\.lod": "progress of the training, 0 when it is over",
}
_UNUSED_COLOURS = "colours at a lower resolution, which only training draws"


def generator(shapes: Shapes) -> Layout:
    """`*_generator.pth`; an upsampling layer may be fused or not, each as it is stored."""
    layers = _count(shapes, r"synthesis\.layer(\d+)\.epilogue\.bias", "a StyleGAN v1 generator")
    mapping = _count(
        shapes,
        r"mapping\.dense(\d+)\.fc\.weight",
        "a StyleGAN v1 generator with its mapping network",
    )
    widths = tuple(
        _size(shapes, f"synthesis.layer{i}.epilogue.bias", 512) for i in range(1, layers, 2)
    )
    latent = _size(shapes, "mapping.dense0.fc.weight", 512)
    last = _size(shapes, f"mapping.dense{mapping - 1}.fc.weight", 0)
    module = StyleGAN1Generator(widths, latent, mapping, repeat_w=last == latent)
    fused = {i for i in range(layers) if f"synthesis.layer{i}.weight" in shapes}

    def source(path: Path) -> Origin:
        (collection, first), leaf = path[:2], path[-1]
        if first == "const":
            return Origin("synthesis.layer0.const", dropping(0, then=_CHW))
        name, _, index = first.rpartition("_")
        if name == "dense":
            return _scaled_dense(f"mapping.dense{index}", leaf)
        if first == "to_image":
            output = f"synthesis.output{len(widths) - 1}"
            colours = Origin(f"{output}.conv.weight", dropping(2, 3, then=DENSE))
            return colours if leaf == "kernel" else Origin(f"{output}.bias")
        prefix = f"synthesis.layer{index}"
        if "style" in path:
            return _scaled_dense(f"{prefix}.epilogue.style_mod.dense", leaf)
        if leaf == "kernel":
            return (
                Origin(f"{prefix}.weight", FUSED)
                if int(index) in fused
                else Origin(f"{prefix}.conv.weight", CONV)
            )
        if collection == "noise":
            return Origin(f"{prefix}.epilogue.apply_noise.noise", dropping(0, 1))
        return Origin(f"{prefix}.epilogue.{'bias' if leaf == 'bias' else 'apply_noise.weight'}")

    unused = "|".join(str(i) for i in range(len(widths) - 1))
    ignored = dict(GENERATOR_IGNORED)
    if unused:
        ignored[rf"synthesis\.output({unused})\.(bias|conv\.weight)"] = _UNUSED_COLOURS
    return Layout(
        module,
        partial(module.init, jax.random.key(0), jnp.zeros((1, latent))),
        source,
        ignored,
        {r"synthesis\.layer\d+\.blur\.kernel": BLUR},
        f"StyleGAN v1, {module.resolution} px, {layers} layers ({len(fused)} fused), mapping "
        f"depth {mapping}",
    )


def encoder(shapes: Shapes) -> Layout:
    """`*_encoder.pth`."""
    last = _count(shapes, r"block(\d+)\.bn\d?\.bn\.weight", "an in-domain encoder") - 1
    if last < 3:
        raise UserError(
            f"an in-domain encoder has at least 4 blocks, this file {last + 1}; give a "
            "*_encoder.pth"
        )
    names = ["block0.conv.weight", *(f"block{i}.conv2.weight" for i in range(1, last))]
    widths = tuple(_size(shapes, name, 512) for name in names)
    codes = _size(shapes, f"block{last}.fc.weight", 14 * 512)
    module = InDomainEncoder(widths, codes // 512)

    def source(path: Path) -> Origin:
        _, block, *inner, leaf = path
        prefix = f"block{block.rpartition('_')[2]}"
        if block == f"block_{last}":
            if leaf == "kernel":
                return Origin(f"{prefix}.fc.weight", dense_of_map(widths[-1], 4, 4))
            return Origin(f"{prefix}.bn.bn.{BATCH_NORM[leaf]}")
        # The layers of the shortcut and of the first block have no number.
        number = inner[0].removeprefix("main") if inner[0].startswith("main") else ""
        if "bn" in inner:
            return Origin(f"{prefix}.bn{number}.bn.{BATCH_NORM[leaf]}")
        return (
            Origin(f"{prefix}.conv{number}.weight", CONV)
            if leaf == "kernel"
            else Origin(f"{prefix}.wscale{number}.bias")
        )

    size = module.resolution
    return Layout(
        module,
        partial(module.init, jax.random.key(0), jnp.zeros((1, size, size, 3))),
        source,
        BATCH_COUNTERS,
        summary=f"in-domain encoder, {size} px, {module.rows} styles",
    )


def perceptual(shapes: Shapes) -> Layout:
    """`vgg16.pth`, converted from Keras: its input is that of `nn.vgg.caffe_preprocess`."""
    module = VGG16(taps=("relu4_3",))
    return Layout(
        module,
        partial(module.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3))),
        partial(vgg_leaf, "layer{}", CONVOLUTIONS["vgg16"]),
        {
            r"layer(24|26|28)\.(weight|bias)": "conv5, which lies behind the features that are "
            "compared"
        },
        summary="VGG16 up to relu4_3",
    )


def _scaled_dense(prefix: str, leaf: str) -> Origin:
    return (
        Origin(f"{prefix}.fc.weight", DENSE)
        if leaf == "kernel"
        else Origin(f"{prefix}.wscale.bias", COPY)
    )


def _count(shapes: Shapes, pattern: str, what: str) -> int:
    """One more than the largest number in the keys of a pattern."""
    found = [int(match[1]) for key in shapes if (match := re.fullmatch(pattern, key))]
    if not found or max(found) > MOST_LAYERS:
        raise UserError(
            f"these are not the keys of {what}; give the file that belongs to this kind"
        )
    return max(found) + 1


def _size(shapes: Shapes, key: str, default: int) -> int:
    """Outputs of a layer.

    If it is missing, a default is returned, and the comparison of the shapes reports the fault.
    """
    return (tuple(shapes.get(key, ())) or (default,))[0]
