"""The flags of the server, without an array or a network: help appears at once."""

import argparse
import os
from pathlib import Path

from diffcam_jax.command import arguments
from diffcam_jax.errors import UserError

_LEAST_TOKEN = 8


def parse(given: list[str] | None) -> argparse.Namespace:
    """The flags of `app.py`.

    Args:
        given: without the program's name; None takes those of the process.
    """
    parser = argparse.ArgumentParser(
        description="Edit photographs and clips in a browser, or over HTTP (see /api/docs)."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=7860, help="default: 7860; 0: any free one")
    parser.add_argument(
        "--token",
        help="what every request must know; needed with another --host (default: $DIFFCAM_TOKEN)",
    )
    parser.add_argument("--no-browser", action="store_true", help="do not open the page")
    parser.add_argument(
        "--results",
        type=Path,
        metavar="DIR",
        help="where edits are kept (default: edits in the cache folder)",
    )
    parser.add_argument(
        "--lifetime", type=float, default=24.0, metavar="HOURS", help="of an edit (default: 24)"
    )
    parser.add_argument(
        "--waiting", type=int, default=20, metavar="N", help="edits that may wait (default: 20)"
    )
    parser.add_argument(
        "--max-mb", type=float, default=50.0, help="largest request in megabytes (default: 50)"
    )
    parser.add_argument(
        "--max-megapixels", type=float, default=50.0, help="largest photograph (default: 50)"
    )
    parser.add_argument(
        "--max-clip-frames",
        type=int,
        default=300,
        metavar="N",
        help="longest clip in frames (default: 300)",
    )
    parser.add_argument(
        "--per-minute", type=int, default=30, help="edits that a client may ask for (default: 30)"
    )
    arguments.add_networks(parser)
    arguments.add_directions(parser)
    return parser.parse_args(given)


def check(options: argparse.Namespace) -> None:
    """Whether the flags have a meaning.

    Raises:
        UserError: names the flag that has none.
    """
    if not 0 <= options.port < 2**16:
        raise UserError(f"--port {options.port}: give a number from 0 to 65535")
    for name, most in (
        ("lifetime", 24 * 365),
        ("waiting", 10_000),
        ("max_mb", 1000),
        ("max_megapixels", 120),
        ("max_clip_frames", 100_000),
        ("per_minute", 100_000),
    ):
        value = getattr(options, name)
        if not 0 < value <= most:
            flag = name.replace("_", "-")
            raise UserError(f"--{flag} {value:g}: give a number above 0 and at most {most}")


def token(options: argparse.Namespace) -> str:
    """The token; "" for none.

    Raises:
        UserError: it is too short, or has characters that a header cannot carry.
    """
    given = os.environ.get("DIFFCAM_TOKEN", "") if options.token is None else options.token
    if given and (len(given) < _LEAST_TOKEN or not given.isascii() or not given.isalnum()):
        raise UserError(
            f"a token has {_LEAST_TOKEN} or more letters and digits; make one with "
            "openssl rand -hex 16"
        )
    return given
