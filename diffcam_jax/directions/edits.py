"""Edits of W+: what a linear direction and a flow have in common.

An edit is a function (codes, strength, condition) -> codes with a record of what it does. A
`Direction` adds an array to a code, whatever the code; a flow moves every code in a way of its own,
under the condition of the photograph: what its scores are. Everything that edits takes an `Edit`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from diffcam_jax.directions.record import Direction
from diffcam_jax.errors import UserError, suggestion

Condition = Mapping[str, Float[np.ndarray, " b"]]


@runtime_checkable
class Edit(Protocol):
    """One way to change a picture by its W+ code; implementations are frozen dataclasses.

    They compare by identity, so that a compiled function can take one as a static argument.

    Attributes:
        name, range, layers, generator, normalisation, method, licence, classes, box, score, move,
            ceiling: see `Direction`.
        conditions: names of the scores (`faces.scorers.SCORERS`) whose values for the photograph
            `moved` needs; none for a linear direction.
        sha256: hash of the numbers that decide what it does.
    """

    name: str
    range: tuple[float, float]
    layers: tuple[int, int]
    generator: str
    normalisation: str
    method: str
    licence: str
    classes: tuple[str, ...]
    box: tuple[float, float, float, float]
    score: str
    move: float
    ceiling: float
    conditions: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """See the class."""

    def fitted(self, rows: int, size: int) -> "Edit":
        """The same edit for a generator that reads so many rows of so many numbers.

        Raises:
            UserError: it does not fit.
        """

    def moved(
        self,
        codes: Float[np.ndarray, "b n k"],
        strength: float | Float[np.ndarray, " b"],
        condition: Condition,
    ) -> Float[np.ndarray, "b n k"]:
        """Codes after the edit.

        Args:
            codes: W+; rows outside of `layers` come back as they are.
            strength: of the edit, for all or for each; 1 is one clear edit, 0 changes nothing.
            condition: the values of `conditions` for the picture of each code before any edit.

        Raises:
            UserError: a value of the condition is NaN or outside of the range for which the edit
                was made. A strength that leads out of that range is no error: it leads to its end.
        """


def conditions(edits: Sequence[Edit]) -> list[str]:
    """Names of all scores of a photograph that some edits need, each once."""
    return list(dict.fromkeys(name for edit in edits for name in edit.conditions))


def measured(
    pictures: UInt8[np.ndarray, "b s s 3"], edits: Sequence[Edit]
) -> dict[str, Float[np.ndarray, " b"]]:
    """The condition of aligned pictures, once for some edits; nothing is measured for linear ones.

    Raises:
        UserError: a network of a score is neither cached nor can it be fetched.
    """
    names = conditions(edits)
    if not names:
        return {}
    from diffcam_jax.faces import scorers

    return scorers.score(pictures, names)


def is_linear(edits: Sequence[Edit]) -> bool:
    """Whether every one adds the same to all codes."""
    return all(isinstance(edit, Direction) for edit in edits)


def linear(edits: Mapping[str, Edit], use: str) -> dict[str, Direction]:
    """The same edits, for what needs their arrays.

    Args:
        edits: by name.
        use: what needs them, for the message.

    Raises:
        UserError: one of them is not linear.
    """
    if others := [name for name, edit in edits.items() if not is_linear([edit])]:
        raise UserError(
            f"{use} needs linear directions, and {', '.join(others)} moves every code in a way of "
            "its own; leave it out"
        )
    return dict(edits)


def steps(
    edits: Sequence[Edit],
    codes: Float[np.ndarray, "b n k"],
    strengths: Float[np.ndarray, "b r"],
    condition: Condition,
) -> Float[np.ndarray, "r b n k"]:
    """What each of successive edits adds to codes.

    Args:
        edits: in the order in which they are applied.
        codes: W+ before any edit.
        strengths: of each edit for each code.
        condition: see `Edit.moved`.

    Raises:
        UserError: see `Edit.moved`.
    """
    found: list[np.ndarray] = []
    before = np.asarray(codes, np.float32)
    for edit, strength in zip(edits, np.asarray(strengths, np.float32).T, strict=True):
        if isinstance(edit, Direction):
            found.append(edit.moved(np.zeros_like(before), strength))
        else:  # there and back again by a flow is nearly nothing, and nothing is asked for
            moved = edit.moved(before, strength, condition)
            found.append(np.where(strength[:, None, None] == 0, 0, moved - before))
        before = before + found[-1]
    return np.stack(found)


def check_strengths(directions: Mapping[str, Edit], strengths: Mapping[str, float]) -> None:
    """Refuses unknown attributes and strengths that leave the clean range.

    Raises:
        UserError: names the closest known attribute, or the allowed range.
    """
    for name, strength in strengths.items():
        if name not in directions:
            raise UserError(f"unknown attribute {name!r}; {suggestion(name, directions)}")
        low, high = directions[name].range
        if not math.isfinite(strength) or not low <= strength <= high:
            raise UserError(
                f"strength {strength:g} of {name} is out of range; choose from {low:g} to {high:g}"
            )
