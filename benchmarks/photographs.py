"""The real photographs that benchmarks edit, and the attributes that they ask for."""

from pathlib import Path

import numpy as np

from diffcam_jax.faces.photo import list_photos, read_photo
from diffcam_jax.pretrained import store

# Attribute -> its own score.
ATTRIBUTES = {
    "smiling": "smiling",
    "old": "age",
    "mouth_open": "mouth_open",
    "eyeglasses": "eyeglasses",
    "beard": "beard",
}


def photographs(folder: Path | None = None) -> dict[str, tuple[np.ndarray, bool]]:
    """The 11 FFHQ photographs of the store, Grace Hopper and the astronaut, or those of a folder.

    Returns:
        name -> (pixels [h, w, 3], whether they are aligned already).
    """
    if folder is not None:
        return {path.stem: (read_photo(path).pixels, False) for path in list_photos(folder)}
    import matplotlib.cbook
    import skimage.data

    stored = sorted(store.fetch("ffhq_photos").glob("*.png"))
    found = {path.stem: (read_photo(path).pixels, True) for path in stored}
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        found["hopper"] = (read_photo(file.name).pixels, False)
    found["astronaut"] = (skimage.data.astronaut(), False)
    return found
