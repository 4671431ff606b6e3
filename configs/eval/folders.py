r"""Pictures of any programs in folders, compared with those of a first folder.

    python evaluate.py --config configs/eval/folders.py --folders ORIGINALS OURS STARGAN \
        --workdir runs/folders

`--config.size=256` resizes all pictures to one side. `:debug` measures without stored networks.
"""

from ml_collections import ConfigDict

from configs.eval.common import base


def get_config(mode: str = "") -> ConfigDict:
    """Returns the configuration of a mode."""
    config = base("folders", mode)
    config.protocols = ()
    return config
