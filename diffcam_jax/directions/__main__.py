"""Commands for semantic directions: list, fit, validate, import, sefa. `python -m diffcam_jax.directions --help`."""

import argparse
import sys
from pathlib import Path

from diffcam_jax import directions as records
from diffcam_jax import weights
from diffcam_jax.errors import UserError
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN

REPORT = """# What the directions change

`python -m diffcam_jax.directions validate --out docs`: {samples} fresh samples, each moved by +1 along each direction.
*Right way* is the share of samples whose own score rose, *identity* the mean SFace cosine of before and after, the other columns the mean change of every
score in standard deviations over the samples (own score in bold).

{table}

![Strengths -1 to 1 of every direction on two faces](directions.jpg)
"""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m diffcam_jax.directions", description=__doc__.split(":")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="show the directions of a file")
    listing.add_argument("--directions", type=Path, help="directions file (default: the shipped ones)")
    fit = commands.add_parser("fit", help="fit the shipped directions anew on the embedded generator")
    fit.add_argument("--out", type=Path, required=True)
    fit.add_argument("--work", type=Path, required=True, help="folder of the scores; a rerun goes on from there")
    fit.add_argument(
        "--samples", type=int, default=3200, choices=range(100, 4001, 100), metavar="N", help="100 .. 4000"
    )
    fit.add_argument("--tries", type=int, default=32, help="samples for calibrating the strength")
    fit.add_argument("--seed", type=int, default=1)
    check = commands.add_parser("validate", help="table and picture strip of what each direction changes")
    check.add_argument("--directions", type=Path)
    check.add_argument("--samples", type=int, default=100)
    check.add_argument("--out", type=Path, required=True, help="folder for directions.md and directions.jpg")
    take = commands.add_parser("import", help="add a .npy, InterFaceGAN or idinvert boundary, or .pt file")
    take.add_argument("file", type=Path)
    take.add_argument("--name", required=True)
    take.add_argument("--out", type=Path, required=True, help="directions file to add it to")
    take.add_argument("--scale", type=float, help="strength 1 is this many times the stored array")
    take.add_argument("--norm", type=float, help="strength 1 has this Frobenius norm (default 20)")
    sefa = commands.add_parser("sefa", help="unsupervised directions from the generator's weights")
    sefa.add_argument("--count", type=int, default=5)
    sefa.add_argument("--layers", type=int, nargs=2, default=(0, 16), metavar=("FIRST", "END"))
    sefa.add_argument("--length", type=float, default=3.0, help="length of strength 1 in W")
    sefa.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        {"list": _list, "fit": _fit, "validate": _validate, "import": _import, "sefa": _sefa}[options.command](options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _list(options) -> None:
    for direction in records.load_directions(options.directions).values():
        low, high = direction.range
        print(
            f"{direction.name:16} {low:+g} .. {high:+g}  layers {direction.layers[0]}-{direction.layers[1] - 1}  {direction.method}"
        )


def _fit(options) -> None:
    from diffcam_jax.directions.recipe import make_directions

    params, _ = weights.load_pretrained("mobile_stylegan_ffhq")
    made, _ = make_directions(
        MobileStyleGAN(), params, weights.tree_hash(params), options.samples, options.seed, options.tries, options.work
    )
    records.save_directions(options.out, made)
    print(f"wrote {options.out}; next: python -m diffcam_jax.directions validate --directions {options.out} --out DIR")


def _validate(options) -> None:
    from diffcam_jax.directions.validate import markdown_table, strip, validate

    params, _ = weights.load_pretrained("mobile_stylegan_ffhq")
    chosen = records.load_directions(options.directions)
    options.out.mkdir(parents=True, exist_ok=True)
    strip(MobileStyleGAN(), params, chosen, options.out / "directions.jpg")
    table = markdown_table(validate(MobileStyleGAN(), params, chosen, options.samples))
    (options.out / "directions.md").write_text(REPORT.format(samples=options.samples, table=table))
    print(table, f"\nlook at {options.out}/directions.jpg", sep="\n")


def _import(options) -> None:
    from diffcam_jax.directions.importers import import_direction

    known = records.load_directions(options.out) if options.out.exists() else {}
    known[options.name] = import_direction(options.file, options.name, options.scale, options.norm)
    records.save_directions(options.out, known)
    print(f"wrote {options.out} with {', '.join(known)}; next: edit.py PHOTO --directions {options.out}")


def _sefa(options) -> None:
    from diffcam_jax.directions.sefa import modulation_kernels, sefa_directions

    params, _ = weights.load_pretrained("mobile_stylegan_ffhq")
    first, end = options.layers
    made = {}
    for i, vector in enumerate(sefa_directions(modulation_kernels(params, (first, end)), options.count)):
        made[f"sefa_{i}"] = records.from_vector(
            vector,
            f"sefa_{i}",
            (first, end),
            options.length,
            weights.tree_hash(params),
            f"SeFa, eigenvector {i} of the modulation weights of rows {first} to {end - 1}",
        )
    records.save_directions(options.out, made)
    print(f"wrote {options.out}; next: python -m diffcam_jax.directions validate --directions {options.out} --out DIR")


if __name__ == "__main__":
    sys.exit(main())
