"""Folders of converted networks: arrays in model.safetensors, their description in config.json.

A folder holds one or more networks by role ("generator", "encoder", "classifier", "deghoster", ...)
and further arrays such as the mean code. Pipelines ask for roles, so that any generator can be
combined with any encoder of the same W+ shape.
"""

import contextlib
import dataclasses
import importlib
import json
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import numpy as np

from diffcam_jax.errors import UserError
from diffcam_jax.files import trees
from diffcam_jax.files.json_text import decode
from diffcam_jax.nn.network import Network

_NETWORKS = "diffcam_jax.nn."


@dataclasses.dataclass(frozen=True, eq=False)
class ModelFolder:
    """The content of a converted checkpoint.

    Attributes:
        networks: role -> network.
        arrays: name -> array that belongs to no network; "latent_avg" is [512] or [n, 512].
        config: the content of config.json: kind, source, licence, classes, ...
    """

    networks: dict[str, Network]
    arrays: dict[str, np.ndarray]
    config: dict[str, Any]

    def network(self, role: str) -> Network:
        """The network of a role.

        Raises:
            UserError: the folder has no network of this role.
        """
        if role not in self.networks:
            raise UserError(
                f"a {self.config.get('kind')} folder has no {role}, only "
                f"{', '.join(self.networks) or 'arrays'}; "
                f"convert a checkpoint that has one"
            )
        return self.networks[role]


def describe(module: nn.Module) -> dict[str, Any]:
    """A module's class and constructor arguments, ready for JSON."""
    fields = [
        f.name for f in dataclasses.fields(module) if f.init and f.name not in ("parent", "name")
    ]
    return {
        "module": f"{type(module).__module__}.{type(module).__name__}",
        "kwargs": {name: _listed(getattr(module, name)) for name in fields},
    }


def build(description: Mapping[str, Any]) -> nn.Module:
    """Builds the module that `describe` described; only networks of this package are built.

    Raises:
        UserError: the class is not one of this package's, or does not take the arguments.
    """
    try:
        module, _, name = str(description["module"]).rpartition(".")
        if not f"{module}.".startswith(_NETWORKS):
            raise ValueError(f"{module}.{name} is not one of this package's networks")
        cls = getattr(importlib.import_module(module), name)
        if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
            raise ValueError(f"{name} is not a network")
        return cls(**{key: _tupled(value) for key, value in description["kwargs"].items()})
    except Exception as error:  # flax has exceptions of its own
        raise UserError(
            f"config.json names a network that cannot be built ({error}); convert the checkpoint "
            "again"
        ) from error


def load(folder: str | Path) -> ModelFolder:
    """Reads a folder that `python -m convert_weights` or a training run wrote.

    Args:
        folder: contains config.json and model.safetensors.

    Raises:
        UserError: the folder is missing, or its files are damaged or do not belong together.
    """
    folder = Path(folder)
    try:
        config = decode((folder / "config.json").read_text())
    except OSError as error:
        raise UserError(
            f"{folder} is not a folder of converted weights (no config.json); see convert_weights"
        ) from error
    except ValueError as error:
        raise UserError(
            f"{folder / 'config.json'} is damaged ({error}); convert the checkpoint again"
        ) from error
    if not isinstance(config, dict) or not isinstance(config.get("networks", {}), dict):
        raise UserError(
            f"{folder / 'config.json'} is damaged (no table in it); convert the checkpoint again"
        )
    tree, metadata = trees.load(folder / "model.safetensors")
    if metadata.get("tree_hash") != config.get("tree_hash"):
        raise UserError(
            f"config.json and model.safetensors in {folder} do not belong together; convert again"
        )
    networks = {}
    for role, description in config.get("networks", {}).items():
        if not isinstance(tree.get(role), dict):
            raise UserError(
                f"{folder / 'model.safetensors'} has no parameters of the {role} that config.json "
                "names; convert again"
            )
        networks[role] = Network(build(description), tree[role])
    arrays = tree.get("arrays", {}) if networks else tree
    mean = arrays.get("latent_avg") if isinstance(arrays, dict) else 0
    if mean is not None and not (isinstance(mean, np.ndarray) and mean.ndim in (1, 2)):
        raise UserError(f"{folder / 'model.safetensors'} has no sound arrays; convert again")
    return ModelFolder(networks, arrays, config)


def save(
    folder: Path,
    networks: Mapping[str, Network],
    arrays: Mapping[str, np.ndarray],
    config: Mapping[str, Any],
    official: Mapping[str, Any] | None = None,
    unused: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Writes a folder that `load` reads; nothing is left half-written.

    Args:
        folder: created if it is missing.
        networks: by role.
        arrays: by name.
        config: further entries of config.json.
        official: shapes and types of the official file's entries, kept in the header for the export
            back to that file.
        unused: the official file's entries that no network needs, kept for the same export.

    Returns:
        The content of config.json.

    Raises:
        UserError: the folder cannot be written.
    """
    tree = {role: dict(network.variables) for role, network in networks.items()}
    if arrays:
        tree["arrays"] = dict(arrays)
    content = {
        **config,
        "networks": {role: describe(network.module) for role, network in networks.items()},
        "parameters": {
            role: sum(
                leaf.size for leaf in trees.flatten(network.variables.get("params", {})).values()
            )
            for role, network in networks.items()
        },
        "tree_hash": trees.tree_hash(tree),
    }
    if unused:
        tree["unused"] = dict(unused)
    try:
        with writing_config(folder, content):
            trees.save(folder / "model.safetensors", tree, {**content, "official": official or {}})
    except OSError as error:
        raise UserError(
            f"cannot write to {folder} ({error.strerror or error}); choose another --dst"
        ) from error
    return content


@contextlib.contextmanager
def writing_config(folder: Path, content: Mapping[str, Any]) -> Iterator[None]:
    """Writes config.json, which takes its name after the block that writes the arrays.

    What is already on disk by then cannot fail for lack of room: both files are new, or neither.

    Raises:
        OSError: the file cannot be written.
    """
    with trees.replacing(folder / "config.json") as file:
        file.write(json.dumps(content, indent=2).encode() + b"\n")
        file.flush()
        yield


# A network is never changed, so it is hashed once.
_hashes: weakref.WeakKeyDictionary[Network, str] = weakref.WeakKeyDictionary()


def network_hash(network: Network) -> str:
    """`trees.tree_hash` of a network's variables, by which files know the network."""
    if network not in _hashes:
        _hashes[network] = trees.tree_hash(network.variables)
    return _hashes[network]


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else value


def _tupled(value: Any) -> Any:
    return tuple(_tupled(item) for item in value) if isinstance(value, list) else value
