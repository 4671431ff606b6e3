"""The output folder of a program, and the JSON files in it."""

import json
import os
from pathlib import Path
from typing import Any

from diffcam_jax.errors import UserError
from diffcam_jax.files.trees import write_atomically


def prepare(out: Path) -> None:
    """Makes the output folder.

    Raises:
        UserError: it cannot be made or written to.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{out}: cannot be written to ({error.strerror}); choose another --out"
        ) from error
    if not os.access(out, os.W_OK):
        raise UserError(f"{out}: cannot be written to (no permission); choose another --out")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a JSON file, whole or not at all.

    Raises:
        UserError: it cannot be written.
    """
    write_text(path, json.dumps(content, indent=1) + "\n")


def write_text(path: Path, content: str) -> None:
    """Writes a file, whole or not at all.

    Raises:
        UserError: it cannot be written.
    """
    try:
        write_atomically(path, content.encode(errors="surrogateescape"))
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); free some space or choose another --out"
        ) from error
