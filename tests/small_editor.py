"""A real editor of small random networks, in memory and in folders as a training leaves them."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from diffcam_jax.directions import Direction, save_directions
from diffcam_jax.editing.classifier import Classifier
from diffcam_jax.editing.compose import MaskConfig
from diffcam_jax.editing.config import EditConfig
from diffcam_jax.editing.pipeline import Pipeline
from diffcam_jax.editor.editor import Editor
from diffcam_jax.files import model_folder
from diffcam_jax.inversion.encoding import Encoder
from diffcam_jax.nn.classifier import DiffClassifier
from diffcam_jax.nn.indomain_encoder import InDomainEncoder, encoder_widths
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN
from diffcam_jax.nn.network import Network
from tests.random_variables import random_variables

GENERATOR = MobileStyleGAN(widths=(16, 16, 16, 16, 8), mapping_layers=1)  # 128 pixels
SIDE, ROWS = 128, 12
NAMES = ("old", "smiling")
CONFIG = EditConfig(
    classifier_size=64, mask=MaskConfig(low=0.4, high=0.8, dilation=1, feather=2, resize="bilinear")
)


def direction(name: str, generator: str = "") -> Direction:
    array = 2 * np.random.default_rng(len(name)).standard_normal((18, 512)).astype(np.float32)
    array[ROWS:] = 0  # rows that a generator of 128 pixels does not read
    return Direction(name, array, (-2.0, 2.0), (0, 18), generator, "", "", "")


def directions() -> dict[str, Direction]:
    return {name: direction(name) for name in NAMES}


def networks() -> Pipeline:
    """Generator and classifier; without an encoder, codes are optimised or cached."""
    picture = jnp.zeros((1, 64, 64, 3))
    generator = Network(GENERATOR, random_variables(GENERATOR, jnp.zeros((1, 512))))
    model = DiffClassifier(depth=18, width=4, num_classes=2, split=1)
    variables = random_variables(model, picture, picture)
    # Positive weights over positive activations: every map has something to show.
    variables["params"]["fc"]["kernel"] = jnp.abs(variables["params"]["fc"]["kernel"])
    return Pipeline(generator, Classifier(Network(model, variables), NAMES))


def encoder() -> Encoder:
    module = InDomainEncoder(encoder_widths(32, 4, 4), ROWS, 512)
    variables = random_variables(module, jnp.zeros((1, 32, 32, 3)))
    return Encoder(Network(module, variables), np.zeros(512, np.float32), 0, ROWS)


def editor(encoded: bool = True) -> Editor:
    """Edits aligned photographs within a fraction of a second.

    Args:
        encoded: whether there is an encoder.
    """
    pipeline = networks()
    return Editor(
        pipeline.replace(encoder=encoder()) if encoded else pipeline, directions(), CONFIG
    )


def flags(root: Path) -> list[str]:
    """Writes the networks of `editor` into folders; returns the flags that name them."""
    pipeline, found = networks(), encoder()
    parts = {
        "generator": (pipeline.generator, {}),
        "encoder": (found.network, {"latent_avg": found.latent_avg}),
        "classifier": (pipeline.classifier.network, {}),
    }
    given = []
    for role, (network, arrays) in parts.items():
        held = Network(network.module, jax.tree.map(np.asarray, network.variables))
        classes = {"classes": list(NAMES)} if role == "classifier" else {}
        model_folder.save(root / role, {role: held}, arrays, {"kind": role, **classes})
        given += [f"--{role}", str(root / role)]
    save_directions(root / "directions.safetensors", directions())
    return [*given, "--directions", str(root / "directions.safetensors")]


def edit_flags(root: Path) -> list[str]:
    """The flags of a quick edit of aligned photographs, with the networks in folders below root."""
    fast = ["--aligned", "--tune", "0", "--variant", "official"]
    return [*flags(root), *fast, "--attribute", "old=1"]


def photograph(dtype=np.uint8, size=(200, 240)) -> np.ndarray:
    """Noise, [h, w, 3]."""
    rng = np.random.default_rng(0)
    return rng.integers(0, np.iinfo(dtype).max, (*size, 3), dtype, endpoint=True)
