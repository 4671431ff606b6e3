"""How far a computation is: a bar on a terminal, or a listener, such as a service has.

A listener hears the stage, how many of its steps are done, and of how many. What it raises ends
the computation between two steps.
"""

from collections.abc import Callable

Listener = Callable[[str, int, int], None]
# True shows a bar, False shows nothing, a listener is told.
Progress = bool | Listener


def tell(progress: Progress, stage: str, done: int = 0, steps: int = 1) -> None:
    """Tells a listener, where there is one.

    Args:
        progress: who wants to know.
        stage: what is being computed.
        done: steps of it that are done.
        steps: that the stage consists of, at least 1.
    """
    if callable(progress):
        progress(stage, done, steps)
