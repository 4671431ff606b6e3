"""The numbers of `benchmarks.out_of_domain`: what they mean, on disk, and as a table."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.photographs import ATTRIBUTES

# A face has room for an attribute while its own score lies below this: further up, the score is
# within a quarter of the usual move of the highest value that it takes, and an edit that does
# nothing is no failure.
ROOM = {"smiling": 0.6, "mouth_open": 0.12, "old": 60.0, "eyeglasses": 0.02, "beard": 0.3}
PROTECTED = ("hat", "cloth", "background", "earring", "necklace")
CHANGED = 8  # of 255; a pixel of which one channel moves further has changed
ARRIVED = 0.3  # retention from which an edit can be seen

Record = dict[str, Any]
Statistic = Callable[[np.ndarray], float]
COLUMNS = (
    "| attribute | edits | with room | retention | arrived | identity | object changed "
    "| protected changed | exact | LPIPS-VGG | LPIPS-Alex | seconds |"
)


def summary(records: list[Record]) -> list[str]:
    """A Markdown table over what could be measured, "-" where nothing could.

    Args:
        records: of edits, as `out_of_domain.measure` returns them; NaN is what was not measured.

    Returns:
        Its lines: titles, rule, and one for each attribute that there are records of.
    """
    lines = [COLUMNS, "|---" * (COLUMNS.count("|") - 1) + "|"]
    for attribute in ATTRIBUTES:
        chosen = [record for record in records if record["attribute"] == attribute]
        if not chosen:
            continue
        room = [record for record in chosen if record["room"]]
        retention = _finite(room, "retention")
        exact = sum(record["exact"] for record in chosen)
        cells = [
            attribute,
            str(len(chosen)),
            str(len(room)),
            _number(np.median, retention),
            _number(lambda values: (values > ARRIVED).mean(), retention, ".0%"),
            _number(np.mean, _finite(chosen, "identity")),
            _mean_and_worst(_finite(chosen, "object_changed")),
            _mean_and_worst(_finite(chosen, "protected_changed")),
            "all" if exact == len(chosen) else f"{exact} of {len(chosen)}",
            _number(np.mean, _finite(chosen, "lpips_vgg"), ".3f"),
            _number(np.mean, _finite(chosen, "lpips_alex"), ".3f"),
            _number(np.mean, _finite(chosen, "seconds"), ".1f"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _finite(records: list[Record], key: str) -> np.ndarray:
    values = np.array([record[key] for record in records], np.float64)
    return values[np.isfinite(values)]


def _number(statistic: Statistic, values: np.ndarray, form: str = ".2f") -> str:
    return format(float(statistic(values)), form) if values.size else "-"


def _mean_and_worst(values: np.ndarray) -> str:
    return f"{values.mean():.1%} / {values.max():.1%}" if values.size else "-"


_ROOM = ", ".join(f"{name} below {value:g}" for name, value in ROOM.items())
HEADER = f"""# Edits of faces behind what a generator cannot draw

`{{command}}` (strength 1 each). *Retention* is the move of the attribute's own score over its usual
move on generated faces: the median, over the pictures *with room* (own score before:
{_ROOM}), and
*arrived* the share of them above {ARRIVED}. *Identity* is the mean SFace cosine. *Changed* is the
share of pixels that move by more than {CHANGED} of 255 in a channel, mean / worst: of the object,
and of everything protected (the object, and {", ".join(PROTECTED)}). *Exact*: in how
many every pixel outside the mask is the photograph's. *LPIPS* compares inversion and photograph
inside the tuned window at 256 pixels. *Seconds* include the inversion in the first edit of each
picture.
"""
GROUPS = {
    "photograph": "The photographs as they are",
    "real": "Real objects, cut out and laid onto other faces",
    "drawn": "Drawn objects",
}


def table(records: list[Record], command: str) -> str:
    """The summary of all edits and that of every group, in Markdown."""
    parts = [HEADER.format(command=command), "## All", "", *summary(records)]
    for group, title in GROUPS.items():
        if chosen := [record for record in records if record["group"] == group]:
            parts += ["", f"## {title}", "", *summary(chosen)]
    return "\n".join(parts) + "\n"


def append(path: Path, record: Record) -> None:
    """Adds a line of JSON; NaN becomes null."""
    plain = {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in record.items()}
    with path.open("a") as file:
        file.write(json.dumps(plain) + "\n")


def load(path: Path) -> list[Record]:
    """What `append` wrote; a last line that an interruption cut off is dropped from the file."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
        path.write_text("".join(lines))
    records = [json.loads(line) for line in lines]
    return [{k: math.nan if v is None else v for k, v in r.items()} for r in records]
