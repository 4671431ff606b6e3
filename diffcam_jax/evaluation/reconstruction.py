"""How well each way of inverting finds a picture back: the protocol of the GANInverter benchmark.

Pictures are rounded to uint8 before they are compared. MSE in units of [-1, 1], LPIPS on VGG16 at
256, ID is the cosine of face embeddings, FID and KID compare the set of pictures with the set of
their reconstructions.
"""

from diffcam_jax.errors import UserError
from diffcam_jax.evaluation import published
from diffcam_jax.evaluation.bench import Bench
from diffcam_jax.evaluation.codes import Coder, usable
from diffcam_jax.evaluation.document import Section, picture_figure, spread_plot
from diffcam_jax.evaluation.pictures import Item
from diffcam_jax.evaluation.store import Key
from diffcam_jax.evaluation.summary import (
    INTERVALS,
    mean_cell,
    pair_cells,
    pair_heads,
    set_cells,
    set_heads,
    set_notes,
)
from diffcam_jax.evaluation.tables import Table
from diffcam_jax.faces.panel import labelled_row, stack_rows
from diffcam_jax.inversion import TUNING

NAME = "reconstruction"
SHOWN = 4


def run(bench: Bench) -> list[Section]:
    """Inverts, draws again and compares.

    Args:
        bench: its config.reconstruction has sources, size and methods.
    """
    part = bench.config.reconstruction
    items = bench.items(part)
    methods, left_out = usable(bench, part.methods, tunes=True)
    done = {method: measure(bench, items, method) for method in methods}
    columns, figures = ["method", "pictures", *pair_heads(bench)], []
    scores = [
        reconstructed_set(bench, items, method, list(records)) for method, records in done.items()
    ]
    rows = []
    for (method, records), cells in zip(done.items(), set_cells(scores)):
        seconds = mean_cell(bench, (r["seconds"] for r in records.values()), 2)
        rows.append(
            [method, str(len(records)), *pair_cells(bench, list(records.values())), *cells, seconds]
        )
    columns += [*set_heads(bench, scores), "seconds"]
    notes = [
        *left_out,
        *set_notes(bench, scores),
        INTERVALS,
        "seconds: for one picture on this machine, compiling not counted.",
    ]
    if TUNING in methods:
        notes.append(f"{TUNING}: drawn by the generator as it is tuned to each picture.")
    table = Table(
        "Reconstruction",
        columns,
        rows,
        notes,
        bench.settings(part, inversion_steps=bench.config.inversion_steps or "own"),
    )
    measure_shown = next(
        (n for n in ("lpips_vgg", "lpips_alex", "mse") if n in bench.pairs.names), None
    )
    if measure_shown:
        groups = {
            method: [r[measure_shown] for r in records.values()] for method, records in done.items()
        }
        label = f"{measure_shown}, a dot for each picture"
        figures.append(
            spread_plot(
                f"{NAME}_spread", f"Reconstruction, {label}; the line is the mean", groups, label
            )
        )
    figures += _sheet(bench, items, done)
    return [
        Section("Reconstruction", [__doc__ or ""], [table, *published.reconstruction()], figures)
    ]


def measure(bench: Bench, items: list[Item], method: str) -> dict[str, dict[str, float]]:
    """picture -> values of its reconstruction by a method.

    What is measured already is not measured again.
    """
    coder, records = Coder(bench, method, tunes=True), {}
    for item in bench.progress(items, f"{NAME}: {method}"):
        key = Key(NAME, method, item.name)
        with bench.listing(item.name):
            if not bench.store.has(key):
                pixels = item.read()
                found = coder(item)
                again = bench.world.draw(found.code[None], len(pixels), found.tuned)
                values = bench.pairs(pixels[None], again)[0]
                bench.store.save_picture(key, again[0])
                bench.store.put(key, {**values, "seconds": found.seconds})
            records[item.name] = bench.store.get(key)
    if not records:
        raise UserError(
            f"not one picture could be inverted by {method}; the last one: "
            f"{list(bench.problems.values())[-1]}"
        )
    return records


def reconstructed_set(bench: Bench, items: list[Item], method: str, names: list[str]):
    """Distance of the set of pictures to that of their reconstructions."""
    chosen = [item for item in items if item.name in set(names)]
    listed = " ".join(item.name for item in chosen)
    truth = bench.sets.features("truth", listed, lambda: (item.read() for item in chosen))
    again = (Key(NAME, method, item.name) for item in chosen)
    found = bench.sets.features(
        f"{NAME}_{method}", listed, lambda: map(bench.store.load_picture, again)
    )
    return bench.sets(truth, found)


def _sheet(bench: Bench, items: list[Item], done: dict):
    rows = []
    for item in [item for item in items if item.shown][:SHOWN]:
        row = (
            {"picture": item.read()}
            if all(item.name in records for records in done.values())
            else None
        )
        if row:
            row |= {
                method: bench.store.load_picture(Key(NAME, method, item.name)) for method in done
            }
            rows.append(labelled_row(row, 160))
    return (
        [picture_figure(f"{NAME}_pictures", "Pictures and their reconstructions", stack_rows(rows))]
        if rows
        else []
    )
