"""Readers of model folders, official checkpoints, configurations and datasets, under `law`."""

import functools
import json
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.hostile.law import Reader
from tests.hostile.networks import HASH, zipped

_PARITY = Path(__file__).parent.parent / "data" / "parity"
_MOST_NUMBERS = 1 << 22  # of an official checkpoint: real files are as large as their arrays


def with_notes(tree: Mapping[str, Any], read: Callable[[Path], Any]) -> Callable:
    """A reader of a safetensors file, as one of the JSON in its header."""

    def of_notes(data: bytes, folder: Path) -> Any:
        from diffcam_jax.files import trees

        try:
            notes = json.loads(data)
        except (ValueError, RecursionError):
            notes = {}
        (folder / "file.safetensors").parent.mkdir(exist_ok=True)
        try:
            trees.save(folder / "file.safetensors", tree, notes if isinstance(notes, dict) else {})
        except (ValueError, RecursionError):
            return None  # text that no file can hold
        return read(folder / "file.safetensors")

    return of_notes


# ---------------------------------------------------------------- model folders


@functools.cache
def model() -> dict[str, bytes]:
    """The files of a folder with a small network."""
    from diffcam_jax.files import model_folder
    from diffcam_jax.nn.latent_discriminator import LatentDiscriminator
    from diffcam_jax.nn.network import Network

    network = Network(LatentDiscriminator(4, 2), {"params": {"kernel": np.ones((2, 2))}})
    arrays = {"latent_avg": np.ones(512, np.float32)}
    model_folder.save(Path("out/model"), {"encoder": network}, arrays, {"kind": "e4e"})
    return {path.name: path.read_bytes() for path in Path("out/model").iterdir()}


def _model(name: str) -> Reader:
    def read(data: bytes, folder: Path) -> Any:
        from diffcam_jax.pretrained import networks

        for other, content in model().items():
            (folder / other).write_bytes(data if other == name else content)
        return networks.load(folder)

    kind = "json" if name.endswith("json") else "safetensors"
    return Reader(lambda: [model()[name]], read, kind)


@functools.cache
def _official() -> dict[str, np.ndarray]:
    from tests.test_convert_weights import entries

    return entries("stylegan2_generator", divide=64)


@functools.cache
def _converted() -> Path:
    """A folder that was converted from a small checkpoint of StyleGAN2."""
    from convert_weights.__main__ import main
    from diffcam_jax.formats.torch_writer import write_torch

    write_torch(Path("out/official.pt"), {"g_ema": _official()})
    folder = Path("out/converted").absolute()
    assert main(["stylegan2", "--src", "out/official.pt", "--dst", str(folder)]) == 0
    return folder


def _export_notes() -> list[bytes]:
    from diffcam_jax.files import trees

    return [json.dumps(trees.load(_converted() / "model.safetensors")[1]).encode()]


def _export(data: bytes, folder: Path) -> Any:
    from convert_weights.export import export
    from diffcam_jax.files import trees

    def read(path: Path) -> Any:
        path.rename(folder / "model.safetensors")
        shutil.copyfile(_converted() / "config.json", folder / "config.json")
        return export(folder, folder / "back.npz")

    return with_notes(trees.load(_converted() / "model.safetensors")[0], read)(data, folder)


def _shapes() -> list[bytes]:
    return [json.dumps({name: array.shape for name, array in _official().items()}).encode()]


def _recognise(data: bytes, folder: Path) -> Any:
    """A checkpoint of any names and shapes, as `auto` takes it."""
    from convert_weights.convert import convert, recognise
    from convert_weights.state import State

    arrays = {}
    try:
        for name, shape in json.loads(data).items():
            if np.prod(shape, dtype=float) < _MOST_NUMBERS:
                arrays[name] = np.broadcast_to(np.float32(0), shape)
            if name in _official() and _official()[name].shape == tuple(shape):
                arrays[name] = _official()[name]
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None  # no arrays have such shapes
    state = State(folder / "file.pt", arrays, {}, HASH)
    return convert(state, recognise(state))


def _manifest(data: bytes, folder: Path) -> Any:
    from convert_weights.check import main

    (folder / "manifest.json").write_bytes(data)
    shutil.copyfile(_PARITY / "metrics" / "data.npz", folder / "data.npz")
    return main([folder])


