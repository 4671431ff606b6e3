"""What a domain is made of: somebody's pictures and labels, and how long each network trains.

DIR/request.json keeps it, so that an interrupted run goes on with the very same.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from diffcam_jax.errors import UserError
from diffcam_jax.files.json_text import decode
from diffcam_jax.files.trees import write_atomically

FILE = "request.json"
LABELS = "labels.csv"  # of the pictures that can be read
SCORER = "scorer.safetensors"  # learned from them
SIDES = (32, 64, 128, 256)
# Steps of each training, in batches of 16, 16, 24 and 4, and drawn pictures.
STEPS = {"generator": 3000, "encoder": 3000, "classifier": 800, "deghoster": 1000}
DRAWN, PAIRS = 4000, 400


@dataclasses.dataclass(frozen=True)
class Request:
    """A domain that is asked for.

    Attributes:
        name: of the domain.
        pictures: folder of pictures.
        labels: CSV of numbers by picture, None for directions without labels.
        size: side of the generator's pictures, of `SIDES`.
        align: cut out faces as in FFHQ, instead of the largest centred square.
        licence: terms of the pictures, which their networks inherit.
        steps: of each training.
        drawn: pictures drawn for the encoder, and others for the directions.
        pairs: pictures drawn with all their edits for the classifier.
        overrides: fields of the trainings' configurations, as "STAGE.FIELD=VALUE".
        deghost: train a deghosting network as well, which the published method ends with.
    """

    name: str
    pictures: Path
    labels: Path | None
    size: int
    align: bool = False
    licence: str = "that of the pictures"
    steps: dict[str, int] = dataclasses.field(default_factory=lambda: dict(STEPS))
    drawn: int = DRAWN
    pairs: int = PAIRS
    overrides: tuple[str, ...] = ()
    deghost: bool = False


def keep(folder: Path, request: Request) -> None:
    """Keeps a request, or finds the same one kept; deghosting may be asked for later.

    Raises:
        UserError: the folder belongs to another request, and how they differ.
    """
    wanted = _plain(request)
    if (folder / FILE).exists():
        kept = _plain(read(folder))
        differing = [name for name in wanted if wanted[name] != kept[name]]
        later = differing == ["deghost"] and request.deghost
        if differing and not later:
            told = "; ".join(f"{n} was {kept[n]} and is {wanted[n]}" for n in differing)
            raise UserError(
                f"{folder} holds a domain of another request: {told}; give the same, or another "
                "--out"
            )
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / FILE, json.dumps(wanted, indent=2).encode() + b"\n")


def read(folder: Path) -> Request:
    """The request of a folder.

    Raises:
        UserError: there is none, or it is damaged.
    """
    path = folder / FILE
    try:
        return _checked(decode(path.read_text()))
    except FileNotFoundError as error:
        raise UserError(
            f"{folder} holds no domain; begin one with diffcam-domain new NAME --pictures DIR"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error}); begin again in another folder") from error


def _checked(given: dict[str, Any]) -> Request:
    """The request of a file that may hold anything."""
    texts = [given["name"], given["pictures"], given["licence"], *given["overrides"]]
    texts += [] if given["labels"] is None else [given["labels"]]
    if not all(isinstance(text, str) and "\0" not in text for text in texts):
        raise ValueError("a text is none")
    if Path(given["name"]).name != given["name"]:
        raise ValueError("the name is none of a folder")
    numbers = [given["size"], given["drawn"], given["pairs"], *given["steps"].values()]
    if not all(type(number) is int and 0 < number < 1 << 40 for number in numbers):
        raise ValueError("a number is none")
    if not given["steps"].keys() <= STEPS.keys():
        raise ValueError("other stages are trained")
    if not all(type(given.get(name, False)) is bool for name in ("align", "deghost")):
        raise ValueError("align or deghost is neither true nor false")
    paths = {name: given[name] and Path(given[name]) for name in ("pictures", "labels")}
    rest = {"steps": {**STEPS, **given["steps"]}, "overrides": tuple(given["overrides"])}
    return Request(**{**given, **paths, **rest})


def _plain(request: Request) -> dict[str, Any]:
    fields = dataclasses.asdict(request)
    return json.loads(json.dumps(fields, default=str))
