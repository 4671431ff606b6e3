"""Readers of networks, directions and codes, under the law of `law`."""

import io
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.hostile.law import Reader
from tests.test_torchscript import COUNT, EXAMPLE, WEIGHT, archive, plain, tensor, text

HASH = "a" * 64
_MAGIC = 0x1950A86A20F9469CFC6C


def zipped(**arrays: np.ndarray) -> bytes:
    """An .npz file."""
    held = io.BytesIO()
    np.savez(held, **arrays)
    return held.getvalue()


def npy(array: np.ndarray) -> bytes:
    """An .npy file, of objects too."""
    held = io.BytesIO()
    np.save(held, array)
    return held.getvalue()


def weights(tree: dict[str, Any], **notes: Any) -> bytes:
    """A safetensors file as the programs write it."""
    from diffcam_jax.files import trees

    path = Path("out/seed.safetensors")
    trees.save(path, tree, notes)
    return path.read_bytes()


def _legacy() -> bytes:
    tree = b"\x80\x02}" + text("w") + tensor("0", (3, 2), (2, 1), 6) + b"s."
    head = [pickle.dumps(x, 2) for x in (_MAGIC, 1001, {"little_endian": True})]
    parts = [*head, tree, pickle.dumps(["0"], 2), struct.pack("<q", 6), WEIGHT.tobytes()]
    return b"".join(parts)


def _call(name: str, *arguments: bytes) -> bytes:
    return f"c{name}\n(".encode() + b"".join(arguments) + b"tR"


def _entries(**items: bytes) -> bytes:
    return b"}(" + b"".join(text(name) + item for name, item in items.items()) + b"u"


def _nvidia() -> bytes:
    """A network as NVIDIA's programs pickle it: its class lies in it as text."""
    storage = _call("torch.storage\n_load_from_bytes", plain(_one_storage()))
    rest = plain(0) + plain((3, 2)) + plain((2, 1)) + b"\x89" + _call("collections\nOrderedDict")
    weight = _call("torch._utils\n_rebuild_tensor_v2", storage, rest)
    state = _entries(
        _parameters=_entries(weight=weight), _buffers=b"}", _modules=b"}", _init_kwargs=b"}"
    )
    meta = _entries(
        type=text("class"), module_src=text("1 / 0"), class_name=text("Layer"), state=state
    )
    module = _call("torch_utils.persistence\n_reconstruct_persistent_obj", meta)
    return b"\x80\x02" + _entries(G_ema=module, augment_pipe=b"N") + b"."


def _one_storage() -> bytes:
    stored = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("7") + text("cpu")
    tree = b"\x80\x02" + stored + plain(6) + b"NtQ."
    head = [pickle.dumps(x, 2) for x in (_MAGIC, 1001, {"little_endian": True})]
    return b"".join([*head, tree, pickle.dumps(["7"], 2), struct.pack("<q", 6), WEIGHT.tobytes()])


def _zip() -> bytes:
    return archive(b"}" + text("w") + tensor("0", (3, 2), (1, 3), 6) + b"s", {"0": WEIGHT})


def _pickles() -> list[bytes]:
    tree = {"a": WEIGHT, "b": [1, 2.5, "x", (True, b"raw")], "c": np.float32(1)}
    return [pickle.dumps(tree, protocol) for protocol in (2, 3, 4, 5)]


def _state(suffix: str) -> Callable[[bytes, Path], Any]:
    def read(data: bytes, folder: Path) -> Any:
        from convert_weights.state import read_state

        (folder / f"file{suffix}").write_bytes(data)
        return read_state(folder / f"file{suffix}")

    return read


def _format(name: str) -> Callable[[bytes, Path], Any]:
    def read(data: bytes, folder: Path) -> Any:
        from diffcam_jax import formats

        return getattr(formats, name)(data)

    return read


def _openvino() -> list[bytes]:
    from tests.test_formats import const, ir

    return [ir(const("w", "f32", "2, 3", 0, 24) + const("h", "f16", "1", 24, 2))]


def _read_openvino(data: bytes, folder: Path) -> Any:
    from diffcam_jax.formats import read_openvino_ir

    return read_openvino_ir(data, bytes(64))


def _onnx() -> list[bytes]:
    from tests.test_onnx import WEIGHT, WHOLE, field, model, tensor

    packed = field(1, 2) + field(2, 1) + field(4, struct.pack("<2f", 1, 2))
    return [WHOLE, model(field(5, packed), field(5, tensor("v", WEIGHT)))]


# ---------------------------------------------------------------- directions and codes


def _direction(suffix: str) -> Callable[[bytes, Path], Any]:
    def read(data: bytes, folder: Path) -> Any:
        from diffcam_jax.directions.importers import import_direction

        (folder / f"smile{suffix}").write_bytes(data)
        return import_direction(folder / f"smile{suffix}", "smile")

    return read


