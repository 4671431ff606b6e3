"""Goes from pictures to an editor, stage by stage, and says how far it is.

DIR/request.json      what was asked for
DIR/seconds.json      how long each stage took, interruptions left out
DIR/domain.json       what is made, see `files.domain`
"""

import json
import math
import re
import subprocess
import sys
import time
from pathlib import Path

from diffcam_jax.command.workdir import claim
from diffcam_jax.domain import health, inputs
from diffcam_jax.domain import request as requests
from diffcam_jax.domain.request import Request
from diffcam_jax.domain.stages import Stage, stages
from diffcam_jax.errors import UserError
from diffcam_jax.files import domain
from diffcam_jax.files.json_text import decode
from diffcam_jax.files.trees import write_atomically

SECONDS = "seconds.json"


def make(folder: Path, request: Request, fewest: int = inputs.FEWEST, anyway: bool = False) -> None:
    """Makes a domain, or goes on with it.

    Args:
        folder: of the domain.
        request: what it is made of.
        fewest: pictures that are enough.
        anyway: go on although a trained network seems to be no good.

    Raises:
        UserError: pictures or labels have to be mended, the folder is in use or belongs to another
            request, or a stage failed.
    """
    found = inputs.look(request.pictures, request.labels, request.size, folder, fewest)
    for note in found.notes:
        print(f"note: {note}")
    for problem in found.problems:
        print(f"problem: {problem}", file=sys.stderr)
    if found.problems:
        raise UserError(f"{len(found.problems)} problems to mend before anything is trained")
    requests.keep(folder, request)
    with claim(folder):
        if request.labels:
            labelled = inputs.table(found.names, found.values)
            write_atomically(folder / requests.LABELS, labelled.encode())
        _describe(folder, request)
        todo = stages(request)
        for number, stage in enumerate(todo, 1):
            run(stage, request, folder, f"stage {number} of {len(todo)}, {stage.name}")
            if advice := stage.check(folder):
                if not anyway:
                    raise UserError(f"{stage.name}: {advice}; or go on with --anyway")
                print(f"note: {stage.name}: {advice}")
        _describe(folder, request)


def _describe(folder: Path, request: Request) -> None:
    """Writes what an editor has to know; deghosting is named as soon as it is there."""
    kind = domain.Domain(
        request.name,
        request.size,
        "face" if request.align else "square",
        parsing=request.align,
        # Steps on small pictures are quick, and their generators far from photographs at first.
        tune=min(max(6400 // request.size, 20), 100),
        licence=request.licence,
    )
    roles = ["generator", "encoder", "classifier"]
    roles += ["deghoster"] * (folder / "deghoster" / "config.json").exists()
    domain.write(folder, kind, {role: role for role in roles}, "directions.safetensors")


def run(stage: Stage, request: Request, folder: Path, label: str) -> None:
    """Runs a stage unless it is done.

    Raises:
        UserError: it failed.
    """
    if not (folder / stage.result).exists():
        print(label, flush=True)
        began = time.perf_counter()
        try:
            code = _passed_on(stage.command(request, folder))
        finally:
            took = _seconds(folder)
            took[stage.name] = round(took.get(stage.name, 0.0) + time.perf_counter() - began, 1)
            write_atomically(folder / SECONDS, json.dumps(took, indent=2).encode() + b"\n")
        if code or not (folder / stage.result).exists():
            raise UserError(
                f"{stage.name} ended before it was done (exit code {code}); mend what it says "
                "above, and give the same command to go on"
            )


def _passed_on(command: list[str]) -> int:
    """Runs a command and shows what it prints, but for what it says to do next.

    Returns:
        Its exit code.
    """
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if told := re.sub(r"(^|; )next: .*", "", line.rstrip("\n")):
                print(told, flush=True)
    return process.returncode


def status(folder: Path) -> list[str]:
    """A line for each stage: whether it is done, its figures, and the time left of a training.

    Raises:
        UserError: the folder holds no domain.
    """
    request = requests.read(folder)
    took, lines, waiting = _seconds(folder), [], False
    for stage in stages(request):
        if (folder / stage.result).exists():
            state = f"done in {_clock(took[stage.name])}" if stage.name in took else "done"
        elif waiting:
            state = "waits"
        else:
            state, waiting = _progress(stage, folder), True
        figures = health.figures(folder, stage.name)
        lines.append(f"{stage.name:12}{state}{f'; {figures}' if figures else ''}")
    return lines


def _progress(stage: Stage, folder: Path) -> str:
    """How far a training is, and how long it will take at its present speed."""
    speed = health.series(folder / stage.name, "run/steps_per_second")
    if not stage.steps or not speed:
        return "is next"
    at, rate = speed[-1]
    left = (stage.steps - at) / rate if rate > 0 else 0.0
    return f"step {at} of {stage.steps}, about {_clock(left)} left"


def _clock(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _seconds(folder: Path) -> dict[str, float]:
    """Seconds of each stage so far; a damaged file says nothing."""
    try:
        given = decode((folder / SECONDS).read_text())
        return {stage: float(took) for stage, took in given.items() if math.isfinite(took)}
    except (OSError, ValueError, TypeError, AttributeError, OverflowError):
        return {}


def tell(folder: Path) -> None:
    """Prints the status of a folder, and what to do next."""
    print("\n".join(status(folder)))
    if all((folder / stage.result).exists() for stage in stages(requests.read(folder))):
        print(f"next: python edit.py PICTURE --domain {folder} --list")
