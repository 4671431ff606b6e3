"""Edits photographs: one thing changes, every other pixel stays.

python edit.py PHOTO --attribute smiling=1 --out out
python edit.py FOLDER --attribute old=0.7 --attribute smiling=-0.5 --out out --stages
python edit.py PHOTO --attribute smiling=1 --method both --out out
python edit.py --list
"""

import argparse
import functools
import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diffcam_jax.command.allocator import collect_rarely, keep_freed_memory
from diffcam_jax.errors import UserError, exit_code
from diffcam_jax.files.trees import write_atomically

if TYPE_CHECKING:
    from diffcam_jax.editor.editor import Editor


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="edit.py", description="Change one thing in a photograph and nothing else."
    )
    parser.add_argument("photos", nargs="*", type=Path, metavar="PHOTO|FOLDER")
    parser.add_argument(
        "--attribute",
        action="append",
        default=[],
        metavar="NAME=STRENGTH",
        help="1 is the attribute's usual move, measured on the result",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out"), help="output folder (default: out)"
    )
    parser.add_argument(
        "--stages", action="store_true", help="also write every stage and one labelled panel"
    )
    parser.add_argument(
        "--face", default="largest", metavar="N|all", help="which face (1 is the largest), or all"
    )
    parser.add_argument(
        "--aligned", action="store_true", help="the pictures already are FFHQ crops"
    )
    parser.add_argument(
        "--landmarks", type=Path, help="points of the face: a file of 5, 68 or 478 x y rows"
    )
    parser.add_argument(
        "--mask", type=Path, help="grey picture of the photograph's size: where the edit may act"
    )
    parser.add_argument("--mask-mode", choices=("intersection", "union"), default="intersection")
    parser.add_argument(
        "--method",
        choices=("diffcam", "grad_cam", "cam", "invertibility", "both"),
        default="diffcam",
        help="where the edit acts; both keeps what the generator cannot draw out of Diff-CAM's "
        "mask (default: diffcam)",
    )
    parser.add_argument(
        "--variant",
        choices=("product", "official", "paper"),
        help="mask rules (default: product, or official with a generator or classifier of your own)",
    )
    parser.add_argument(
        "--generator", type=Path, metavar="DIR", help="converted generator (see convert_weights)"
    )
    parser.add_argument("--encoder", type=Path, metavar="DIR", help="converted or trained encoder")
    parser.add_argument(
        "--classifier", type=Path, metavar="DIR", help="converted or trained Diff-CAM classifier"
    )
    parser.add_argument(
        "--deghoster", type=Path, metavar="DIR", help="converted or trained deghosting network"
    )
    parser.add_argument(
        "--aligner", type=Path, metavar="DIR", help="converted or trained alignment network"
    )
    parser.add_argument(
        "--directions",
        type=Path,
        help="directions in the place of the shipped ones: a file, or a folder of .npy",
    )
    parser.add_argument(
        "--no-deghost", action="store_true", help="keep the plain blend of photograph and edit"
    )
    parser.add_argument(
        "--tune",
        type=int,
        metavar="N",
        help="steps that fit the generator to the photograph (default: 20; folders: 7; 0: none)",
    )
    parser.add_argument(
        "--raw-strength",
        action="store_true",
        help="strengths of the code, the result is not measured",
    )
    parser.add_argument(
        "--steps", type=int, help="steps of the inversion where there is no encoder"
    )
    parser.add_argument(
        "--no-cache", action="store_true", help="neither read nor keep what was optimised"
    )
    parser.add_argument("--force", action="store_true", help="edit again what is done already")
    parser.add_argument("--list", action="store_true", help="list the attributes with their ranges")
    parser.add_argument(
        "--demo", action="store_true", help="edit the portrait that comes with matplotlib"
    )
    return parser.parse_args(arguments)


def parse_strengths(pairs: list[str]) -> dict[str, float]:
    """NAME=STRENGTH pairs as a dictionary.

    Raises:
      UserError: no pair, no number, or a name given twice.
    """
    strengths: dict[str, float] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise UserError(
                f"--attribute {pair}: {value or 'nothing'!r} is not a number; write for example "
                f"{name}=1"
            )
        if name in strengths:
            raise UserError(f"--attribute {name} is given twice; add the strengths up")
        strengths[name] = number
    if not strengths:
        raise UserError("nothing to change: add --attribute smiling=1 (see --list)")
    return strengths


def parse_face(text: str) -> int | str:
    """Which face: "largest", "all", or a number from 1 on.

    Raises:
      UserError: anything else.
    """
    if text in ("largest", "all"):
        return text
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"--face {text}: give a number from 1 (the largest) on, or all")
    return int(text)


def checkpoints(options: argparse.Namespace) -> dict[str, Path]:
    """The folders of networks that stand in the place of the embedded ones, by role."""
    roles = ("generator", "encoder", "classifier", "deghoster", "aligner")
    return {role: getattr(options, role) for role in roles if getattr(options, role) is not None}


