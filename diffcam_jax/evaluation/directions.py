"""What each direction changes on held-out samples, and what it leaves alone.

The measurement of `directions.validate`.

Fresh samples are moved by +1 along each direction. Right way is the share of samples whose own
score rose, identity the mean cosine of SFace embeddings before and after; the other columns are the
mean change of every score in standard deviations over the samples, the own score in brackets.
"""

import json
from pathlib import Path

from diffcam_jax.directions import validate
from diffcam_jax.directions.recipe import ATTRIBUTES
from diffcam_jax.evaluation.bench import Bench
from diffcam_jax.evaluation.document import Figure, Section
from diffcam_jax.evaluation.tables import Table, number
from diffcam_jax.files.trees import write_atomically

NAME = "directions"


def run(bench: Bench) -> list[Section]:
    """Validates directions.

    Args:
        bench: its config.directions_check has samples (0 draws the strip only), attributes (none:
            all) and faces (of the strip).
    """
    part = bench.config.directions_check
    bench.world.classes(list(part.attributes))
    chosen = {
        name: bench.world.directions[name] for name in part.attributes or bench.world.directions
    }
    tables = [_table(bench, chosen)] if part.samples else []
    path = bench.store.folder / f"{NAME}_strip.jpg"
    validate.strip(
        bench.world.generator, chosen, path, seed=bench.config.seed + 100, faces=part.faces
    )
    figure = Figure(
        f"{NAME}_strip", "Strengths from -1 to 1 of every direction", path.read_bytes(), "jpg"
    )
    return [Section("Directions", (__doc__ or "").split("\n\n"), tables, [figure])]


def _table(bench: Bench, chosen: dict) -> Table:
    part = bench.config.directions_check
    path = bench.store.folder / "arrays" / f"{NAME}.json"
    found = _kept(path) or validate.validate(
        bench.world.generator, chosen, part.samples, bench.config.seed + 100
    )
    write_atomically(path, json.dumps(found).encode())
    rows = []
    for name, entry in found["directions"].items():
        own = ATTRIBUTES[name].score if name in ATTRIBUTES else None
        shifts = [number(entry["shift"][s], 2) for s in found["scores"]]
        shifts = [f"({text})" if s == own else text for s, text in zip(found["scores"], shifts)]
        rows.append(
            [
                name,
                number(entry.get("right_way", float("nan")), 2),
                number(entry["identity"], 2),
                *shifts,
            ]
        )
    columns = ["direction", "right way", "ID (SFace)", *found["scores"]]
    return Table("Directions", columns, rows, [], bench.settings(part))


def _kept(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None
