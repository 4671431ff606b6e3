"""`invert.py diffuse`: a part of one face in the surroundings of another (semantic diffusion).

OUT/diffuse.png                    a grid, targets beside it, contexts above it
OUT/diffuse_stitched.png           what was inverted: the parts pasted on the contexts
OUT/diffuse.safetensors            the codes
"""

import argparse
from pathlib import Path

from diffcam_jax.errors import UserError
from diffcam_jax.programs import invert_flags

ABOUT = "a part of a photograph in the surroundings of another"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of this command."""
    parser.add_argument("photos", nargs="+", type=Path, metavar="TARGET")
    parser.add_argument(
        "--context", action="extend", nargs="+", type=Path, required=True, metavar="CONTEXT"
    )
    part = parser.add_mutually_exclusive_group()
    part.add_argument(
        "--box",
        type=int,
        nargs=4,
        metavar=("X", "Y", "W", "H"),
        help="of an aligned face of 256 pixels (default: 70 90 110 110)",
    )
    part.add_argument(
        "--mask",
        type=Path,
        help="grey picture of the aligned faces' size, white where the target is taken",
    )
    invert_flags.add(parser, "--steps")


def run(options: argparse.Namespace) -> int:
    """Puts every target's part into every context; returns the exit code."""
    import numpy as np

    from diffcam_jax.applications import diffusion, faces, sheets
    from diffcam_jax.files import codes as code_files
    from diffcam_jax.programs import invert_request, photographs

    box = tuple(options.box or diffusion.BOX)
    diffusion.box_mask(box, diffusion.BOX_SIDE)  # refuses a box that is not inside the picture
    targets, contexts = (
        invert_request.find(paths, options.out) for paths in (options.photos, options.context)
    )
    mask = photographs.read_mask(options.mask)
    work = invert_request.begin(options, targets + contexts)
    studio = work.studio
    shown, place = options.out / "diffuse.png", options.out / "diffuse.safetensors"
    stitched = options.out / "diffuse_stitched.png"
    own = invert_request.outputs(options, work, shown.name, place.name, stitched.name)
    mask = diffusion.box_mask(box, studio.size) if mask is None else mask
    given = [
        list(faces.read_faces(paths, studio.size, work.choice).values())
        for paths in (targets, contexts)
    ]
    stacked = [np.stack(pictures) for pictures in given]
    found = diffusion.diffuse(work.inverter, *stacked, mask, work.limits, progress=True)
    if not found.valid.all():
        raise UserError("; ".join(found.found.notes) + "; try another --method")

    rows = [(f"target: {path.stem}", picture) for path, picture in zip(targets, given[0])]
    columns = [(f"context: {path.stem}", picture) for path, picture in zip(contexts, given[1])]
    own.claim()
    pictures = studio.draw_grid(found.codes, faces.SHEET_SIDE)
    sheets.write_crossing(shown, rows, columns, pictures)
    sheets.write_crossing(stitched, rows, columns, found.stitched)
    names = [f"{target.stem}_in_{context.stem}" for target in targets for context in contexts]
    flat = found.codes.reshape(-1, *found.codes.shape[2:])
    code_files.save(place, flat, studio.hash, work.inverter.method, names)
    start = found.start
    report = {
        "method": work.inverter.method,
        "box": None if options.mask else box,
        "mask": options.mask and str(options.mask),
        "results": names,
        "seconds": {"start": start.seconds if start else 0.0, "search": found.found.seconds},
        "notes": [*(start.notes if start else ()), *found.found.notes],
        "generator": studio.hash,
    }
    direction = invert_request.some_direction(options)
    step = f"manipulate {place} --direction {direction} --out {options.out}"
    invert_request.finish(options, own, shown, report, step)
    return 0