def find_photos(paths: list[Path]) -> list[Path]:
    """The photographs that were asked for; folders are listed."""
    from diffcam_jax.faces.photo import list_photos

    if not paths:
        raise UserError("no photograph given: python edit.py PHOTO --attribute smiling=1")
    photos = [photo for path in paths for photo in (list_photos(path) if path.is_dir() else [path])]
    stems: dict[str, Path] = {}
    for photo in photos:
        if photo.stem in stems and photo != stems[photo.stem]:
            raise UserError(
                f"{stems[photo.stem]} and {photo} would both be written to {photo.stem}.png; "
                "rename one"
            )
        stems[photo.stem] = photo
    return list(stems.values())


def edit_config(options: argparse.Namespace):
    """Choices of the edit from the flags."""
    import dataclasses

    from diffcam_jax.editing import diffcam, pipeline
    from diffcam_jax.editing.compose import MaskConfig
    from diffcam_jax.editing.edit import EditConfig
    from diffcam_jax.editor.editor import PRODUCT_CONFIG

    ours = pipeline.is_embedded(options.generator, options.encoder) and options.classifier is None
    variant = options.variant or ("product" if ours else "official")
    cam = diffcam.variant("official" if variant == "product" else variant)
    if variant == "paper":
        # The shipped classifier was trained on features(T) - features(I'), so Eq. 1's sign is not
        # for choice here.
        cam = dataclasses.replace(cam, sign=1)
    base = (
        PRODUCT_CONFIG if variant == "product" else EditConfig(mask=MaskConfig(resize=cam.resize))
    )
    return dataclasses.replace(base, method=options.method, cam=cam, user_mask=options.mask_mode)


def tune_steps(options: argparse.Namespace, single: bool) -> int:
    """Steps of the tuning.

    Raises:
      UserError: numbers that cannot be, or that nothing would heed.
    """
    from diffcam_jax.editing import pipeline
    from diffcam_jax.editor.editor import TUNE, TUNE_QUICKLY

    for flag, value, least in (("--steps", options.steps, 1), ("--tune", options.tune, 0)):
        if value is not None and value < least:
            raise UserError(f"{flag} {value}: give {least} or more")
    if options.steps is not None and pipeline.has_encoder(options.generator, options.encoder):
        raise UserError(f"--steps {options.steps}: an encoder gives the code; leave it out")
    if edit_config(options).window is None:
        if options.tune:
            raise UserError(f"--tune {options.tune} is of the product's way; add --variant product")
        return 0
    return options.tune if options.tune is not None else TUNE if single else TUNE_QUICKLY


def check_method(options: argparse.Namespace) -> None:
    """Whether the networks for the method will be there.

    Raises:
      UserError: one is missing, or an alignment network that nothing would heed is given.
    """
    from diffcam_jax.editing import edit as editing
    from diffcam_jax.editing import pipeline

    editing.check_method(
        options.method, pipeline.has_aligner(options.generator, options.encoder, options.aligner)
    )
    if options.aligner is not None and options.method not in editing.DECOMPOSING:
        raise UserError(
            f"--aligner {options.aligner} is of no use to --method {options.method}; add "
            "--method both"
        )


def is_done(out: Path, stem: str, settings: dict) -> bool:
    """Whether a finished picture with these very settings lies in the output folder."""
    try:
        report = json.loads((out / f"{stem}.json").read_text())
    except (OSError, ValueError):
        return False
    return report.get("settings") == settings and (out / f"{stem}.png").exists()


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    return exit_code(lambda: run(options))


