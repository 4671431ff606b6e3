"""JSON from outside, whose faults are all of one kind."""

import json
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
