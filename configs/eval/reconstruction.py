r"""How well each inversion method reconstructs pictures: GANInverter's protocol.

    python evaluate.py --config configs/eval/reconstruction.py --workdir runs/reconstruction
    ... --config.encoder=runs/encoder \
        --config.reconstruction.methods="('encoder','in_domain','pivotal_tuning')"
    ... --config.folder=CelebA-HQ --config.reconstruction.sources="('folder:2824',)" \
        --config.arcface=models/arcface

The published table is of CelebA-HQ's 2,824 test pictures. `:debug` takes seconds with toy networks.
"""

from ml_collections import ConfigDict

from configs.eval.common import base


def get_config(mode: str = "") -> ConfigDict:
    """Returns the configuration of a mode."""
    config = base("reconstruction", mode)
    config.reconstruction = settings(mode)
    return config


def settings(mode: str) -> ConfigDict:
    """Returns the settings of this protocol."""
    debug = mode == "debug"
    return ConfigDict(
        {
            "sources": ("generated:3", "toy:2") if debug else ("photographs", "public_domain"),
            "methods": ("mse",) if debug else ("encoder", "prior", "pivotal_tuning"),
        }
    )
