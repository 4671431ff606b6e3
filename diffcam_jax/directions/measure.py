"""The usual effect of existing directions on their attribute, measured without a new fit."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from diffcam_jax.directions import Direction
from diffcam_jax.directions.acts import WHOLE, acts, shipped_name
from diffcam_jax.directions.listing import classes_in_words
from diffcam_jax.directions.make import usual_move
from diffcam_jax.directions.recipe import ATTRIBUTES
from diffcam_jax.directions.scoring import Scorer, score_codes
from diffcam_jax.directions.space import samples
from diffcam_jax.nn.latents import wplus_rows
from diffcam_jax.nn.network import Network

# Other samples than those that directions are fitted to and that their strength is calibrated on.
SEED, PSI = 5, 0.7


def measured(
    generator: Network, directions: Mapping[str, Direction], scorer: Scorer, count: int = 48
) -> dict[str, Direction]:
    """Directions with the same arrays, and with new measurements in their record.

    The region is that of `acts.acts` if it knows the name, otherwise it is kept. The score is the
    record's own, else the recipe's for that name, else the one of that name; a direction with none
    of them in `scorer` keeps its recorded move.

    Args:
        generator: of the directions.
        directions: by name.
        scorer: of pictures.
        count: number of generated faces, of truncation 0.7.

    Raises:
        UserError: a direction does not fit the generator.
    """
    rows, size = wplus_rows(generator.module), generator.module.latent_size
    own = {name: _score_of(direction, scorer) for name, direction in directions.items()}
    steps = {name: d.fitted(rows, size).array for name, d in directions.items()}
    codes = samples(generator, SEED, count, PSI)
    names = sorted(set(own.values()) - {""})
    before = score_codes(generator, codes, scorer, names) if names else {}
    made = {}
    for name, direction in directions.items():
        if where := acts(name):
            direction = dataclasses.replace(direction, classes=where.classes, box=where.box)
        if score := own[name]:
            after = score_codes(generator, codes + steps[name], scorer, [score])[score]
            move, ceiling = usual_move(np.asarray(before[score]), np.asarray(after))
            direction = dataclasses.replace(direction, score=score, move=move, ceiling=ceiling)
        made[name] = direction
    return made


def _score_of(direction: Direction, scorer: Scorer) -> str:
    """Name of the score that measures a direction; empty when the scorer has none."""
    name = shipped_name(direction.name)
    recipe = (ATTRIBUTES[name].score,) if name in ATTRIBUTES else ()
    known = (score for score in (direction.score, *recipe, direction.name) if score in scorer.names)
    return next(known, "")


def markdown_table(directions: Mapping[str, Direction]) -> str:
    """Regions, scores, usual moves and ceilings as a Markdown table: a row per direction."""
    lines = ["| direction | may act on | box | score | usual move | ceiling |", "|" + "---|" * 6]
    for name, direction in directions.items():
        box = " ".join(f"{share:g}" for share in direction.box)
        box = "whole" if direction.box == WHOLE else box
        cells = [name, classes_in_words(direction.classes), box]
        measures = (direction.move, direction.ceiling) if direction.move else ()
        cells += [direction.score or "none", *(f"{x:.3g}" for x in measures)]
        lines.append("| " + " | ".join(cells + ["unknown"] * (6 - len(cells))) + " |")
    return "\n".join(lines)