def _fixture(data: bytes, folder: Path) -> Any:
    from convert_weights.check import main

    (folder / "data.npz").write_bytes(data)
    (folder / "manifest.json").write_bytes(b'{"kind": "metrics", "outputs": {}}')
    return main([folder])


# ---------------------------------------------------------------- configurations and data


@functools.cache
def _flags() -> Any:
    from diffcam_jax.programs import train

    train.define_flags()
    return train


def _overrides(data: bytes, folder: Path) -> None:
    """Flags of a training, up to its start."""
    import contextlib
    import io

    from absl import flags

    from diffcam_jax.errors import UserError
    from diffcam_jax.train import settings

    for name in [name for name in flags.FLAGS if name.startswith("config.")]:
        delattr(flags.FLAGS, name)  # of the input before
    line = io.StringIO()
    try:
        with contextlib.redirect_stderr(line):
            words = data.decode("utf-8", "replace").replace("\0", "").split("\n")
            sys.argv = ["train.py", *words]  # where ml_collections looks for them, too
            _flags().parse(sys.argv)
        settings.check(flags.FLAGS.config)
    except SystemExit as ended:
        told = line.getvalue()
        if ended.code != 2 or not told.startswith("error: ") or told.count("\n") != 1:
            raise AssertionError(f"exit code {ended.code} with {told!r}") from ended
        raise UserError(told) from None


def _override_seeds() -> list[bytes]:
    return [b"--config.batch_size=16\n--config.seed=3\n--workdir=w\n--config.data.source=online"]


@functools.cache
def dataset() -> dict[str, bytes]:
    """The files of a small dataset."""
    from PIL import Image

    from diffcam_jax.data.prepare import prepare

    for number in range(3):
        path = Path(f"out/pictures/{number}.png")
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((64, 64, 3), number, np.uint8)).save(path)
    prepare(Path("out/pictures"), "mine", 64, Path("out/data"), test_share=0.0)
    folder = Path("out/data/pictures/mine/1.0.0")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _dataset(suffix: str, kind: str) -> Reader:
    def read(data: bytes, folder: Path) -> Any:
        from diffcam_jax.data.builders import open_prepared

        place = folder / "pictures" / "mine" / "1.0.0"
        place.mkdir(parents=True)
        for name, content in dataset().items():
            (place / name).write_bytes(data if suffix in name else content)
        opened = open_prepared(folder, "mine")
        return [list(split) for split in opened.splits.values()]

    def seeds() -> list[bytes]:
        return [content for name, content in dataset().items() if suffix in name]

    return Reader(seeds, read, kind, most_runs=1000)


def _noted(tree: Callable[[], Mapping[str, Any]], read: Callable, **notes: Any) -> Reader:
    return Reader(
        lambda: [json.dumps(notes).encode()],
        lambda data, folder: with_notes(tree(), read)(data, folder),
        "json",
    )


def _load_directions(path: Path) -> Any:
    from diffcam_jax.directions import load_directions

    return load_directions(path)


_DIRECTION = {"name": "old", "range": [-2.0, 2.0], "layers": [1, 4], "generator": HASH, "rows": 6}
_DIRECTION |= {"normalisation": "one", "method": "drawn", "licence": "free", "classes": ["skin"]}
_DIRECTION |= {"box": [0, 1, 0, 1], "score": "", "move": 0.5, "ceiling": 2.0}
CONVERSIONS = {
    "model_config": _model("config.json"),
    "model_weights": _model("model.safetensors"),
    "direction_notes": _noted(
        lambda: {"old": np.ones((3, 8), np.float32)},
        _load_directions,
        kind="directions",
        directions={"old": _DIRECTION},
    ),
    "official_names": Reader(_shapes, _recognise, "json", most_runs=500),
    "export_notes": Reader(_export_notes, _export, "json", most_runs=500),
    "parity_manifest": Reader(
        lambda: [(_PARITY / "metrics" / "manifest.json").read_bytes()],
        _manifest,
        "json",
        most_runs=500,
    ),
    "parity_data": Reader(
        lambda: [zipped(**{"out/a": np.ones(3), "in/b": np.ones((2, 2))})], _fixture, "zip"
    ),
    "overrides": Reader(_override_seeds, _overrides, "text", most_runs=2000),
    "dataset_recipe": _dataset("recipe.json", "json"),
    "dataset_info": _dataset("dataset_info.json", "json"),
    "dataset_features": _dataset("features.json", "json"),
    "dataset_shard": _dataset(".array_record", ""),
}
