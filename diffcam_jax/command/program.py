"""How a program starts, and how its messages name the programs of this project."""

import contextlib
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
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


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Holds ctrl-c back until the block has ended.

    For imports: a native module whose import is cut off can end the process later without a word.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # which no signal reaches
        return
    asked: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: asked.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if asked:
        raise KeyboardInterrupt


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
