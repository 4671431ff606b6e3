"""Export: from a converted folder back to the official layout, bit for bit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from convert_weights.kinds import KINDS, Kind
from diffcam_jax.errors import UserError
from diffcam_jax.files import trees
from diffcam_jax.files.model_folder import ModelFolder, load
from diffcam_jax.formats.torch_writer import write_torch

SUFFIXES = (".pt", ".pth", ".safetensors", ".npz")


def official_entries(folder: Path) -> dict[str, np.ndarray]:
    """The official file's arrays, with "/" between nested dicts; see `State.arrays`.

    Raises:
        UserError: the folder is not a converted one, or of a kind that has no official state dict.
    """
    model = load(folder)
    tree, metadata = trees.load(folder / "model.safetensors")
    official, kind = metadata.get("official") or {}, KINDS.get(model.config.get("kind", ""))
    if not official or kind is None:
        raise UserError(
            f"{folder} was not converted from a state dict, so there is no layout to export to"
        )
    try:
        return _entries(model, trees.flatten(tree.get("unused", {})), official, kind)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{folder} does not say how its official file was made up ({type(error).__name__}: "
            f"{error}); convert the checkpoint again"
        ) from error


def _entries(
    model: ModelFolder, kept: Mapping[str, np.ndarray], official: Mapping[str, Any], kind: Kind
) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for part in kind.parts:
        if part.role not in official:
            continue
        prefix, entries = official[part.role]["prefix"], official[part.role]["entries"]
        notes = {"encoder_type": model.config.get("encoder_type", "")}
        layout = part.layout({key: tuple(shape) for key, (shape, _) in entries.items()}, notes)
        state = layout.export(model.networks[part.role].variables)
        for key, (_, dtype) in entries.items():
            name = prefix + key
            arrays[name] = kept[name] if name in kept else state[key].astype(_dtype(dtype))
    if "latent_avg" in official and official["latent_avg"]["name"] not in arrays:
        note = official["latent_avg"]
        arrays[note["name"]] = (
            model.arrays["latent_avg"].reshape(note["shape"]).astype(_dtype(note["dtype"]))
        )
    return arrays


def export(folder: Path, path: Path) -> int:
    """Writes the official layout and returns the number of entries.

    Args:
        folder: from a conversion.
        path: .pt or .pth (as torch writes it), .safetensors or .npz (nested names joined by "/").

    Raises:
        UserError: the suffix is another, the folder is not a converted one, or the file cannot be
            written.
    """
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path}: give a name that ends in one of {', '.join(SUFFIXES)}")
    arrays = official_entries(folder)
    try:
        if path.suffix in (".pt", ".pth"):
            write_torch(path, trees.unflatten(arrays))
        elif path.suffix == ".npz":
            with trees.replacing(path) as file:
                np.savez(file, **arrays)
        else:
            trees.save(path, trees.unflatten(arrays), {"kind": "official"})
    except OSError as error:
        raise UserError(
            f"cannot write {path} ({error.strerror or error}); choose another --dst"
        ) from error
    return len(arrays)


def _dtype(name: str) -> np.dtype:
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)
