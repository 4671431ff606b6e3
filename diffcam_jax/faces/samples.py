"""Portraits in the public domain that come with packages this project depends on."""

import importlib.resources
from pathlib import Path


def hopper() -> Path:
    """Rear Admiral Grace Hopper in uniform, from matplotlib's sample data."""
    import matplotlib.cbook

    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        return Path(file.name)


def collins() -> Path:
    """The astronaut Eileen Collins, from scikit-image's data."""
    return Path(str(importlib.resources.files("skimage.data") / "astronaut.png"))
