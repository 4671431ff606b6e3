"""Readers of domains, their requests and their labels, under the law of `law`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.hostile.law import Reader


def _domain_seeds() -> list[bytes]:
    from diffcam_jax.files import domain

    seeds = []
    for crop in ("square", "whole"):
        kind = domain.Domain("cars", 64, crop, (0.25, 0.25, 0.0, 0.0), licence="mine")
        domain.write(Path("out"), kind, {"generator": "generator"}, "directions.safetensors")
        seeds.append(Path("out", domain.FILE).read_bytes())
    return seeds


def _domain(data: bytes, folder: Path) -> Any:
    from diffcam_jax.faces import align, selection
    from diffcam_jax.files import domain

    (folder / domain.FILE).write_bytes(data)
    kind, places = domain.read(folder)
    assert all(place.resolve().is_relative_to(folder.resolve()) for place in places.values())
    if kind.crop != "face":
        align.crop(
            np.zeros((48, 64, 3), np.uint8), selection.still_quad(kind, 48, 64), 32, kind.beyond
        )
    return kind.inside(64)


def _request_seeds() -> list[bytes]:
    from diffcam_jax.domain import request

    request.keep(Path("out"), request.Request("birds", Path("in"), Path("labels.csv"), 64))
    return [Path("out", request.FILE).read_bytes()]


def _request(data: bytes, folder: Path) -> Any:
    from diffcam_jax.domain import running
    from diffcam_jax.domain.request import FILE

    (folder / FILE).write_bytes(data)
    return running.status(folder)


def _seconds(data: bytes, folder: Path) -> Any:
    from diffcam_jax.domain import running
    from diffcam_jax.domain.request import FILE

    (folder / FILE).write_bytes(_request_seeds()[0])
    (folder / running.SECONDS).write_bytes(data)
    (folder / "data" / "pictures" / "birds").mkdir(parents=True)
    return running.status(folder)


def _scorer_seeds() -> list[bytes]:
    from diffcam_jax.directions import label_scorer

    numbers = np.ones(3, np.float32), np.ones(3, np.float32), np.ones((3, 2), np.float32)
    learned = label_scorer.LabelScorer(
        ("wings", "size"), *numbers, np.zeros(2, np.float32), {"wings": 0.9, "size": 0.5}
    )
    label_scorer.save(Path("out", "scorer.safetensors"), learned)
    return [Path("out", "scorer.safetensors").read_bytes()]


def _scorer(data: bytes, folder: Path) -> Any:
    from diffcam_jax.domain import health
    from diffcam_jax.domain.request import SCORER

    (folder / SCORER).write_bytes(data)
    return health.scorer(folder)


def _table(data: bytes, folder: Path) -> Any:
    from diffcam_jax.domain import inputs

    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(folder / "000.png")
    (folder / "labels.csv").write_bytes(data)
    return inputs.look(folder, folder / "labels.csv", 64, folder)


DOMAINS = {
    "domain": Reader(_domain_seeds, _domain, "json"),
    "domain_request": Reader(_request_seeds, _request, "json"),
    "domain_seconds": Reader(
        lambda: [json.dumps({"data": 12.0}).encode()], _seconds, "json", refusals=()
    ),
    "domain_scorer": Reader(_scorer_seeds, _scorer, "safetensors"),
    "domain_labels": Reader(lambda: [b"file,wings,size\n000.png,1,2.5\n\n"], _table, "text"),
}
