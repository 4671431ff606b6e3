"""Which files of an output folder a program may write: never those of somebody else.

An output replaces nothing but what the program itself wrote for the same input. What it wrote is
told by reports, which are there before the first picture is, so that a run that was killed can go
on: of `edit.py` one for each photograph (`reports`), of `invert.py` one for each command
(`Outputs`).
"""

import json
import os
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from diffcam_jax.errors import UserError
from diffcam_jax.programs import output

_LONGEST = 255  # bytes of a file's name, on nearly all systems


def read_object(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None where there is none, or something else."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def refuse(places: Iterable[Path], ours: Container[Path], inputs: Sequence[Path]) -> None:
    """Refuses to write to places that hold something else than earlier results.

    Args:
        places: of the files and folders that are to be written.
        ours: those of them that are earlier results of the same inputs.
        inputs: photographs and files of codes that the results are made of; at least one.

    Raises:
        UserError: names the first place that is taken, or whose name is too long.
    """
    taken = {path.resolve(): path for path in inputs}
    for place in places:
        if len(os.fsencode(place.name)) > _LONGEST:
            raise UserError(f"{place.name[:60]}...: the name is too long for a result; shorten it")
        blocked = place if os.path.lexists(place) else _file_above(place)
        if blocked is None:
            continue
        if own := taken.get(blocked.resolve()):
            raise UserError(f"{own}: a result would replace it; choose another --out")
        if blocked not in ours:
            of = str(inputs[0]) if len(inputs) == 1 else f"these {len(inputs)} inputs"
            raise UserError(
                f"{blocked}: is there, and is no earlier result of {of}; move it away, or choose "
                "another --out"
            )


def _file_above(place: Path) -> Path | None:
    """What is in the way of the folder in which a place lies."""
    folder = place.parent
    return folder if os.path.lexists(folder) and not folder.is_dir() else None


class Outputs(NamedTuple):
    """What a command of `invert.py` writes, COMMAND.json among it.

    Further inputs may join those of an earlier run: a folder that has grown is inverted anew.

    Attributes:
        out: output folder.
        command: its name.
        inputs: photographs and files of codes.
        files: that it writes besides the report, relative to the folder.
    """

    out: Path
    command: str
    inputs: tuple[Path, ...]
    files: tuple[str, ...]

    def check(self) -> None:
        """Whether all of it may be written.

        Raises:
            UserError: see `refuse`.
        """
        earlier = self._earlier()
        ours = {self.out / name for name in earlier["files"]} if earlier else set()
        places = [self._report, *(self.out / name for name in self.files)]
        refuse(places, {*ours, self._report} if earlier else ours, self.inputs)

    def claim(self) -> None:
        """Takes the names, before the first file is written.

        Raises:
            UserError: see `check`, or the folder cannot be written to.
        """
        self.check()
        files = sorted({*self.files, *(self._earlier() or {"files": ()})["files"]})
        self._write({**(self._earlier() or {}), "files": files})

    def finish(self, report: dict[str, Any]) -> None:
        """Writes the report, and gives names up that were claimed and not used.

        Raises:
            UserError: see `claim`.
        """
        self.claim()
        files = (self._earlier() or {"files": ()})["files"]
        self._write({**report, "files": [f for f in files if (self.out / f).exists()]})

    @property
    def _report(self) -> Path:
        return self.out / f"{self.command}.json"

    def _earlier(self) -> dict[str, Any] | None:
        """The report of an earlier run with the same inputs, or some of them."""
        report = read_command(self.out, self.command)
        given = {str(path.resolve()) for path in self.inputs}
        return report if report is not None and given.issuperset(report["inputs"]) else None

    def _write(self, report: dict[str, Any]) -> None:
        inputs = [str(path.resolve()) for path in self.inputs]
        output.write_json(self._report, {**report, "inputs": inputs})


def read_command(out: Path, command: str) -> dict[str, Any] | None:
    """The report of a command of `invert.py`; None where there is none, or something else."""
    report = read_object(out / f"{command}.json")
    lists = [(report or {}).get(name) for name in ("inputs", "files")]
    right = all(isinstance(x, list) and all(isinstance(one, str) for one in x) for x in lists)
    return report if right else None


def is_sheet(picture: Path, out: Path) -> bool:
    """Whether a picture in the output folder was drawn by a command of `invert.py`."""
    if picture.parent.resolve() != out.resolve():
        return False
    report = read_command(out, picture.stem.partition("_")[0])  # manipulate_NAME of manipulate
    return report is not None and picture.name in report["files"]
