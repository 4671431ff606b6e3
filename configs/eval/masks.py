"""Masks of Diff-CAM, Grad-CAM and CAM against the region that each attribute belongs to.

    python evaluate.py --config configs/eval/masks.py --workdir runs/masks

`:debug` takes seconds with toy networks.
"""

from ml_collections import ConfigDict

from configs.eval.common import base


def get_config(mode: str = "") -> ConfigDict:
    """Returns the configuration of a mode."""
    config = base("masks", mode)
    config.masks = settings(mode)
    return config


def settings(mode: str) -> ConfigDict:
    """Returns the settings of this protocol."""
    debug = mode == "debug"
    names = (
        "smiling",
        "mouth_open",
        "eyes_closed",
        "old",
        "eyeglasses",
        "beard",
        "bushy_eyebrows",
        "hair_color",
    )
    return ConfigDict(
        {
            "sources": ("generated:4",) if debug else ("generated:200",),
            "codes": ("known", "mse") if debug else ("known", "prior"),
            "attributes": ("a", "b") if debug else names,
            "strength": 1.0,
            "variant": "official",
        }
    )
