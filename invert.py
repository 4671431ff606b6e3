"""Inverts photographs and does with the codes what In-Domain GAN Inversion does.

python invert.py invert PHOTO|FOLDER --out out                                   codes, reconstructions, strips, distances
python invert.py interpolate A B --out out                                       strip, looping GIF and WebP
python invert.py manipulate A --direction smiling --direction old --out out      strips from -3 to 3
python invert.py mix CONTENT... --style STYLE... --out out                       grid
python invert.py diffuse TARGET... --context CONTEXT... --out out                grid

A, B, CONTENT and STYLE are photographs or files of codes that `invert` wrote. `python invert.py
COMMAND --help` lists the options.
"""

import argparse
import functools
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffcam_jax.applications.arguments import parse
from diffcam_jax.command.allocator import collect_rarely, keep_freed_memory
from diffcam_jax.errors import UserError
from edit import find_photos, parse_face, prepare_output, read_landmarks, write_json

if TYPE_CHECKING:
    from diffcam_jax.applications.faces import Choice, Studio
    from diffcam_jax.applications.reconstruction import Limits
    from diffcam_jax.applications.sources import Face
    from diffcam_jax.inversion import Inverter

NEED_ENCODER = ("in_domain", "encoder")
TUNING = "pivotal_tuning"


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    try:
        return COMMANDS[options.command](options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            f"stopped; {options.out} has what was finished; the same command goes on from the "
            "codes found",
            file=sys.stderr,
        )
        return 130


# ---------------------------------------------------------------- networks and inputs


def method_of(options: argparse.Namespace, photos: bool = True) -> str:
    """The way to invert; refuses what cannot work before anything is loaded."""
    from diffcam_jax.editing import pipeline
    from diffcam_jax.inversion.checks import check_method, check_tuning

    encoder = pipeline.has_encoder(options.generator, options.encoder)
    method = options.method or ("in_domain" if encoder else "prior")
    check_method(method, options.space)
    if method == TUNING:
        check_tuning(None, options.restarts)
        if options.command != "invert":
            raise UserError(
                f"{TUNING} gives every photograph a generator of its own, and {options.command} "
                f"draws all pictures with one; choose another --method, or use invert.py invert"
            )
    if photos and method in NEED_ENCODER and not encoder:
        raise UserError(
            f"the method {method} needs an encoder of this generator: train one with python "
            "train.py --config "
            "configs/encoder_mobile.py, or convert one with convert_weights, and give --encoder "
            "DIR; or choose --method prior"
        )
    return method


def limits_of(options: argparse.Namespace) -> "Limits":
    from diffcam_jax.applications.reconstruction import Limits

    for flag, value in (("--batch", options.batch), ("--inversion-steps", options.inversion_steps)):
        if value is not None and value < 1:
            raise UserError(f"{flag} {value}: give at least 1")
    return Limits(options.seconds, options.restarts, options.batch)


def choice_of(options: argparse.Namespace, photos: Sequence[Path]) -> "Choice":
    """Which face of the photographs; hand-set landmarks are those of one."""
    from diffcam_jax.applications.faces import Choice

    face = parse_face(options.face)
    if face == "all":
        raise UserError(
            "--face all: one face of each photograph is inverted; give a number from 1 (the "
            "largest) on"
        )
    if options.landmarks is not None and len(photos) != 1:
        raise UserError(
            f"--landmarks are those of one photograph, and {len(photos)} were given; give them "
            "one by one"
        )
    return Choice(options.aligned, face, read_landmarks(options))


def open_studio(options: argparse.Namespace) -> "Studio":
    from diffcam_jax.applications.faces import Studio
    from diffcam_jax.command.compilation import keep_compiled_programs

    keep_compiled_programs()
    return Studio.open(options.generator, options.encoder)


def make_inverter(studio: "Studio", method: str, options: argparse.Namespace) -> "Inverter":
    from diffcam_jax.inversion import DEFAULTS, Inverter

    settings = DEFAULTS[method]
    if options.inversion_steps is not None:
        if method == "encoder":
            raise UserError(
                "the method encoder takes no steps; leave their number out, or choose in_domain"
            )
        settings = settings.with_steps(options.inversion_steps)
    return Inverter(studio.generator, studio.encoder, method, settings, options.space)


