"""NVIDIA's network pickles: files of their structure, written by hand.

And files made to do harm.
"""

import io
import os
import pickle
import struct
import sys
import types
from collections import OrderedDict

import numpy as np
import pytest

from convert_weights.__main__ import main
from diffcam_jax.errors import UserError
from diffcam_jax.formats import read_checkpoint
from diffcam_jax.pretrained import networks as pretrained
from tests.damaged import count_refused
from tests.test_convert_weights import entries

SOURCE = "import os\nos.makedirs('compiled')\nraise SystemExit(1)\n"


class Call:
    """Unpickles to the result of a call."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


class EasyDict(dict):
    pass


class FloatStorage:
    pass


@pytest.fixture
def names(monkeypatch):
    """The names that the pickles refer to, so that pickle can write them."""

    def function(module: str, name: str):
        made = types.FunctionType((lambda *_: None).__code__, {}, name)
        made.__module__, made.__qualname__ = module, name
        return made

    listed = {
        "torch._utils": ("_rebuild_tensor_v2", "_rebuild_parameter"),
        "torch.storage": ("_load_from_bytes",),
        "torch_utils.persistence": ("_reconstruct_persistent_obj",),
    }
    made = {name: function(module, name) for module, entries in listed.items() for name in entries}
    monkeypatch.setattr(EasyDict, "__module__", "dnnlib.util")
    monkeypatch.setattr(FloatStorage, "__module__", "torch")
    for module in (
        "torch",
        "torch._utils",
        "torch.storage",
        "torch_utils",
        "torch_utils.persistence",
        "dnnlib",
        "dnnlib.util",
    ):
        fake = types.ModuleType(module)
        for entry in listed.get(module, ()):
            setattr(fake, entry, made[entry])
        monkeypatch.setitem(sys.modules, module, fake)
    sys.modules["dnnlib.util"].EasyDict = EasyDict
    sys.modules["torch"].FloatStorage = FloatStorage
    return types.SimpleNamespace(**made)


class Memory:
    """A storage in a legacy stream."""


def storage_bytes(array: np.ndarray) -> bytes:
    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            return (
                ("storage", FloatStorage, "17", "cpu", array.size, None)
                if isinstance(obj, Memory)
                else None
            )

    file = io.BytesIO()
    Pickler(file, 2).dump(Memory())
    info = {
        "protocol_version": 1001,
        "little_endian": True,
        "type_sizes": {"short": 2, "int": 4, "long": 4},
    }
    parts = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, info)]
    parts += [
        file.getvalue(),
        pickle.dumps(["17"], 2),
        struct.pack("<q", array.size),
        array.tobytes(),
    ]
    return b"".join(parts)


def tensor(names, array: np.ndarray) -> Call:
    array = np.asarray(array, np.float32)
    strides = tuple(step // 4 for step in array.strides)
    storage = Call(names._load_from_bytes, storage_bytes(array))
    return Call(names._rebuild_tensor_v2, storage, 0, array.shape, strides, False, OrderedDict())


def persistent(names, parameters=(), buffers=(), modules=(), passing=(), **init) -> Call:
    state = {
        "training": False,
        "_parameters": OrderedDict(
            {
                k: None
                if v is None
                else Call(names._rebuild_parameter, tensor(names, v), True, OrderedDict())
                for k, v in parameters
            }
        ),
        "_buffers": OrderedDict({k: None if v is None else tensor(names, v) for k, v in buffers}),
        "_modules": OrderedDict(modules),
        "_non_persistent_buffers_set": set(passing),
        "_forward_hooks": OrderedDict(),
        "_init_args": (),
        "_init_kwargs": EasyDict(init),
        "activation": "lrelu",
    }
    meta = {
        "type": "class",
        "version": 6,
        "module_src": SOURCE,
        "class_name": "Layer",
        "state": state,
    }
    return Call(names._reconstruct_persistent_obj, meta)


WEIGHT, STRENGTH, AVERAGE = np.arange(6).reshape(2, 3), np.array(0.5), np.arange(3) / 2


@pytest.fixture
def tree(names):
    conv = persistent(
        names,
        [("weight", WEIGHT), ("noise_strength", STRENGTH), ("bias", None)],
        [("fir", AVERAGE)],
    )
    mapping = persistent(
        names, [], [("w_avg", AVERAGE), ("cache", AVERAGE), ("nothing", None)], passing=["cache"]
    )
    modules = [
        ("synthesis", persistent(names, modules=[("conv", conv)])),
        ("mapping", mapping),
        ("none", None),
    ]
    generator = persistent(
        names, modules=modules, z_dim=512, synthesis_kwargs=EasyDict(conv_clamp=256, blocks=[4, 8])
    )
    return {
        "G": generator,
        "G_ema": generator,
        "training_set_kwargs": EasyDict(path="x"),
        "augment_pipe": None,
    }


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("as_path", [True, False])
def test_networks_are_read_and_code_is_not_run(tmp_path, monkeypatch, tree, protocol, as_path):
    monkeypatch.chdir(tmp_path)
    source = pickle.dumps(tree, protocol)
    if as_path:
        (tmp_path / "ffhq.pkl").write_bytes(source)
        source = tmp_path / "ffhq.pkl"
    read = read_checkpoint(source)
    assert not (tmp_path / "compiled").exists()
    assert read.keys() == {"G", "G_ema", "training_set_kwargs", "augment_pipe"}
    for state in (read["G"], read["G_ema"]):
        assert list(state) == [
            "synthesis.conv.weight",
            "synthesis.conv.noise_strength",
            "synthesis.conv.fir",
            "mapping.w_avg",
            "init",
        ]
        np.testing.assert_array_equal(state["synthesis.conv.weight"], WEIGHT)
        np.testing.assert_array_equal(state["mapping.w_avg"], AVERAGE)
        assert state["synthesis.conv.noise_strength"].shape == ()
        assert state["synthesis.conv.noise_strength"] == 0.5
        assert state["init"] == {
            "z_dim": 512,
            "synthesis_kwargs": {"conv_clamp": 256, "blocks": [4, 8]},
        }


@pytest.mark.parametrize("function", [os.system, eval, getattr, __import__, io.open])
def test_calls_of_functions_are_refused(tmp_path, names, function):
    mark = tmp_path / "mark"
    harm = Call(function, f"touch {mark}")
    hidden = storage_bytes(np.zeros(1, np.float32)).replace(
        b"ctorch\nFloatStorage\n", b"cos\nsystem\n"
    )
    meta = {
        "type": "class",
        "version": 6,
        "module_src": SOURCE,
        "class_name": "Layer",
        "state": harm,
    }
    for bad in (
        {"G": harm},
        {"G": Call(names._reconstruct_persistent_obj, meta)},
        {"G": persistent(names, z_dim=harm)},
        {"G": Call(names._load_from_bytes, hidden)},
    ):
        with pytest.raises(UserError, match="not a readable checkpoint"):
            read_checkpoint(pickle.dumps(bad, 3))
    assert not mark.exists()


def test_objects_of_other_kinds_are_refused(names, tmp_path):
    tensors = pickle.dumps({"a": np.zeros(2)}, 2)
    for bad, message in (
        ([1], "list"),
        (3, "int"),
        (
            {"G": Call(names._reconstruct_persistent_obj, {"type": "function", "state": {}})},
            "unknown type",
        ),
        ({"G": persistent(names, modules=[("conv", 3)])}, "not a module"),
        ({"G": Call(names._load_from_bytes, tensors)}, "neither of torch's"),
    ):
        with pytest.raises(UserError, match=message):
            read_checkpoint(pickle.dumps(bad, 3))
    with pytest.raises(UserError, match="no checkpoint at"):
        read_checkpoint(tmp_path / "missing.pkl")


def test_shared_modules_do_not_multiply(names):
    module = persistent(names, [("weight", WEIGHT)])
    for _ in range(40):
        module = persistent(names, modules=[("a", module), ("b", module)])
    state = read_checkpoint(pickle.dumps({"G": module}, 4))["G"]
    assert list(state) == ["a." * 40 + "weight"]


def test_damaged_files_never_end_in_another_error(tree):
    good = pickle.dumps(tree, 3)
    assert count_refused(read_checkpoint, good, seed=1, trials=150, cut=0.5) > 50


def nested(names, state: dict[str, np.ndarray], **init) -> Call:
    """A network of nested modules with these dotted keys."""
    inner: dict[str, dict] = {}
    own = []
    for key, array in state.items():
        head, _, rest = key.partition(".")
        if rest:
            inner.setdefault(head, {})[rest] = array
        else:
            own.append((head, array.astype(np.float32)))
    modules = [(name, nested(names, part)) for name, part in inner.items()]
    return persistent(names, buffers=own, modules=modules, **init)


def test_a_network_pickle_is_converted_like_any_checkpoint(names, tmp_path):
    state = entries("stylegan2_ada", divide=64)
    raw = state | {"mapping.w_avg": state["mapping.w_avg"] + 1}
    options = {"synthesis_kwargs": EasyDict(conv_clamp=256)}
    content = {
        "G": nested(names, raw, **options),
        "G_ema": nested(names, state, **options),
        "augment_pipe": None,
    }
    (tmp_path / "ffhq.pkl").write_bytes(pickle.dumps(content, 3))
    assert main(["auto", "--src", str(tmp_path / "ffhq.pkl"), "--dst", str(tmp_path / "ada")]) == 0
    model = pretrained.load(tmp_path / "ada")
    assert (
        model.config["kind"] == "stylegan2_ada"
        and model.network("generator").module.conv_clamp == 256
    )
    np.testing.assert_array_equal(model.arrays["latent_avg"], state["mapping.w_avg"])
