"""The commands of `python -m diffcam_jax.directions`."""

import argparse
import dataclasses
import os
from pathlib import Path

import jax
import numpy as np

from diffcam_jax import directions as records
from diffcam_jax.directions.space import (
    code_space,
    draw,
    generator_hash,
    open_generator,
    truncated,
)
from diffcam_jax.errors import UserError, suggestion
from diffcam_jax.files import codes as code_files
from diffcam_jax.files import trees
from diffcam_jax.nn.latents import wplus_rows

HEADING = "## What the directions change"
REPORT = """{heading}

`python -m diffcam_jax.directions validate --out docs`: {samples} new samples, each moved by +1
along each direction. *Right way* is the fraction of samples whose own score rose, *identity* the
mean SFace cosine of before and after, the other columns the mean change of every score in standard
deviations over the samples (own score in bold).

{table}

![Strengths -1 to 1 of every direction on two faces](directions.jpg)
"""


def show(options: argparse.Namespace) -> None:
    """list: a line for each direction of a file."""
    for direction in records.load_directions(options.directions).values():
        low, high = direction.range
        print(
            f"{direction.name:16} {low:+g} .. {high:+g}  layers "
            f"{direction.layers[0]}-{direction.layers[1] - 1}  {direction.method}"
        )


def fit(options: argparse.Namespace) -> None:
    """fit: directions from the built-in scorers, or from labels."""
    if not 0 < options.ratio <= 0.5:
        raise UserError(f"--ratio {options.ratio:g}: give a share above 0, at most 0.5")
    for name, least in (("samples", 20), ("tries", 2), ("count", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise UserError(f"--{name} {value}: give at least {least}")
    for name in ("truncation", "length"):
        if not 0 < getattr(options, name) < np.inf:
            raise UserError(f"--{name} {getattr(options, name):g}: give a number above 0")
    if options.codes is not None and options.labels is None:
        raise UserError("--codes needs --labels; scorers draw their own samples")
    _check_out(options.out)
    made = _fit_labels(options) if options.labels else _fit_scorers(options)
    records.save_directions(options.out, made)
    generator = f" --generator {options.generator}" if options.generator else ""
    print(
        f"wrote {options.out}; next: python -m diffcam_jax.directions validate --directions "
        f"{options.out}{generator} --out DIR"
    )


def _fitting(options: argparse.Namespace, licence: str):
    from diffcam_jax.directions.make import Fitting

    return Fitting(not options.plain, options.ratio, options.count, options.length, licence)


def _fit_scorers(options: argparse.Namespace) -> dict[str, records.Direction]:
    from diffcam_jax.directions import recipe, scoring
    from diffcam_jax.directions.make import Attribute

    scorer = scoring.built_in()
    known = tuple(dict.fromkeys((*recipe.ATTRIBUTES, *scorer.names)))
    for name in (*options.attributes, *(options.still or ())):
        if name not in known:
            raise UserError(f"no scorer is called {name!r}; {suggestion(name, known)}")
    generator = open_generator(options.generator)
    rows = wplus_rows(generator.module)
    recipes = recipe.shipped_attributes(generator)
    chosen = {
        name: recipes.get(name, Attribute(name, (0, rows))) for name in options.attributes
    } or recipes
    # Conditions are named like a recipe or a score; for a recipe that is not fitted itself, its
    # score is used.
    still = {
        name: tuple(
            other if other in chosen or other not in recipes else recipes[other].score
            for other in (attribute.still if options.still is None else options.still)
            if other != name
        )
        for name, attribute in chosen.items()
    }
    chosen = {
        name: dataclasses.replace(
            attribute, still=still[name], layers=tuple(options.layers or attribute.layers)
        )
        for name, attribute in chosen.items()
    }
    for attribute in chosen.values():
        records.check_layers(attribute.layers, rows)
    embedded = options.generator is None
    made, _ = recipe.fit_scored(
        generator,
        chosen,
        options.work or options.out.with_suffix(".scores"),
        None,
        options.samples,
        options.seed,
        options.tries,
        options.truncation,
        _fitting(options, recipe.LICENCE if embedded else "as the generator"),
    )
    return made


def _fit_labels(options: argparse.Namespace) -> dict[str, records.Direction]:
    from diffcam_jax.directions.labels import read_labels
    from diffcam_jax.directions.make import Attribute, make_directions

    generator = open_generator(options.generator)
    rows = wplus_rows(generator.module)
    layers = tuple(options.layers or (0, rows))
    records.check_layers(layers, rows)
    names, count = (), options.samples
    if options.codes is not None:
        file = code_files.load(options.codes, generator_hash(generator), rows)
        codes, names, count = file.codes, file.names, len(file.codes)
    still = tuple(options.still or ())
    columns = (*options.attributes, *still) if options.attributes else ()
    labels = read_labels(options.labels, count, columns, names)
    for name in still:
        if name not in labels:
            raise UserError(f"{options.labels} has no column {name!r}; {suggestion(name, labels)}")
    if options.codes is None:
        codes = truncated(
            draw(generator, jax.random.key(options.seed), count),
            code_space(generator).mean,
            options.truncation,
        )
    wanted = options.attributes or [name for name in labels if name not in still]
    attributes = {
        name: Attribute(name, layers, tuple(o for o in still if o != name)) for name in wanted
    }
    samples = (
        f"{count} codes of {options.codes.name}"
        if options.codes
        else f"{count} samples (seed {options.seed})"
    )
    fitting = dataclasses.replace(
        _fitting(options, "as the generator"), samples=f"{samples}, {options.labels.name}"
    )
    made, _ = make_directions(generator, attributes, codes, labels, fitting)
    return made


def validate(options: argparse.Namespace) -> None:
    """validate: a table and a strip of pictures.

    Text before the table's heading in directions.md is kept.
    """
    from diffcam_jax.directions.validate import markdown_table, strip
    from diffcam_jax.directions.validate import validate as measured

    generator = open_generator(options.generator)
    chosen = records.load_directions(options.directions)
    _check_own(generator, chosen)
    path = options.out / "directions.md"
    _check_out(path)
    options.out.mkdir(parents=True, exist_ok=True)
    strip(generator, chosen, options.out / "directions.jpg")
    table = markdown_table(measured(generator, chosen, options.samples))
    before = path.read_text().partition(HEADING)[0] if path.exists() else ""
    report = REPORT.format(heading=HEADING, samples=options.samples, table=table)
    trees.write_atomically(path, (before + report).encode())
    print(table, f"\nlook at {options.out}/directions.jpg", sep="\n")


def measure(options: argparse.Namespace) -> None:
    """measure: measures regions, usual moves and ceilings of a file's directions again."""
    from diffcam_jax.directions import scoring
    from diffcam_jax.directions.measure import markdown_table, measured

    if options.count < 2:
        raise UserError(f"--count {options.count}: give at least 2")
    generator = open_generator(options.generator)
    chosen = records.load_directions(options.directions)
    _check_own(generator, chosen)
    _check_out(options.out)
    made = measured(generator, chosen, scoring.built_in(), options.count)
    records.save_directions(options.out, made)
    print(markdown_table(made), f"\nwrote {options.out}", sep="\n")


def take(options: argparse.Namespace) -> None:
    """import: adds a file of another project to the directions of a file."""
    from diffcam_jax.directions.importers import import_direction

    known = records.load_directions(options.out) if options.out.exists() else {}
    direction = import_direction(options.file, options.name, options.scale, options.norm)
    if options.generator is not None:
        generator = open_generator(options.generator)
        direction = direction.fitted(wplus_rows(generator.module), generator.module.latent_size)
        direction = dataclasses.replace(direction, generator=generator_hash(generator))
    known[options.name] = direction
    _check_out(options.out)
    records.save_directions(options.out, known)
    print(
        f"wrote {options.out} with {', '.join(known)}; next: edit.py PHOTO --directions "
        f"{options.out}"
    )


def sefa(options: argparse.Namespace) -> None:
    """sefa: directions from the generator's weights."""
    from diffcam_jax.directions.sefa import modulation_kernels, sefa_directions

    generator = open_generator(options.generator)
    model, rows = generator.module, wplus_rows(generator.module)
    first, end = options.layers or (0, model.num_styles)
    records.check_layers((first, end), rows)
    kernels = modulation_kernels(model, generator.variables["params"], (first, end))
    made = {}
    for i, vector in enumerate(sefa_directions(kernels, options.count)):
        method = f"SeFa, eigenvector {i} of the modulation weights of rows {first} to {end - 1}"
        made[f"sefa_{i}"] = records.from_vector(
            vector,
            f"sefa_{i}",
            rows,
            (first, end),
            options.length,
            generator_hash(generator),
            method,
        )
    _write(options.out, made, options.generator)


def ganspace(options: argparse.Namespace) -> None:
    """ganspace: principal components of codes; strength 1 is one standard deviation."""
    from diffcam_jax.directions.ganspace import ganspace_directions

    if options.samples < 2:
        raise UserError(f"--samples {options.samples}: give at least 2")
    generator = open_generator(options.generator)
    rows = wplus_rows(generator.module)
    layers = tuple(options.layers or (0, rows))
    records.check_layers(layers, rows)
    codes = draw(generator, jax.random.key(options.seed), options.samples)
    components = ganspace_directions(codes, options.count)
    made = {}
    for i in range(options.count):
        method = f"GANSpace, component {i} of {options.samples} codes (seed {options.seed})"
        direction = records.from_vector(
            components.step(i),
            f"ganspace_{i}",
            rows,
            layers,
            None,
            generator_hash(generator),
            method,
        )
        made[direction.name] = dataclasses.replace(direction, range=(-3.0, 3.0))
    _write(options.out, made, options.generator)


def _write(out: Path, made: dict[str, records.Direction], generator: Path | None) -> None:
    _check_out(out)
    records.save_directions(out, made)
    flag = f" --generator {generator}" if generator else ""
    print(
        f"wrote {out}; next: python -m diffcam_jax.directions validate --directions {out}{flag} "
        "--out DIR"
    )


def _check_out(path: Path) -> None:
    """Checks that a file can be written, before a long computation begins."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror}); choose another --out"
        ) from error
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise UserError(f"{path} cannot be written; choose another --out")


def _check_own(generator, chosen: dict[str, records.Direction]) -> None:
    own = generator_hash(generator)
    foreign = [name for name, direction in chosen.items() if direction.generator not in ("", own)]
    if foreign:
        raise UserError(
            f"directions {', '.join(foreign)} were made for another generator; give --generator "
            "with theirs"
        )