def listed(paths: Sequence[Path]) -> list[Path]:
    """Photographs and files of codes in the order given, folders as their photographs."""
    from diffcam_jax.applications.sources import holds_codes

    if photos := [path for path in paths if not holds_codes(path)]:
        find_photos(photos)  # refuses names that clash
    return [one for path in paths for one in ([path] if holds_codes(path) else find_photos([path]))]


def open_sources(
    options: argparse.Namespace, *groups: Sequence[Path]
) -> tuple["Studio", list[list["Face"]], Callable[[list["Face"]], list["Face"]]]:
    """The generator, the faces of every group of sources, and what gives codes to those of
    photographs.
    """
    from diffcam_jax.applications import sources

    groups = tuple(listed(group) for group in groups)
    photos = [path for group in groups for path in group if not sources.holds_codes(path)]
    method, limits, choice = (
        method_of(options, bool(photos)),
        limits_of(options),
        choice_of(options, photos),
    )
    prepare_output(options.out)
    studio = open_studio(options)
    inverter = make_inverter(studio, method, options)
    encode = functools.partial(
        sources.encode, inverter, limits=limits, cached=not options.no_cache, progress=True
    )
    return studio, [sources.gather(studio, group, choice) for group in groups], encode


def stack(faces: Sequence["Face"]) -> np.ndarray:
    return np.stack([face.code for face in faces])


def again(options: argparse.Namespace) -> str:
    """The networks' flags for the next command."""
    given = (("--generator", options.generator), ("--encoder", options.encoder))
    return "".join(f" {flag} {value}" for flag, value in given if value is not None)


def some_direction(options: argparse.Namespace) -> str:
    return "FILE" if options.generator or options.encoder else "smiling"


def finish(
    options: argparse.Namespace, shown: Path, report: dict[str, Any], next_step: str
) -> None:
    write_json(options.out / f"{options.command}.json", report)
    print(f"look at {shown}; next: python invert.py {next_step}{again(options)}")


# ---------------------------------------------------------------- commands


