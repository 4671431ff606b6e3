"""What a person should know of edits before asking for one: `diffcam_jax.directions list`.

For each what strength 1 means, the strengths that are safe, where it may act, and where it comes
from.
"""

import json
import math
from collections.abc import Iterable

from diffcam_jax.directions.acts import HEAD, WHOLE
from diffcam_jax.directions.edits import Edit, is_linear

_DIGITS = 12  # of hashes
_TOLD = (
    "name",
    "range",
    "layers",
    "generator",
    "normalisation",
    "method",
    "licence",
    "classes",
    "box",
    "score",
    "move",
    "conditions",
    "sha256",
)


def in_lines(edits: Iterable[Edit]) -> str:
    """For people, four lines for each edit."""
    return "\n".join(_lines(edit) for edit in edits)


def as_json(edits: Iterable[Edit]) -> str:
    """For programs: a list of records without arrays; an unknown ceiling is null."""
    records = [
        {
            **{field: getattr(edit, field) for field in _TOLD},
            "ceiling": None if math.isinf(edit.ceiling) else edit.ceiling,
            "linear": is_linear([edit]),
        }
        for edit in edits
    ]
    return json.dumps(records, indent=1)


def classes_in_words(classes: tuple[str, ...]) -> str:
    """Classes in words, in their order; left and right counterparts become one."""
    if classes in ((), HEAD):
        return "the whole head"
    sides = (name.removeprefix("left_").removeprefix("right_") for name in classes)
    return ", ".join(dict.fromkeys(sides)).replace("_", " ")


def _lines(edit: Edit) -> str:
    first, last = edit.layers[0], edit.layers[1] - 1
    where = classes_in_words(edit.classes)
    if edit.box != WHOLE:
        where += " within " + " ".join(f"{share:g}" for share in edit.box)
    elif not edit.classes:
        where += ", for its regions are not recorded"
    generator = f"generator {edit.generator[:_DIGITS]}" if edit.generator else "any generator"
    return (
        f"{edit.name:16} {edit.range[0]:+g} .. {edit.range[1]:+g}   1 is {_unit(edit)}\n"
        f"    acts on {where}\n"
        f"    rows {first} to {last} of {generator}; {edit.method}\n"
        f"    licence: {edit.licence}"
    )


def _unit(edit: Edit) -> str:
    """What strength 1 means."""
    if edit.score and edit.move:
        return f"the usual move of the score {edit.score}, {edit.move:.3g}"
    return edit.normalisation
