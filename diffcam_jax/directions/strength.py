"""Calibrated strengths: 1 is the attribute's usual move, measured on the resulting picture.

How far a step of a code moves an attribute differs between faces by a factor of five. So the factor
of the step is searched until the score of the result has risen by the requested amount, within the
direction's safe range.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable

from diffcam_jax.directions import Direction

# Bounds of a search: largest number of rendered results, and accepted distance from the goal, in
# moves.
TRIES, NEAR = 5, 0.12
# With less room than this fraction of the request, a rise cannot be distinguished from noise.
LEAST_ROOM = 0.25
NO_ROOM = "no room for more; it stays unchanged (a raw strength edits it anyway)"
# A score that falls by more than this, in moves, while the factor grows is noise.
NOISE = 0.3


@dataclasses.dataclass(frozen=True)
class Reached:
    """The result of a strength search; lengths of moves are those of `Direction.move`.

    Attributes:
        asked: requested strength.
        factor: factor of the direction's array that was used.
        before: score of the photograph; NaN without a scorer.
        after: score of the result; NaN without a scorer.
        reached: rise of the score in usual moves; NaN without a scorer.
        decided_by: the score's name, or "code" where the factor is the requested strength.
        note: the reason for that, or what else the user should know; may be empty.
        tries: (factor, rise in moves) of every result that was rendered.
    """

    asked: float
    factor: float
    before: float = math.nan
    after: float = math.nan
    reached: float = math.nan
    decided_by: str = "code"
    note: str = ""
    tries: tuple[tuple[float, float], ...] = ()


def has_room(direction: Direction, asked: float, before: float) -> bool:
    """Whether a photograph with this score can still move by a fair fraction of the request."""
    room = min(asked * direction.move, direction.ceiling - before)
    return asked < 0 or room >= LEAST_ROOM * asked * direction.move


def reach(
    direction: Direction, asked: float, before: float, score: Callable[[float], float]
) -> Reached:
    """Searches the factor whose result has moved by `asked` usual moves.

    A negative strength is never enlarged: below its lowest value a score cannot tell how far an
    attribute has been removed.

    Args:
        direction: with a score and a usual move.
        asked: requested strength.
        before: score of the photograph; NaN if it has none.
        score: factor -> score of the result, NaN if it has none.
    """
    if asked == 0:
        return Reached(asked, asked, before)
    if not math.isfinite(before):
        return Reached(asked, asked, before, note=f"no score of {direction.score} for this face")
    if not has_room(direction, asked, before):
        return Reached(asked, 0.0, before, before, 0.0, direction.score, NO_ROOM)
    goal = before + asked * direction.move
    if asked > 0:
        goal = min(goal, direction.ceiling)
    tries: list[tuple[float, float]] = []

    def rise(factor: float) -> float:
        tries.append((factor, (score(factor) - before) / direction.move))
        return tries[-1][1]

    wanted = (goal - before) / direction.move
    first = rise(asked)
    sign = math.copysign(1.0, asked)
    low, high = 0.0, direction.range[1] if asked > 0 else asked
    found, factor = first, asked
    while len(tries) < TRIES and not abs(found - wanted) < NEAR:
        # A result without a score, which is no longer recognised as a face, has gone too far.
        if sign * found < sign * wanted:
            low = factor
            if factor == high:
                break
            # If the first step ends far from the goal, try the end of the range, otherwise bisect.
            factor = (
                high if len(tries) == 1 and sign * found < 0.6 * sign * wanted else (low + high) / 2
            )
        else:
            high, factor = factor, (low + factor) / 2
        found = rise(factor)
    return _chosen(direction, asked, before, wanted, tries)


def _chosen(
    direction: Direction,
    asked: float,
    before: float,
    wanted: float,
    tries: list[tuple[float, float]],
) -> Reached:
    ordered = sorted((f, r) for f, r in tries if math.isfinite(r))
    if not ordered:
        note = f"no score of {direction.score} for any result"
        return Reached(asked, asked, before, note=note, tries=tuple(tries))
    sign = math.copysign(1.0, asked)
    rises = [0.0, *(sign * r for _, r in sorted(ordered, key=lambda t: abs(t[0])))]
    if any(later < sooner - NOISE for sooner, later in itertools.pairwise(rises)):
        note = f"{direction.score} is too noisy on this face; the strength is that of the code"
        rise = dict(tries)[asked]
        after = before + rise * direction.move
        return Reached(asked, asked, before, after, rise, "code", note, tuple(tries))
    factor, rise = min(ordered, key=lambda t: abs(t[1] - wanted))
    note = "the face hardly follows" if sign * rise < 0.3 * abs(wanted) else ""
    after = before + rise * direction.move
    return Reached(asked, factor, before, after, rise, direction.score, note, tuple(tries))
