"""The flags of an edit, without an array or a network: help appears at once."""

import argparse
from pathlib import Path

from diffcam_jax.command import arguments


def parse(given: list[str] | None) -> argparse.Namespace:
    """The flags of `edit.py`.

    Args:
        given: without the program's name; None takes those of the process.
    """
    parser = argparse.ArgumentParser(
        description="Change one thing in a photograph and nothing else."
    )
    parser.add_argument("photos", nargs="*", type=Path, metavar="PHOTO|FOLDER|CLIP")
    parser.add_argument(
        "--attribute",
        action="append",
        default=[],
        metavar="NAME=STRENGTH",
        help="1 is the attribute's usual move, measured on the result; repeat for several; in a "
        "clip also over time, NAME=0@0s,1@2s; with --edited the NAME alone",
    )
    parser.add_argument(
        "--edited",
        type=Path,
        metavar="FILE",
        help="the photograph as another program edited it, or a crop of the face: take its edit, "
        "and nothing else of it",
    )
    arguments.add_output(parser, arguments.place)
    parser.add_argument(
        "--stages", action="store_true", help="also write every stage and one labelled panel"
    )
    arguments.add_faces(parser, every=True)
    _add_mask(parser)
    arguments.add_networks(parser)
    arguments.add_directions(parser)
    _add_optimisation(parser)
    _add_clips(parser)
    parser.add_argument(
        "--first-frame", action="store_true", help="edit the first frame of an animation"
    )
    parser.add_argument(
        "--strip",
        action="store_true",
        help="leave date, place, camera, author and the like out of the result",
    )
    parser.add_argument(
        "--jobs",
        type=arguments.positive,
        metavar="N",
        help="photographs of a folder that are edited at a time (default: one a core, at most 4); "
        "with --ray: workers (default: one a GPU, or one for four cores)",
    )
    parser.add_argument(
        "--part",
        type=arguments.part,
        default=(1, 1),
        metavar="I/N",
        help="of a folder that N machines share; every I from 1 to N is to be run",
    )
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="edit --src on a Ray cluster: local, auto or ray://HOST:PORT; --out may be a URI, too",
    )
    parser.add_argument(
        "--src",
        metavar="URI",
        help="with --ray: a folder, or a place such as s3://bucket/photographs; folders in it are "
        "edited, too",
    )
    parser.add_argument("--force", action="store_true", help="edit again what is done already")
    parser.add_argument("--list", action="store_true", help="list the attributes with their ranges")
    parser.add_argument(
        "--demo", action="store_true", help="edit the portrait that comes with matplotlib"
    )
    options = parser.parse_args(given)
    if options.ray is None and options.src is not None:
        parser.error(f"--src {options.src}: add --ray local, or give the folder without --src")
    if options.ray is None and isinstance(options.out, str):
        parser.error(f"--out {options.out}: is no folder; add --ray local and --src")
    return options


def names_clip(options: argparse.Namespace) -> bool:
    """Whether a clip is to be edited, and not the first frame of an animation."""
    from diffcam_jax.video.opening import is_clip

    return options.frames or (
        not options.first_frame and any(is_clip(path) for path in options.photos)
    )


def _add_mask(parser: argparse.ArgumentParser) -> None:
    """Where the edit may act."""
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
        help="mask rules (default: product, or official with your own generator or classifier)",
    )
    parser.add_argument(
        "--no-deghost", action="store_true", help="keep the plain blend of photograph and edit"
    )


def _add_clips(parser: argparse.ArgumentParser) -> None:
    """What only clips have."""
    parser.add_argument(
        "--frames", action="store_true", help="the folder holds the frames of one clip, by name"
    )
    parser.add_argument(
        "--lossless",
        action="store_true",
        help="write a clip as FFV1: what is not edited stays exact (default: H.264)",
    )


def _add_optimisation(parser: argparse.ArgumentParser) -> None:
    """How long to search for the code and to tune the generator."""
    parser.add_argument(
        "--tune",
        type=int,
        metavar="N",
        help="steps that fit the generator to the photograph (default: the domain's, of faces 20; "
        "folders: a third; 0: none)",
    )
    parser.add_argument(
        "--raw-strength",
        action="store_true",
        help="strengths are lengths of the direction, the result is not measured",
    )
    parser.add_argument(
        "--steps", type=int, help="steps of the inversion where there is no encoder"
    )
    arguments.add_cache(parser)
