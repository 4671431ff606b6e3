"""`invert.py interpolate`: pictures between two faces, or four, as a sheet and as a loop.

OUT/interpolate.png                the pictures between
OUT/interpolate.gif, .webp         the way from face to face and back
"""

import argparse
from pathlib import Path

from diffcam_jax.errors import UserError
from diffcam_jax.programs import invert_flags

ABOUT = "pictures between two photographs, or four with --grid"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of this command."""
    parser.add_argument(
        "sources", nargs="+", type=Path, metavar="A B", help="photographs or files of codes"
    )
    parser.add_argument(
        "--steps", type=int, default=5, help="pictures between two ends (default: 5)"
    )
    parser.add_argument(
        "--grid",
        action="store_true",
        help="between four corners: top left, right, bottom left, right",
    )
    parser.add_argument(
        "--frames", type=int, default=16, help="of the loop from one end to the next (default: 16)"
    )
    invert_flags.add(parser)


def run(options: argparse.Namespace) -> int:
    """Draws what lies between faces; returns the exit code."""
    from diffcam_jax.applications import animation, faces, interpolation, sheets
    from diffcam_jax.programs import invert_request

    interpolation.check(options.steps, options.frames)
    work, (ends,) = invert_request.gather(options, options.sources)
    wanted = 4 if options.grid else 2
    if len(ends) != wanted:
        raise UserError(
            f"{len(ends)} faces were given: two are interpolated, four with --grid; give {wanted}"
        )
    own = invert_request.outputs(
        options, work, *(f"interpolate.{s}" for s in ("png", "gif", "webp"))
    )
    ends = invert_request.encode(work, ends)
    corners = invert_request.stack(ends)
    if options.grid:
        codes, given = interpolation.grid(corners, options.steps), []
        corners = corners[[0, 1, 3, 2]]  # the loop goes around, not across
    else:
        codes = interpolation.between(*corners, options.steps)[None]
        given = [(end.name, end.picture) for end in ends]
    pictures = work.studio.draw_grid(codes, faces.SHEET_SIDE)
    shown = options.out / "interpolate.png"
    own.claim()
    sheets.write_between(shown, pictures, given)
    loop = interpolation.loop(corners, options.frames)
    frames = work.studio.draw(loop, animation.SIDE, progress=True)
    for suffix in (".gif", ".webp"):
        animation.write_animation(shown.with_suffix(suffix), frames)
    report = {
        "ends": [end.name for end in ends],
        "steps": options.steps,
        "frames": len(frames),
        "generator": work.studio.hash,
    }
    step = f"mix {options.sources[0]} --style {options.sources[-1]} --out {options.out}"
    invert_request.finish(options, own, shown, report, step)
    return 0
