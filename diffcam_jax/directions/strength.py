"""Calibrated strengths: 1 is the attribute's usual move, measured on the resulting picture.

How far a step of a code moves an attribute differs between faces by a factor of five. So the factor
of the step is searched until the score of the result has risen by the requested amount, within the
direction's safe range.
"""

import dataclasses
import math
from collections.abc import Callable

from diffcam_jax.directions import Edit
from diffcam_jax.directions.acts import known

# Bounds of a search: largest number of rendered results, and accepted distance from the goal, in
# moves.
TRIES, NEAR = 5, 0.12
# With less room than this fraction of the request, a rise cannot be distinguished from noise.
LEAST_ROOM = 0.25
NO_ROOM = "no room for more; it stays unchanged (a raw strength edits it anyway)"
# While the goal is not reached, a factor grows at least and at most by so much. Larger steps would
# jump over the least factor that reaches it, and smaller factors keep the person better.
GROWTH = 1.15, 1.5
# A rise, in moves, that is worth no larger factor.
SLIGHT = 0.03
# What goes beyond the safe range must bring the result nearer by this, in moves, than all within.
WORTH = 0.25


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


def room(direction: Edit, asked: float, before: float) -> float:
    """The share of a request for which a photograph with this score has room, in [0, 1]."""
    if asked <= 0 or not math.isfinite(before):
        return 1.0
    if before >= known(direction.name).present:
        return 0.0
    return min(max((direction.ceiling - before) / (asked * direction.move), 0.0), 1.0)


def has_room(direction: Edit, asked: float, before: float) -> bool:
    """Whether a photograph with this score can still move by a fair fraction of the request."""
    return room(direction, asked, before) >= LEAST_ROOM


def reach(direction: Edit, asked: float, before: float, score: Callable[[float], float]) -> Reached:
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
    wanted = abs(goal - before) / direction.move
    sign = math.copysign(1.0, asked)
    tries: list[tuple[float, float]] = []
    # Sizes of factors, with the rise in the direction that was asked for.
    low, below = 0.0, 0.0
    high, above = math.inf, math.nan
    safe = max(asked, direction.range[1]) if asked > 0 else -asked
    end = safe * known(direction.name).farthest if asked > 0 else safe
    factor = abs(asked)
    while factor <= end and len(tries) < TRIES:
        rise = (score(sign * factor) - before) / direction.move
        tries.append((sign * factor, rise))
        found = sign * rise
        if abs(found - wanted) < NEAR:
            break
        if found < wanted:
            further = _further(low, below, factor, found, wanted)
            low, below = factor, found
        else:  # a result without a score, no longer recognised as a face, has gone too far, too
            high, above = factor, found
        if high < math.inf:
            factor = _between(low, below, high, above, wanted)
        else:
            factor = math.inf if low == end else min(further, safe if low < safe else end)
    return _chosen(direction, asked, before, sign * wanted, safe, tries)


def _further(before: float, below: float, factor: float, found: float, wanted: float) -> float:
    """Beyond a factor, where a line through it and the one before reaches the goal."""
    least, most = (growth * factor for growth in GROWTH)
    if found <= below:
        return most
    line = factor + (factor - before) * (wanted - found) / (found - below)
    return min(max(line, least), most)


def _between(low: float, below: float, high: float, above: float, wanted: float) -> float:
    """Where a line through both ends reaches the goal, away from the ends: few scores are lines."""
    if not math.isfinite(above) or above <= below:
        return (low + high) / 2
    share = (wanted - below) / (above - below)
    return low + min(max(share, 0.25), 0.75) * (high - low)


def _chosen(
    direction: Edit,
    asked: float,
    before: float,
    wanted: float,
    safe: float,
    tries: list[tuple[float, float]],
) -> Reached:
    """The least factor of those whose results are nearest to the goal.

    One beyond the safe range has to be worth it.
    """
    # How far from the goal, the size of the factor, the factor, and its rise.
    finite = [
        (abs(rise - wanted) + (WORTH if abs(factor) > safe else 0.0), abs(factor), factor, rise)
        for factor, rise in tries
        if math.isfinite(rise)
    ]
    if not finite:
        note = f"no score of {direction.score} for any result"
        return Reached(asked, asked, before, note=note, tries=tuple(tries))
    nearest = min(finite)[0]
    *_, factor, rise = min(found[1:] for found in finite if found[0] <= nearest + SLIGHT)
    note = "the face hardly follows" if rise / wanted < 0.3 else ""
    after = before + rise * direction.move
    return Reached(asked, factor, before, after, rise, direction.score, note, tuple(tries))
