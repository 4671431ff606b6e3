r"""What each direction changes on held-out samples, and what it leaves alone.

    python evaluate.py --config configs/eval/directions.py --workdir runs/directions \
        [--config.directions=FILE]

`:debug` draws the strip of a toy generator in seconds.
"""

from ml_collections import ConfigDict

from configs.eval.common import base


def get_config(mode: str = "") -> ConfigDict:
    """Returns the configuration of a mode."""
    config = base("directions", mode)
    config.directions_check = settings(mode)
    return config


def settings(mode: str) -> ConfigDict:
    """Returns the settings of this protocol."""
    debug = mode == "debug"
    return ConfigDict({"samples": 0 if debug else 100, "attributes": (), "faces": 2})
