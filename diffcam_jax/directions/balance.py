"""Directions whose side effects on other attributes cancel, by what pictures show of them.

A conditioned direction leaves others alone as far as linear fits to scores know. What is left is
seen in pictures: each direction's mean effect on every score. Small multiples of other directions,
which act in the same region, are added so that their effects and the side effects cancel.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from diffcam_jax.directions import Direction, make
from diffcam_jax.directions.acts import REGIONS
from diffcam_jax.directions.calibration import calibrate, usual_move
from diffcam_jax.directions.plans import Attribute, Trial
from diffcam_jax.directions.ties import still, tied
from diffcam_jax.nn.network import Network

# Squared size of the additions, relative to that of the side effects that they are to cancel.
COST = 0.3
LADDER = (0.7, 1.0, 1.4, 2.0)  # factors of the strength that are tried anew


def additions(
    effects: Mapping[str, Mapping[str, float]], own: Mapping[str, str], name: str
) -> dict[str, float]:
    """Strengths of other directions to add to one.

    Args:
        effects: of each direction at strength 1, on every score, in its standard deviations.
        own: the score of each direction.
        name: of the direction.
    """
    region = set(REGIONS[name].classes)
    others = [
        other
        for other in effects
        if other in REGIONS
        and own[other] not in tied(own[name])
        and set(REGIONS[other].classes) <= region
    ]
    if not others:
        return {}
    scores = [own[name], *(score for score in still(own[name]) if score in effects[name])]
    found = np.array([[effects[other][score] for score in scores] for other in others])
    side = np.array([effects[name][score] for score in scores])
    side[0] = 0  # the direction's own score is to stay
    gram = found @ found.T + COST * np.diag((found**2).sum(1))
    return dict(zip(others, -np.linalg.solve(gram, found @ side), strict=True))


def balanced(
    generator: Network,
    directions: Mapping[str, Direction],
    attributes: Mapping[str, Attribute],
    spreads: Mapping[str, float],
    trial: Trial,
) -> dict[str, Direction]:
    """Directions with additions, whose strengths and moves are measured again.

    Args:
        generator: of faces.
        directions: measured by `make.make_directions` on the same trial.
        attributes: their recipes.
        spreads: standard deviation of every score over the prior.
        trial: its samples show the side effects.
    """
    fresh = make.trial_codes(generator, trial)
    names = sorted(spreads)
    before = make.scored(generator, trial, names)(fresh)
    effects = {}
    for name, direction in directions.items():
        after = make.scored(generator, trial, names)(fresh + direction.array)
        effects[name] = {s: float(np.nanmean(after[s] - before[s])) / spreads[s] for s in names}
    own = {name: attributes[name].score for name in directions}
    given, arrays = {}, {}
    for name, direction in directions.items():
        free = attributes[name].restricted and name in REGIONS
        given[name] = added = additions(effects, own, name) if free else {}
        arrays[name] = direction.array + sum(
            share * directions[other].array for other, share in added.items()
        )
    made = {}
    for name, direction in directions.items():
        along = attributes[name].along
        array = arrays[name] + sum(share * arrays[other] for other, share in along)
        score, spread = own[name], spreads[own[name]]

        def seen(codes: np.ndarray, score: str = score) -> np.ndarray:
            return make.scored(generator, trial, [score])(codes)[score]

        factor = calibrate(attributes[name], array, fresh, spread, seen, LADDER)
        array = (factor * array).astype(np.float32)
        move, ceiling = usual_move(seen(fresh), seen(fresh + array))
        made[name] = dataclasses.replace(
            direction,
            array=array,
            move=move,
            ceiling=ceiling,
            method=f"{direction.method}, balanced by {len(given[name])} others"
            + "".join(f", with {share:g} of {other}" for other, share in along),
        )
    return made
