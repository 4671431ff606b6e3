"""Folders of pictures of any programs against a first one.

    python evaluate.py --config configs/eval/folders.py --folders ORIGINALS OURS STARGAN --workdir
    runs/folders

--config.size=256 brings all pictures to one side. `:debug` measures without any stored network.
"""

from ml_collections import ConfigDict

from configs.eval.common import base


def get_config(mode: str = "") -> ConfigDict:
    config = base("folders", mode)
    config.protocols = ()
    return config
