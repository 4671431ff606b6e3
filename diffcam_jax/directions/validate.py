"""Tests whether a direction does what its name says, and nothing else: a table and pictures."""

from collections.abc import Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from diffcam_jax.directions.edits import Edit, conditions, measured
from diffcam_jax.directions.recipe import ATTRIBUTES, PSI
from diffcam_jax.directions.scoring import draw_pictures, draw_uint8
from diffcam_jax.directions.space import samples
from diffcam_jax.directions.ties import still
from diffcam_jax.faces.panel import labelled_grid
from diffcam_jax.nn.latents import wplus_rows
from diffcam_jax.nn.network import Network

STRIP_STRENGTHS = (-1.0, -0.5, 0.0, 0.5, 1.0)


def validate(
    generator: Network, directions: Mapping[str, Edit], count: int = 100, seed: int = 100
) -> dict:
    """Moves new samples by +1 along each direction and scores them before and after.

    Args:
        generator: of faces.
        directions: to test.
        count: number of samples, which were not used in fitting.
        seed: of the samples.

    Returns:
        "scores" (names), and per direction: "shift" (mean change of every score, in standard
        deviations over the samples), "identity" (mean SFace cosine before and after), "outside"
        (mean absolute difference of the picture outside of its region, relative to that inside),
        "own" (its score, "" if it has none), "right_way" (fraction of samples whose own score
        rose) and "room" (the mean rise among the lower half of the samples by their own score).

    Raises:
        UserError: a direction does not fit the generator.
    """
    from diffcam_jax.directions.effects import effect, look
    from diffcam_jax.faces.scorers import SCORERS
    from diffcam_jax.metrics.identity import Identity

    directions, who = fitted_to(generator, directions), Identity()
    base = samples(generator, seed, count, PSI)
    before = look(generator, base, list(SCORERS), who)
    spread = {name: max(float(np.std(_finite(x))), 1e-6) for name, x in before.scores.items()}
    table: dict = {"scores": list(SCORERS), "directions": {}}
    for direction in directions.values():
        found = effect(generator, direction, base, before, who)
        shift = {name: _mean(change) / spread[name] for name, change in found.scores.items()}
        entry = {
            "shift": shift,
            "identity": _mean(found.identity),
            "outside": found.outside_share(),
            "own": own_score(direction),
        }
        if own := entry["own"]:
            change = found.scores[own]
            low = before.scores[own] <= np.median(_finite(before.scores[own]))
            entry["right_way"] = _mean((_finite(change) > 0).astype(float))
            entry["room"] = _mean(change[low]) / spread[own]
        table["directions"][direction.name] = entry
    return table


def own_score(direction: Edit) -> str:
    """The score that a direction is to raise, by its record or by its name; "" if there is none."""
    from diffcam_jax.faces.scorers import SCORERS

    recipe = ATTRIBUTES.get(direction.name)
    known = (direction.score, recipe.score if recipe else "", direction.name)
    return next((name for name in known if name in SCORERS), "")


def crosstalk(entry: Mapping) -> list[tuple[str, float]]:
    """The changes of all scores that a direction is to leave alone, the largest first.

    Args:
        entry: of a direction in the result of `validate`.
    """
    shift, own = entry["shift"], entry["own"]
    others = [(name, shift[name]) for name in (still(own) if own else shift) if name in shift]
    return sorted(others, key=lambda pair: -abs(pair[1]))


def fitted_to(generator: Network, directions: Mapping[str, Edit]) -> dict[str, Edit]:
    """The same directions with the rows of a generator.

    Raises:
        UserError: one does not fit it.
    """
    rows, size = wplus_rows(generator.module), generator.module.latent_size
    return {name: direction.fitted(rows, size) for name, direction in directions.items()}


def _finite(values: np.ndarray) -> np.ndarray:
    """The values of samples that could be scored; a single 0 when there is none."""
    return values[np.isfinite(values)] if np.isfinite(values).any() else np.zeros(1)


def _mean(values: np.ndarray) -> float:
    return float(np.mean(_finite(values)))


def markdown_table(table: dict) -> str:
    """The validation as a Markdown table, a row per direction; scores in standard deviations."""
    head = ["direction", "own score", "with room", "right way", "other scores", "identity"]
    head.append("outside")
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, entry in table["directions"].items():
        own = entry["own"]
        rise = (
            [f"{entry['shift'][own]:+.2f}", f"{entry['room']:+.2f}", f"{entry['right_way']:.0%}"]
            if own
            else ["none"] * 3
        )
        others = ", ".join(f"{score} {x:+.2f}" for score, x in crosstalk(entry)[:2])
        cells = [name, *rise, others, f"{entry['identity']:.2f}", f"{entry['outside']:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def strip(
    generator: Network,
    directions: Mapping[str, Edit],
    path: Path,
    seed: int = 100,
    faces: int = 2,
) -> None:
    """Draws a strip: a row per direction, strengths from -1 to 1 of `faces` samples side by side.

    Args:
        generator: of faces.
        directions: by name.
        path: JPEG or PNG to write.
        seed: of the samples.
        faces: number of samples.

    Raises:
        UserError: a direction does not fit the generator.
    """
    base, strengths = samples(generator, seed, faces, 0.7), STRIP_STRENGTHS * faces
    size = min(256, generator.module.resolution)
    rows, directions = [], fitted_to(generator, directions)
    condition = {}
    if conditions(list(directions.values())):
        condition = measured(draw_pictures(generator, base), list(directions.values()))
    condition = {name: np.repeat(x, len(STRIP_STRENGTHS)) for name, x in condition.items()}
    codes = np.repeat(base, len(STRIP_STRENGTHS), 0)
    for name, direction in directions.items():
        moved = direction.moved(codes, np.array(strengths, np.float32), condition)
        moved = jnp.asarray(moved, jnp.float32)
        pictures = np.asarray(draw_uint8(generator.module, generator.variables, moved, size))
        rows.append([(f"{name} {x:+g}", picture) for x, picture in zip(strengths, pictures)])
    labelled_grid(rows, 128).save(path, quality=90)
