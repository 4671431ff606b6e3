"""Codes of a domain's pictures, as its encoder finds them: what directions are fitted to.

DIR/codes.safetensors     of every picture that labels.csv names
"""

import csv
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from diffcam_jax.applications.faces import Choice, read_face
from diffcam_jax.directions.space import generator_hash
from diffcam_jax.domain import request as requests
from diffcam_jax.editing import checkpoints, pipeline
from diffcam_jax.files import codes as code_files
from diffcam_jax.files import domain
from diffcam_jax.ops.image import to_unit

FILE = "codes.safetensors"
BATCH = 16


def encode(folder: Path) -> None:
    """Encodes the labelled pictures of a domain whose encoder is trained.

    Raises:
        UserError: a network or a picture is missing or damaged.
    """
    kind, places = domain.read(folder)
    with (folder / requests.LABELS).open(newline="") as file:
        names = [row["file"] for row in csv.DictReader(file)]
    both = {role: places[role] for role in ("generator", "encoder")}
    networks = jax.device_put(checkpoints.from_checkpoints(**both))
    side, digest = networks.generator.module.resolution, generator_hash(networks.generator)
    run = jax.jit(pipeline.encode)
    pictures, found = requests.read(folder).pictures, []
    choice = Choice(domain=kind)
    for start in tqdm(range(0, len(names), BATCH), "codes", unit="batch"):
        part = names[start : start + BATCH]
        read = np.stack([read_face(pictures / name, side, choice) for name in part])
        padded = np.concatenate([read, np.repeat(read[-1:], BATCH - len(read), 0)])
        found.append(np.asarray(run(networks, to_unit(padded)))[: len(read)])
    code_files.save(folder / FILE, np.concatenate(found), digest, "encoder", names)
