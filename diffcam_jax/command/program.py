"""How a program starts, and how its messages name the programs of this project."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

from diffcam_jax.command.allocator import collect_rarely, keep_freed_memory


def launch(main: Callable[[], int]) -> int:
    """Runs a program that starts, computes and ends, with memory management set for that.

    Args:
        main: the program; returns its exit code.
    """
    keep_freed_memory()
    collect_rarely()
    return main()


def as_called(text: str) -> str:
    """A message that names programs in the way in which this process was called.

    From a checkout `python edit.py` is the right command; an installation has `diffcam-edit`.

    Args:
        text: names them as `python NAME.py` and `python -m convert_weights`.
    """
    if not Path(sys.argv[0]).name.startswith("diffcam-"):
        return text
    text = text.replace("python -m convert_weights", "diffcam-convert")
    return re.sub(r"python (edit|invert|train|evaluate|app)\.py", r"diffcam-\1", text)
