"""What a run left, as facts that an undisturbed run must have left, too.

Every file counts by the sha256 of its content, but for what is said in `RULES`: the only
differences between two undisturbed runs.
"""

import fnmatch
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _report(content: bytes) -> bytes:
    return json.dumps(_without_seconds(json.loads(content))).encode()


def _without_seconds(told: Any) -> Any:
    if isinstance(told, dict):
        return {key: _without_seconds(value) for key, value in told.items() if key != "seconds"}
    return [_without_seconds(value) for value in told] if isinstance(told, list) else told


def _numbers(content: bytes) -> bytes:
    """Lines of a training; one that a kill cut short is dropped by the next start."""
    lines = [json.loads(line) for line in content.decode().splitlines() if line.endswith("}")]
    for line in lines:
        line.pop("seconds")
        line.pop("run/steps_per_second", None)
    return json.dumps(lines).encode()


# Pattern of a file's name -> what of its content counts; None: nothing, and it may be absent.
RULES: dict[str, Callable[[bytes], bytes] | None] = {
    # One for each start of a training, named by the time.
    "*/events.out.tfevents.*": None,
    "events.out.tfevents.*": None,
    # The storage library names its files at random; the steps count, and that they are restored.
    "*checkpoints/[0-9]*": None,
    # Programs hold addresses of the process that compiled them; results are compared.
    "home/compiled/*": None,
    "out/*.json": _report,  # how long an edit took
    "*metrics.jsonl": _numbers,  # how long steps took
}


def facts(place: Path) -> dict[str, str]:
    """Name of a file below a folder -> hash of what counts of it."""
    found = {}
    for path in sorted(place.rglob("*")):
        name = path.relative_to(place).as_posix()
        if path.is_dir():
            if path.parent.name == "checkpoints":
                found[name] = "folder"
            continue
        rule = next((r for pattern, r in RULES.items() if fnmatch.fnmatch(name, pattern)), bytes)
        if rule is not None:
            found[name] = hashlib.sha256(rule(path.read_bytes())).hexdigest()
    return found


def is_temporary(name: str) -> bool:
    """Whether a name below a folder says that the file is not finished."""
    return (
        re.search(r"\.tmp$|\.part$|-tmp|incomplete|(^|/)(unfinished|downloads)/", name) is not None
    )


def half_written(
    place: Path, whole: dict[str, str], growing: tuple[str, ...], before: dict[str, str]
) -> list[str]:
    """Files with a final name that are not what an undisturbed run leaves.

    Args:
        place: of a run that was cut off.
        whole: facts of an undisturbed one.
        growing: patterns of files that have other contents for a while by design.
        before: facts of what was there before the run.
    """
    wrong = []
    for path in sorted(place.rglob("*")):
        name = path.relative_to(place).as_posix()
        if path.is_dir() or is_temporary(name) or any(fnmatch.fnmatch(name, p) for p in growing):
            continue
        rule = next((r for pattern, r in RULES.items() if fnmatch.fnmatch(name, pattern)), bytes)
        if rule is None:
            continue
        try:
            digest = hashlib.sha256(rule(path.read_bytes())).hexdigest()
        except ValueError:
            digest = "unreadable"
        if digest not in (whole.get(name), before.get(name)):
            wrong.append(name)
    return wrong
