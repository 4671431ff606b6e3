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
        *("smiling", "mouth_open", "surprise", "beard"),
        *("eyes_closed", "squint", "eye_size", "eye_makeup", "eyeglasses"),
        *("bushy_eyebrows", "brow_raise", "brow_height", "frown"),
        *("old", "skin_tone", "skin_undertone"),
        *("hair_color", "black_hair", "blond_hair", "red_hair", "grey_hair"),
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
