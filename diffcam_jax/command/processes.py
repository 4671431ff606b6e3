"""A run of several processes, on one host or on several that share its folder.

... --coordinator HOST:PORT --num_processes N --process_id I      on each of them
"""

import argparse

from absl import flags

from diffcam_jax.command import arguments
from diffcam_jax.errors import UserError


def define_flags() -> None:
    """Defines the flags by which processes find each other."""
    flags.DEFINE_string(
        "coordinator", None, "host:port of process 0, for a run of several processes."
    )
    flags.DEFINE_integer("num_processes", 1, "How many processes the run has.")
    flags.DEFINE_integer("process_id", 0, "Number of this process.")


def part(text: str | None, processes: int, process: int) -> tuple[int, int] | None:
    """The part of the work that this process does, (number from 1 on, count); None for all of it.

    Args:
        text: "I/N" of somebody who starts the parts one by one, or None.
        processes: how many there are that connect.
        process: number of this one.

    Raises:
        UserError: the text is no part, or both ways to share are asked for.
    """
    if text is None:
        return (process + 1, processes) if processes > 1 else None
    if processes > 1:
        raise UserError("processes share the pictures among themselves; leave --part out")
    try:
        return arguments.part(text)
    except argparse.ArgumentTypeError as error:
        raise UserError(f"--part: {error}") from error


def connect(coordinator: str | None, processes: int, process: int) -> None:
    """Joins the other processes of a run; has to be called before anything else uses JAX.

    Args:
        coordinator: host:port of process 0; None is a run of one process.
        processes: how many there are.
        process: number of this one.

    Raises:
        UserError: no answer, or numbers that make no sense.
    """
    if coordinator is None and (processes, process) == (1, 0):
        return
    if coordinator is None or not 0 <= process < processes or ":" not in coordinator:
        raise UserError(
            f"--coordinator {coordinator} --num_processes {processes} --process_id {process}: "
            "give host:port and a number "
            f"from 0 to {processes - 1}"
        )
    import jax

    try:
        jax.distributed.initialize(coordinator, processes, process, initialization_timeout=60)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"cannot join the run at {coordinator} ({reason}); start all processes within a minute"
        ) from error


def wait_for_all(reached: str) -> None:
    """Returns when every process of the run has come here.

    Args:
        reached: name of the place, the same in all of them.
    """
    import jax
    from jax.experimental import multihost_utils

    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(reached)
