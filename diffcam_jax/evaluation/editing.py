"""Edited pictures against those that have the attribute by nature, and what an edit leaves alone.

Attribute-split distance (StyleRes, SFE): the pictures are split by the score of an attribute; those
without it (the lowest share) are edited and compared, as a set, with those that have it (the
highest share). Published numbers split CelebA-HQ by its labels.

Diff-CAM's Table 1: distance of the original to the manipulated set, averaged over the attributes,
and LPIPS of the non-edited region. The paper does not say which region: here it is everything
outside the part of the face that the attribute belongs to, by face parsing, the same for all
systems. Beside it: identity, the share of pixels that are untouched, whether all pixels outside the
mask are, how far the attribute's own score moved (in standard deviations over all pictures), and
how often it moved the right way.
"""

from collections.abc import Sequence

import numpy as np

from diffcam_jax.errors import UserError
from diffcam_jax.evaluation import edits, published
from diffcam_jax.evaluation.bench import Bench, groups
from diffcam_jax.evaluation.codes import Coded, coded
from diffcam_jax.evaluation.document import Section, bar_plot, picture_figure
from diffcam_jax.evaluation.instruments import SetScore
from diffcam_jax.evaluation.store import Key
from diffcam_jax.evaluation.summary import (
    INTERVALS,
    distance_heads,
    few,
    mean,
    mean_cell,
    set_cells,
    set_heads,
    set_notes,
    spread,
)
from diffcam_jax.evaluation.tables import Table, number
from diffcam_jax.faces.panel import labelled_row, stack_rows
from diffcam_jax.metrics.masks import only_outside, untouched

NAME = "editing"
SHOWN, SCORED_AT_A_TIME = 3, 8
NOT_EDITED = "not edited"
SHARED = (
    "KID is unbiased for independent sets. Here both are the same pictures, before and after: what "
    "an edit leaves alone brings it below 0."
)
LEAST = 4
OUTSIDE = ("lpips_vgg", "lpips_alex", "mse")  # measures of the non-edited region


def run(bench: Bench) -> list[Section]:
    """Splits, edits and compares.

    Args:
        bench: its config.editing has sources, codes (ways of inverting, "known" for generated
            faces), attributes, strength, share, limit (pictures edited for each attribute, 0: all),
            systems and variant.
    """
    part = bench.config.editing
    edits.check(bench, part.systems, part.variant)
    bench.world.classes(list(part.attributes))
    everyone = coded(bench, bench.items(part), part.codes)
    scores = scored(bench, everyone, part.attributes)
    halves = {a: split(everyone, scores[a], part.share, a) for a in part.attributes}
    halves = {a: (without[: part.limit or None], having) for a, (without, having) in halves.items()}
    needed = {one.item.name: one for pair in halves.values() for half in pair for one in half}
    features = original_features(bench, list(needed.values()))
    split_rows, split_scores, table_one = [], [], {system: [] for system in part.systems}
    moved = {}
    for attribute, (without, having) in halves.items():
        measure(bench, without, attribute, spread(scores[attribute].values()))
        records = {s: bench.store.measured(NAME, f"{s} {attribute}") for s in part.systems}
        names = [
            one.item.name
            for one in without
            if all(one.item.name in found for found in records.values())
        ]
        if len(names) < LEAST:
            raise UserError(
                f"{len(names)} pictures could be edited along {attribute}, at least {LEAST} are "
                "needed: give more"
            )
        truth = np.stack([features[one.item.name] for one in having])
        before = np.stack([features[name] for name in names])
        after = {system: _results(bench, system, attribute, names) for system in part.systems}
        for system, found in {NOT_EDITED: before, **after}.items():
            split_scores.append(bench.sets(truth, found))
            split_rows.append([attribute, system, str(len(names)), str(len(having))])
        for system in part.systems:
            chosen = [records[system][name] for name in names]
            table_one[system].append((bench.sets(before, after[system]), chosen))
        moved[attribute] = {s: mean(records[s][n]["moved"] for n in names) for s in part.systems}
    settings = bench.settings(part, psi=bench.config.psi)
    heads = ["attribute", "system", "edited", "have it", *set_heads(bench, split_scores)]
    rows = [[*row, *cells] for row, cells in zip(split_rows, set_cells(split_scores))]
    notes = [*set_notes(bench, split_scores), INTERVALS]
    tables = [
        Table(
            "Edited pictures against those that have the attribute", heads, rows, notes, settings
        ),
        _table_one(bench, table_one, [SHARED, *notes], settings),
        *published.editing(),
    ]
    figures = [
        bar_plot(
            f"{NAME}_moved",
            "How far each attribute's own score moved",
            moved,
            "standard deviations",
        )
    ]
    return [
        Section(
            "Editing",
            (__doc__ or "").split("\n\n"),
            tables,
            figures + _sheet(bench, everyone, part),
        )
    ]


def scored(
    bench: Bench, everyone: Sequence[Coded], attributes: Sequence[str]
) -> dict[str, dict[str, float]]:
    """attribute -> picture -> score."""

    def known(one: Coded) -> dict[str, float]:
        return bench.store.get(Key("scores", "original", one.item.name)) or {}

    missing = (one for one in everyone if not set(attributes) <= set(known(one)))
    for group in groups(bench.progress(list(missing), "scores"), SCORED_AT_A_TIME):
        found = bench.judge.scores(np.stack([one.item.read() for one in group]), attributes)
        for i, one in enumerate(group):
            values = {name: float(column[i]) for name, column in found.items()}
            bench.store.put(Key("scores", "original", one.item.name), known(one) | values)
    kept = bench.store.measured("scores", "original")
    return {
        name: {one.item.name: kept[one.item.name][name] for one in everyone} for name in attributes
    }


