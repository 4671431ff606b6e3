"""Quality of edits: FID against pictures that have the attribute, and Diff-CAM's Table 1.

    python evaluate.py --config configs/eval/editing.py --workdir runs/editing
    ... --config.encoder=models/psp --config.classifier=models/da --config.deghoster=models/deghost
        --config.directions=NPY --config.folder=CelebA-HQ --config.editing.sources="('folder',)"
        --config.editing.codes="('encoder',)" --config.editing.variant=official

Sources: StyleRes, SFE; Diff-CAM (2207.08134), Table 1, which averages over age, bushy eyebrows,
eyeglasses and beard on CelebA-HQ. `:debug` takes seconds with toy networks.
"""

from ml_collections import ConfigDict

from configs.eval.common import base


def get_config(mode: str = "") -> ConfigDict:
    """Returns the configuration of a mode."""
    config = base("editing", mode)
    config.editing = settings(mode)
    return config


def settings(mode: str) -> ConfigDict:
    """Returns the settings of this protocol."""
    debug = mode == "debug"
    return ConfigDict(
        {
            "sources": ("generated:16",) if debug else ("generated:2048",),
            # The known code where a picture was generated, else one found by this method.
            "codes": ("known", "mse" if debug else "prior"),
            "attributes": ("a",) if debug else ("old", "bushy_eyebrows", "eyeglasses", "beard"),
            "strength": 1.0,
            # Of all pictures: so many count as without the attribute, and so many as with it.
            "share": 0.33,
            "limit": 6 if debug else 0,  # pictures edited for each attribute; 0: all without it
            "systems": ("whole", "diffcam", "grad_cam", "cam"),
            "variant": "product",  # or official, paper
        }
    )
