"""Commands for semantic directions: list, fit, validate, measure, import, and searches.

`python -m diffcam_jax.directions --help` describes them.
"""

import argparse
import sys
from pathlib import Path

from diffcam_jax.command import arguments
from diffcam_jax.errors import exit_code


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; see the module docstring.

    Returns:
        The exit code.
    """
    options = _parser().parse_args(arguments)

    def run() -> int:
        # Here: a wrong flag is reported without JAX.
        from diffcam_jax.directions import commands, searches

        module = searches if hasattr(searches, options.run) else commands
        getattr(module, options.run)(options)
        return 0

    return exit_code(run)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m diffcam_jax.directions", description=__doc__.split(":")[0]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument(
        "--generator",
        type=Path,
        metavar="DIR",
        help="converted weights (default: the embedded one)",
    )
    layers = argparse.ArgumentParser(add_help=False)
    layers.add_argument(
        "--layers", type=int, nargs=2, metavar=("FIRST", "END"), help="rows that may change"
    )

    listing = commands.add_parser("list", help="show what is known of directions")
    arguments.add_directions(listing)
    listing.add_argument("--json", action="store_true", help="for programs")
    listing.set_defaults(run="show")

    fit = commands.add_parser(
        "fit", parents=[where, layers], help="fit directions to scores or labels"
    )
    fit.add_argument("--out", type=Path, required=True, help="directions file to write")
    fit.add_argument(
        "--attributes",
        nargs="+",
        default=[],
        metavar="NAME",
        help="scorers, or columns of --labels",
    )
    fit.add_argument(
        "--still", nargs="*", metavar="NAME", help="attributes that no direction may change"
    )
    fit.add_argument(
        "--labels", type=Path, metavar="CSV", help="numbers by code, instead of a scorer"
    )
    fit.add_argument(
        "--scorer", type=Path, metavar="FILE", help="learned from labels, instead of the built-in"
    )
    fit.add_argument(
        "--codes", type=Path, metavar="FILE", help="inverted codes that the labels belong to"
    )
    fit.add_argument(
        "--work",
        type=Path,
        help="folder of the scores, from which a rerun continues (default: beside --out)",
    )
    fit.add_argument(
        "--samples", type=int, default=3200, metavar="N", help="drawn and scored, or labelled"
    )
    fit.add_argument("--truncation", type=float, default=0.8, metavar="PSI", help="of the samples")
    fit.add_argument(
        "--ratio", type=float, default=0.25, help="share of the samples from each end (0 .. 0.5)"
    )
    fit.add_argument(
        "--count", type=int, help="number of samples from each end, instead of --ratio"
    )
    fit.add_argument(
        "--method",
        choices=("svm", "centroids", "regression", "stylespace"),
        help="of the fit (default: regression for scorers, svm for labels)",
    )
    fit.add_argument(
        "--probes",
        type=int,
        metavar="N",
        help="faces by which directions are restricted to their regions; 0 for none",
    )
    fit.add_argument("--plain", action="store_true", help="no whitening, as in InterFaceGAN")
    fit.add_argument("--tries", type=int, default=32, help="samples for calibrating the strength")
    fit.add_argument(
        "--length", type=float, default=2.0, help="with --labels: strength 1 in standard deviations"
    )
    fit.add_argument("--seed", type=int, default=1)
    fit.set_defaults(run="fit")

    check = commands.add_parser(
        "validate", parents=[where], help="table and picture strip of what directions change"
    )
    check.add_argument("--directions", type=Path)
    check.add_argument("--samples", type=int, default=100)
    check.add_argument(
        "--out", type=Path, required=True, help="folder for directions.md and directions.jpg"
    )
    check.set_defaults(run="validate")

    about = "where directions act, and how far they usually move"
    gauge = commands.add_parser("measure", parents=[where], help=about)
    gauge.add_argument("--directions", type=Path, help="default: the shipped ones")
    gauge.add_argument("--count", type=int, default=48, help="generated faces that are scored")
    gauge.add_argument("--out", type=Path, required=True, help="directions file to write")
    gauge.set_defaults(run="measure")

    take = commands.add_parser(
        "import", parents=[where], help="add a .npy, InterFaceGAN or idinvert boundary, or .pt"
    )
    take.add_argument("file", type=Path)
    take.add_argument("--name", required=True)
    take.add_argument("--out", type=Path, required=True, help="directions file to add it to")
    take.add_argument("--scale", type=float, help="strength 1 is this many times the stored array")
    take.add_argument("--norm", type=float, help="strength 1 has this Frobenius norm (default 20)")
    take.add_argument(
        "--classes",
        nargs="+",
        metavar="CLASS",
        help="parts of the face that it may change, such as skin or hair (default: by its name)",
    )
    take.add_argument(
        "--box",
        nargs=4,
        type=float,
        metavar=("TOP", "BOTTOM", "LEFT", "RIGHT"),
        help="fractions of the aligned picture within which it may act",
    )
    take.set_defaults(run="take")

    sefa = commands.add_parser(
        "sefa", parents=[where, layers], help="from the generator's weights, unsupervised"
    )
    sefa.add_argument("--count", type=int, default=5)
    sefa.add_argument("--length", type=float, default=3.0, help="length of strength 1 in W")
    sefa.add_argument("--out", type=Path, required=True)
    sefa.set_defaults(run="sefa")

    ganspace = commands.add_parser(
        "ganspace", parents=[where, layers], help="principal components of W, unsupervised"
    )
    ganspace.add_argument("--count", type=int, default=10)
    ganspace.add_argument(
        "--samples", type=int, default=8000, metavar="N", help="codes that are drawn"
    )
    ganspace.add_argument("--seed", type=int, default=1)
    ganspace.add_argument("--out", type=Path, required=True)
    ganspace.set_defaults(run="ganspace")

    explore = commands.add_parser(
        "explore", parents=[where, layers], help="name components by the scores that they move"
    )
    explore.add_argument("--method", choices=("sefa", "ganspace"), default="sefa")
    explore.add_argument("--components", type=int, default=10, metavar="N")
    explore.add_argument("--faces", type=int, default=16, metavar="N", help="that are scored")
    explore.add_argument("--length", type=float, default=3.0, help="of SeFa: strength 1 in W")
    explore.add_argument(
        "--samples", type=int, default=8000, metavar="N", help="of GANSpace: codes that are drawn"
    )
    explore.add_argument("--seed", type=int, default=1)
    explore.add_argument(
        "--out", type=Path, required=True, help="folder for a directions file, a table and a sheet"
    )
    explore.set_defaults(run="explore")

    compare = commands.add_parser(
        "compare", parents=[where], help="several sources of the same attributes in one table"
    )
    compare.add_argument("--directions", nargs="+", required=True, metavar="SOURCE")
    compare.add_argument(
        "--attributes", nargs="+", default=[], metavar="NAME", help="default: all shared ones"
    )
    compare.add_argument("--samples", type=int, default=100)
    compare.add_argument("--out", type=Path, required=True, help="folder for compared.md")
    compare.set_defaults(run="compare")
    return parser


if __name__ == "__main__":
    sys.exit(main())