def split(
    everyone: Sequence[Coded], scores: dict[str, float], share: float, attribute: str
) -> tuple[list[Coded], list[Coded]]:
    """The pictures without an attribute, the least first, and those with it.

    Raises:
        UserError: too few pictures have a score.
    """
    valid = sorted(
        (one for one in everyone if np.isfinite(scores[one.item.name])),
        key=lambda o: scores[o.item.name],
    )
    count = int(len(valid) * share)
    if count < LEAST:
        raise UserError(
            f"{len(valid)} pictures have a score of {attribute}; a share of {share:g} of them is "
            f"{count}, at least {LEAST} are "
            "needed: give more pictures"
        )
    return valid[:count], valid[-count:]


def measure(bench: Bench, chosen: Sequence[Coded], attribute: str, unit: float) -> None:
    """Edits pictures along an attribute by every system and keeps what was found."""
    part = bench.config.editing
    for group in edits.edited(bench, chosen, attribute, part, NAME):
        count, systems = len(group.which), len(group.results)
        region = edits.grown(
            bench.judge.regions(group.originals, [attribute])[attribute], group.originals.shape[1]
        )
        before = [
            bench.store.get(Key("scores", "original", one.item.name))[attribute]
            for one in group.which
        ]
        # Systems one behind the other: what is measured by networks is measured in full batches.
        flat = [result for results in group.results.values() for result in results]
        pictures, masks = (
            np.stack([one.picture for one in flat]),
            np.stack([one.mask for one in flat]),
        )
        originals = np.concatenate([group.originals] * systems)
        same = untouched(originals, pictures, masks)
        after = bench.judge.scores(pictures, [attribute])[attribute]
        columns = {
            "moved": (after - np.tile(before, systems)) / unit,
            "untouched": same.share,
            "exact": same.exact,
        }
        outside = only_outside(originals, pictures, np.concatenate([region] * systems))
        for name in OUTSIDE:
            if name in bench.pairs.names:
                columns[f"outside_{name}"] = bench.pairs[name](originals, outside)
        if "identity" in bench.pairs.names:
            columns["identity"] = bench.pairs["identity"](originals, pictures)
        for i, result in enumerate(flat):
            key = Key(
                NAME, f"{part.systems[i // count]} {attribute}", group.which[i % count].item.name
            )
            bench.store.save_picture(key, result.picture)
            bench.store.put(key, {name: float(values[i]) for name, values in columns.items()})


def original_features(bench: Bench, everyone: Sequence[Coded]) -> dict[str, np.ndarray]:
    """picture -> its features."""
    names = [one.item.name for one in everyone]
    pictures = (one.item.read() for one in bench.progress(everyone, "features"))
    return dict(zip(names, bench.sets.features("original", " ".join(names), lambda: pictures)))


def _results(bench: Bench, system: str, attribute: str, names: Sequence[str]) -> np.ndarray:
    subject = f"{system} {attribute}"
    keys = (Key(NAME, subject, name) for name in names)
    return bench.sets.features(
        subject, " ".join(names), lambda: map(bench.store.load_picture, keys)
    )


def _table_one(
    bench: Bench, found: dict[str, list[tuple[SetScore, list]]], notes: list[str], settings
) -> Table:
    measured = {
        "identity": "ID",
        "untouched": "untouched pixels",
        "exact": "of those outside the mask, untouched",
    }
    measured |= {"moved": "own score moved"}
    some = [score for parts in found.values() for score, _ in parts]
    heads = ["system", *(f"{head}, mean over attributes" for head in distance_heads(bench, some))]
    outside = [n for n in OUTSIDE if n in bench.pairs.names]
    present = {n: text for n, text in measured.items() if n != "identity" or n in bench.pairs.names}
    heads += [f"{n.replace('_', '-').upper()} of the non-edited region" for n in outside] + [
        *present.values(),
        "right way",
    ]
    rows = []
    for system, parts in found.items():
        frechet, kid = (number(mean(getter(s) for s, _ in parts), 2) for getter in (_frechet, _kid))
        records = [record for _, chosen in parts for record in chosen]
        cells = [kid, frechet] if few(some) else [frechet, kid]
        cells += [mean_cell(bench, (r[f"outside_{n}"] for r in records), 4) for n in outside]
        cells += [mean_cell(bench, (r[n] for r in records), 3) for n in present]
        right = [float(r["moved"] > 0) if np.isfinite(r["moved"]) else np.nan for r in records]
        rows.append([system, *cells, mean_cell(bench, right, 2)])
    return Table("Diff-CAM's Table 1, measured here", heads, rows, notes, settings)


def _frechet(score: SetScore) -> float:
    return score.frechet.value


def _kid(score: SetScore) -> float:
    return score.kid.value


def _sheet(bench: Bench, everyone: Sequence[Coded], part) -> list:
    rows = []
    for one in everyone:
        done = [
            a
            for a in part.attributes
            if bench.store.has(Key(NAME, f"{part.systems[0]} {a}", one.item.name))
        ]
        if one.item.shown and done and len(rows) < SHOWN:
            attribute = done[0]
            results = {
                s: bench.store.load_picture(Key(NAME, f"{s} {attribute}", one.item.name))
                for s in part.systems
            }
            labelled = {f"{attribute}: {system}": picture for system, picture in results.items()}
            rows.append(labelled_row({"picture": one.item.read(), **labelled}, 200))
    return (
        [picture_figure(f"{NAME}_pictures", "Pictures and their edits", stack_rows(rows))]
        if rows
        else []
    )