def _npy_directions() -> list[bytes]:
    row = np.linspace(-1, 1, 512, dtype=np.float32)[None]
    boundary = {"boundary": row, "meta_data": {"manipulate_layers": [1, 2]}}
    return [
        npy(row),
        npy(np.array(boundary, object)),
        pickle.dumps(boundary, 2),
    ]


def _torch_direction() -> list[bytes]:
    row = np.linspace(-1, 1, 512, dtype=np.float32)
    return [archive(b"}" + text("d") + tensor("0", (1, 512), (512, 1), 512) + b"s", {"0": row})]


def _directions() -> list[bytes]:
    from diffcam_jax.directions import Direction, save_directions

    array = np.ones((6, 8), np.float32)
    made = Direction("smiling", array, (-2.0, 2.0), (1, 4), HASH, "one", "drawn", "free")
    path = Path("out/directions.safetensors")
    save_directions(path, {"smiling": made, "old": made})
    return [path.read_bytes()]


def _loaded(read: Callable[[Path], Any], name: str = "x.safetensors") -> Callable:
    """A reader of a file, as one of its content."""

    def of_content(data: bytes, folder: Path) -> Any:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        return read(folder / name)

    return of_content


def _load_directions(path: Path) -> Any:
    from diffcam_jax.directions import load_directions

    return load_directions(path)


def _load_codes(path: Path) -> Any:
    from diffcam_jax.files import codes

    return codes.load(path, HASH, 6)


def _load_tuned(path: Path) -> Any:
    from diffcam_jax.inversion import tuned_files

    return tuned_files.load(path, HASH)


def _code_seeds() -> list[bytes]:
    codes = np.ones((2, 6, 8), np.float32)
    return [weights({"codes": codes}, generator=HASH, method="encoder", names=["a", "b"])]


def _tuned_seeds() -> list[bytes]:
    tree = {"params": {"synthesis": {"b4": {"kernel": np.ones((1, 2), np.float16)}}}}
    return [weights(tree, kind="tuned", generator=HASH, settings={"steps": 3})]


# ---------------------------------------------------------------- caches, which never refuse


def _code_cache(data: bytes, folder: Path) -> Any:
    from diffcam_jax.files.code_cache import CodeCache

    aligned, cache = np.zeros((4, 4, 3), np.uint8), CodeCache({"method": "encoder"})
    path = cache.path(aligned)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return cache.load(aligned)


def _tuned_cache(data: bytes, folder: Path) -> Any:
    from diffcam_jax.inversion.tuned_cache import TunedCache

    aligned, codes = np.zeros((4, 4, 3), np.uint8), np.zeros((6, 8), np.float32)
    cache = TunedCache(aligned, codes, {"steps": 3})
    cache.folder.mkdir(parents=True, exist_ok=True)
    (cache.folder / f"{cache._name}_0_0_8_8.safetensors").write_bytes(data)
    return cache.load()


def _cached_tuning() -> list[bytes]:
    return [weights({"params.b4": np.ones((1, 2), np.float16)}, window=[0, 0, 8, 8], loss=0.5)]


NETWORKS = {
    "checkpoint_zip": Reader(lambda: [_zip()], _state(".pt"), "zip"),
    "checkpoint_legacy": Reader(lambda: [_legacy()], _state(".pth"), "pickle"),
    "checkpoint_pickle": Reader(lambda: [_nvidia(), *_pickles()], _state(".pkl"), "pickle"),
    "checkpoint_safetensors": Reader(
        lambda: [weights({"a": {"b": WEIGHT}, "c": COUNT})], _state(".safetensors"), "safetensors"
    ),
    "checkpoint_npz": Reader(lambda: [zipped(a=WEIGHT, b=COUNT)], _state(".npz"), "zip"),
    "torch_zip": Reader(lambda: [_zip()], _format("read_torch"), "zip"),
    "torch_legacy": Reader(lambda: [_legacy()], _format("read_torch"), "pickle"),
    "torchscript": Reader(
        lambda: [archive(EXAMPLE, {"0": WEIGHT, "1": COUNT})], _format("read_torchscript"), "zip"
    ),
    "numpy_pickle": Reader(_pickles, _format("read_numpy_pickle"), "pickle"),
    "onnx": Reader(_onnx, _format("read_onnx"), "protobuf"),
    "openvino": Reader(_openvino, _read_openvino, "text"),
    "direction_npy": Reader(_npy_directions, _direction(".npy"), "npy"),
    "direction_torch": Reader(_torch_direction, _direction(".pt"), "zip"),
    "directions": Reader(_directions, _loaded(_load_directions), "safetensors"),
    "codes": Reader(_code_seeds, _loaded(_load_codes), "safetensors"),
    "tuned": Reader(_tuned_seeds, _loaded(_load_tuned), "safetensors"),
    "code_cache": Reader(
        lambda: [weights({"codes": np.ones((6, 8), np.float32)})],
        _code_cache,
        "safetensors",
        refusals=(),
    ),
    "tuned_cache": Reader(_cached_tuning, _tuned_cache, "safetensors", refusals=()),
}
