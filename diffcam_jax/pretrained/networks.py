"""The networks of the pretrained parts: `parts.load(NAME)` gives a part as a folder of converted weights would be given."""

from collections.abc import Callable, Mapping
from typing import Any

from diffcam_jax import formats
from diffcam_jax.files.model_folder import ModelFolder, Network
from diffcam_jax.nn.bisenet import BiSeNet
from diffcam_jax.nn.inception import InceptionV3
from diffcam_jax.nn.lpips import Lpips
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN
from diffcam_jax.nn.mobilenet_v2 import MobileNetV2
from diffcam_jax.nn.sface import SFace, sface_from_onnx
from diffcam_jax.pretrained import parts, store

Tree = Mapping[str, Any]


def _generator(tree: Tree) -> dict[str, Network]:
    return {"generator": Network(MobileStyleGAN(**parts.PARTS["mobile_stylegan_ffhq"].kwargs), {"params": tree})}


def _lpips(tree: Tree) -> dict[str, Network]:
    return {f"lpips_{net}": Network(Lpips(net), {"params": tree[name]}) for net, name in _LPIPS.items()}


_LPIPS = {"vgg": "vgg16", "alex": "alexnet"}

# Part -> its parameter tree, as the store keeps it, to networks by role.
NETWORKS: dict[str, Callable[[Tree], dict[str, Network]]] = {
    "mobile_stylegan_ffhq": _generator,
    "bisenet": lambda tree: {"parser": Network(BiSeNet(), {"params": tree})},
    "inception": lambda tree: {"inception": Network(InceptionV3(), dict(tree))},
    "lpips": _lpips,
    "mobilenet_v2": lambda tree: {"body": Network(MobileNetV2(), dict(tree))},
}


def load(name: str) -> ModelFolder:
    """A pretrained part with its networks, fetched once.

    Args:
      name: "mobile_stylegan_ffhq", "lpips", "inception", "bisenet", "mobilenet_v2" or "sface"; see `parts.PARTS`.

    Raises:
      UserError: no such part, it is neither cached nor to be had, or it holds no network of ours.
    """
    part = parts.find(name)
    config = {"kind": name, "description": part.description, "licence": part.licence}
    if name == "sface":
        constants = formats.read_onnx(store.fetch(name).read_bytes()).constants
        return ModelFolder({"identity": Network(SFace(), sface_from_onnx(constants))}, {}, config)
    if name not in NETWORKS:
        return ModelFolder({}, {}, config)
    return ModelFolder(NETWORKS[name](store.load_pretrained(name)[0]), {}, config)
