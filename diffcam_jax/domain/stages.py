"""The stages from a folder of pictures to an editor, each an ordinary command of this project.

    stage        command                                          leaves
    data         python -m diffcam_jax.data prepare               data/pictures/NAME
    scorer       python -m diffcam_jax.domain scorer              scorer.safetensors
    generator    train.py --config stylegan2_64                   generator/
    drawn        python -m diffcam_jax.data draw                  data/pictures/drawn
    encoder      train.py --config encoder_mobile:pairs           encoder/
    directions   python -m diffcam_jax.directions fit | ganspace  directions.safetensors
    pairs        python -m diffcam_jax.data.pairs                 pairs/
    classifier   train.py --config diffcam_mobile                 classifier/
    deghoster    train.py --config deghost (on request)           deghoster/

Every command goes on where it was interrupted, and so does the whole.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from diffcam_jax.domain import health
from diffcam_jax.domain.request import SCORER, Request

_STILL = ("align", "light", "objects", "blur", "noise", "compress")


class Stage(NamedTuple):
    """A step on the way.

    Attributes:
        name: of the stage, and of the folder of its log.
        command: of a request and the domain's folder.
        result: file or folder that exists when the stage is done, relative to the folder.
        check: what is wrong with the result, as advice; "" if nothing is.
        steps: of a training; 0 for others.
    """

    name: str
    command: Callable[[Request, Path], list[str]]
    result: str
    check: Callable[[Path], str] = lambda folder: ""
    steps: int = 0


def stages(request: Request) -> list[Stage]:
    """The stages of a request, in their order."""
    found = [Stage("data", _prepare, f"data/pictures/{request.name}")]
    if request.labels:
        found.append(Stage("scorer", _scorer, SCORER, health.scorer))
    found += [
        Stage("generator", _generator, "generator/config.json", health.generator),
        Stage("drawn", _draw, "data/pictures/drawn"),
        Stage("encoder", _encoder, "encoder/config.json", health.encoder),
        Stage("directions", _directions, "directions.safetensors"),
        Stage("pairs", _pairs, f"pairs/{_last_shard(request)}"),
        Stage("classifier", _classifier, "classifier/config.json", health.classifier),
    ]
    if request.deghost:
        found.append(Stage("deghoster", _deghoster, "deghoster/config.json", health.deghoster))
    return [stage._replace(steps=request.steps.get(stage.name, 0)) for stage in found]


def _module(name: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", name, *map(str, arguments)]


def _program(name: str, *arguments: object) -> list[str]:
    """A command of `diffcam_jax.programs`, as it is installed."""
    code = f"import sys; from diffcam_jax.programs.{name} import command; sys.exit(command())"
    return [sys.executable, "-c", code, *map(str, arguments)]


def _train(request: Request, folder: Path, stage: str, config: str, **fields: object) -> list[str]:
    """A training whose numbers, samples and checkpoints come eight times in its course."""
    steps = request.steps[stage]
    fields |= {"steps": steps, "eval_every": max(steps // 8, 1), "sample_every": max(steps // 8, 1)}
    fields["checkpoint_every"] = max(min(steps // 8, 500), 1)
    given = [f"{name.replace('__', '.')}={value}" for name, value in fields.items()]
    own = f"{stage}."
    given += [text.removeprefix(own) for text in request.overrides if text.startswith(own)]
    flags = (f"--config.{text}" for text in given)
    return _program("train", "--config", config, "--workdir", folder / stage, *flags)


def _dataset(folder: Path, name: str) -> Path:
    return next((folder / "data" / "pictures" / name).glob("*"), folder / "data")


def _prepare(request: Request, folder: Path) -> list[str]:
    given = ["--src", request.pictures, "--name", request.name, "--size", request.size]
    align = ["--align"] if request.align else []
    return _module("diffcam_jax.data", "prepare", *given, "--out", folder / "data", *align)


def _generator(request: Request, folder: Path) -> list[str]:
    return _train(
        request,
        folder,
        "generator",
        "stylegan2_64",
        data__source="prepared",
        data__folder=_dataset(folder, request.name),
        data__size=request.size,
        ada="on",
        # So that it can act within a short run.
        ada_kimg=min(500.0, 16e-3 * request.steps["generator"]),
        # Small sets need more of it than ADA's rule, which is for batches and widths of GPUs.
        r1_gamma=0.0012 * request.size**2 / 16,
        # Without an anchor all pictures of so short a run are one.
        anchor__weight=5.0,
        anchor__steps=2 * request.steps["generator"] // 5,
    )


def _draw(request: Request, folder: Path) -> list[str]:
    given = ["--name", "drawn", "--out", folder / "data", "--count", request.drawn]
    given += ["--size", request.size, "--generator", folder / "generator"]
    return _module("diffcam_jax.data", "draw", *given, "--mixing", 0.3, "--psi", 0.9)


def _encoder(request: Request, folder: Path) -> list[str]:
    return _train(
        request,
        folder,
        "encoder",
        "encoder_mobile:pairs",
        generator=folder / "generator",
        data__name="",
        data__folder=_dataset(folder, "drawn"),
        data__size=request.size,
        model__size=request.size,
        **{f"data__photographic__{name}": 0.0 for name in _STILL},
    )


def _scorer(request: Request, folder: Path) -> list[str]:
    return _module("diffcam_jax.domain", "scorer", folder)


def _directions(request: Request, folder: Path) -> list[str]:
    given = ["--generator", folder / "generator", "--out", folder / "directions.safetensors"]
    if request.labels is None:
        return _module("diffcam_jax.directions", "ganspace", *given)
    given += ["--scorer", folder / SCORER, "--work", folder / "scores"]
    given += ["--samples", request.drawn, "--truncation", 0.9]
    return _module("diffcam_jax.directions", "fit", *given)


def _pairs(request: Request, folder: Path) -> list[str]:
    given = ["--generator", folder / "generator", "--size", request.size]
    given += ["--directions", folder / "directions.safetensors", "--count", request.pairs]
    return _module("diffcam_jax.data.pairs", *given, "--out", folder / "pairs")


def _last_shard(request: Request) -> str:
    from diffcam_jax.data.pairs import SHARD

    return f"{-(-request.pairs // SHARD) - 1:05d}.npy"


def _classifier(request: Request, folder: Path) -> list[str]:
    return _train(
        request,
        folder,
        "classifier",
        "diffcam_mobile:stage1",
        warmup=min(50, request.steps["classifier"] // 10),
        data__folder=folder / "pairs",
        data__size=request.size,
        data__faces=request.pairs,
        # Cells of two pixels at 64: on the official map of such a picture there are four in all.
        model__enlarge=max(256 // request.size, 1),
        places__whole="()",
        # Things are not at the same place in every picture, as parts of faces are.
        places__pair=1.0,
        sided="()",
    )


def _deghoster(request: Request, folder: Path) -> list[str]:
    return _train(
        request,
        folder,
        "deghoster",
        "deghost",
        data__source="prepared",
        data__folder=_dataset(folder, "drawn"),
        data__size=request.size,
        networks__generator=folder / "generator",
        networks__encoder=folder / "encoder",
        networks__classifier=folder / "classifier",
        networks__directions=folder / "directions.safetensors",
        ghost__classifier_size=request.size,
        model__in_size=request.size // 2,
        model__out_size=request.size,
        model__prior=folder / "generator",
        model__train_prior=False,
    )
