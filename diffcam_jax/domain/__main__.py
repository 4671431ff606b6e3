"""Makes an editor of your own pictures: python -m diffcam_jax.domain new | status.

new NAME --pictures DIR    trains everything, or goes on with it
status DIR                 how far it is; --curves PNG draws it
scorer DIR                 one stage of the former: a scorer, learned from the labels
"""

import argparse
import dataclasses
import sys
from pathlib import Path

from diffcam_jax.command.arguments import positive
from diffcam_jax.domain import curves, running
from diffcam_jax.domain import request as requests
from diffcam_jax.errors import UserError, exit_code


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="diffcam-domain", description="From a folder of pictures to an editor of them."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    new = commands.add_parser("new", help="train everything, or go on with it")
    new.add_argument("name", metavar="NAME")
    new.add_argument(
        "--pictures",
        type=Path,
        required=True,
        metavar="DIR",
        help="searched with its subfolders; every picture shows one thing, at the same place",
    )
    new.add_argument(
        "--labels",
        type=Path,
        metavar="CSV",
        help='a column "file" and one of numbers for each attribute; default: directions are found '
        "without labels",
    )
    new.add_argument("--size", type=int, choices=requests.SIDES, default=64, help="in pixels")
    new.add_argument("--align", action="store_true", help="cut out faces as in FFHQ")
    new.add_argument("--licence", default="that of the pictures", help="of pictures and networks")
    new.add_argument("--out", type=Path, metavar="DIR", help="default: domains/NAME")
    defaults = ", ".join(f"{name}={steps}" for name, steps in requests.STEPS.items())
    new.add_argument(
        "--steps", nargs="+", default=[], metavar="STAGE=N", help=f"of trainings ({defaults})"
    )
    new.add_argument(
        "--drawn",
        type=positive,
        default=requests.DRAWN,
        metavar="N",
        help="for the encoder, and for directions",
    )
    new.add_argument(
        "--pairs", type=positive, default=requests.PAIRS, metavar="N", help="for the classifier"
    )
    new.add_argument(
        "--override",
        dest="overrides",
        action="append",
        default=[],
        metavar="STAGE.FIELD=VALUE",
        help="a field of a training's configuration, such as generator.batch_size=32",
    )
    new.add_argument(
        "--anyway", action="store_true", help="go on although a network seems to be no good"
    )
    new.add_argument(
        "--deghost", action="store_true", help="train a deghosting network as well, see docs"
    )
    state = commands.add_parser("status", help="how far it is")
    state.add_argument("folder", type=Path, metavar="DIR")
    state.add_argument("--curves", type=Path, metavar="PNG", help="draw the trainings' figures")
    learn = commands.add_parser("scorer", help="a stage: a scorer, learned from the labels")
    learn.add_argument("folder", type=Path, metavar="DIR")
    options = parser.parse_args(argv)
    run = {"new": _new, "status": _status, "scorer": _scorer}[options.command]
    return exit_code(lambda: run(options), options.command)


def _new(options: argparse.Namespace) -> int:
    if Path(options.name).name != options.name or options.name.startswith("."):
        raise UserError(f"{options.name!r} is no name for a folder; give letters and digits")
    folder = options.out or Path("domains") / options.name
    fields = {field.name for field in dataclasses.fields(requests.Request)}
    given = {name: value for name, value in vars(options).items() if name in fields}
    for text in options.overrides:
        if text.partition(".")[0] not in requests.STEPS or "=" not in text:
            stages = ", ".join(requests.STEPS)
            raise UserError(f"--override {text}: give STAGE.FIELD=VALUE, STAGE of {stages}")
    given["overrides"] = tuple(options.overrides)
    given["steps"] = {**requests.STEPS, **dict(map(_steps, options.steps))}
    given["pictures"] = options.pictures.absolute()
    given["labels"] = options.labels and options.labels.absolute()
    running.make(folder.absolute(), requests.Request(**given), anyway=options.anyway)
    running.tell(folder)
    return 0


def _steps(text: str) -> tuple[str, int]:
    stage, _, number = text.partition("=")
    if stage not in requests.STEPS or not number.isdecimal() or not int(number):
        known = ", ".join(f"{name}=N" for name in requests.STEPS)
        raise UserError(f"--steps {text}: give {known}, N from 1 on")
    return stage, int(number)


def _scorer(options: argparse.Namespace) -> int:
    from diffcam_jax.command.compilation import keep_compiled_programs
    from diffcam_jax.command.device import check_device
    from diffcam_jax.domain.labelled import learn

    check_device()
    keep_compiled_programs()
    learn(options.folder)
    return 0


def _status(options: argparse.Namespace) -> int:
    running.tell(options.folder)
    if options.curves is not None:
        curves.draw(options.folder, options.curves)
        print(f"look at {options.curves}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
