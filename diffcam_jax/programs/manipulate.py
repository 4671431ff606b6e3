"""`invert.py manipulate`: what directions do to a face, from less to more.

OUT/manipulate_NAME.png            a row of pictures for each direction
"""

import argparse
from pathlib import Path

from diffcam_jax.errors import UserError
from diffcam_jax.programs import invert_flags

ABOUT = "what a direction does to a photograph, from less to more"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of this command."""
    parser.add_argument(
        "sources", nargs="+", type=Path, metavar="X", help="photographs or files of codes"
    )
    parser.add_argument(
        "--direction",
        action="append",
        required=True,
        metavar="NAME|FILE|DIR",
        help="shipped, or .npy, .pt, .safetensors, or a flow; repeat for rows",
    )
    parser.add_argument(
        "--scale",
        type=float,
        default=1.0,
        help="of the array of a .npy or .pt file (Diff-CAM's: 20)",
    )
    parser.add_argument(
        "--layers", metavar="FIRST-LAST", help="keep to these layers, for instance 2-5"
    )
    parser.add_argument(
        "--range", type=float, nargs=2, default=(-3.0, 3.0), metavar=("LOW", "HIGH")
    )
    parser.add_argument(
        "--steps", type=int, default=7, help="strengths from LOW to HIGH (default: 7)"
    )
    invert_flags.add(parser)


def run(options: argparse.Namespace) -> int:
    """Moves faces along directions; returns the exit code."""
    from diffcam_jax.applications import faces, manipulation, sheets
    from diffcam_jax.directions.edits import measured
    from diffcam_jax.programs import invert_request

    amounts = manipulation.strengths(*options.range, options.steps)
    layers = manipulation.parse_layers(options.layers)
    directions = manipulation.read_all(options.direction, options.scale)
    work, (given,) = invert_request.gather(options, options.sources)
    if len({face.name for face in given}) < len(given):
        raise UserError(
            "two of the faces have one name, and so would their sheets; give them to two commands"
        )
    studio = work.studio
    size = studio.generator.module.latent_size
    edits = manipulation.fitted(directions, studio.rows, size, studio.hash, layers)
    own = invert_request.outputs(options, work, *(f"manipulate_{face.name}.png" for face in given))
    coded = invert_request.encode(work, given)
    own.claim()
    for face in coded:
        shown = studio.draw(face.code[None]) if face.picture is None else face.picture[None]
        condition = measured(shown, edits)
        moved = manipulation.manipulate(face.code[None], edits, amounts, condition)[0]
        pictures = studio.draw_grid(moved, faces.SHEET_SIDE)
        place = options.out / f"manipulate_{face.name}.png"
        sheets.write_strengths(place, face.picture, list(directions), amounts, pictures)
    report = {
        "sources": [face.name for face in coded],
        "strengths": [round(float(amount), 4) for amount in amounts],
        "directions": {
            name: {"normalisation": d.normalisation, "sha256": d.sha256}
            for name, d in directions.items()
        },
        "layers": layers,
        "generator": studio.hash,
    }
    shown = options.out / (f"manipulate_{coded[0].name}.png" if len(coded) == 1 else "")
    step = f"mix {options.sources[0]} --style STYLE --out {options.out}"
    invert_request.finish(options, own, shown, report, step)
    return 0
