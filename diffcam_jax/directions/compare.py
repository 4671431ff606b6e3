"""Compares sources of directions on the attributes that all of them have: a table."""

from collections.abc import Mapping

import numpy as np

from diffcam_jax.directions.edits import Edit
from diffcam_jax.directions.validate import crosstalk, validate
from diffcam_jax.errors import UserError
from diffcam_jax.nn.network import Network

COLUMNS = ("own score with room", "right way", "largest other score", "identity", "outside")


def shared(sources: Mapping[str, Mapping[str, Edit]], names: list[str]) -> list[str]:
    """The attributes that all sources have, of some names or (none given) of all.

    Raises:
        UserError: a source lacks a given name, or there is no common one.
    """
    for source, edits in sources.items():
        if missing := [name for name in names if name not in edits]:
            raise UserError(f"{source} has no direction {', '.join(missing)}; leave it out")
    common = names or [
        name
        for name in next(iter(sources.values()))
        if all(name in edits for edits in sources.values())
    ]
    if not common:
        raise UserError(f"{', '.join(sources)} have no attribute in common; give others")
    return common


def compared(generator: Network, edits: Mapping[str, Edit], count: int) -> dict[str, list[float]]:
    """For each attribute the numbers of `COLUMNS`, of edits at strength 1 on new samples.

    Args:
        generator: of faces.
        edits: by attribute.
        count: number of samples.
    """
    found = validate(generator, edits, count)["directions"]
    return {
        name: [
            entry.get("room", np.nan),
            entry.get("right_way", np.nan),
            max((abs(x) for _, x in crosstalk(entry)), default=np.nan),
            entry["identity"],
            entry["outside"],
        ]
        for name, entry in found.items()
    }


def markdown_table(results: Mapping[str, Mapping[str, list[float]]]) -> str:
    """A row for each attribute and source, and the means of each source.

    Args:
        results: source -> attribute -> numbers of `COLUMNS`.
    """
    head = ["attribute", "source", *COLUMNS]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    names = list(next(iter(results.values())))
    for name in names:
        lines += [_row(name, source, found[name]) for source, found in results.items()]
    for source, found in results.items():
        lines.append(_row("mean", source, list(np.nanmean([found[n] for n in names], 0))))
    return "\n".join(lines)


def _row(name: str, source: str, numbers: list[float]) -> str:
    room, right, other, identity, outside = numbers
    cells = [name, source, f"{room:+.2f}", f"{right:.0%}", f"{other:.2f}"]
    return "| " + " | ".join([*cells, f"{identity:.2f}", f"{outside:.2f}"]) + " |"
