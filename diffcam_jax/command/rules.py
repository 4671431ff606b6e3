"""What the fields of a configuration may hold, as tables: name -> rule, or a table of its own.

A program checks its whole configuration before it starts anything. A number that no rule looked at
would be noticed hours later: an infinite learning rate trains to the end.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from diffcam_jax.errors import UserError, closest


@dataclasses.dataclass(frozen=True)
class Rule:
    """What one field may hold.

    Attributes:
        text: what to give, in words that follow "give".
        fits: whether a value is allowed.
        needed: the field has to be there.
    """

    text: str
    fits: Callable[[Any], bool]
    needed: bool = True


@dataclasses.dataclass(frozen=True)
class Section:
    """Fields that belong together.

    Attributes:
        table: of the fields.
        needed: the section has to be there.
    """

    table: Mapping[str, "Rule | Section"]
    needed: bool = True


Table = Mapping[str, Rule | Section]


def whole(least: int = 0, most: int | None = None, note: str = "") -> Rule:
    """A whole number.

    Args:
        least: smallest one.
        most: largest one; None allows any.
        note: what a special value means.
    """
    span = f"{least} or more" if most is None else f"from {least} to {most}"

    def fits(value: Any) -> bool:
        return _is_whole(value) and least <= value <= (math.inf if most is None else most)

    return Rule(f"a whole number, {span}{f' ({note})' if note else ''}", fits)


def real(least: int | float = 0, most: int | float = math.inf, note: str = "") -> Rule:
    """A finite number in a closed interval; see `whole` for the arguments."""
    span = f"from {least:g} to {most:g}" if math.isfinite(most) else f"{least:g} or more"

    def fits(value: Any) -> bool:
        return _is_finite(value) and least <= value <= most

    return Rule(f"a finite number, {span}{f' ({note})' if note else ''}", fits)


def above(bound: int | float = 0, most: int | float = math.inf) -> Rule:
    """A finite number larger than a bound, and at most another one."""
    span = f" and at most {most:g}" if math.isfinite(most) else ""
    return Rule(
        f"a finite number above {bound:g}{span}",
        lambda value: _is_finite(value) and bound < value <= most,
    )


def finite() -> Rule:
    """Any number, of either sign."""
    return Rule("a finite number", _is_finite)


def nonzero() -> Rule:
    """A number of either sign, such as the strength of an edit; 0 would change nothing."""
    return Rule("a finite number other than 0", lambda value: _is_finite(value) and value != 0)


def decay() -> Rule:
    """The decay of a moving average: 1 would never move."""
    return Rule(
        "a number from 0 to just below 1", lambda value: _is_finite(value) and 0 <= value < 1
    )


def text(note: str = "") -> Rule:
    """Text, which may be empty; the note says what that means."""
    return Rule(f"text{f' ({note})' if note else ''}", lambda value: isinstance(value, str))


def flag() -> Rule:
    """True or False."""
    return Rule("True or False", lambda value: isinstance(value, bool))


def one_of(*values: Any) -> Rule:
    """One of a few values, of the same type."""
    listed = ", ".join(map(str, values[:-1])) + (" or " if values[1:] else "") + str(values[-1])
    return Rule(
        listed, lambda value: any(type(value) is type(one) and value == one for one in values)
    )


def side(least: int) -> Rule:
    """The side of pictures that are halved again and again, down to 4 pixels or fewer."""
    return Rule(
        f"a power of two, {least} or more",
        lambda value: _is_whole(value) and value >= least and value & (value - 1) == 0,
    )


def each(rule: Rule, count: int | None = None) -> Rule:
    """A sequence.

    Args:
        rule: of its entries.
        count: of them; None allows any number, also none.
    """
    many = "a tuple" if count is None else f"a tuple of {count} entries"

    def fits(value: Any) -> bool:
        if not isinstance(value, Sequence) or isinstance(value, str | bytes):
            return False
        return (count is None or len(value) == count) and all(map(rule.fits, value))

    return Rule(f"{many}, each {rule.text}", fits)


def some(rule: Rule) -> Rule:
    """A sequence as of `each`, of one entry at least."""
    many = each(rule)
    return Rule(f"{many.text}, and one at least", lambda value: many.fits(value) and len(value) > 0)


def rising() -> Rule:
    """A lowest and a highest number."""
    pair = each(finite(), 2)
    return Rule(
        "a lowest and a highest number", lambda value: pair.fits(value) and value[0] <= value[1]
    )


def maybe(rule: Rule, note: str) -> Rule:
    """A value that may be None; the note says what that means."""
    return Rule(f"{rule.text}, or None ({note})", lambda value: value is None or rule.fits(value))


def optional(rule: Rule) -> Rule:
    """A field that may be left out."""
    return dataclasses.replace(rule, needed=False)


def check(config: ConfigDict, table: Table, example: str, place: str = "config") -> None:
    """Checks every field of a configuration.

    Args:
        config: the whole configuration, or a section of it.
        table: of its fields.
        example: a configuration that has them all.
        place: of the section.

    Raises:
        UserError: names the field that is missing, unknown or wrong, and what to give.
    """
    for name, rule in table.items():
        check_field(config, name, rule, example, place)
    if unknown := sorted(set(config) - set(table)):
        close = closest(unknown[0], table)
        hint = f"did you mean {close}?" if close else f"remove it, see {example}"
        raise UserError(f"nothing reads {place}.{unknown[0]}; {hint}")


def check_field(
    config: ConfigDict, name: str, rule: Rule | Section, example: str, place: str = "config"
) -> None:
    """Checks one field; see `check`.

    Raises:
        UserError: the field is missing or wrong.
    """
    where = f"{place}.{name}"
    if name not in config:
        if rule.needed:
            kind = rule.text if isinstance(rule, Rule) else "a section"
            raise UserError(
                f"the config has no field {where.removeprefix('config.')} ({kind}); add it, see "
                f"{example}"
            )
        return
    value = config[name]
    if isinstance(rule, Rule):
        if isinstance(value, ConfigDict) or not rule.fits(value):
            raise UserError(f"{where}={_shown(value)}: give {rule.text}")
    elif not isinstance(value, ConfigDict):
        raise UserError(f"{where}={_shown(value)} is no section of fields; see {example}")
    else:
        check(value, rule.table, example, where)


def _shown(value: Any) -> str:
    line = " ".join(repr(value).split())
    return line if len(line) <= 60 else f"{line[:57]}..."


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)  # True is a number for Python


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
