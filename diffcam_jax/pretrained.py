"""From the layouts in which pretrained parts are published to parameter trees of our networks.

Every function takes {file name without folders: content} and returns a nested dict of float32 arrays: kernels HWIO,
dense kernels [in, out]. The networks are imported when a conversion runs, so that listing the parts stays quick.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from diffcam_jax import formats

MOBILE_STYLEGAN_FILES = ("MappingNetwork.xml", "MappingNetwork.bin", "SynthesisNetwork.xml", "SynthesisNetwork.bin")
LPIPS_FILES = ("vgg16.ckpt", "alexnet.ckpt")
BISENET_FILES = ("79999_iter.pth",)

_VGG16_CONVS = tuple(f"conv{stage}_{i}" for stage, depth in enumerate((2, 2, 3, 3, 3), 1) for i in range(1, depth + 1))
_ALEXNET_CONVS = tuple(f"conv{i}" for i in range(1, 6))


def mobile_stylegan(files: Mapping[str, bytes]) -> dict[str, Any]:
    """MobileStyleGAN's two OpenVINO networks -> the tree of `nn.mobile_stylegan.MobileStyleGAN`."""
    from diffcam_jax.nn.mobile_stylegan import mobile_stylegan_from_ir

    mapping, synthesis = (
        formats.read_openvino_ir(files[f"{name}.xml"], files[f"{name}.bin"])
        for name in ("MappingNetwork", "SynthesisNetwork")
    )
    return mobile_stylegan_from_ir(mapping, synthesis)


def lpips(files: Mapping[str, bytes]) -> dict[str, Any]:
    """Pickled LPIPS networks -> {"vgg16": {"trunk": {"conv1_1": ..}, "heads": {"lin0": [C], ..}}, "alexnet": ..}."""
    return {
        "vgg16": _lpips_network(formats.read_numpy_pickle(files["vgg16.ckpt"]), "VGG16_0", _VGG16_CONVS),
        "alexnet": _lpips_network(formats.read_numpy_pickle(files["alexnet.ckpt"]), "AlexNet_0", _ALEXNET_CONVS),
    }


def _lpips_network(tree: dict[str, Any], trunk: str, convs: tuple[str, ...]) -> dict[str, Any]:
    layers = tree[trunk]
    expected = {f"Conv_{i}" for i in range(len(convs))}
    if set(layers) != expected or set(tree) != {trunk, *(f"NetLinLayer_{i}" for i in range(5))}:
        raise ValueError(f"layers {sorted(layers)} in {sorted(tree)} are not those of {trunk}")
    return {
        "trunk": {
            name: {"kernel": np.asarray(layers[f"Conv_{i}"]["kernel"]), "bias": np.asarray(layers[f"Conv_{i}"]["bias"])}
            for i, name in enumerate(convs)
        },
        "heads": {f"lin{i}": tree[f"NetLinLayer_{i}"]["Conv_0"]["kernel"].reshape(-1) for i in range(5)},
    }


def bisenet(files: Mapping[str, bytes]) -> dict[str, Any]:
    """The PyTorch state dict of BiSeNet -> the tree of `nn.bisenet.BiSeNet`."""
    from diffcam_jax.nn.bisenet import from_torch

    return from_torch(formats.read_torch(files["79999_iter.pth"]))
