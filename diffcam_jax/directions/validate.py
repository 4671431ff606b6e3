"""Tests whether a direction does what its name says, and nothing else: a table and pictures."""

from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from diffcam_jax.directions import Direction
from diffcam_jax.directions.recipe import ATTRIBUTES, PSI
from diffcam_jax.directions.scoring import draw_pictures, draw_uint8
from diffcam_jax.directions.space import code_space, draw, truncated
from diffcam_jax.faces.panel import labelled_grid
from diffcam_jax.nn.latents import wplus_rows
from diffcam_jax.nn.network import Network

STRIP_STRENGTHS = (-1.0, -0.5, 0.0, 0.5, 1.0)


def validate(
    generator: Network, directions: Mapping[str, Direction], count: int = 100, seed: int = 100
) -> dict:
    """Moves new samples by +1 along each direction and scores them before and after.

    Args:
        generator: of faces.
        directions: to test.
        count: number of samples, which were not used in fitting.
        seed: of the samples.

    Returns:
        "scores" (names), and per direction: "shift" (mean change of every score, in standard
        deviations over the samples), "identity" (mean SFace cosine before and after) and
        "right_way" (fraction of samples whose own score rose).

    Raises:
        UserError: a direction does not fit the generator.
    """
    from diffcam_jax.faces import scorers
    from diffcam_jax.metrics.identity import Identity

    directions, identity = _fitted(generator, directions), Identity()
    base = _samples(generator, count, seed, PSI)
    names = [attribute.score for attribute in ATTRIBUTES.values()]
    unmoved = draw_pictures(generator, base)
    before = scorers.score(unmoved, names)
    spread = {name: float(np.std(_finite(before[name]))) for name in names}
    table: dict = {"scores": names, "directions": {}}
    for direction in directions.values():
        moved = draw_pictures(generator, base + direction.array)
        after = scorers.score(moved, names)
        shift = {
            name: _mean(after[name] - before[name]) / max(spread[name], 1e-6) for name in names
        }
        entry = {"shift": shift, "identity": _mean(identity(unmoved, moved))}
        if direction.name in ATTRIBUTES:
            own = ATTRIBUTES[direction.name].score
            change = after[own] - before[own]
            entry["right_way"] = _mean((_finite(change) > 0).astype(float))
        table["directions"][direction.name] = entry
    return table


def _fitted(generator: Network, directions: Mapping[str, Direction]) -> dict[str, Direction]:
    rows, size = wplus_rows(generator.module), generator.module.latent_size
    return {name: direction.fitted(rows, size) for name, direction in directions.items()}


def _samples(generator: Network, count: int, seed: int, psi: float) -> np.ndarray:
    """W+ codes [count, rows, k] of the prior, truncated."""
    codes = truncated(draw(generator, jax.random.key(seed), count), code_space(generator).mean, psi)
    return np.broadcast_to(codes, (count, wplus_rows(generator.module), codes.shape[2]))


def _finite(values: np.ndarray) -> np.ndarray:
    """The values of samples that could be scored; a single 0 when there is none."""
    return values[np.isfinite(values)] if np.isfinite(values).any() else np.zeros(1)


def _mean(values: np.ndarray) -> float:
    return float(np.mean(_finite(values)))


def markdown_table(table: dict) -> str:
    """The validation as a Markdown table: a row per direction, a column per score.

    Scores are in standard deviations.
    """
    head = ["direction", "right way", "identity", *table["scores"]]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, entry in table["directions"].items():
        own = ATTRIBUTES[name].score if name in ATTRIBUTES else None
        cells = [f"{entry.get('right_way', float('nan')):.0%}", f"{entry['identity']:.2f}"]
        for score in table["scores"]:
            value = f"{entry['shift'][score]:+.2f}"
            cells.append(f"**{value}**" if score == own else value)
        lines.append("| " + " | ".join([name, *cells]) + " |")
    return "\n".join(lines)


def strip(
    generator: Network,
    directions: Mapping[str, Direction],
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
    base, strengths = _samples(generator, faces, seed, 0.7), STRIP_STRENGTHS * faces
    size = min(256, generator.module.resolution)
    rows = []
    for name, direction in _fitted(generator, directions).items():
        codes = base[:, None] + np.asarray(STRIP_STRENGTHS)[None, :, None, None] * direction.array
        codes = jnp.asarray(codes.reshape(-1, *codes.shape[2:]), jnp.float32)
        pictures = np.asarray(draw_uint8(generator.module, generator.variables, codes, size))
        rows.append([(f"{name} {x:+g}", picture) for x, picture in zip(strengths, pictures)])
    labelled_grid(rows, 128).save(path, quality=90)
