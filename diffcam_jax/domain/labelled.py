"""The labelled pictures of a domain, and the scorer that is learned from them.

DIR/scorer.safetensors    scores pictures as labels.csv does those that it names
"""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from diffcam_jax.applications.faces import Choice, read_face
from diffcam_jax.directions import label_scorer
from diffcam_jax.directions.labels import read_labels
from diffcam_jax.domain import request as requests
from diffcam_jax.files import domain


def learn(folder: Path) -> None:
    """Learns to score pictures as the labels of a domain do.

    Raises:
        UserError: a picture is missing or damaged, or a label has too few numbers.
    """
    with (folder / requests.LABELS).open(newline="") as file:
        names = [row["file"] for row in csv.DictReader(file)]
    labels = read_labels(folder / requests.LABELS, len(names), (), names)
    labelled = np.isfinite(np.stack(list(labels.values()))).any(0)
    pictures = _pictures(folder, [name for name, known in zip(names, labelled) if known])
    learned = label_scorer.fit(pictures, {name: x[labelled] for name, x in labels.items()})
    label_scorer.save(folder / requests.SCORER, learned)
    for name, right in learned.right.items():
        print(f"{name}: correlation {right:.2f} with the labels of pictures that were held out")


def _pictures(folder: Path, names: list[str]) -> Iterator[UInt8[np.ndarray, "_ s s 3"]]:
    kind, _ = domain.read(folder)
    pictures, choice = requests.read(folder).pictures, Choice(domain=kind)
    for start in tqdm(range(0, len(names), label_scorer.BATCH), "labelled pictures", unit="batch"):
        part = names[start : start + label_scorer.BATCH]
        yield np.stack([read_face(pictures / name, kind.size, choice) for name in part])
