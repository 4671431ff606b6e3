"""What the flags of an edit mean, checked before a network is loaded."""

import argparse
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from diffcam_jax.command import arguments
from diffcam_jax.directions import Edit, check_strengths
from diffcam_jax.editing import checkpoints
from diffcam_jax.editing.config import DECOMPOSING, VARIANTS, EditConfig, check_method
from diffcam_jax.errors import UserError
from diffcam_jax.inversion import PriorSettings
from diffcam_jax.programs import photographs


class Request(NamedTuple):
    """An edit that is asked for.

    Attributes:
        strengths: by attribute, see `Editor.edit`; None for one of an edit made elsewhere.
        config: of the edit, see `EditConfig`.
        choices: the other choices of `Editor.edit` or `Editor.blend`, by their arguments' names.
    """

    strengths: dict[str, float] | dict[str, None]
    config: EditConfig
    choices: dict[str, Any]

    @property
    def names(self) -> list[str]:
        """The attributes."""
        return list(self.strengths)


def parse_strengths(pairs: Sequence[str], directions: Mapping[str, Edit]) -> dict[str, float]:
    """NAME=STRENGTH pairs as a dictionary.

    Raises:
        UserError: no pair, no number, a name given twice, no such direction, or a strength outside
            the direction's range.
    """
    strengths: dict[str, float] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise UserError(
                f"--attribute {pair}: {value or 'nothing'!r} is not a number; write for example "
                f"{name}=1"
            )
        if name in strengths:
            raise UserError(f"--attribute {name} is given twice; add the strengths up")
        strengths[name] = number
    if not strengths:
        raise UserError("nothing to change: add --attribute smiling=1 (see --list)")
    check_strengths(directions, strengths)
    return strengths


def read(options: argparse.Namespace, strengths: dict[str, float], single: bool) -> Request:
    """The request in the flags.

    Args:
        options: see `edit_flags.parse`.
        strengths: see `parse_strengths`.
        single: whether one photograph is edited, which may take longer.

    Raises:
        UserError: a flag has no meaning, or a network that it needs is missing.
    """
    face = photographs.parse_face(options.face)
    plan = checkpoints.resolve(**arguments.networks(options))
    config = dataclasses.replace(
        variant(plan, options.variant, options.domain is not None),
        method=options.method,
        user_mask=options.mask_mode,
    )
    _check_networks(options, plan)
    inversion = PriorSettings()
    choices = {
        "face": face,
        "aligned": options.aligned,
        "landmarks": photographs.read_landmarks(options.landmarks),
        "user_mask": photographs.read_mask(options.mask, options.first_frame),
        "inversion_config": inversion.with_steps(options.steps) if options.steps else inversion,
        "tune": tune_steps(options, config, single),
        "raw_strength": options.raw_strength,
        "deghost": not options.no_deghost,
        "cache": not options.no_cache,
    }
    return Request(strengths, config, choices)


def variant(plan: checkpoints.Plan, name: str | None = None, trained: bool = False) -> EditConfig:
    """The rules of an edit.

    Args:
        plan: which networks edit; by default those that ship follow the product's rules, and others
            the official ones.
        name: of `VARIANTS`, instead.
        trained: whether the networks are those of a domain, which follow the product's rules, too.
    """
    ours = trained or (plan.is_embedded and plan.classifier is None)
    return VARIANTS[name or ("product" if ours else "official")]


def _check_networks(options: argparse.Namespace, plan: checkpoints.Plan) -> None:
    """Whether the method has the networks it needs, and needs those that were given."""
    check_method(options.method, plan.aligner is not None)
    if options.aligner is not None and options.method not in DECOMPOSING:
        raise UserError(
            f"--aligner {options.aligner} is of no use to --method {options.method}; add "
            "--method both"
        )
    if options.steps is not None and options.steps < 1:
        raise UserError(f"--steps {options.steps}: give 1 or more")
    if options.steps is not None and plan.encoder is not None:
        raise UserError(f"--steps {options.steps}: an encoder gives the code; leave it out")


def tune_steps(options: argparse.Namespace, config: EditConfig, single: bool) -> int:
    """How many steps the generator is tuned for.

    Args:
        options: see `edit_flags.parse`.
        config: of the edit.
        single: see `read`.

    Raises:
        UserError: the number has no meaning.
    """
    if options.tune is not None and options.tune < 0:
        raise UserError(f"--tune {options.tune}: give 0 or more")
    if config.window is None:
        if options.tune:
            raise UserError(
                f"--tune {options.tune}: only the product's variant tunes; add --variant product"
            )
        return 0
    if options.tune is not None:
        return options.tune
    kind, _ = arguments.domain(options)
    return kind.tune if single else kind.tune_quickly
