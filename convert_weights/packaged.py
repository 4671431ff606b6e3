"""Parts that packages contain in their own layouts: found in an archive or a folder and converted.

The conversion itself is that of `pretrained.converters`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from diffcam_jax.errors import UserError
from diffcam_jax.files import trees
from diffcam_jax.nn.network import Network
from diffcam_jax.pretrained import converters
from diffcam_jax.pretrained import networks as stored

Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Packaged:
    """One packaged part.

    Attributes:
        part: its name in `pretrained.parts`, for licence and origin.
        files: names, without folders, of its files.
        convert: from their contents by name to the parameter tree in the store's form.
        inputs: of the network, to determine the expected shapes.
    """

    part: str
    files: tuple[str, ...]
    convert: Callable[[Files], dict[str, Any]]
    inputs: tuple[jax.Array, ...]


_PICTURE = jnp.zeros((1, 64, 64, 3))
PACKAGED: dict[str, Packaged] = {
    "mobile_stylegan": Packaged(
        "mobile_stylegan_ffhq",
        converters.MOBILE_STYLEGAN_FILES,
        converters.mobile_stylegan,
        (jnp.zeros((1, 512)),),
    ),
    "bisenet": Packaged("bisenet", converters.BISENET_FILES, converters.bisenet, (_PICTURE,)),
    "inception": Packaged(
        "inception",
        converters.INCEPTION_FILES,
        converters.inception,
        (jnp.zeros((1, 299, 299, 3)),),
    ),
    "lpips": Packaged("lpips", converters.LPIPS_FILES, converters.lpips, (_PICTURE, _PICTURE)),
}


def convert_files(name: str, files: Files) -> dict[str, Network]:
    """Networks of a packaged part.

    Raises:
        UserError: the files are not those of the part.
    """
    packaged = PACKAGED[name]
    try:
        networks = stored.NETWORKS[packaged.part](packaged.convert(files))
        return {role: _checked(network, *packaged.inputs) for role, network in networks.items()}
    except (KeyError, ValueError, TypeError, AttributeError, StopIteration, RuntimeError) as error:
        raise UserError(
            f"the files are not those of {name} ({error}); get the original ones"
        ) from error


def _checked(network: Network, *inputs: Any) -> Network:
    """A network whose leaves are complete and have their shapes; all faults are named at once."""
    expected = jax.eval_shape(network.module.init, jax.random.key(0), *inputs)
    want = {
        "/".join(k.key for k in path): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(expected)
    }
    have = {path: array.shape for path, array in trees.flatten(network.variables).items()}
    faults = [f"{path} is missing" for path in sorted(want.keys() - have.keys())]
    faults += [f"{path} is left over" for path in sorted(have.keys() - want.keys())]
    faults += [
        f"{path} is {have[path]} instead of {want[path]}"
        for path in sorted(have.keys() & want.keys())
        if have[path] != want[path]
    ]
    if faults:
        raise UserError(
            f"the checkpoint does not fit the network: {'; '.join(faults)}; get the original files"
        )
    return network
