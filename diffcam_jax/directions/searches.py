"""The commands of `python -m diffcam_jax.directions` that search without labels, and compare."""

import argparse
import dataclasses
import json
from pathlib import Path

import jax

from diffcam_jax import directions as records
from diffcam_jax.directions.commands import check_out, check_own
from diffcam_jax.directions.space import draw, generator_hash, open_generator
from diffcam_jax.errors import UserError
from diffcam_jax.files import trees
from diffcam_jax.nn.latents import wplus_rows
from diffcam_jax.nn.network import Network

Layers = list[int] | None


def sefa(options: argparse.Namespace) -> None:
    """sefa: directions from the generator's weights."""
    generator = open_generator(options.generator)
    made = _sefa(generator, options.layers, options.count, options.length)
    _write(options.out, made, options.generator)


def _sefa(
    generator: Network, layers: Layers, count: int, length: float
) -> dict[str, records.Direction]:
    from diffcam_jax.directions.sefa import modulation_kernels, sefa_directions

    model, rows = generator.module, wplus_rows(generator.module)
    first, end = layers or (0, model.num_styles)
    records.check_layers((first, end), rows)
    kernels = modulation_kernels(model, generator.variables["params"], (first, end))
    made = {}
    for i, vector in enumerate(sefa_directions(kernels, count)):
        method = f"SeFa, eigenvector {i} of the modulation weights of rows {first} to {end - 1}"
        made[f"sefa_{i}"] = records.from_vector(
            vector, f"sefa_{i}", rows, (first, end), length, generator_hash(generator), method
        )
    return made


def ganspace(options: argparse.Namespace) -> None:
    """ganspace: principal components of codes; strength 1 is one standard deviation."""
    generator = open_generator(options.generator)
    made = _ganspace(generator, options.layers, options.count, options.samples, options.seed)
    _write(options.out, made, options.generator)


def _ganspace(
    generator: Network, layers: Layers, count: int, samples: int, seed: int
) -> dict[str, records.Direction]:
    from diffcam_jax.directions.ganspace import ganspace_directions

    if samples < 2:
        raise UserError(f"--samples {samples}: give at least 2")
    rows = wplus_rows(generator.module)
    chosen = tuple(layers or (0, rows))
    records.check_layers(chosen, rows)
    components = ganspace_directions(draw(generator, jax.random.key(seed), samples), count)
    made = {}
    for i in range(count):
        method = f"GANSpace, component {i} of {samples} codes (seed {seed})"
        step, own = components.step(i), generator_hash(generator)
        direction = records.from_vector(step, f"ganspace_{i}", rows, chosen, None, own, method)
        made[direction.name] = dataclasses.replace(direction, range=(-3.0, 3.0))
    return made


def explore(options: argparse.Namespace) -> None:
    """explore: components with names by the scores that they move most, a table and pictures."""
    from diffcam_jax.directions import explore as exploring

    if options.components < 1 or options.faces < 2:
        raise UserError("give at least one of --components and two --faces")
    generator = open_generator(options.generator)
    found = (
        _sefa(generator, options.layers, options.components, options.length)
        if options.method == "sefa"
        else _ganspace(generator, options.layers, options.components, options.samples, options.seed)
    )
    out = options.out / "explored.safetensors"
    check_out(out)
    proposals = exploring.explore(generator, found, options.faces)
    records.save_directions(out, {p.direction.name: p.direction for p in proposals})
    table = exploring.markdown_table(proposals)
    trees.write_atomically(options.out / "explored.md", f"{table}\n".encode())
    exploring.sheet(generator, proposals, options.out / "explored.jpg")
    print(table, f"\nwrote {out}, explored.md and explored.jpg", sep="\n")


def compare(options: argparse.Namespace) -> None:
    """compare: several sources of the same attributes, in one table.

    The numbers of each source are kept beside the table, and a rerun measures only new sources.
    """
    from diffcam_jax.directions import compare as comparing
    from diffcam_jax.directions.importers import read_directions

    if options.samples < 2:
        raise UserError(f"--samples {options.samples}: give at least 2")
    generator = open_generator(options.generator)
    sources = {Path(source).stem: read_directions(source) for source in options.directions}
    if len(sources) < len(options.directions):
        raise UserError("two of the sources have the same name; rename one of them")
    for edits in sources.values():
        check_own(generator, edits)
    names = comparing.shared(sources, options.attributes)
    table = options.out / "compared.md"
    check_out(table)
    results = {}
    for source, edits in sources.items():
        chosen = {name: edits[name] for name in names}
        about = {"samples": options.samples, "edits": {n: e.sha256 for n, e in chosen.items()}}
        kept = options.out / f"compared_{source}.json"
        results[source] = _kept(kept, about)
        if results[source] is None:
            results[source] = comparing.compared(generator, chosen, options.samples)
            text = json.dumps(about | {"results": results[source]}, indent=1)
            trees.write_atomically(kept, text.encode())
    text = comparing.markdown_table(results)
    trees.write_atomically(table, f"{text}\n".encode())
    print(text, f"\nwrote {table}", sep="\n")


def _kept(path: Path, about: dict) -> dict[str, list[float]] | None:
    """Numbers of an earlier run on the same edits and samples; None without them."""
    try:
        found = json.loads(path.read_text())
        return found["results"] if about == {key: found[key] for key in about} else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(out: Path, made: dict[str, records.Direction], generator: Path | None) -> None:
    check_out(out)
    records.save_directions(out, made)
    flag = f" --generator {generator}" if generator else ""
    print(
        f"wrote {out}; next: python -m diffcam_jax.directions validate --directions {out}{flag} "
        "--out DIR"
    )