def run_invert(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from diffcam_jax.applications import faces, inverted, reconstruction
    from diffcam_jax.files import codes as code_files
    from diffcam_jax.metrics.perceptual import Lpips

    method, limits, photos = method_of(options), limits_of(options), find_photos(options.photos)
    single, choice = len(photos) == 1 and not options.photos[0].is_dir(), choice_of(options, photos)
    prepare_output(options.out)
    studio, lpips = open_studio(options), Lpips("vgg", batch=min(limits.batch, len(photos)))
    inverter = make_inverter(studio, method, options)
    failed: dict[str, str] = {}
    report: dict[str, Any] = {
        "method": method,
        "space": options.space,
        "settings": repr(inverter.settings),
        "generator": studio.hash,
        "photographs": {},
        "failed": failed,
        "seconds": {"search": 0.0, "compile": 0.0},
        "notes": [],
    }
    names, kept = [], []

    def fail(path: Path, error: UserError) -> None:
        if single:
            raise error
        failed[path.name] = str(error)
        tqdm.write(f"error: {error}", file=sys.stderr)

    batches = [photos[i : i + limits.batch] for i in range(0, len(photos), limits.batch)]
    for paths in tqdm(batches, desc="batches", disable=len(batches) < 2):
        chosen = faces.read_faces(paths, studio.size, choice, fail)
        if not chosen:
            continue
        pictures = np.stack(list(chosen.values()))
        found = reconstruction.search(
            inverter,
            pictures,
            limits=limits,
            full=len(batches) > 1,
            cached=not options.no_cache,
            progress=True,
        )
        records = inverted.write_batch(options.out, studio, inverter, chosen, found, lpips)
        for name, code in zip(chosen, found.codes):
            if name not in records:
                fail(
                    Path(name),
                    UserError(
                        f"{name}: no code was found, the loss was no number; try another --method"
                    ),
                )
                continue
            names.append(name)
            kept.append(code)
        report["photographs"] |= records
        report["seconds"]["search"] = round(report["seconds"]["search"] + found.seconds, 3)
        report["seconds"]["compile"] = round(
            report["seconds"]["compile"] + found.compile_seconds, 3
        )
        report["notes"] += found.notes
        for note in found.notes:
            tqdm.write(f"note: {note}", file=sys.stderr)
        if kept:
            code_files.save(
                options.out / "codes.safetensors", np.stack(kept), studio.hash, method, names
            )
    if not kept:
        write_json(options.out / "invert.json", report)
        print(
            f"none of {len(photos)} photographs could be inverted; see {options.out}/invert.json",
            file=sys.stderr,
        )
        return 1
    strip = inverted.strip_path(options.out, names[0] if single else "")
    codes = options.out / "codes.safetensors"
    step = f"manipulate {codes} --direction {some_direction(options)} --out {options.out}"
    if method == TUNING:  # the codes alone draw what was there before the tuning
        more = f"--method {TUNING} --steps {2 * inverter.settings.steps}"
        step = f"invert {options.photos[0]} {more} --out {options.out}"
    finish(options, strip, report, step)
    return 1 if failed else 0


def run_interpolate(options: argparse.Namespace) -> int:
    from diffcam_jax.applications import animation, faces, interpolation, sheets

    interpolation.between(np.zeros(1), np.zeros(1), options.steps)
    if options.frames < 1:
        raise UserError(f"--frames {options.frames}: give at least 1")
    studio, (ends,), encode = open_sources(options, options.sources)
    wanted = 4 if options.grid else 2
    if len(ends) != wanted:
        raise UserError(
            f"{len(ends)} faces were given: two are interpolated, four with --grid; give {wanted}"
        )
    ends = encode(ends)
    corners = stack(ends)
    path = (
        interpolation.grid(corners, options.steps)
        if options.grid
        else interpolation.between(*corners, options.steps)[None]
    )
    pictures = studio.draw(path.reshape(-1, *path.shape[2:]), faces.SHEET_SIDE, progress=True)
    pictures = pictures.reshape(*path.shape[:2], *pictures.shape[1:])
    if options.grid:
        corners = corners[[0, 1, 3, 2]]  # the way around, not across
        sheets.write_between(options.out / "interpolate.png", pictures)
    else:
        given = [(end.name, end.picture) for end in ends]
        sheets.write_between(options.out / "interpolate.png", pictures, given)
    frames = studio.draw(interpolation.loop(corners, options.frames), animation.SIDE, progress=True)
    for suffix in (".gif", ".webp"):
        animation.write_animation(options.out / f"interpolate{suffix}", frames)
    report = {
        "ends": [end.name for end in ends],
        "steps": options.steps,
        "frames": len(frames),
        "generator": studio.hash,
    }
    shown = options.out / "interpolate.png"
    finish(
        options,
        shown,
        report,
        f"mix {options.sources[0]} --style {options.sources[-1]} --out {options.out}",
    )
    return 0


def run_manipulate(options: argparse.Namespace) -> int:
    from diffcam_jax.applications import faces, manipulation, sheets
    from diffcam_jax.faces.panel import labelled_grid

    amounts, layers = (
        manipulation.strengths(*options.range, options.steps),
        manipulation.parse_layers(options.layers),
    )
    directions = {}
    for source in options.direction:
        directions |= manipulation.read_boundaries(source, options.scale)
    studio, (given_faces,), encode = open_sources(options, options.sources)
    if len({face.name for face in given_faces}) < len(given_faces):
        raise UserError(
            "two of the faces have one name, and so would their sheets; give them to two commands"
        )
    size = studio.generator.module.latent_size
    steps = manipulation.boundary_steps(directions, studio.rows, size, studio.hash, layers)
    coded = encode(given_faces)
    for one in coded:
        moved = manipulation.manipulate(one.code[None], steps, amounts)[0]
        pictures = studio.draw(moved.reshape(-1, *moved.shape[2:]), faces.SHEET_SIDE, progress=True)
        pictures = pictures.reshape(*moved.shape[:2], *pictures.shape[1:])
        given = [] if one.picture is None else [("photograph", one.picture)]
        rows = [
            [*given, *((f"{name} {amount:+.3g}", picture) for amount, picture in zip(amounts, row))]
            for name, row in zip(directions, pictures)
        ]
        sheets.write_sheet(options.out / f"manipulate_{one.name}.png", labelled_grid(rows, 240))
    report = {
        "sources": [one.name for one in coded],
        "strengths": [round(float(amount), 4) for amount in amounts],
        "directions": {
            name: {"normalisation": d.normalisation, "sha256": d.sha256}
            for name, d in directions.items()
        },
        "layers": layers,
        "generator": studio.hash,
    }
    shown = options.out / (f"manipulate_{coded[0].name}.png" if len(coded) == 1 else "")
    finish(options, shown, report, f"mix {options.sources[0]} --style STYLE --out {options.out}")
    return 0


def run_mix(options: argparse.Namespace) -> int:
    from diffcam_jax.applications import faces, mixing, sheets

    studio, (content, style), encode = open_sources(options, options.sources, options.style)
    mixing.check_layer(options.from_layer, studio.rows)
    both = encode(content + style)
    content, style = both[: len(content)], both[len(content) :]
    mixed = mixing.mix(stack(content), stack(style), options.from_layer)
    everything = np.concatenate([stack(content), stack(style), mixed.reshape(-1, *mixed.shape[2:])])
    pictures = studio.draw(everything, faces.SHEET_SIDE, progress=True)
    own, theirs, rest = np.split(pictures, [len(content), len(content) + len(style)])
    sheets.write_crossing(
        options.out / "mix.png",
        [(f"content: {one.name}", p) for one, p in zip(content, own)],
        [(f"style: {one.name}", p) for one, p in zip(style, theirs)],
        rest.reshape(len(content), len(style), *rest.shape[1:]),
    )
    names = {"content": [one.name for one in content], "style": [one.name for one in style]}
    report = {**names, "from_layer": options.from_layer, "generator": studio.hash}
    step = f"interpolate {options.sources[0]} {options.style[0]} --out {options.out}"
    finish(options, options.out / "mix.png", report, step)
    return 0


def run_diffuse(options: argparse.Namespace) -> int:
    from diffcam_jax.applications import diffusion, faces, sheets
    from diffcam_jax.faces.photo import read_photo
    from diffcam_jax.files import codes as code_files

    method, limits = method_of(options), limits_of(options)
    targets, contexts = find_photos(options.photos), find_photos(options.context)
    choice = choice_of(options, targets + contexts)
    box = tuple(options.box or diffusion.BOX)
    diffusion.box_mask(box, diffusion.BOX_SIDE)
    mask = None
    if options.mask is not None:
        pixels = read_photo(options.mask).pixels
        mask = (pixels.mean(-1) / np.iinfo(pixels.dtype).max).astype(np.float32)
    prepare_output(options.out)
    studio = open_studio(options)
    inverter = make_inverter(studio, method, options)
    mask = diffusion.box_mask(box, studio.size) if mask is None else mask
    given = [
        list(faces.read_faces(paths, studio.size, choice).values()) for paths in (targets, contexts)
    ]
    found = diffusion.diffuse(inverter, *map(np.stack, given), mask, limits, progress=True)
    if not found.valid.all():
        raise UserError("; ".join(found.found.notes) + "; try another --method")
    flat = found.codes.reshape(-1, *found.codes.shape[2:])
    pictures = studio.draw(flat, faces.SHEET_SIDE, progress=True)
    rows = [(f"target: {path.stem}", picture) for path, picture in zip(targets, given[0])]
    columns = [(f"context: {path.stem}", picture) for path, picture in zip(contexts, given[1])]
    sheets.write_crossing(
        options.out / "diffuse.png",
        rows,
        columns,
        pictures.reshape(*found.valid.shape, *pictures.shape[1:]),
    )
    sheets.write_crossing(options.out / "diffuse_stitched.png", rows, columns, found.stitched)
    names = [f"{t.stem}_in_{c.stem}" for t in targets for c in contexts]
    code_files.save(options.out / "diffuse.safetensors", flat, studio.hash, method, names)
    report = {
        "method": method,
        "box": None if options.mask else box,
        "mask": options.mask and str(options.mask),
        "results": names,
        "seconds": {
            "start": found.start.seconds if found.start else 0.0,
            "search": found.found.seconds,
        },
        "notes": [*(found.start.notes if found.start else ()), *found.found.notes],
        "generator": studio.hash,
    }
    step = f"manipulate {options.out / 'diffuse.safetensors'} --direction {some_direction(options)} --out {options.out}"
    finish(options, options.out / "diffuse.png", report, step)
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "invert": run_invert,
    "interpolate": run_interpolate,
    "manipulate": run_manipulate,
    "mix": run_mix,
    "diffuse": run_diffuse,
}


if __name__ == "__main__":
    keep_freed_memory()
    collect_rarely()
    # So many photographs of a batch are searched for side by side on a CPU, see
    # `inversion.optimise`; JAX asks once, when it starts.
    os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(min(4, os.cpu_count() or 1)))
    sys.exit(main())
