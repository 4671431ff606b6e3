"""The tables of In-Domain GAN Inversion, for every way of inverting.

Inversion: distance of the set of pictures to that of their reconstructions (FID, KID, SWD), MSE in
units of [-1, 1], and seconds.

Interpolation and manipulation: are pictures between two codes, and pictures of moved codes, still
pictures of faces? Codes of neighbouring pictures are interpolated linearly in W+; every code is
moved by +strength and -strength along the attributes in turn. Beside the distances of the sets: how
far the own score moves (in standard deviations over the pictures), how much of the identity stays,
and the one over what is lost of the other. What the paper leads one to expect of the methods is
held against these numbers.

Semantic analysis: an attribute's direction, taken for a classifier of inverted codes, against what
the pictures show (score above the median): the area under the curve of precision over recall. A way
of inverting that leaves the domain loses it.
"""

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np

from diffcam_jax.directions.edits import is_linear
from diffcam_jax.directions.fit import attribute_curves
from diffcam_jax.errors import UserError
from diffcam_jax.evaluation import published
from diffcam_jax.evaluation.bench import Bench
from diffcam_jax.evaluation.codes import Coded, Coder, move, usable
from diffcam_jax.evaluation.document import Section, curve_plot, picture_figure
from diffcam_jax.evaluation.editing import scored
from diffcam_jax.evaluation.instruments import SetScore, swd
from diffcam_jax.evaluation.reconstruction import NAME as RECONSTRUCTED
from diffcam_jax.evaluation.reconstruction import measure, reconstructed_set
from diffcam_jax.evaluation.store import Key
from diffcam_jax.evaluation.summary import (
    INTERVALS,
    mean,
    mean_cell,
    set_cells,
    set_heads,
    set_notes,
    spread,
)
from diffcam_jax.evaluation.tables import Table, number
from diffcam_jax.faces.panel import labelled_row, stack_rows

NAME = OURS = "in_domain"


def run(bench: Bench) -> list[Section]:
    """Inverts, interpolates, moves and classifies.

    Args:
        bench: its config.in_domain has sources, methods, steps (between two codes), attributes and
            strength.
    """
    part = bench.config.in_domain
    bench.world.classes(list(part.attributes))
    methods, left_out = usable(bench, part.methods)
    items = bench.items(part)
    settings = bench.settings(part, inversion_steps=bench.config.inversion_steps or "own")
    measured = {method: measure(bench, items, method) for method in methods}
    codes = {}
    for method in methods:
        coder = Coder(bench, method)
        codes[method] = [coder(item) for item in items if item.name in measured[method]]
    if min(len(found) for found in codes.values()) < 2:
        raise UserError(
            "interpolation needs two pictures at least; add pictures to config.in_domain.sources"
        )
    tables = [_inversion(bench, items, measured, left_out, settings)]
    tables += [_made(bench, "Interpolation", codes, lambda found: _between(bench, found), settings)]
    tables += [_made(bench, "Manipulation", codes, lambda found: _moved(bench, found), settings)]
    edits = {method: _edits(bench, found, method) for method, found in codes.items()}
    tables += [_editability(bench, edits, settings), *_order(measured, edits, settings)]
    analysis, curves = _semantic(bench, codes, settings)
    text = (__doc__ or "").split("\n\n")
    figures = [*curves, *_sheet(bench, codes)]
    return [
        Section("In-domain inversion", text, [*tables, analysis, *published.in_domain()], figures)
    ]


def _inversion(bench: Bench, items, measured: dict, left_out: list[str], settings) -> Table:
    scores = [
        reconstructed_set(bench, items, method, list(records))
        for method, records in measured.items()
    ]
    rows = []
    for (method, records), cells in zip(measured.items(), set_cells(scores)):
        chosen = [item for item in items if item.name in records]
        truth = np.stack([item.read() for item in chosen])
        again = np.stack(
            [bench.store.load_picture(Key(RECONSTRUCTED, method, item.name)) for item in chosen]
        )
        own = [
            mean_cell(bench, (r[name] for r in records.values()), d)
            for name, d in (("mse", 4), ("seconds", 2))
        ]
        rows.append(
            [
                method,
                str(len(chosen)),
                *cells,
                number(swd(truth, again, bench.config.seed), 2),
                *own,
            ]
        )
    columns = ["method", "pictures", *set_heads(bench, scores), "SWD x1000", "MSE", "seconds"]
    return Table(
        "Inversion", columns, rows, [*left_out, *set_notes(bench, scores), INTERVALS], settings
    )


