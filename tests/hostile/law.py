"""The law for readers of foreign bytes, and what becomes of one input under it.

Every input ends in a valid result or in a refusal in one line. Anything else is a fault: another
exception, more than 2 GiB of memory, 20 seconds, a file outside of the scratch folder, code that is
run.
"""

import contextlib
import io
import os
import shutil
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from diffcam_jax.errors import UserError
from tests.hostile import confinement

LONGEST_LINE = 8000  # characters of a refusal
_OWN = ("diffcam_jax", "convert_weights")


@dataclass(frozen=True)
class Reader:
    """A reader of foreign bytes.

    Attributes:
        seeds: makes small valid files.
        read: reads one as the programs do, given its content and an empty folder of its own. What
            comes out may be anything.
        kind: of structure of the files, a name of `structures.STRUCTURES`; "" for none.
        refusals: exceptions by which it refuses.
        most_runs: inputs in a long run, where one takes very long.
    """

    seeds: Callable[[], list[bytes]]
    read: Callable[[bytes, Path], Any]
    kind: str = ""
    refusals: tuple[type[BaseException], ...] = (UserError,)
    most_runs: int = 1_000_000


class Outcome(NamedTuple):
    """What became of one input.

    Attributes:
        is_valid: it was read.
        fault: what is wrong, always the same for the same fault; "" where the law was kept.
        seconds: that it took.
        told: traceback of a fault, or the line of a refusal.
    """

    is_valid: bool
    fault: str
    seconds: float
    told: str


def judge(reader: Reader, data: bytes, folder: Path, watch: confinement.Watch) -> Outcome:
    """Lets a reader read one input.

    Args:
        reader: under the law.
        data: input.
        folder: emptied before and after.
        watch: of this process.
    """
    _empty(folder)
    is_valid, fault, told, began = False, "", "", time.perf_counter()
    streams = io.StringIO(), io.StringIO()
    confinement.limit_time(confinement.SECONDS)
    with (
        contextlib.redirect_stdout(streams[0]),
        contextlib.redirect_stderr(streams[1]),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        try:
            with watch:
                reader.read(data, folder)
            is_valid = True
        except reader.refusals as refusal:
            told = str(getattr(refusal, "detail", refusal))
            fault = _fault_of_line(told) or _fault_of_cause(refusal)
        except (Exception, SystemExit, confinement.Trespass) as error:
            fault, told = _name(error), traceback.format_exc()
    confinement.limit_time(0)
    if watch.trespasses:
        is_valid, fault = False, f"trespass: {watch.trespasses[0]}"
    seconds = time.perf_counter() - began
    _empty(folder)
    return Outcome(is_valid and not fault, fault, seconds, told)


def snapshot(folder: Path, without: Path) -> dict[str, tuple[int, int]]:
    """Every file in a folder but those in one inside it, with its size and time."""
    found = {}
    for place, _, names in os.walk(folder):
        if Path(place) != without and without not in Path(place).parents:
            for name in names:
                facts = os.lstat(os.path.join(place, name))
                found[os.path.join(place, name)] = facts.st_size, facts.st_mtime_ns
    return found


def _empty(folder: Path) -> None:
    for path in list(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _fault_of_line(line: str) -> str:
    if not line or len(line) > LONGEST_LINE:
        return f"a refusal of {'no' if not line else 'too many'} characters"
    return "" if line.isprintable() else "a refusal with characters that a terminal obeys"


def _fault_of_cause(refusal: BaseException | None) -> str:
    """The system, not the reader, has put an end to the memory."""
    while refusal is not None:
        if isinstance(refusal, MemoryError):
            return f"{_name(refusal)} behind a refusal"
        refusal = refusal.__cause__ or refusal.__context__
    return ""


def _name(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if any(f"/{name}/" in frame.filename for name in _OWN)]
    at = f" in {Path(own[-1].filename).name}:{own[-1].name}" if own else ""
    return f"{type(error).__name__}{at}"
