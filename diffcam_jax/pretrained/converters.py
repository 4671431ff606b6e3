"""From the layouts in which pretrained parts are published to parameter trees of our networks.

Every function takes {file name without folders: content} and returns a nested dict of float32
arrays: kernels HWIO, dense kernels [in, out]. The networks are imported when a conversion runs, so
that listing the parts stays fast.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from diffcam_jax import formats

MOBILE_STYLEGAN_FILES = (
    "MappingNetwork.xml",
    "MappingNetwork.bin",
    "SynthesisNetwork.xml",
    "SynthesisNetwork.bin",
)
LPIPS_FILES = ("vgg16.ckpt", "alexnet.ckpt")
BISENET_FILES = ("79999_iter.pth",)
INCEPTION_FILES = ("default_1.pt",)
MOBILENET_FILES = ("mobilenet_v2-b0353104.pth",)

_VGG16_CONVS = tuple(
    f"conv{stage}_{i}"
    for stage, depth in enumerate((2, 2, 3, 3, 3), 1)
    for i in range(1, depth + 1)
)
_ALEXNET_CONVS = tuple(f"conv{i}" for i in range(1, 6))
_INCEPTION_STEM = ("1a_3x3", "2a_3x3", "2b_3x3", "3b_1x1", "4a_3x3")
_INCEPTION_BLOCKS = ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")
# The branches that the archive calls tower and tower_1; tower_2 is always that of the pool.
_INCEPTION_TOWERS = {
    **dict.fromkeys(("5b", "5c", "5d"), ("branch5x5", "branch3x3dbl")),
    "6a": ("branch3x3dbl",),
    **dict.fromkeys(("6b", "6c", "6d", "6e"), ("branch7x7", "branch7x7dbl")),
    "7a": ("branch3x3", "branch7x7x3"),
    **dict.fromkeys(("7b", "7c"), ("branch3x3", "branch3x3dbl")),
}


def mobile_stylegan(files: Mapping[str, bytes]) -> dict[str, Any]:
    """MobileStyleGAN's two OpenVINO networks -> the tree of `nn.mobile_stylegan.MobileStyleGAN`."""
    from diffcam_jax.nn.mobile_stylegan import mobile_stylegan_from_ir

    mapping, synthesis = (
        formats.read_openvino_ir(files[f"{name}.xml"], files[f"{name}.bin"])
        for name in ("MappingNetwork", "SynthesisNetwork")
    )
    return mobile_stylegan_from_ir(mapping, synthesis)


def lpips(files: Mapping[str, bytes]) -> dict[str, Any]:
    """Pickled LPIPS networks -> {"vgg16": {"trunk": ..., "heads": ...}, "alexnet": ...}.

    A trunk is {"conv1_1": {"kernel", "bias"}, ...}, heads are {"lin0": [C], ...}.
    """
    return {
        "vgg16": _lpips_network(
            formats.read_numpy_pickle(files["vgg16.ckpt"]), "VGG16_0", _VGG16_CONVS
        ),
        "alexnet": _lpips_network(
            formats.read_numpy_pickle(files["alexnet.ckpt"]), "AlexNet_0", _ALEXNET_CONVS
        ),
    }


def _lpips_network(tree: dict[str, Any], trunk: str, convs: tuple[str, ...]) -> dict[str, Any]:
    layers = tree[trunk]
    expected = {f"Conv_{i}" for i in range(len(convs))}
    if set(layers) != expected or set(tree) != {trunk, *(f"NetLinLayer_{i}" for i in range(5))}:
        raise ValueError(f"layers {sorted(layers)} in {sorted(tree)} are not those of {trunk}")
    return {
        "trunk": {
            name: {
                "kernel": np.asarray(layers[f"Conv_{i}"]["kernel"]),
                "bias": np.asarray(layers[f"Conv_{i}"]["bias"]),
            }
            for i, name in enumerate(convs)
        },
        "heads": {
            f"lin{i}": tree[f"NetLinLayer_{i}"]["Conv_0"]["kernel"].reshape(-1) for i in range(5)
        },
    }


def bisenet(files: Mapping[str, bytes]) -> dict[str, Any]:
    """The PyTorch state dict of BiSeNet -> the tree of `nn.bisenet.BiSeNet`."""
    from diffcam_jax.nn.bisenet import from_torch

    return from_torch(formats.read_torch(files["79999_iter.pth"]))


def mobilenet_v2(files: Mapping[str, bytes]) -> dict[str, Any]:
    """A state dict of torchvision -> {"params", "batch_stats"} of `nn.mobilenet_v2.MobileNetV2`."""
    from diffcam_jax.nn.mobilenet_v2 import mobilenet_v2_from_torch

    return mobilenet_v2_from_torch(formats.read_torch(files[MOBILENET_FILES[0]]))


def inception(files: Mapping[str, bytes]) -> dict[str, Any]:
    """FID's TorchScript archive -> {"params", "batch_stats"} of `nn.inception.InceptionV3`.

    The archive names layers after the TensorFlow graph; its normalisation has no scale, which is
    one here.
    """
    from flax.traverse_util import unflatten_dict

    flat: dict[tuple[str, ...], np.ndarray] = {}
    for name, array in formats.read_torchscript(files["default_1.pt"]).items():
        layer, _, leaf = name.removeprefix("net.layers.").rpartition(".")
        path = _inception_path(layer)
        if leaf == "weight":
            flat["params", *path, "conv", "kernel"] = np.ascontiguousarray(
                array.transpose(2, 3, 1, 0)
            )
            flat["params", *path, "bn", "scale"] = np.ones(len(array), np.float32)
        elif leaf == "beta":
            flat["params", *path, "bn", "bias"] = np.asarray(array)
        else:
            flat["batch_stats", *path, "bn", leaf] = np.asarray(array)
    return unflatten_dict(flat)


def _inception_path(name: str) -> tuple[str, ...]:
    """The path of a layer: mixed_4.tower_1.conv_3 -> ("mixed_6b", "branch7x7dbl_4").

    The archive counts from 0 and omits the 0.
    """
    if stem := re.fullmatch(r"conv(?:_(\d))?", name):
        return (f"conv2d_{_INCEPTION_STEM[int(stem[1] or 0)]}",)
    parts = re.fullmatch(
        r"mixed(?:_(\d+))?\.(?:(tower)(?:_(\d))?[._])?(mixed_)?conv(?:_(\d))?", name
    )
    if parts is None:
        raise ValueError(f"{name!r} is not a layer of FID's network")
    number, in_tower, tower, split, index = parts.groups()
    block = _INCEPTION_BLOCKS[int(number or 0)]
    if not in_tower:
        layer = "branch3x3" if block == "6a" else "branch1x1"
    elif tower == "2":
        layer = "branch_pool"
    else:
        layer = _INCEPTION_TOWERS[block][int(tower or 0)]
        # The last two convolutions of 7b and 7c are parallel.
        layer += (
            f"_{2 + int(tower or 0)}{'ab'[int(index or 0)]}" if split else f"_{1 + int(index or 0)}"
        )
    return f"mixed_{block}", layer
