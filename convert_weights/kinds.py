"""What can be converted, in one table: each kind's files, its conversion, and the network that must fit."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from diffcam_jax import pretrained, zoo
from diffcam_jax.nn.bisenet import BiSeNet
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN
from diffcam_jax.nn.vgg import ALEXNET_LAYERS, VGG16, VGG16_WIDTHS, AlexNet


@dataclass(frozen=True)
class Kind:
    """One kind of checkpoint.

    Attributes:
      files: names, without folders, of the files it is made of.
      convert: their contents by name, to a parameter tree.
      shapes: the tree of shapes that the network expects.
      network: the class that takes the parameters, or what they are.
      kwargs: its constructor arguments.
      licence: of the checkpoint.
    """

    files: tuple[str, ...]
    convert: Callable[[Mapping[str, bytes]], dict[str, Any]]
    shapes: Callable[[], dict[str, Any]]
    network: str
    kwargs: Mapping[str, Any]
    licence: str


def _mobile_stylegan_shapes() -> dict[str, Any]:
    model = MobileStyleGAN(**zoo.PARTS["mobile_stylegan_ffhq"].kwargs)
    return jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, model.latent_size)))["params"]


def _bisenet_shapes() -> dict[str, Any]:
    return jax.eval_shape(BiSeNet().init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))["params"]


def _lpips_shapes() -> dict[str, Any]:
    networks = {
        "vgg16": (VGG16(), [stage[-1] for stage in VGG16_WIDTHS]),
        "alexnet": (AlexNet(), [features for features, *_ in ALEXNET_LAYERS]),
    }
    return {
        name: {
            "trunk": jax.eval_shape(trunk.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))["params"],
            "heads": {f"lin{i}": jax.ShapeDtypeStruct((width,), jnp.float32) for i, width in enumerate(widths)},
        }
        for name, (trunk, widths) in networks.items()
    }


KINDS: dict[str, Kind] = {
    "mobile_stylegan": Kind(
        files=pretrained.MOBILE_STYLEGAN_FILES,
        convert=pretrained.mobile_stylegan,
        shapes=_mobile_stylegan_shapes,
        network="diffcam_jax.nn.mobile_stylegan.MobileStyleGAN",
        kwargs=zoo.PARTS["mobile_stylegan_ffhq"].kwargs,
        licence=zoo.PARTS["mobile_stylegan_ffhq"].licence,
    ),
    "lpips": Kind(
        files=pretrained.LPIPS_FILES,
        convert=pretrained.lpips,
        shapes=_lpips_shapes,
        network="diffcam_jax.nn.vgg.VGG16 and AlexNet with the heads of diffcam_jax.losses.lpips",
        kwargs={},
        licence=zoo.PARTS["lpips"].licence,
    ),
    "bisenet": Kind(
        files=pretrained.BISENET_FILES,
        convert=pretrained.bisenet,
        shapes=_bisenet_shapes,
        network="diffcam_jax.nn.bisenet.BiSeNet",
        kwargs={},
        licence=zoo.PARTS["bisenet"].licence,
    ),
}