def run(options: argparse.Namespace) -> int:
    from diffcam_jax.directions import check_strengths
    from diffcam_jax.editing import pipeline
    from diffcam_jax.editor.results import reached, spent

    # ---------------------------------------------------------------- what is asked for; checked
    # before anything is loaded
    directions = pipeline.read_directions(options.directions)
    if options.list:
        for direction in directions.values():
            print(f"{direction.name:16} {direction.range[0]:+.1f} .. {direction.range[1]:+.1f}")
        print("next: python edit.py PHOTO --attribute smiling=1 --out out")
        return 0
    strengths = parse_strengths(options.attribute)
    check_strengths(directions, strengths)
    options.face = parse_face(options.face)
    photos = [demo_photo()] if options.demo else find_photos(options.photos)
    single = len(photos) == 1 and (options.demo or not options.photos[0].is_dir())
    options.tune = tune_steps(options, single)
    check_method(options)
    prepare_output(options.out)
    landmarks, config = read_landmarks(options), edit_config(options)
    settings = {
        "strengths": strengths,
        "face": options.face,
        "aligned": options.aligned,
        "landmarks": str(options.landmarks),
        "mask": str(options.mask),
        "steps": options.steps,
        "tune": options.tune,
        "raw_strength": options.raw_strength,
        "deghost": not options.no_deghost,
        "stages": options.stages,
        "edit": repr(config),
        "networks": {role: str(folder) for role, folder in checkpoints(options).items()},
        "directions": {name: directions[name].sha256 for name in strengths},
    }

    # ---------------------------------------------------------------- set-up, once for all
    # photographs
    from tqdm import tqdm

    todo = (
        photos
        if options.force
        else [
            p for p in photos if not is_done(options.out, p.stem, {**settings, "photo": stamp(p)})
        ]
    )
    shown = (
        options.out / photos[0].stem / "stages.png"
        if options.stages
        else options.out / f"{photos[0].stem}.png"
    )
    if not todo:
        print(f"done before (--force edits again); look at {shown if single else options.out}")
        return 0
    # Loaded with the first photograph that can be read: a mistyped name is told at once.
    editor = functools.cache(lambda: make_editor(directions, config, checkpoints(options)))
    if not single:
        editor()  # what ails the installation is no fault of every photograph in turn

    # ---------------------------------------------------------------- edit
    failed: dict[str, str] = {}
    for path in tqdm(todo, desc="photographs", unit="photo", disable=single):
        try:
            report = edit_photo(
                editor,
                path,
                strengths,
                landmarks,
                {**settings, "photo": stamp(path)},
                options,
                progress=single,
            )
        except UserError as error:
            if single:
                raise
            failed[path.name] = str(error)
            tqdm.write(f"error: {error}", file=sys.stderr)

    # ---------------------------------------------------------------- what came of it
    done = len(todo) - len(failed)
    if single:
        print("\n".join([*reached(report), spent(report)]))
        print(f"look at {shown}; every further edit of this photograph takes seconds")
    else:
        write_json(options.out / "errors.json", failed)
        print(
            f"{done} edited, {len(photos) - len(todo)} done before, {len(failed)} failed; look "
            f"into {options.out}"
        )
    return 1 if failed else 0


def make_editor(directions, config, folders: dict[str, Path]):
    """The editor of the embedded or the given networks, with compiled programs kept on disk so that
    the next start is quick.
    """
    from diffcam_jax.command.compilation import keep_compiled_programs
    from diffcam_jax.editor.editor import Editor

    keep_compiled_programs()
    return Editor.from_checkpoints(config, directions=directions, **folders)


def edit_photo(
    editor: Callable[[], "Editor"],
    path: Path,
    strengths,
    landmarks,
    settings: dict,
    options,
    progress: bool,
) -> dict:
    """Reads, edits and writes one photograph; returns its report."""
    import dataclasses

    from diffcam_jax.editor.stages import write_stages
    from diffcam_jax.faces.photo import read_photo, write_photo
    from diffcam_jax.inversion import InversionConfig

    start = time.perf_counter()
    photo = read_photo(path)
    inversion_config = (
        InversionConfig() if options.steps is None else InversionConfig().with_steps(options.steps)
    )
    result = editor().edit(
        photo.pixels,
        strengths,
        face=options.face,
        aligned=options.aligned,
        landmarks=landmarks,
        user_mask=read_mask(options),
        inversion_config=inversion_config,
        tune=options.tune,
        raw_strength=options.raw_strength,
        deghost=not options.no_deghost,
        cache=not options.no_cache,
        progress=progress,
    )
    if options.stages:
        write_stages(options.out / path.stem, photo, result)
    write_photo(options.out / f"{path.stem}.png", dataclasses.replace(photo, pixels=result.image))
    report = {"photo": str(path), "settings": settings, **result.report}
    report["seconds"]["all"] = round(time.perf_counter() - start, 3)
    # The report comes last: it marks the photograph as done.
    write_json(options.out / f"{path.stem}.json", report)
    return report


def read_landmarks(options: argparse.Namespace) -> np.ndarray | None:
    from diffcam_jax.faces.landmarks import read_landmarks_file

    return None if options.landmarks is None else read_landmarks_file(options.landmarks)


def read_mask(options: argparse.Namespace) -> np.ndarray | None:
    """The user's mask [h, w] in [0, 1]."""
    from diffcam_jax.faces.photo import read_photo

    if options.mask is None:
        return None
    pixels = read_photo(options.mask).pixels
    return (pixels.mean(-1) / np.iinfo(pixels.dtype).max).astype(np.float32)


def demo_photo() -> Path:
    """Rear Admiral Grace Hopper's portrait, public domain, from matplotlib's sample data."""
    import matplotlib.cbook

    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        return Path(file.name)


def stamp(path: Path) -> list:
    """Size and time of a file: a photograph that changed is edited again."""
    try:
        facts = path.stat()
    except OSError:
        return [str(path)]
    return [str(path), facts.st_size, facts.st_mtime_ns]


def prepare_output(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{out}: cannot be written to ({error.strerror}); choose another --out"
        ) from error
    if not os.access(out, os.W_OK):
        raise UserError(f"{out}: cannot be written to (no permission); choose another --out")


def write_json(path: Path, content: dict) -> None:
    try:
        write_atomically(path, (json.dumps(content, indent=1) + "\n").encode())
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); free some space or choose another --out"
        ) from error


if __name__ == "__main__":
    keep_freed_memory()
    collect_rarely()
    sys.exit(main())
