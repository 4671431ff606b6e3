"""JSON from outside, whose faults are all of one kind."""

import contextlib
import json
from pathlib import Path
from typing import Any


def decode(text: str | bytes) -> Any:
    """What a text of JSON says.

    Raises:
        ValueError: it is no JSON, or nested more deeply than can be read.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a file with one on each line, but for lines that were cut short by a kill.

    A file that is not there holds none.
    """
    records = []
    for line in path.read_text().splitlines() if path.exists() else []:
        with contextlib.suppress(ValueError):
            records.append(decode(line))
    return [record for record in records if record]
