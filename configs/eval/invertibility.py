"""Invertibility decomposition: its masks, and what it keeps of photographs and of edited ones.

    python evaluate.py --config configs/eval/invertibility.py --workdir runs/invertibility
    ... --config.encoder=models/e4e --config.aligner=models/samm --config.directions=NPY

The second line evaluates networks of your own. `:debug` takes seconds with toy networks.
"""

from ml_collections import ConfigDict

from configs.eval.common import base


def get_config(mode: str = "") -> ConfigDict:
    """Returns the configuration of a mode."""
    config = base("invertibility", mode)
    config.aligner = aligner(mode)
    config.invertibility = settings(mode)
    return config


def aligner(mode: str) -> str:
    """Returns the aligner; toys have one only where it is asked for."""
    return "toy" if mode == "debug" else ""


def settings(mode: str) -> ConfigDict:
    """Returns the settings of this protocol."""
    debug = mode == "debug"
    return ConfigDict(
        {
            # Objects are pasted in front of generated faces; the others are edited as they are.
            "sources": ("generated:2", "toy:2")
            if debug
            else ("photographs", "public_domain", "generated:32"),
            "method": "encoder",  # that finds the codes
            "attributes": ("a",) if debug else ("smiling", "eyeglasses", "old"),
            "strength": 1.0,
            "systems": ("diffcam", "invertibility", "both"),
            "variant": "product",  # or official, paper
            "edited_faces": 2 if debug else 12,  # of those behind objects
        }
    )
