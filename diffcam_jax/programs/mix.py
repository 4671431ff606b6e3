"""`invert.py mix`: the shape of one face in the colours of another.

OUT/mix.png                        a grid, contents beside it, styles above it
"""

import argparse
from pathlib import Path

from diffcam_jax.programs import invert_flags

ABOUT = "the shape of one face in the colours of another"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of this command."""
    parser.add_argument(
        "sources", nargs="+", type=Path, metavar="CONTENT", help="photographs or files of codes"
    )
    parser.add_argument(
        "--style",
        action="extend",
        nargs="+",
        type=Path,
        required=True,
        metavar="STYLE",
        help="photographs or files of codes",
    )
    parser.add_argument(
        "--from-layer", type=int, default=10, help="the first layer of the style (default: 10)"
    )
    invert_flags.add(parser)


def run(options: argparse.Namespace) -> int:
    """Mixes every content with every style; returns the exit code."""
    from diffcam_jax.applications import faces, mixing, sheets
    from diffcam_jax.programs import invert_request

    work, (content, style) = invert_request.gather(options, options.sources, options.style)
    mixing.check_layer(options.from_layer, work.studio.rows)
    own = invert_request.outputs(options, work, "mix.png")
    coded = invert_request.encode(work, content + style)
    content, style = coded[: len(content)], coded[len(content) :]
    rows, columns = invert_request.stack(content), invert_request.stack(style)
    mixed = mixing.mix(rows, columns, options.from_layer)
    beside = work.studio.draw(rows, faces.SHEET_SIDE, progress=True)
    above = work.studio.draw(columns, faces.SHEET_SIDE, progress=True)
    shown = options.out / "mix.png"
    own.claim()
    sheets.write_crossing(
        shown,
        [(f"content: {face.name}", picture) for face, picture in zip(content, beside)],
        [(f"style: {face.name}", picture) for face, picture in zip(style, above)],
        work.studio.draw_grid(mixed, faces.SHEET_SIDE),
    )
    report = {
        "content": [face.name for face in content],
        "style": [face.name for face in style],
        "from_layer": options.from_layer,
        "generator": work.studio.hash,
    }
    step = f"interpolate {options.sources[0]} {options.style[0]} --out {options.out}"
    invert_request.finish(options, own, shown, report, step)
    return 0
