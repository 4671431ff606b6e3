"""The folder of a run: one process at a time, and always the same configuration.

DIR/run.json          the configuration; config.json belongs to the exported networks
DIR/.lock             held while a run uses the folder
DIR/checkpoints       see `checkpoint`
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from diffcam_jax.errors import UserError
from diffcam_jax.files.json_text import decode
from diffcam_jax.files.locks import held
from diffcam_jax.files.trees import write_atomically

# How long to train, what to watch and where to run may change between two parts of a run;
# everything else decides what is computed.
FREE = (
    "steps",
    "log_every",
    "eval_every",
    "sample_every",
    "checkpoint_every",
    "keep",
    "devices",
    "patience_nan",
)


@contextlib.contextmanager
def claim(workdir: Path) -> Iterator[None]:
    """Holds the folder for this process; the system lets go of it when the process ends in any way.

    Raises:
        UserError: another run is using it, or it cannot be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(held(workdir / ".lock"))
        except BlockingIOError as error:
            raise UserError(
                f"another run is using {workdir}; wait for it, or choose another --workdir"
            ) from error
        except OSError as error:
            raise UserError(
                f"cannot use {workdir} ({error.strerror}); choose another --workdir"
            ) from error
        yield


def check_config(workdir: Path, config: Mapping[str, Any]) -> None:
    """Compares a configuration with the one that the run in this folder began with.

    A configuration with a field `stage` may also continue the run of the stage before it, whose
    settings are others.

    Args:
        workdir: of the run.
        config: nested mapping that JSON can hold.

    Raises:
        UserError: a field that decides what is computed differs.
    """
    path = workdir / "run.json"
    if not path.exists():
        return
    try:
        before = _flat(decode(path.read_text()))
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path} is damaged ({error}); delete it to go on with the configuration given now"
        ) from error
    now = _flat(json.loads(json.dumps(config)))
    if "stage" in before and now.get("stage") == before["stage"] + 1:
        return
    differing = [
        f"{name} was {_show(before, name)} and is {_show(now, name)}"
        for name in sorted(before.keys() | now.keys())
        if name not in FREE and not _same(before, now, name)
    ]
    if differing:
        raise UserError(
            f"{workdir} holds a run with another configuration: {'; '.join(differing)}; give the "
            "same values, choose another "
            f"--workdir, or delete {path} to go on with the new ones"
        )


def _same(before: Mapping[str, Any], now: Mapping[str, Any], name: str) -> bool:
    """Whether a field is what it was; one that was added since counts as having been off."""
    if name not in before:
        return not now[name]
    return name in now and before[name] == now[name]


def write_config(workdir: Path, config: Mapping[str, Any]) -> None:
    """Keeps the configuration of a run."""
    write_atomically(workdir / "run.json", json.dumps(config, indent=2).encode() + b"\n")


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in tree.items():
        flat |= (
            _flat(value, f"{prefix}{name}.")
            if isinstance(value, Mapping)
            else {prefix + name: value}
        )
    return flat


def _show(fields: Mapping[str, Any], name: str) -> str:
    return json.dumps(fields[name]) if name in fields else "absent"
