"""The commands of `python -m diffcam_jax.directions`."""

import argparse
import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from diffcam_jax import directions as records
from diffcam_jax.directions.edits import Edit
from diffcam_jax.directions.space import (
    generator_hash,
    open_generator,
    prior_codes,
)
from diffcam_jax.errors import UserError, suggestion
from diffcam_jax.files import codes as code_files
from diffcam_jax.files import trees
from diffcam_jax.nn.latents import wplus_rows
from diffcam_jax.nn.network import Network

HEADING = "## What the directions change"
REPORT = """{heading}

`python -m diffcam_jax.directions validate --out docs`: {samples} new samples, each moved by +1
along each direction. *Own score* is the mean rise of the direction's score in standard deviations
over the samples, *with room* that of the half of them with the lower scores, *right way* the
fraction whose score rose, *other scores* the largest mean changes of scores that are not tied with
its own, *identity* the mean SFace cosine of before and after, *outside* the mean absolute change of
the picture outside of the direction's region relative to that inside.

{table}

![Strengths -1 to 1 of every direction on two faces](directions.jpg)
"""


def show(options: argparse.Namespace) -> None:
    """list: what is known of the directions and other edits of files and folders."""
    from diffcam_jax.directions import importers, listing

    edits = importers.read_directions(options.directions).values()
    print(listing.as_json(edits) if options.json else listing.in_lines(edits))


def fit(options: argparse.Namespace) -> None:
    """fit: directions from the built-in scorers, or from labels."""
    if not 0 < options.ratio <= 0.5:
        raise UserError(f"--ratio {options.ratio:g}: give a share above 0, at most 0.5")
    for name, least in (("samples", 20), ("tries", 2), ("count", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise UserError(f"--{name} {value}: give at least {least}")
    if options.probes is not None and options.probes < 0:
        raise UserError(f"--probes {options.probes}: give a number of faces, or 0 for none")
    for name in ("truncation", "length"):
        if not 0 < getattr(options, name) < np.inf:
            raise UserError(f"--{name} {getattr(options, name):g}: give a number above 0")
    if options.scorer is not None and options.labels is not None:
        raise UserError("--scorer was learned from labels; leave --labels out")
    if options.codes is not None and options.labels is None:
        raise UserError("--codes needs --labels; scorers draw their own samples")
    check_out(options.out)
    made = _fit_labels(options) if options.labels else _fit_scorers(options)
    records.save_directions(options.out, made)
    generator = f" --generator {options.generator}" if options.generator else ""
    print(
        f"wrote {options.out}; next: python -m diffcam_jax.directions validate --directions "
        f"{options.out}{generator} --out DIR"
    )


def _fitting(options: argparse.Namespace, licence: str, method: str):
    from diffcam_jax.directions.plans import Fitting

    way = options.method or method
    space = (not options.plain, options.ratio, options.count, options.length)
    return Fitting(*space, licence, method=way)


def _fit_scorers(options: argparse.Namespace) -> dict[str, records.Direction]:
    from diffcam_jax.directions import label_scorer, recipe, scoring
    from diffcam_jax.directions.plans import Attribute

    own = options.scorer and label_scorer.as_scorer(label_scorer.load(options.scorer))
    scorer = own or scoring.built_in()
    known = scorer.names if own else tuple(dict.fromkeys((*recipe.ATTRIBUTES, *scorer.names)))
    for name in (*options.attributes, *(options.still or ())):
        if name not in known:
            raise UserError(f"no scorer is called {name!r}; {suggestion(name, known)}")
    generator = open_generator(options.generator)
    rows = wplus_rows(generator.module)
    recipes = (
        {name: Attribute(name, (0, rows)) for name in scorer.names}
        if own
        else recipe.shipped_attributes(generator)
    )
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
    probes = recipe.PROBED if own is None else 0  # those regions are known of faces alone
    licence = recipe.LICENCE if options.generator is None else "as the generator"
    made, _ = recipe.fit_scored(
        generator,
        chosen,
        options.work or options.out.with_suffix(".scores"),
        own,
        options.samples,
        options.seed,
        options.tries,
        options.truncation,
        dataclasses.replace(
            _fitting(options, licence, recipe.METHOD), slack=recipe.SLACK * (options.still is None)
        ),
        probes if options.probes is None else options.probes,
    )
    return made


def _fit_labels(options: argparse.Namespace) -> dict[str, records.Direction]:
    from diffcam_jax.directions.labels import read_labels
    from diffcam_jax.directions.make import make_directions
    from diffcam_jax.directions.plans import Attribute

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
        codes = prior_codes(generator, options.seed, count, options.truncation)
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
        _fitting(options, "as the generator", "svm"), samples=f"{samples}, {options.labels.name}"
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
    check_own(generator, chosen)
    path = options.out / "directions.md"
    check_out(path)
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
    check_own(generator, chosen)
    check_out(options.out)
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
    known[options.name] = _acting(direction, options.classes, options.box)
    check_out(options.out)
    records.save_directions(options.out, known)
    print(
        f"wrote {options.out} with {', '.join(known)}; next: edit.py PHOTO --directions "
        f"{options.out}"
    )


def _acting(
    direction: records.Direction, classes: list[str] | None, box: list[float] | None
) -> records.Direction:
    """A direction with the regions that flags record."""
    classes = direction.classes if classes is None else tuple(classes)
    box = direction.box if box is None else tuple(box)
    try:
        return dataclasses.replace(direction, classes=classes, box=box)
    except ValueError as error:
        raise UserError(str(error)) from error


def check_out(path: Path) -> None:
    """Checks that a file can be written, before a long computation begins.

    Raises:
        UserError: it cannot.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror}); choose another --out"
        ) from error
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise UserError(f"{path} cannot be written; choose another --out")


def check_own(generator: Network, chosen: Mapping[str, Edit]) -> None:
    """Checks that directions were made for this generator.

    Raises:
        UserError: names those that were made for another.
    """
    own = generator_hash(generator)
    foreign = [name for name, direction in chosen.items() if direction.generator not in ("", own)]
    if foreign:
        raise UserError(
            f"directions {', '.join(foreign)} were made for another generator; give --generator "
            "with theirs"
        )
