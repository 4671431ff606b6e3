"""`invert.py invert`: codes of photographs, and how near their pictures come.

OUT/codes.safetensors              all codes, written after every batch
OUT/reconstructions/NAME.png       the picture of a code
OUT/strips/NAME.png                photograph, picture and difference
OUT/invert.json                    distances, settings and failures
"""

import argparse
import sys
from pathlib import Path

from diffcam_jax.errors import UserError
from diffcam_jax.programs import invert_flags

ABOUT = "codes of photographs, and how near their pictures come"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of this command."""
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO|FOLDER")
    invert_flags.add(parser, "--steps")


def run(options: argparse.Namespace) -> int:
    """Inverts photographs batch by batch; returns the exit code."""
    import numpy as np
    from tqdm import tqdm

    from diffcam_jax.applications import faces, inverted, reconstruction
    from diffcam_jax.files import codes as code_files
    from diffcam_jax.inversion import TUNING
    from diffcam_jax.metrics.perceptual import Lpips
    from diffcam_jax.programs import invert_request, photographs

    # ---------------------------------------------------------------- what is asked for
    photos = invert_request.find(options.photos, options.out)
    single = photographs.is_single(options.photos, photos)
    work = invert_request.begin(options, photos)
    studio, inverter, limits = work.studio, work.inverter, work.limits
    names = inverted.files([photo.stem for photo in photos], inverter.method == TUNING)
    own = invert_request.outputs(options, work, "codes.safetensors", *names)
    lpips = Lpips("vgg", batch=min(limits.batch, len(photos)))
    failed: dict[str, str] = {}
    report = {
        "method": inverter.method,
        "space": options.space,
        "settings": repr(inverter.settings),
        "generator": studio.hash,
        "photographs": {},
        "failed": failed,
        "seconds": {"search": 0.0, "compile": 0.0},
        "notes": [],
    }
    codes: dict[str, np.ndarray] = {}

    def fail(path: Path, error: UserError) -> None:
        photographs.note_failure(failed, path, error, single)

    # ---------------------------------------------------------------- batches
    batches = [photos[i : i + limits.batch] for i in range(0, len(photos), limits.batch)]
    for paths in tqdm(batches, desc="batches", disable=len(batches) < 2):
        chosen = faces.read_faces(paths, studio.size, work.choice, fail)
        if not chosen:
            continue
        found = reconstruction.search(
            inverter,
            np.stack(list(chosen.values())),
            limits=limits,
            full=len(batches) > 1,
            cached=work.cached,
            progress=True,
        )
        own.claim()
        records = inverted.write_batch(options.out, studio, inverter, chosen, found, lpips)
        for name, code in zip(chosen, found.codes):
            if name in records:
                codes[name] = code
                continue
            reason = f"{name}: no code was found, the loss was no number; try another --method"
            fail(Path(name), UserError(reason))
        report["photographs"] |= records
        spent = {"search": found.seconds, "compile": found.compile_seconds}
        report["seconds"] = {k: round(report["seconds"][k] + s, 3) for k, s in spent.items()}
        report["notes"] += found.notes
        for note in found.notes:
            tqdm.write(f"note: {note}", file=sys.stderr)
        if codes:
            place, stacked = options.out / "codes.safetensors", np.stack(list(codes.values()))
            code_files.save(place, stacked, studio.hash, inverter.method, list(codes))

    # ---------------------------------------------------------------- what came of it
    if not codes:
        own.finish(report)
        print(
            f"none of {len(photos)} photographs could be inverted; see {options.out}/invert.json",
            file=sys.stderr,
        )
        return 1
    if inverter.method == TUNING:  # the codes alone draw what was there before the tuning
        more = f"--method {TUNING} --steps {2 * inverter.settings.steps}"
        step = f"invert {options.photos[0]} {more} --out {options.out}"
    else:
        direction = invert_request.some_direction(options)
        place = options.out / "codes.safetensors"
        step = f"manipulate {place} --direction {direction} --out {options.out}"
    strip = inverted.strip_path(options.out, next(iter(codes)) if single else "")
    invert_request.finish(options, own, strip, report, step)
    return 1 if failed else 0
