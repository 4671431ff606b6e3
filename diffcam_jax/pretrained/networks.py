"""The networks of the pretrained parts, which `load(NAME)` opens like folders of networks."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from diffcam_jax import formats
from diffcam_jax.files import model_folder
from diffcam_jax.files.model_folder import ModelFolder
from diffcam_jax.nn.bisenet import BiSeNet
from diffcam_jax.nn.inception import InceptionV3
from diffcam_jax.nn.lpips import Lpips
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN
from diffcam_jax.nn.mobilenet_v2 import MobileNetV2
from diffcam_jax.nn.network import Network
from diffcam_jax.nn.sface import SFace, sface_from_onnx
from diffcam_jax.pretrained import parts, store

Tree = Mapping[str, Any]


def _generator(tree: Tree) -> dict[str, Network]:
    return {
        "generator": Network(
            MobileStyleGAN(**parts.PARTS["mobile_stylegan_ffhq"].kwargs), {"params": tree}
        )
    }


def _lpips(tree: Tree) -> dict[str, Network]:
    return {
        f"lpips_{net}": Network(Lpips(net), {"params": tree[name]}) for net, name in _LPIPS.items()
    }


_LPIPS = {"vgg": "vgg16", "alex": "alexnet"}

# Part -> function from its parameter tree in the store to networks by role.
NETWORKS: dict[str, Callable[[Tree], dict[str, Network]]] = {
    "mobile_stylegan_ffhq": _generator,
    "bisenet": lambda tree: {"parser": Network(BiSeNet(), {"params": tree})},
    "inception": lambda tree: {"inception": Network(InceptionV3(), dict(tree))},
    "lpips": _lpips,
    "mobilenet_v2": lambda tree: {"body": Network(MobileNetV2(), dict(tree))},
}


def load(source: str | Path) -> ModelFolder:
    """Networks with their weights: from a folder of converted weights, or from a part of the store.

    Args:
        source: path of a folder that `python -m convert_weights` or a training run wrote, or the
            name of a part, see `parts.PARTS`. A part is fetched once.

    Raises:
        UserError: the source is neither, is damaged, or cannot be fetched.
    """
    if source not in parts.PARTS:
        return model_folder.load(source)
    part = parts.PARTS[source]
    config = {"kind": part.name, "description": part.description, "licence": part.licence}
    if part.name == "sface":
        constants = formats.read_onnx(store.fetch(part.name).read_bytes())
        return ModelFolder({"identity": Network(SFace(), sface_from_onnx(constants))}, {}, config)
    if part.name not in NETWORKS:
        return ModelFolder({}, {}, config)
    return ModelFolder(NETWORKS[part.name](store.load_pretrained(part.name)[0]), {}, config)
