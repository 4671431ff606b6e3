"""Masks of Diff-CAM, Grad-CAM and CAM against the region that an attribute belongs to.

The region is that of face parsing and landmarks, on the picture before the edit and on the edited
one together (an open mouth is larger than a closed one). Masks are the bare class activation maps
at the classifier's size, before the editor sharpens them; what reaches 0.5 counts. IoU is the
intersection over the union of mask and region, coverage the share of the region that the mask
reaches, inside the share of the mask that lies in the region, area the mean of the mask.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from diffcam_jax.editing.config import METHODS, VARIANTS
from diffcam_jax.evaluation import edits
from diffcam_jax.evaluation.bench import Bench, groups
from diffcam_jax.evaluation.codes import Coded, coded, move
from diffcam_jax.evaluation.document import Section, bar_plot, picture_figure
from diffcam_jax.evaluation.instruments import AT_A_TIME
from diffcam_jax.evaluation.networks import World
from diffcam_jax.evaluation.store import Key
from diffcam_jax.evaluation.summary import INTERVALS, mean, mean_cell
from diffcam_jax.evaluation.tables import Table, number
from diffcam_jax.faces.panel import heat_overlay, labelled_row, stack_rows
from diffcam_jax.metrics import masks as measures
from diffcam_jax.ops.image import from_unit

NAME = "masks"
SIDE = 256
COLUMNS = {"iou": "IoU", "coverage": "coverage", "inside": "inside", "area": "area"}
LABELS = {"diffcam": "Diff-CAM", "grad_cam": "Grad-CAM", "cam": "CAM"}


def run(bench: Bench) -> list[Section]:
    """Draws masks and compares them with regions.

    Args:
        bench: its config.masks has sources, codes, attributes, strength and variant.
    """
    part = bench.config.masks
    edits.check(bench, (), part.variant)
    everyone = coded(bench, bench.items(part), part.codes)
    rows = []
    for attribute in part.attributes:
        rows += measure(bench, everyone, attribute)
    found = {
        m: {a: bench.store.measured(NAME, f"{m} {a}") for a in part.attributes} for m in METHODS
    }
    names = {one.item.name for one in everyone}
    kept = {
        m: [r for of in found[m].values() for n, r in of.items() if n in names] for m in METHODS
    }
    table = [
        [
            LABELS[m],
            str(len(records)),
            *(mean_cell(bench, (r[c] for r in records), 3) for c in COLUMNS),
        ]
        for m, records in kept.items()
    ]
    of_each = {
        a: {
            LABELS[m]: mean(r["iou"] for n, r in found[m][a].items() if n in names) for m in METHODS
        }
        for a in part.attributes
    }
    settings = bench.settings(part, psi=bench.config.psi)
    tables = [
        Table(
            "Masks, all attributes",
            ["method", "masks", *COLUMNS.values()],
            table,
            [INTERVALS],
            settings,
        ),
        Table(
            "Mean IoU of each attribute",
            ["attribute", *LABELS.values()],
            [
                [a, *(number(of_each[a][label], 3) for label in LABELS.values())]
                for a in part.attributes
            ],
            [],
            settings,
        ),
    ]
    figures = [bar_plot(f"{NAME}_iou", "Mean IoU of mask and region", of_each, "IoU")]
    if rows:
        figures.append(
            picture_figure(
                f"{NAME}_pictures",
                "Pictures, edits and masks; the region is white",
                stack_rows(rows),
            )
        )
    return [Section("Masks", (__doc__ or "").split("\n\n"), tables, figures)]


def draw(
    world: World, codes: np.ndarray, moves: np.ndarray, attribute: str, variant: str, side: int
) -> tuple[dict, list]:
    """Masks [b, side, side] of every method, and the pairs of pictures behind them.

    The pictures are uint8 [b, side, side, 3]; `moves` is what the edit adds to each code.
    """
    pair, masks = _draw(
        world.pipeline,
        jnp.asarray(codes),
        jnp.asarray(moves),
        jnp.full(len(codes), world.classes([attribute])[0]),
        VARIANTS[variant].cam,
        side,
    )
    return {method: np.asarray(mask) for method, mask in masks.items()}, [
        from_unit(pictures) for pictures in pair
    ]


@functools.partial(jax.jit, static_argnums=(4, 5))
def _draw(pipeline, codes, step, classes, config, side):
    pair = [pipeline.generator(w, method="synthesis", size=side) for w in (codes, codes + step)]
    masks = {n: of(pipeline.classifier, *pair, classes, config).mask for n, of in METHODS.items()}
    return pair, masks


def measure(bench: Bench, everyone: Sequence[Coded], attribute: str) -> list:
    """Measures the masks of an attribute on every picture; gives a row of pictures to look at."""
    part, world = bench.config.masks, bench.world
    side, shown = min(SIDE, world.size), []
    first = next((one for one in everyone if one.item.shown), None)

    def missing(one: Coded) -> bool:
        keys = (Key(NAME, f"{method} {attribute}", one.item.name) for method in METHODS)
        return one is first or any(bench.store.get(key) is None for key in keys)

    waiting = (one for one in bench.progress(everyone, f"{NAME}: {attribute}") if missing(one))
    for few in groups(waiting, AT_A_TIME):
        group, moves = [], []
        for one in few:
            with bench.listing(one.item.name):
                moves.append(move(bench, one, attribute, part.strength))
                group.append(one)
        if not group:
            continue
        filled = np.minimum(np.arange(AT_A_TIME), len(group) - 1)
        codes, steps = (np.stack(x)[filled] for x in ([one.code for one in group], moves))
        masks, pair = draw(world, codes, steps, attribute, part.variant, side)
        before, after = np.split(
            bench.judge.regions(np.concatenate(pair), [attribute])[attribute], 2
        )
        region = before | after
        for method, mask in masks.items():
            columns = {
                name: getattr(measures, name)(mask, region)
                for name in ("iou", "coverage", "inside")
            }
            columns["area"] = measures.area(mask)
            for i, one in enumerate(group):
                key = Key(NAME, f"{method} {attribute}", one.item.name)
                bench.once(
                    key,
                    lambda c=columns, i=i: {name: float(values[i]) for name, values in c.items()},
                )
        for i in (i for i, one in enumerate(group) if one is first):
            overlays = {
                LABELS[method]: heat_overlay(pair[1][i], mask[i]) for method, mask in masks.items()
            }
            whole = edits.grown(region[i][None], side)[0].astype(np.float32)
            shown.append(
                labelled_row(
                    {"picture": pair[0][i], attribute: pair[1][i], "region": whole, **overlays}, 160
                )
            )
    return shown
