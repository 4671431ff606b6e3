"""Edits photographs: one thing changes, every other pixel stays.

    python edit.py PHOTO --attribute smiling=1 --out out
    python edit.py FOLDER --attribute old=0.7 --attribute smiling=-0.5 --out out --stages
    python edit.py --ray auto --src s3://bucket/in --out s3://bucket/out --attribute smiling=1
    python edit.py CLIP --attribute smiling=0@0s,1@2s --out out
    python edit.py PHOTO --edited FILE --out out
    python edit.py --list
Installed, it is the command `diffcam-edit`.
"""

import argparse
import functools
import importlib
import time
from pathlib import Path
from typing import Any

from diffcam_jax.command import arguments
from diffcam_jax.command.program import as_called, launch, uninterrupted
from diffcam_jax.errors import UserError, exit_code
from diffcam_jax.programs import edit_flags


def command() -> int:
    """The command line of this process; returns its exit code."""
    return launch(main)


def main(given: list[str] | None = None) -> int:
    """Runs an edit and returns its exit code: 0, 1 when one of several failed, 2 for bad input.

    Args:
        given: without the program's name; None takes those of the process.
    """
    return exit_code(lambda: run(edit_flags.parse(given)))


def run(options: argparse.Namespace) -> int:
    """Lists the attributes, or edits what the flags ask for; returns the exit code."""
    with uninterrupted():
        from diffcam_jax.directions.importers import read_directions

    directions = read_directions(arguments.directions(options))
    if options.list:
        for direction in directions.values():
            print(f"{direction.name:16} {direction.range[0]:+.1f} .. {direction.range[1]:+.1f}")
        again = f"{next(iter(directions))}=1{arguments.networks_again(options)}"
        print(as_called(f"next: python edit.py PHOTO --attribute {again} --out out"))
        return 0
    if options.ray or edit_flags.names_clip(options):
        name = "edit_cluster" if options.ray else "edit_clip"
        return importlib.import_module(f"diffcam_jax.programs.{name}").run(options, directions)

    with uninterrupted():
        from diffcam_jax.faces.shared import open_ahead

        open_ahead()  # while JAX is imported
        from diffcam_jax.programs import edited_request  # noqa: F401  with all that an edit needs
    return edit(options, directions)


def edit(options: argparse.Namespace, directions: dict[str, Any]) -> int:
    """Edits what the flags ask for by directions, given by name; returns the exit code."""
    from tqdm import tqdm

    from diffcam_jax.command.compilation import keep_compiled_programs
    from diffcam_jax.command.device import check_device
    from diffcam_jax.command.side_by_side import cores, side_by_side
    from diffcam_jax.editor.editor import Editor
    from diffcam_jax.editor.results import EditResult
    from diffcam_jax.faces import samples
    from diffcam_jax.faces.photo import Photo, read_photo, without_metadata
    from diffcam_jax.programs import (
        edit_request,
        edit_results,
        edited_request,
        output,
        photographs,
        reports,
    )

    # ---------------------------------------------------------------- asked for; before networks
    if options.edited is None:
        strengths = edit_request.parse_strengths(options.attribute, directions)
    given = [samples.hopper()] if options.demo else options.photos
    photos = photographs.find(given, lambda photo: reports.is_result(photo, options.out))
    single = photographs.is_single(given, photos)
    photos = photos if single else photos[options.part[0] - 1 :: options.part[1]]
    if options.edited is None:
        request = edit_request.read(options, strengths, single)
    else:
        request = edited_request.read(options, directions, single)
    output.prepare(options.out)

    # ---------------------------------------------------------------- what is done already
    settings = {p: edit_results.settings_of(options, request, directions, p) for p in photos}
    todo = [
        p for p in photos if options.force or not edit_results.is_done(options.out, p, settings[p])
    ]
    shown = edit_results.place(options.out, photos[0], options.stages) if single else options.out
    if not todo:
        print(f"done before (--force edits again); look at {shown}")
        return 0

    # ------------------------ networks; once, after a photograph is read: wrong names end it sooner
    @functools.cache
    def editor() -> Editor:
        check_device()
        keep_compiled_programs(ahead=True)  # the next start is quick
        given = {"directions": directions, "domain": arguments.domain(options)[0]}
        return Editor.from_checkpoints(request.config, **given, **arguments.networks(options))

    if not single:
        editor()  # a broken installation is not the fault of every photograph in turn

    # ---------------------------------------------------------------- edit; several at a time
    def edited(path: Path) -> tuple[Photo, EditResult, float]:
        start = time.perf_counter()
        reports.check(options.out, path, options.stages)
        photo = read_photo(path, first_frame=options.first_frame)
        photographs.tell_notes(path, photo)
        photo = without_metadata(photo) if options.strip else photo
        if options.edited is None:
            given = photo.pixels, request.strengths
            result = editor().edit(*given, **request.choices, progress=single)
        else:
            other = edited_request.read_edited(options.edited, photo, options.first_frame)
            result = editor().blend(photo.pixels, other, request.names, **request.choices)
        return photo, result, time.perf_counter() - start

    failed: dict[str, str] = {}
    results = side_by_side(edited, todo, 1 if single else options.jobs or cores())
    for path, outcome in tqdm(results, "photographs", len(todo), unit="photo", disable=single):
        try:
            photo, result, seconds = outcome()
            start = time.perf_counter()
            edit_results.write_pictures(options.out, path, photo, result, options.stages)
            seconds += time.perf_counter() - start
            report = edit_results.write_report(options.out, path, result, settings[path], seconds)
        except UserError as error:
            photographs.note_failure(failed, path, error, single)

    # ---------------------------------------------------------------- what came of it
    if single:
        edit_results.tell_one(report, shown, again=options.edited is None)
    else:
        reports.write_errors(options.out, failed, options.part)
        edit_results.tell(options.out, len(todo) - len(failed), len(photos) - len(todo), failed)
    return 1 if failed else 0