def _between(bench: Bench, found: Sequence[Coded]) -> list[np.ndarray]:
    """Codes between every two neighbours, the last and the first among them."""
    steps = bench.config.in_domain.steps
    shares = np.arange(1, steps + 1, dtype=np.float32) / (steps + 1)
    pairs = zip(found, [*found[1:], found[0]])
    return [a.code + t * (b.code - a.code) for a, b in pairs for t in shares]


def _moved(bench: Bench, found: Sequence[Coded]) -> list[np.ndarray]:
    """Every code moved forwards and backwards, the attributes in turn."""
    part, moved = bench.config.in_domain, []
    for one, attribute in zip(found, itertools.cycle(part.attributes)):
        with bench.listing(one.item.name):
            for sign in (1, -1):
                moved.append(one.code + move(bench, one, attribute, sign * part.strength))
    return moved


def _made(
    bench: Bench, title: str, codes: dict[str, list[Coded]], make: Callable, settings
) -> Table:
    """Pictures of made codes against the pictures that were inverted."""
    scores: list[SetScore] = []
    rows = []
    for method, found in codes.items():
        listed = f"{title} {method} " + " ".join(one.item.name for one in found)
        truth = bench.sets.features(
            "truth",
            " ".join(o.item.name for o in found),
            lambda f=found: (o.item.read() for o in f),
        )
        made = make(found)
        drawn = [
            bench.world.draw(code[None], bench.size)[0]
            for code in bench.progress(made, f"{title}: {method}")
        ]
        scores.append(
            bench.sets(truth, bench.sets.features(f"{NAME}_{title}", listed, lambda d=drawn: d))
        )
        # As many as there are pictures, spread evenly: SWD compares sets of one size.
        even = [drawn[i * len(drawn) // len(found)] for i in range(len(found))]
        distance = swd(np.stack([o.item.read() for o in found]), np.stack(even), bench.config.seed)
        rows.append([method, str(len(made)), number(distance, 2)])
    cells = [[*row[:2], *more, row[2]] for row, more in zip(rows, set_cells(scores))]
    columns = ["method", "pictures", *set_heads(bench, scores), "SWD x1000"]
    return Table(title, columns, cells, set_notes(bench, scores), settings)


def _edits(bench: Bench, found: Sequence[Coded], method: str) -> list[dict[str, float]]:
    """One record for every picture and attribute.

    How far the own score moves, and how much of the person stays.
    """
    part, records = bench.config.in_domain, []
    compared = _compared(bench)
    scores = scored(bench, found, part.attributes)
    for attribute in part.attributes:
        unit = spread(scores[attribute].values())
        for one in bench.progress(found, f"{method}: {attribute}"):
            key = Key(NAME, f"{method} {attribute}", one.item.name)
            with bench.listing(one.item.name):
                records.append(
                    bench.once(
                        key, lambda o=one, a=attribute, s=unit: _edit(bench, o, a, s, compared)
                    )
                )
    return records


def _compared(bench: Bench) -> str:
    return "identity" if "identity" in bench.pairs.names else bench.pairs.names[0]


def _gain(records: Sequence[dict[str, float]]) -> float:
    """Score moved for what is lost of the identity, both on average."""
    moved, kept = (mean(record[name] for record in records) for name in ("moved", "kept"))
    return moved / (1 - kept) if kept < 1 else math.nan


def _editability(bench: Bench, edits: dict[str, list[dict[str, float]]], settings) -> Table:
    """How far an edit of the code moves the own score, and what it costs in identity."""
    rows, compared = [], _compared(bench)
    for method, records in edits.items():
        moved, kept = ([record[name] for record in records] for name in ("moved", "kept"))
        cells = [mean_cell(bench, moved, 2), mean_cell(bench, kept, 3), number(_gain(records), 2)]
        rows.append([method, str(len(records)), *cells])
    note = (
        f"kept: {compared} of the original and the picture of the moved code, the loss of the "
        "inversion included."
    )
    columns = ["method", "edits", "own score moved", f"kept ({compared})", "moved per lost"]
    return Table("Editability", columns, rows, [note], settings)


def _order(
    measured: dict[str, dict], edits: dict[str, list[dict[str, float]]], settings
) -> list[Table]:
    """The paper's claims about in-domain inversion, as far as the methods are there."""

    def average(method: str, name: str) -> float:
        return mean(record[name] for record in measured[method].values())

    rows = []
    for other, what, value, better in (
        ("encoder", "lower MSE", lambda m: average(m, "mse"), np.less),
        (
            "image2stylegan",
            "more score moved per identity lost",
            lambda m: _gain(edits[m]),
            np.greater,
        ),
        ("image2stylegan", "fewer seconds", lambda m: average(m, "seconds"), np.less),
    ):
        if {OURS, other} <= set(measured):
            ours, theirs = value(OURS), value(other)
            holds = "yes" if better(ours, theirs) else "no"
            rows.append([f"{what} than {other}", number(ours, 4), number(theirs, 4), holds])
    columns = ["in-domain inversion has", OURS, "the other", "holds"]
    return [Table("Expected order", columns, rows, [], settings)] if rows else []


def _edit(bench: Bench, one: Coded, attribute: str, unit: float, compared: str) -> dict[str, float]:
    step = move(bench, one, attribute, bench.config.in_domain.strength)
    pictures = bench.world.draw(np.stack([one.code, one.code + step]), bench.size)
    before, after = bench.judge.scores(pictures, [attribute])[attribute]
    kept = bench.pairs[compared](one.item.read()[None], pictures[1:])[0]
    return {"moved": float(after - before) / unit, "kept": float(kept)}


def _semantic(bench: Bench, codes: dict[str, list[Coded]], settings) -> tuple[Table, list]:
    part, rows, curves = bench.config.in_domain, [], {}
    for method, found in codes.items():
        scores, cells = scored(bench, found, part.attributes), []
        arrays = np.stack([one.code for one in found])
        for attribute in part.attributes:
            values = np.array([scores[attribute][one.item.name] for one in found])
            valid = np.isfinite(values)
            labels = values[valid] > np.median(values[valid]) if valid.any() else values[valid] > 0
            direction = bench.world.directions[attribute]
            if not labels.any() or not is_linear([direction]):  # a flow classifies no codes
                cells.append("-")
                continue
            curve = attribute_curves(arrays[valid], labels, direction.array)
            cells.append(f"{curve.average_precision:.3f} (chance {curve.positives:.2f})")
            if attribute == part.attributes[0]:
                curves[method] = (curve.recall, curve.precision)
        rows.append([method, str(len(found)), *cells])
    note = "Average precision; chance is the share of pictures above the median."
    table = Table(
        "Semantic analysis", ["method", "pictures", *part.attributes], rows, [note], settings
    )
    label = f"Direction of {part.attributes[0]} as a classifier of inverted codes"
    return table, [
        curve_plot(f"{NAME}_curves", label, curves, ("recall", "precision"))
    ] if curves else []


def _sheet(bench: Bench, codes: dict[str, list[Coded]]) -> list:
    rows = []
    for method, found in codes.items():
        shown = [one for one in found if one.item.shown][:2]
        if len(shown) == 2:
            a, b = shown
            steps = {
                f"{method} {t:.2f}": a.code + t * (b.code - a.code)
                for t in (0.0, 0.25, 0.5, 0.75, 1.0)
            }
            pictures = {
                label: bench.world.draw(code[None], bench.size)[0] for label, code in steps.items()
            }
            rows.append(labelled_row({"from": a.item.read(), **pictures, "to": b.item.read()}, 140))
    return (
        [picture_figure(f"{NAME}_pictures", "Interpolation between two codes", stack_rows(rows))]
        if rows
        else []
    )
