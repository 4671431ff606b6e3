"""Networks, photographs and codes in folders, for tests of the command that inverts."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from diffcam_jax.directions import Direction, save_directions
from diffcam_jax.files import codes as code_files
from diffcam_jax.files import model_folder, trees
from diffcam_jax.nn.indomain_encoder import InDomainEncoder, encoder_widths
from diffcam_jax.nn.network import Network
from diffcam_jax.nn.stylegan1 import StyleGAN1Generator
from diffcam_jax.programs import invert
from tests.random_variables import random_variables

SIDE, ROWS, K = 64, 10, 512
GENERATOR = StyleGAN1Generator((4,) * 5, K, 1)
ENCODER = InDomainEncoder(encoder_widths(SIDE, 4, 4), ROWS, K)
NAMES = ("ann", "bob")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Networks in folders as a conversion writes them, aligned photographs, and their codes."""
    root = tmp_path_factory.mktemp("world")
    networks = {
        "generator": (GENERATOR, jnp.zeros((1, K))),
        "encoder": (ENCODER, jnp.zeros((1, SIDE, SIDE, 3))),
    }
    for role, (module, given) in networks.items():
        variables = jax.tree.map(np.asarray, random_variables(module, given))
        model_folder.save(root / role, {role: Network(module, variables)}, {}, {"kind": role})
        if role == "generator":
            digest = trees.tree_hash(variables["params"])
    rng = np.random.default_rng(0)
    (root / "photos").mkdir()
    for name in NAMES:
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(
            root / "photos" / f"{name}.png"
        )
    found = rng.normal(0, 0.3, (4, ROWS, K)).astype(np.float32)
    code_files.save(root / "two.safetensors", found[:2], digest, "mse", NAMES)
    code_files.save(root / "four.safetensors", found, digest, "mse", ["a", "b", "c", "../d"])
    code_files.save(root / "foreign.safetensors", found[:2], "0" * 64, "mse", NAMES)
    array = rng.normal(size=(ROWS, K)).astype(np.float32)
    smile = Direction("smile", array, (-2.0, 2.0), (0, ROWS), digest, "as it is", "by hand", "none")
    save_directions(root / "smile.safetensors", {"smile": smile})
    np.save(root / "large.npy", np.ones((18, K), np.float32))
    return root


def command(world: Path, out: Path, name: str, *rest: str) -> list[str]:
    places = {
        part: str(world / part)
        for part in ("two.safetensors", "four.safetensors", "foreign.safetensors", "photos")
    }
    places |= {f"{one}.png": str(world / "photos" / f"{one}.png") for one in NAMES}
    places |= {part: str(world / part) for part in ("smile.safetensors", "large.npy")} | {
        "ENCODER": str(world / "encoder")
    }
    return [
        name,
        *(places.get(part, part) for part in rest),
        "--generator",
        str(world / "generator"),
        "--out",
        str(out),
    ]


def sheet(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def fails(capsys, arguments: list[str], *words: str) -> None:
    assert invert.main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1, said
    for word in words:
        assert word in said


# ---------------------------------------------------------------- every command
