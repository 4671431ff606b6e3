r"""The tables of In-Domain GAN Inversion for every inversion method, and its semantic analysis.

    python evaluate.py --config configs/eval/in_domain.py --config.encoder=runs/encoder \
        --workdir runs/in_domain

Without an encoder the methods "encoder" and "in_domain" are left out. `:debug` takes seconds.

Source: In-Domain GAN Inversion (2004.00049).
"""

from ml_collections import ConfigDict

from configs.eval.common import base


def get_config(mode: str = "") -> ConfigDict:
    """Returns the configuration of a mode."""
    config = base("in_domain", mode)
    config.in_domain = settings(mode)
    return config


def settings(mode: str) -> ConfigDict:
    """Returns the settings of this protocol."""
    debug = mode == "debug"
    every = ("encoder", "image2stylegan", "mse", "in_domain", "prior")
    return ConfigDict(
        {
            "sources": ("generated:2", "toy:3") if debug else ("photographs", "public_domain"),
            "methods": ("mse",) if debug else every,
            "steps": 2 if debug else 5,  # between two codes
            "attributes": ("a", "b") if debug else ("smiling", "old", "eyeglasses"),
            "strength": 1.0,
        }
    )
