"""What `invert.py invert` writes besides codes: pictures, distances, changes of the generator."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from diffcam_jax.applications.faces import Studio
from diffcam_jax.applications.reconstruction import Found, distances
from diffcam_jax.applications.sheets import write_sheet
from diffcam_jax.faces.panel import labelled_row
from diffcam_jax.faces.photo import write_photo
from diffcam_jax.inversion import Inverter, tuned_files

Picture = UInt8[np.ndarray, "s s 3"]


def strip_path(out: Path, name: str = "") -> Path:
    """Where the strip of a photograph is written; without a name the folder of all."""
    return out / "strips" / (f"{name}.png" if name else "")


def files(names: Iterable[str], tuned: bool) -> list[str]:
    """What `write_batch` writes, relative to its folder.

    Args:
        names: of photographs.
        tuned: whether the generator was tuned to each.
    """
    forms = ["reconstructions/{}.png", "strips/{}.png"] + ["{}" + tuned_files.SUFFIX] * tuned
    return [form.format(name) for name in names for form in forms]


def write_batch(
    out: Path,
    studio: Studio,
    inverter: Inverter,
    pictures: Mapping[str, Picture],
    found: Found,
    lpips: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> dict[str, dict[str, Any]]:
    """Draws what was found, compares it with the photographs and writes it.

    Each photograph gets its reconstruction, a strip, and where the generator was tuned the changes
    of it as NAME.tuned.safetensors. One whose loss was never finite gets nothing.

    Args:
        out: folder.
        studio: draws.
        inverter: that found it.
        pictures: the aligned photographs by name, in the order of `found`.
        found: see `reconstruction.search`.
        lpips: see `reconstruction.distances`.

    Returns:
        Name of each photograph that was inverted -> "mse", "lpips", "seconds", "cached".

    Raises:
        UserError: a file cannot be written.
    """
    drawn = studio.draw(found.codes, tuned=found.tuned)
    near = distances(np.stack(list(pictures.values())), drawn, lpips)
    # One step moves the whole batch: its time is shared out among those that were searched for.
    share = round(found.seconds / max(int((~found.known).sum()), 1), 3)
    records = {}
    for index, (name, picture) in enumerate(pictures.items()):
        if not found.valid[index]:
            continue
        _write_pictures(out, name, inverter.method, picture, drawn[index], near[index])
        if found.tuned is not None:
            own = {path: changes[index] for path, changes in found.tuned.items()}
            place = out / f"{name}{tuned_files.SUFFIX}"
            tuned_files.save(place, own, studio.hash, inverter.settings)
        known = bool(found.known[index])
        spent = None if known else share
        records[name] = {**near[index], "seconds": spent, "cached": known}
    return records


def _write_pictures(
    out: Path, name: str, method: str, picture: Picture, drawn: Picture, near: Mapping[str, float]
) -> None:
    label = f"{method}: MSE {near['mse']:.4f}, LPIPS {near['lpips']:.3f}"
    difference = np.abs(picture - drawn.astype(np.float32)).mean(-1) / 255
    row = {"photograph": picture, label: drawn, "absolute difference": difference}
    write_photo(out / "reconstructions" / f"{name}.png", drawn)
    write_sheet(strip_path(out, name), labelled_row(row))
