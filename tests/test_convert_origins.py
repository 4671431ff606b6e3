"""Checkpoints as people have them: other containers, wrappers, objects beside the weights.

Each either becomes the same network, bit for bit, or one true line.
"""

import datetime
import pickle
import sys
import tarfile
import types
from collections import OrderedDict, defaultdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convert_weights.__main__ import main
from convert_weights.state import read_state
from diffcam_jax.formats import read_checkpoint
from diffcam_jax.formats.torch_writer import write_torch
from diffcam_jax.pretrained import networks as pretrained
from tests import test_persistent_pickle as pickles
from tests.test_convert_weights import entries, generator
from tests.test_formats import Stored, legacy_checkpoint, zip_checkpoint
from tests.test_persistent_pickle import Call, nested
from tests.test_persistent_pickle import names as names  # a fixture


def ada() -> dict[str, np.ndarray]:
    return entries("stylegan2_ada", divide=64)


def converted(path, *flags, kind="auto"):
    """The tree hash and the folder of a conversion that succeeds."""
    folder = path.parent / f"{path.name}_converted"
    assert main([kind, "--src", str(path), "--dst", str(folder), *flags]) == 0
    return pretrained.load(folder).config["tree_hash"], folder


def refused(path, capsys, *flags, kind="auto"):
    """The one line of a conversion that writes nothing."""
    folder = path.parent / "refused"
    assert main([kind, "--src", str(path), "--dst", str(folder), *flags]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("error: ") and not folder.exists()
    return error


@pytest.fixture
def plain(tmp_path):
    """A file of the network, and the hash of its conversion."""
    write_torch(tmp_path / "plain.pt", {"g_ema": generator()})
    return tmp_path / "plain.pt", converted(tmp_path / "plain.pt")[0]


def test_files_are_known_by_their_content(plain, tmp_path):
    source, expected = plain
    for name in ("g.pkl", "g.pth.tar", "g.ckpt", "g.bin"):
        (tmp_path / name).write_bytes(source.read_bytes())
        assert converted(tmp_path / name)[0] == expected, name
    (tmp_path / "arrays.pt").write_bytes(pickle.dumps({"g_ema": generator()}, 4))
    assert converted(tmp_path / "arrays.pt")[0] == expected


def test_a_tuned_generator_of_pivotal_tuning_is_one_pickled_module(names, tmp_path, monkeypatch):
    state, storages = ada(), []
    (tmp_path / "ffhq.pkl").write_bytes(pickle.dumps({"G_ema": nested(names, state)}, 3))
    expected, folder = converted(tmp_path / "ffhq.pkl")
    assert pretrained.load(folder).config["kind"] == "stylegan2_ada"

    def stored(names, array):
        array = np.array(array, np.float32, order="C")
        storages.append(Stored(pickles.FloatStorage, str(len(storages)), array.reshape(-1)))
        strides = tuple(step // 4 for step in array.strides)
        return Call(
            names._rebuild_tensor_v2, storages[-1], 0, array.shape, strides, False, OrderedDict()
        )

    monkeypatch.setattr(pickles, "tensor", stored)
    module = nested(names, state)
    for name, write in (("model.pt", zip_checkpoint), ("old.pt", legacy_checkpoint)):
        (tmp_path / name).write_bytes(write(module, storages))
        assert converted(tmp_path / name)[0] == expected, name
    (tmp_path / "bare.pt").write_bytes(zip_checkpoint({"G_ema": module}, storages))
    assert converted(tmp_path / "bare.pt")[0] == expected


class Options(dict):
    """Options with entries and attributes, as several packages have them."""


class Config:
    """An object without entries."""

    def __init__(self):
        self.__dict__.update(content={"a": 1}, metadata=None)


@pytest.fixture
def foreign(monkeypatch):
    """Objects of packages that are not installed where the file is read."""
    monkeypatch.setitem(sys.modules, "omegaconf", types.ModuleType("omegaconf"))
    for module, kind in (("easydict", Options), ("omegaconf.dictconfig", Config)):
        fake = types.ModuleType(module)
        monkeypatch.setattr(kind, "__module__", module)
        setattr(fake, kind.__name__, kind)
        monkeypatch.setitem(sys.modules, module, fake)
    options = Options(encoder_type="GradualStyleEncoder", when=datetime.date(2024, 1, 2))
    options.rate = 0.1
    return {
        "opts": options,
        "cfg": Config(),
        "time": datetime.datetime.now(datetime.UTC),
        "seen": {1, "two"},
        "frozen": frozenset({3}),
        "default": defaultdict(list, a=[1]),
        "names": np.array(["a", "b"]),
        "objects": np.array([{"a": 1}, None], dtype=object),
        "dtype": np.dtype("float32"),
        "random": np.random.default_rng(0),
        "steps": range(3),
        "step": 7,
    }


@pytest.mark.parametrize("protocol", [2, 4])
def test_what_is_not_weights_is_skipped(foreign, protocol):
    tree = {**foreign, "weights": {"w": np.arange(3.0)}}
    read = read_checkpoint(pickle.dumps(tree, protocol))
    np.testing.assert_array_equal(read["weights"]["w"], np.arange(3.0))
    assert read["step"] == 7 and read["default"] == {"a": [1]}
    assert read["opts"] == {"encoder_type": "GradualStyleEncoder"}
    assert not {"time", "seen", "frozen", "names", "objects", "random", "steps"} & read.keys()
    assert "ararray" not in str(read["cfg"])


def test_a_network_among_foreign_objects_is_converted(foreign, plain, tmp_path, capsys):
    tree = {"g_ema": generator(), "opts": foreign["opts"], **foreign}
    (tmp_path / "run.pkl").write_bytes(pickle.dumps(tree, 4))
    assert converted(tmp_path / "run.pkl")[0] == plain[1]


def test_containers_that_hold_each_other_end(tmp_path):
    loop: dict = {"w": np.ones(2)}
    loop["again"] = loop
    assert list(read_checkpoint(pickle.dumps(loop))) == ["w"]
    shared: dict = {}
    for _ in range(60):
        shared = {"a": shared, "b": shared}
    (tmp_path / "bomb.pt").write_bytes(pickle.dumps({"w": np.ones(2), "x": shared}))
    with pytest.raises(Exception, match="more than 1000000 entries"):
        read_state(tmp_path / "bomb.pt")


BAD = {
    "pointer.pt": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        ["Git LFS pointer", "git lfs pull"],
    ),
    "keras.pt": (b"\x89HDF\r\n\x1a\n" + bytes(50), ["HDF5", "PyTorch"]),
}


@pytest.mark.parametrize("name", BAD)
def test_files_that_stand_for_others(name, tmp_path, capsys):
    content, words = BAD[name]
    (tmp_path / name).write_bytes(content)
    error = refused(tmp_path / name, capsys)
    assert all(word in error for word in words), error


def test_a_real_archive_is_to_be_unpacked(plain, tmp_path, capsys):
    with tarfile.open(tmp_path / "g.pth.tar", "w") as archive:
        archive.add(plain[0], "plain.pt")
    assert "unpack it" in refused(tmp_path / "g.pth.tar", capsys)


@pytest.mark.parametrize("module", ["dnnlib.tflib.network", "tfutil"])
def test_tensorflow_is_named_with_a_way_out(module, tmp_path, capsys):
    (tmp_path / "ffhq.pkl").write_bytes(b"\x80\x03c" + module.encode() + b"\nNetwork\n)\x81.")
    error = refused(tmp_path / "ffhq.pkl", capsys)
    assert "TensorFlow" in error and "legacy.py" in error and "OUT.pkl" in error


@pytest.mark.parametrize("attack", ["os system", "builtins eval", "subprocess run", "_io open"])
def test_what_asks_for_commands_is_refused_among_weights(attack, tmp_path, capsys):
    module, name = attack.split()
    harm = f"c{module}\n{name}\n(S'touch {tmp_path}/mark'\ntR."
    head = b"\x80\x02(S'a'\n"
    (tmp_path / "evil.pt").write_bytes(head + harm.encode())
    assert f"{module}.{name}" in refused(tmp_path / "evil.pt", capsys)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("names_of", ["ada", "rosinality"])
def test_grey_pictures_become_three_equal_channels(names_of, tmp_path):
    state = ada() if names_of == "ada" else generator()
    rgb = [key for key in state if "to_rgb" in key or "torgb" in key]
    for key in rgb:
        colours = 0 if names_of == "ada" else 1  # axis of a kernel, or of a bias of four axes
        if key.endswith(("bias", "conv.weight", "torgb.weight")) and 3 in state[key].shape:
            axis = colours if state[key].shape[colours] == 3 else list(state[key].shape).index(3)
            state[key] = np.take(state[key], [0], axis)
    write_torch(tmp_path / "grey.pt", {"G_ema" if names_of == "ada" else "g_ema": state})
    _, folder = converted(tmp_path / "grey.pt")
    module, variables = pretrained.load(folder).network("generator")
    w = jnp.ones((1, module.latent_size))
    image = np.asarray(jax.jit(lambda v, w: module.apply(v, w, method="synthesis"))(variables, w))
    assert image.shape[-1] == 3 and np.ptp(image) > 0
    np.testing.assert_allclose(image[..., 1:], image[..., :1].repeat(2, -1), atol=1e-5)
    assert main(["export", "--src", str(folder), "--dst", str(tmp_path / "back.pt")]) == 0
    before, after = (read_state(tmp_path / n).arrays for n in ("grey.pt", "back.pt"))
    assert all(after[key].tobytes() == array.tobytes() for key, array in before.items())
    assert before.keys() == after.keys()


def test_pictures_of_four_channels_are_refused(tmp_path, capsys):
    state = generator() | {"to_rgb1.bias": np.zeros((1, 4, 1, 1), np.float32)}
    write_torch(tmp_path / "rgba.pt", state)
    assert "pictures of 4 channels" in refused(tmp_path / "rgba.pt", capsys)


def test_a_discriminator_of_another_architecture_is_left_out(plain, tmp_path, capsys):
    judge = entries("stylegan2_discriminator", "d.", 64)
    bent = judge | {"final_conv.0.weight": np.zeros((8, 8, 5, 5), np.float32)}
    unknown = {"blocks.0.weight": np.ones((3, 3), np.float32)}
    for number, other in enumerate((bent, unknown)):
        path = tmp_path / f"other{number}.pt"
        write_torch(path, {"g_ema": generator(), "d": other})
        capsys.readouterr()
        _, folder = converted(path)
        assert set(pretrained.load(folder).networks) == {"generator"}
        assert "left out" in capsys.readouterr().out
        assert main(["export", "--src", str(folder), "--dst", str(tmp_path / "back.pt")]) == 0
        found = read_state(tmp_path / "back.pt").arrays
        assert found.keys() == {f"g_ema/{key}" for key in generator()}
    # What is wrong in the generator itself is still refused.
    write_torch(tmp_path / "both.pt", {"g_ema": generator() | {"more": np.ones(1)}, "d": bent})
    assert "more is left over" in refused(tmp_path / "both.pt", capsys)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_weights_that_are_not_finite_need_to_be_asked_for(number, tmp_path, capsys):
    state = generator()
    state["conv1.conv.weight"] = state["conv1.conv.weight"].copy()
    state["conv1.conv.weight"].flat[5] = number
    write_torch(tmp_path / "g.pt", {"g_ema": state})
    error = refused(tmp_path / "g.pt", capsys)
    assert "1 of " in error and "conv1.conv.weight" in error and "--force" in error
    _, folder = converted(tmp_path / "g.pt", "--force")
    kernel = pretrained.load(folder).network("generator").variables["params"]["conv1"]["kernel"]
    assert not np.isfinite(kernel).all()


def test_the_commands_that_are_printed_work(plain, tmp_path, capsys):
    from diffcam_jax.directions import load_directions
    from diffcam_jax.directions.__main__ import main as directions

    capsys.readouterr()
    _, folder = converted(plain[0])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("or: ")]
    (invert, sefa) = lines
    assert f"invert PHOTO --generator {folder} --out out" in invert
    arguments = sefa.partition("diffcam_jax.directions ")[2].split()
    assert directions(arguments) == 0
    made = load_directions(folder / "directions.safetensors")
    assert next(iter(made)) == "sefa_0"
