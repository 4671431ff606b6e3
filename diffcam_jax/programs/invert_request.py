"""What the flags of `invert.py` mean: which photographs are inverted, how, and what is printed."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from diffcam_jax.applications import sources
from diffcam_jax.applications.faces import Choice, Studio
from diffcam_jax.applications.reconstruction import Limits
from diffcam_jax.applications.sources import Face
from diffcam_jax.command import arguments
from diffcam_jax.command.compilation import keep_compiled_programs
from diffcam_jax.command.device import check_device
from diffcam_jax.command.program import as_called
from diffcam_jax.editing import checkpoints
from diffcam_jax.errors import UserError
from diffcam_jax.inversion import METHODS, TUNING, Inverter
from diffcam_jax.inversion.checks import check_method, check_tuning
from diffcam_jax.programs import claims, output, photographs


class Work(NamedTuple):
    """What a command works with.

    Attributes:
        studio: generator and encoder.
        inverter: one method for them.
        limits: how long to search.
        choice: which face of a photograph.
        cached: whether codes on disk are read and kept.
        inputs: photographs and files of codes that the results are made of.
    """

    studio: Studio
    inverter: Inverter
    limits: Limits
    choice: Choice
    cached: bool
    inputs: tuple[Path, ...]


def begin(options: argparse.Namespace, photos: Sequence[Path]) -> Work:
    """Checks the flags, then makes the output folder and loads the networks.

    Args:
        options: of the command.
        photos: photographs that are to be inverted.

    Raises:
        UserError: a flag has no meaning, or a network is missing.
    """
    method, limits = _method(options, bool(photos)), _limits(options)
    choice = _choice(options, photos)
    output.prepare(options.out)
    check_device()
    keep_compiled_programs()
    studio = Studio.open(**arguments.networks(options))
    inverter = _inverter(studio, method, options)
    return Work(studio, inverter, limits, choice, not options.no_cache, tuple(photos))


def gather(options: argparse.Namespace, *groups: Sequence[Path]) -> tuple[Work, list[list[Face]]]:
    """What a command works with, and the faces of groups of photographs and files of codes.

    Nothing is inverted yet, see `encode`: what is wrong is known before that takes its minutes.

    Args:
        options: of the command.
        *groups: photographs, folders of them, and files of codes.

    Raises:
        UserError: see `begin` and `sources.gather`.
    """
    listed = [_listed(group, options.out) for group in groups]
    photos = [path for group in listed for path in group if not sources.holds_codes(path)]
    work = begin(options, photos)
    work = work._replace(inputs=tuple(path for group in listed for path in group))
    return work, [sources.gather(work.studio, group, work.choice) for group in listed]


def encode(work: Work, faces: Sequence[Face]) -> list[Face]:
    """The same faces, each with a code; see `sources.encode`."""
    return sources.encode(work.inverter, faces, work.limits, work.cached, progress=True)


def stack(faces: Sequence[Face]) -> Float[np.ndarray, "b n k"]:
    """The codes of faces that have one."""
    return np.stack([face.code for face in faces])


def some_direction(options: argparse.Namespace) -> str:
    """A direction for a suggested command: shipped ones are for the embedded generator."""
    return "FILE" if arguments.networks(options) else "smiling"


def outputs(options: argparse.Namespace, work: Work, *files: str) -> claims.Outputs:
    """What a command is going to write, before anything is computed.

    Args:
        options: of the command.
        work: see `begin`.
        *files: that it writes besides the report, relative to the output folder.

    Raises:
        UserError: one would replace something else than an earlier result of the same inputs.
    """
    own = claims.Outputs(options.out, options.command, work.inputs, files)
    own.check()
    return own


def finish(
    options: argparse.Namespace,
    own: claims.Outputs,
    shown: Path,
    report: dict[str, Any],
    next_step: str,
) -> None:
    """Writes a command's report, and says where to look and what could come next."""
    own.finish(report)
    step = f"python invert.py {next_step}{arguments.networks_again(options)}"
    print(f"look at {shown}; next: {as_called(step)}")


def _method(options: argparse.Namespace, photos: bool) -> str:
    plan = checkpoints.resolve(**arguments.networks(options))
    method = options.method or ("prior" if plan.encoder is None else "in_domain")
    check_method(method, options.space)
    if method == TUNING:
        check_tuning(None, options.restarts)
        if options.command != "invert":
            raise UserError(
                f"{TUNING} gives every photograph a generator of its own, and {options.command} "
                f"draws all pictures with one; choose another --method, or use invert.py invert"
            )
    if photos and METHODS[method].needs_encoder and plan.encoder is None:
        train = as_called("python train.py --config configs/encoder_mobile.py")
        raise UserError(
            f"the method {method} needs an encoder of this generator: train one with {train}, or "
            "convert one with convert_weights, and give --encoder DIR; or choose --method prior"
        )
    return method


def _limits(options: argparse.Namespace) -> Limits:
    for flag, value in (("--batch", options.batch), ("--inversion-steps", options.inversion_steps)):
        if value is not None and value < 1:
            raise UserError(f"{flag} {value}: give at least 1")
    return Limits(options.seconds, options.restarts, options.batch)


def _choice(options: argparse.Namespace, photos: Sequence[Path]) -> Choice:
    """Which face of the photographs; landmarks set by hand are those of one."""
    face = photographs.parse_face(options.face)
    if face == "all":
        raise UserError(
            "--face all: one face of each photograph is inverted; give a number from 1 (the "
            "largest) on"
        )
    if options.landmarks is not None and len(photos) != 1:
        raise UserError(
            f"--landmarks are those of one photograph, and {len(photos)} were given; give them "
            "one by one"
        )
    domain, _ = arguments.domain(options)
    return Choice(options.aligned, face, photographs.read_landmarks(options.landmarks), domain)


def _inverter(studio: Studio, method: str, options: argparse.Namespace) -> Inverter:
    settings = METHODS[method].defaults
    if options.inversion_steps is not None:
        if not METHODS[method].searches:
            raise UserError(
                "the method encoder takes no steps; leave their number out, or choose in_domain"
            )
        settings = settings.with_steps(options.inversion_steps)
    return Inverter(studio.generator, studio.encoder, method, settings, options.space)


def find(paths: Sequence[Path], out: Path) -> list[Path]:
    """Photographs; those of folders without the sheets that a command drew there before.

    Args:
        paths: of photographs and folders.
        out: output folder.

    Raises:
        UserError: see `photographs.find`.
    """
    return photographs.find(paths, lambda picture: claims.is_sheet(picture, out))


def _listed(paths: Sequence[Path], out: Path) -> list[Path]:
    """Photographs and files of codes in the order given, folders as their photographs."""
    if photos := [path for path in paths if not sources.holds_codes(path)]:
        find(photos, out)  # refuses names that clash
    return [
        one
        for path in paths
        for one in ([path] if sources.holds_codes(path) else find([path], out))
    ]
