"""Invertibility decomposition (arXiv 2212.09262) on faces behind objects.

What it finds out of the generator's domain, and what it keeps of a photograph.

Out-of-domain masks: hands, caps and microphones, which no training shows, are pasted in front of
generated faces, so that the truth is known. IoU, coverage, inside and area are those of the masks'
protocol, cut at 0.5. Beside the network stands what needs none: the difference of the picture and
the encoder's reconstruction.

Reconstruction: the encoder's picture alone, the generator's with aligned features, and the blend
that keeps what is out of domain.

Edits: how far the attribute's own score moves (in standard deviations over the pictures that are
edited), and what stays: measures of the result against the photograph, the share of pixels that are
untouched, and the share of those that belong to a pasted object.
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from diffcam_jax.data.occluders import HELD_OUT
from diffcam_jax.errors import UserError
from diffcam_jax.evaluation import edits
from diffcam_jax.evaluation.bench import Bench
from diffcam_jax.evaluation.codes import Coded, Coder
from diffcam_jax.evaluation.decompositions import (
    MASKS,
    NAME,
    OBJECT,
    PICTURES,
    SMOOTHING,
    TRUTH,
    keep,
    measure,
    paste,
    truth_of,
)
from diffcam_jax.evaluation.document import Section, bar_plot, picture_figure
from diffcam_jax.evaluation.editing import scored
from diffcam_jax.evaluation.instruments import PAIRS
from diffcam_jax.evaluation.masks import COLUMNS
from diffcam_jax.evaluation.store import Key
from diffcam_jax.evaluation.summary import (
    INTERVALS,
    mean,
    mean_cell,
    pair_cells,
    pair_heads,
    spread,
)
from diffcam_jax.evaluation.tables import Table
from diffcam_jax.faces.panel import labelled_row, stack_rows
from diffcam_jax.metrics import masks as measures

TITLE = "Invertibility decomposition"
PHOTOGRAPHS, BEHIND, CLEAN = "photographs", "faces behind objects", "no object"
KEPT = (
    "identity",
    "lpips_vgg",
    "lpips_alex",
    "mse",
)  # measures of an edited picture against the photograph
SHOWN = 3


def run(bench: Bench) -> list[Section]:
    """Decomposes, compares masks, edits.

    Args:
        bench: its config.invertibility has sources (generated faces get objects, the others are
            edited as they are), method (that finds codes), attributes, strength, systems, variant
            and edited_faces (of those behind objects).

    Raises:
        UserError: there is no alignment network, and this protocol alone is to be run.
    """
    part = bench.config.invertibility
    if bench.world.pipeline.aligner is None and len(bench.config.protocols) > 1:
        text = "Left out for want of an alignment network; give one with --config.aligner=DIR."
        return [Section(TITLE, [text], [], [])]
    # Says so before anything is computed, where this protocol alone was asked for.
    _ = bench.world.decomposer
    edits.check(bench, part.systems, part.variant)
    bench.world.classes(list(part.attributes))
    coder, items = Coder(bench, part.method), bench.items(part)
    photographs, faces = (
        [item for item in items if (item.code is None) is plain] for plain in (True, False)
    )
    behind = paste(bench, faces)
    share = mean(record["area"] for record in bench.store.measured(NAME, TRUTH).values())
    found = {PHOTOGRAPHS: measure(bench, coder, photographs, PHOTOGRAPHS)}
    found |= {
        kind: measure(bench, coder, of, kind, share)
        for kind, of in {CLEAN: faces, **behind}.items()
    }
    if not any(found.values()):
        raise UserError(
            "not one picture could be decomposed; the last one: "
            f"{list(bench.problems.values())[-1]}"
        )
    mixed = [
        one
        for together in itertools.zip_longest(*(found[kind] for kind in behind))
        for one in together
        if one
    ]
    edited = {PHOTOGRAPHS: found[PHOTOGRAPHS], BEHIND: mixed[: part.edited_faces]}
    everyone = [one for members in edited.values() for one in members]
    edit(bench, everyone)
    settings = bench.settings(part, psi=bench.config.psi)
    tables = [_masks(bench, found, share, settings)] if faces else []
    tables += [_reconstruction(bench, found, settings), _edits(bench, edited, settings)]
    moved = {
        attribute: {
            s: mean(r["moved"] for r in _records(bench, f"{s} {attribute}", everyone))
            for s in part.systems
        }
        for attribute in part.attributes
    }
    figures = [
        bar_plot(
            f"{NAME}_moved",
            "How far each attribute's own score moved",
            moved,
            "standard deviations",
        )
    ]
    figures += _sheets(bench, edited, mixed[: 2 * len(HELD_OUT)])
    return [Section(TITLE, (__doc__ or "").split("\n\n"), tables, figures)]


def edit(bench: Bench, chosen: Sequence[Coded]) -> None:
    """Edits pictures along every attribute by every system and keeps what was found."""
    part = bench.config.invertibility
    scores = scored(bench, chosen, part.attributes)
    for attribute in part.attributes:
        unit = spread(scores[attribute].values())
        for group in edits.edited(bench, chosen, attribute, part, NAME):
            names, size = [one.item.name for one in group.which], group.originals.shape[1]
            truth = np.concatenate([truth_of(bench, name, size) for name in names])
            before = np.array([scores[attribute][name] for name in names])
            for system, results in group.results.items():
                pictures = np.stack([result.picture for result in results])
                columns = {
                    "moved": (bench.judge.scores(pictures, [attribute])[attribute] - before) / unit
                }
                columns |= {
                    name: bench.pairs[name](group.originals, pictures) for name in _kept(bench)
                }
                columns["untouched"] = measures.untouched(group.originals, pictures).share
                columns[OBJECT] = measures.untouched(group.originals, pictures, ~truth).exact
                for i, name in enumerate(names):
                    values = {column: found[i] for column, found in columns.items()}
                    keep(bench, Key(NAME, f"{system} {attribute}", name), pictures[i], values)


def _kept(bench: Bench) -> list[str]:
    return [name for name in KEPT if name in bench.pairs.names]


def _records(bench: Bench, subject: str, of: Sequence[Coded]) -> list[dict[str, float]]:
    """What was measured of these pictures."""
    found = bench.store.measured(NAME, subject)
    return [found[one.item.name] for one in of if one.item.name in found]


def _cells(
    bench: Bench, records: Sequence[Mapping[str, float]], columns: Sequence[str]
) -> list[str]:
    return [
        str(len(records)),
        *(mean_cell(bench, (r[column] for r in records), 3) for column in columns),
    ]


def _masks(bench: Bench, found: Mapping[str, list[Coded]], share: float, settings) -> Table:
    everything = {
        **{kind: found[kind] for kind in HELD_OUT},
        "any of these": _behind(found),
        CLEAN: found[CLEAN],
    }
    rows = [
        [kind, label, *_cells(bench, _records(bench, name, of), list(COLUMNS))]
        for kind, of in everything.items()
        for name, label in MASKS.items()
    ]
    note = (
        "difference: of the picture and the encoder's, mean over channels, smoothed over "
        f"1/{SMOOTHING} of the side; of each picture the "
        f"share {share:.3f} with the largest values counts: the mean area of the truth, which "
        "the network is not told."
    )
    columns = ["object", "mask", "pictures", *COLUMNS.values()]
    return Table("Out-of-domain masks", columns, rows, [note, INTERVALS], settings)


def _reconstruction(bench: Bench, found: Mapping[str, list[Coded]], settings) -> Table:
    rows = []
    for group, of in {PHOTOGRAPHS: found[PHOTOGRAPHS], BEHIND: _behind(found)}.items():
        for name, label in PICTURES.items():
            if records := _records(bench, name, of):
                rows.append([group, label, str(len(records)), *pair_cells(bench, records)])
    columns = ["pictures of", "drawn", "pictures", *pair_heads(bench)]
    return Table("Reconstruction", columns, rows, [INTERVALS], settings)


def _edits(bench: Bench, edited: Mapping[str, list[Coded]], settings) -> Table:
    part, rows = bench.config.invertibility, []
    columns = {"moved": "own score moved"} | {name: PAIRS[name].label for name in _kept(bench)}
    columns |= {"untouched": "untouched pixels", OBJECT: "untouched pixels of the object"}
    for group, attribute, system in itertools.product(edited, part.attributes, part.systems):
        if records := _records(bench, f"{system} {attribute}", edited[group]):
            rows.append([group, attribute, system, *_cells(bench, records, list(columns))])
    heads = ["pictures of", "attribute", "system", "edits", *columns.values()]
    return Table("Edits", heads, rows, [INTERVALS], settings)


def _behind(found: Mapping[str, list[Coded]]) -> list[Coded]:
    return [one for kind in HELD_OUT for one in found.get(kind, [])]


def _sheets(bench: Bench, edited: Mapping[str, list[Coded]], behind: Sequence[Coded]) -> list:
    """Rows of pictures that may be shown: edits, and masks of objects."""
    part = bench.config.invertibility

    def rows(of: Sequence[Coded], labels: Mapping[str, str]) -> list:
        found = []
        for one in of:
            keys = {label: Key(NAME, subject, one.item.name) for subject, label in labels.items()}
            if one.item.shown and all(bench.store.has(key) for key in keys.values()):
                pictures = {label: bench.store.load_picture(key) for label, key in keys.items()}
                found.append(labelled_row({"photograph": one.item.read(), **pictures}, 160))
        return found

    attribute = part.attributes[0]
    parts = {"encoder": "inversion", "aligned": "aligned", "mask": "mask m"}
    results = parts | {f"{system} {attribute}": f"{attribute}: {system}" for system in part.systems}
    masks = parts | {
        "kept": "out of domain kept",
        TRUTH: "truth",
        "difference": "largest difference",
    }
    sheets = {
        "pictures": (
            "What is out of domain is white in the masks",
            [r for of in edited.values() for r in rows(of, results)[:SHOWN]],
        ),
        "masks": (
            "Faces behind objects; what is out of domain is white in the masks",
            rows(behind, masks),
        ),
    }
    return [
        picture_figure(f"{NAME}_{name}", text, stack_rows(found))
        for name, (text, found) in sheets.items()
        if found
    ]
