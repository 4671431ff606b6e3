"""Every protocol out of the box, at a small size: `make evaluate`.

    python evaluate.py --config configs/eval/all.py --workdir runs/evaluation

Uses the embedded networks, the 11 stored FFHQ photographs and 500 generated faces, and takes half
an hour on two idle cores: pictures of 512 pixels, few steps for inversion by optimisation. The
configurations beside this one are the full protocols. `:debug` takes under a minute with toys.
"""

from ml_collections import ConfigDict

from configs.eval import directions, editing, in_domain, invertibility, masks, reconstruction
from configs.eval.common import base


def get_config(mode: str = "") -> ConfigDict:
    """Returns the configuration of a mode."""
    config = base("all", mode)
    config.protocols = (
        "reconstruction",
        "editing",
        "masks",
        "in_domain",
        "invertibility",
        "directions",
    )
    config.reconstruction = reconstruction.settings(mode)
    config.editing = editing.settings(mode)
    config.masks = masks.settings(mode)
    config.in_domain = in_domain.settings(mode)
    config.aligner = invertibility.aligner(mode)
    config.invertibility = invertibility.settings(mode)
    config.directions_check = directions.settings(mode)
    if mode == "debug":
        return config
    config.size = 512
    config.inversion_steps = 40
    config.editing.sources = ("generated:500",)
    config.editing.attributes = ("smiling", "eyeglasses")
    config.editing.share = 0.2
    config.editing.limit = 16
    config.editing.systems = ("whole", "diffcam", "grad_cam")
    config.masks.sources = ("generated:12",)
    config.in_domain.sources = ("photographs:2", "public_domain")
    config.in_domain.methods = ("encoder", "image2stylegan", "in_domain", "prior")
    config.in_domain.attributes = ("smiling", "eyeglasses")
    config.invertibility.sources = ("photographs:2", "public_domain", "generated:4")
    config.invertibility.attributes = ("smiling",)
    config.invertibility.edited_faces = 4
    config.directions_check.samples = 12
    return config
