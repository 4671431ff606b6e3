"""How well each way of inverting finds a picture back: GANInverter's protocol.

    python evaluate.py --config configs/eval/reconstruction.py --workdir runs/reconstruction
    ... --config.encoder=runs/encoder
    --config.reconstruction.methods="('encoder','in_domain','pivotal_tuning')" ...
    --config.folder=CelebA-HQ --config.reconstruction.sources="('folder:2824',)"
    --config.arcface=models/arcface

The published table is of CelebA-HQ's 2,824 test pictures. `:debug` runs in seconds with toy
networks.
"""

from ml_collections import ConfigDict

from configs.eval.common import base


def get_config(mode: str = "") -> ConfigDict:
    config = base("reconstruction", mode)
    config.reconstruction = settings(mode)
    return config


def settings(mode: str) -> ConfigDict:
    debug = mode == "debug"
    return ConfigDict(
        {
            "sources": ("generated:3", "toy:2") if debug else ("photographs", "public_domain"),
            "methods": ("mse",) if debug else ("encoder", "prior", "pivotal_tuning"),
        }
    )
