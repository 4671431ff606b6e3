"""Edits photographs: one thing changes, every other pixel stays.

    python edit.py PHOTO --attribute smiling=1 --out out
    python edit.py FOLDER --attribute old=0.7 --attribute smiling=-0.5 --out out --stages
    python edit.py PHOTO --attribute smiling=1 --method both --out out
    python edit.py PHOTO --edited FILE --out out
    python edit.py --list

An installed package has the same as `diffcam-edit`.
"""

import argparse
import functools
import time

from diffcam_jax.command.program import as_called, launch
from diffcam_jax.errors import UserError, exit_code
from diffcam_jax.programs import edit_flags


def command() -> int:
    """The command line of this process; returns its exit code."""
    return launch(main)


def main(arguments: list[str] | None = None) -> int:
    """Runs an edit.

    Args:
        arguments: without the program's name; None takes those of the process.

    Returns:
        The exit code: 0, 1 when a photograph of several failed, 2 for bad input.
    """
    return exit_code(lambda: run(edit_flags.parse(arguments)))


def run(options: argparse.Namespace) -> int:
    """Edits what the flags ask for; returns the exit code."""
    from tqdm import tqdm

    from diffcam_jax.command.arguments import networks
    from diffcam_jax.command.compilation import keep_compiled_programs
    from diffcam_jax.command.device import check_device
    from diffcam_jax.editing.checkpoints import read_directions
    from diffcam_jax.editor.editor import Editor
    from diffcam_jax.editor.results import reached, spent
    from diffcam_jax.faces import samples
    from diffcam_jax.faces.photo import read_photo, without_metadata
    from diffcam_jax.programs import (
        edit_request,
        edit_results,
        edited_request,
        output,
        photographs,
        reports,
    )

    # ---------------------------------------------------------------- what is asked for; checked
    # before any network is loaded
    directions = read_directions(options.directions)
    if options.list:
        for direction in directions.values():
            print(f"{direction.name:16} {direction.range[0]:+.1f} .. {direction.range[1]:+.1f}")
        print(as_called("next: python edit.py PHOTO --attribute smiling=1 --out out"))
        return 0
    if options.edited is None:
        strengths = edit_request.parse_strengths(options.attribute, directions)
    given = [samples.hopper()] if options.demo else options.photos
    photos = photographs.find(given, lambda photo: reports.is_result(photo, options.out))
    single = photographs.is_single(given, photos)
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

    # ---------------------------------------------------------------- networks, once for all
    # photographs; after the first photograph is read, so that a mistyped name is told at once
    @functools.cache
    def editor() -> Editor:
        check_device()
        keep_compiled_programs()  # the next start is quick
        return Editor.from_checkpoints(request.config, directions=directions, **networks(options))

    if not single:
        editor()  # a broken installation is not the fault of every photograph in turn

    # ---------------------------------------------------------------- edit
    failed: dict[str, str] = {}
    for path in tqdm(todo, desc="photographs", unit="photo", disable=single):
        try:
            start = time.perf_counter()
            reports.check(options.out, path, options.stages)
            photo = read_photo(path, first_frame=options.first_frame)
            photographs.tell_notes(path, photo)
            photo = without_metadata(photo) if options.strip else photo
            if options.edited is None:
                given = photo.pixels, request.strengths
                result = editor().edit(*given, **request.choices, progress=single)
            else:
                edited = edited_request.read_edited(options.edited, photo, options.first_frame)
                result = editor().blend(photo.pixels, edited, request.names, **request.choices)
            edit_results.write_pictures(options.out, path, photo, result, options.stages)
            seconds = time.perf_counter() - start
            report = edit_results.write_report(options.out, path, result, settings[path], seconds)
        except UserError as error:
            photographs.note_failure(failed, path, error, single)

    # ---------------------------------------------------------------- what came of it
    if single:
        print("\n".join([*reached(report), spent(report)]))
        further = "" if options.edited else "; every further edit of this photograph takes seconds"
        print(f"look at {shown}{further}")
    else:
        reports.write_errors(options.out, failed)
        print(
            f"{len(todo) - len(failed)} edited, {len(photos) - len(todo)} done before, "
            f"{len(failed)} failed; look into {options.out}"
        )
    return 1 if failed else 0
