"""Strengths that change over time: `smiling=0@0s,1@2s`."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from diffcam_jax.directions import Edit, check_strengths
from diffcam_jax.errors import UserError


class Curve(NamedTuple):
    """A strength over time, linear between its points and constant beyond them.

    Attributes:
        times: seconds from the clip's first frame, rising.
        values: strengths at these times.
    """

    times: tuple[float, ...]
    values: tuple[float, ...]

    def __call__(self, time: float) -> float:
        """The strength at a time in seconds."""
        return float(np.interp(time, self.times, self.values))

    @property
    def peak(self) -> float:
        """The value that is farthest from 0."""
        return max(self.values, key=abs)

    def share(self, time: float) -> float:
        """The strength at a time relative to the peak; 0 for a curve that is 0 throughout."""
        return self(time) / self.peak if self.peak else 0.0


def parse(pairs: Sequence[str], directions: Mapping[str, Edit]) -> dict[str, Curve]:
    """NAME=STRENGTH pairs, where a strength is a number, or VALUE@TIMEs with commas between them.

    Args:
        pairs: such as "smiling=1" or "smiling=0@0s,1@2s"; the s may be left out.
        directions: by name.

    Raises:
        UserError: no pair, no number, times that do not rise, a name given twice, no such
            direction, or a strength outside of its range.
    """
    curves: dict[str, Curve] = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        if name in curves:
            raise UserError(f"--attribute {name} is given twice; give one curve")
        curves[name] = _curve(pair, text)
    if not curves:
        raise UserError("nothing to change: add --attribute smiling=1 (see --list)")
    for pick in (min, max):
        check_strengths(directions, {name: pick(curve.values) for name, curve in curves.items()})
    return curves


def points(curves: Mapping[str, Curve]) -> dict[str, list[list[float]]]:
    """Times and strengths by attribute, ready for JSON."""
    return {name: [list(curve.times), list(curve.values)] for name, curve in curves.items()}


def _curve(pair: str, text: str) -> Curve:
    found = []
    for part in text.split(","):
        value, at, time = part.partition("@")
        try:
            found.append((float(time.removesuffix("s")) if at else 0.0, float(value)))
        except ValueError:
            found.append((math.nan, math.nan))
    times, values = zip(*found)
    if not all(map(math.isfinite, (*times, *values))) or ("@" not in text and len(found) > 1):
        raise UserError(
            f"--attribute {pair}: write a number, or strengths at seconds such as smiling=0@0s,1@2s"
        )
    if any(later <= sooner for sooner, later in itertools.pairwise(times)) or times[0] < 0:
        raise UserError(f"--attribute {pair}: the times have to rise from 0 on")
    return Curve(times, values)
