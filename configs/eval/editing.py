"""Edited pictures against those that have the attribute by nature (StyleRes, SFE), and Diff-CAM's
Table 1.

    python evaluate.py --config configs/eval/editing.py --workdir runs/editing
    ... --config.encoder=models/psp --config.classifier=models/da --config.deghoster=models/deghost
        --config.directions=NPY --config.folder=CelebA-HQ --config.editing.sources="('folder',)"
        --config.editing.codes="('encoder',)" --config.editing.variant=official

Diff-CAM's paper averages over age, bushy eyebrows, eyeglasses and beard on CelebA-HQ. `:debug` runs
in seconds with toy networks.
"""

from ml_collections import ConfigDict

from configs.eval.common import base


def get_config(mode: str = "") -> ConfigDict:
    config = base("editing", mode)
    config.editing = settings(mode)
    return config


def settings(mode: str) -> ConfigDict:
    debug = mode == "debug"
    return ConfigDict(
        {
            "sources": ("generated:16",) if debug else ("generated:2048",),
            "codes": ("known", "mse")
            if debug
            else ("known", "prior"),  # known where a picture was generated
            "attributes": ("a",) if debug else ("old", "bushy_eyebrows", "eyeglasses", "beard"),
            "strength": 1.0,
            # of the pictures that count as without the attribute, and of those that count as with
            # it
            "share": 0.33,
            "limit": 6 if debug else 0,  # pictures edited for each attribute; 0: all without it
            "systems": ("whole", "diffcam", "grad_cam", "cam"),
            "variant": "product",  # or official, paper
        }
    )
