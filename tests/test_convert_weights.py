"""`python -m convert_weights`: official checkpoints to folders and back, or one line of why not.

The checkpoints are made here from the key lists of the real ones, with fewer channels and random
numbers.
"""

import hashlib
import json
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convert_weights.__main__ import main
from convert_weights.fixture import Fixture
from convert_weights.state import read_state
from diffcam_jax.formats.torch_writer import write_torch
from diffcam_jax.pretrained import networks as pretrained

DATA = pathlib.Path(__file__).parent / "data/parity"


def entries(fixture: str, prefix: str = "", divide: int = 1) -> dict[str, np.ndarray]:
    """An official state dict with a part of the channels; filters and other constants are kept."""
    found = Fixture(DATA / fixture)
    rng = np.random.default_rng(0)
    state = {}
    for key, entry in found.manifest["state_dict"].items():
        if not key.startswith(prefix):
            continue
        name = key[len(prefix) :]
        if entry.get("rule") == "const" or entry.get("dtype") == "int64":
            state[name] = found.state(key)[""]
            if "blur.kernel" in key and state[name].ndim == 4:
                state[name] = state[name][: max(1, len(state[name]) // divide)]
            continue
        is_map = re.search(r"noise_\d|noise_const|apply_noise\.noise", key)
        shape = tuple(
            max(1, size // divide) if not is_map and (size > 7 or "fc" in key) else size
            for size in entry["shape"]
        )
        if name == "final_conv.0.weight":
            shape = (shape[0], entry["shape"][0] // divide + 1, 3, 3)
        value = entry["mean"] + entry["std"] * rng.standard_normal(shape)
        state[name] = (np.abs(value) if entry.get("rule") == "abs" else value).astype(np.float32)
    return state


def generator() -> dict[str, np.ndarray]:
    return entries("stylegan2_generator", divide=64)


def encoder() -> dict[str, np.ndarray]:
    return {f"encoder.{key}": value for key, value in entries("psp_gradual", "into_w.", 4).items()}


def mmgen() -> dict[str, np.ndarray]:
    state = {key: value for key, value in entries("deghosting", "generator.", 64).items()}
    return {f"generator_ema.{key}": value for key, value in state.items()}


CHECKPOINTS = {
    "stylegan2": lambda: {"g_ema": generator(), "d": entries("stylegan2_discriminator", "d.", 64)},
    "stylegan2_ada": lambda: {"G_ema": entries("stylegan2_ada", divide=64)},
    "mmgen": lambda: {"state_dict": mmgen(), "meta": {"epoch": 3}},
    "psp": lambda: {
        "state_dict": encoder() | {f"decoder.{k}": v for k, v in generator().items()},
        "latent_avg": np.arange(8, dtype=np.float32)[None],
        "opts": {"learning_rate": 1e-4, "device": "cuda"},
    },
    "diffcam": lambda: {f"module.{k}": v for k, v in entries("diffcam", divide=4).items()},
    "idinvert": lambda: entries("idinvert", "generator.", 64),
    "inception": lambda: entries("inception_fid", divide=1),
    "arcface": lambda: {"model": entries("arcface_irse50", divide=4)},
    "lpips": lambda: {"params": entries("lpips", "squeeze.")},
    "vgg": lambda: entries("vgg16_resnet101", "vgg16."),
    "resnet": lambda: {"state_dict": entries("vgg16_resnet101", "resnet101.", 4)},
}
QUICK = ("stylegan2", "psp", "diffcam")


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_there_and_back_bit_for_bit(kind, tmp_path, capsys):
    source, folder, back = tmp_path / "official.pt", tmp_path / "converted", tmp_path / "back.pt"
    write_torch(source, CHECKPOINTS[kind]())
    assert main(["auto", "--src", str(source), "--dst", str(folder)]) == 0
    assert "licence" in capsys.readouterr().out
    model = pretrained.load(folder)
    config = json.loads((folder / "config.json").read_text())
    assert config["kind"] == kind and model.networks and config["licence"]
    assert config["source"] == {"official.pt": hashlib.sha256(source.read_bytes()).hexdigest()}
    assert all(
        leaf.dtype == np.float32
        for leaf in jax.tree.leaves([n.variables for n in model.networks.values()])
    )

    assert main(["export", "--src", str(folder), "--dst", str(back)]) == 0
    official, again = read_state(source).arrays, read_state(back).arrays
    assert official.keys() == again.keys()
    for name, array in official.items():
        assert (array.dtype, array.shape) == (again[name].dtype, again[name].shape), name
        assert array.tobytes() == again[name].tobytes(), name


def test_the_opened_generator_draws(tmp_path):
    write_torch(tmp_path / "g.pt", generator())
    assert main(["stylegan2", "--src", str(tmp_path / "g.pt"), "--dst", str(tmp_path / "g")]) == 0
    model = pretrained.load(tmp_path / "g")
    module, variables = model.network("generator")
    w = jax.jit(lambda v, z: module.apply(v, z, method="mapping"))(variables, jnp.ones((2, 8)))
    image = jax.jit(lambda v, w: module.apply(v, w, method="synthesis"))(variables, w)
    assert image.shape == (2, 64, 64, 3) and bool(jnp.isfinite(image).all())
    # The file has no mean code: it is that of many mapped draws, which other draws repeat within
    # their spread.
    z = jax.random.normal(jax.random.key(5), (4000, 8))
    again = np.asarray(jax.jit(lambda v, z: module.apply(v, z, method="mapping"))(variables, z))
    spread = again.std(0).max()
    assert spread > 0.1
    np.testing.assert_allclose(
        model.arrays["latent_avg"], again.mean(0), atol=6 * spread / 4000**0.5
    )


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pth"])
def test_other_containers(suffix, tmp_path):
    write_torch(tmp_path / "g.pt", {"g_ema": generator()})
    one, two, other = tmp_path / "one", tmp_path / "two", tmp_path / f"g{suffix}"
    assert main(["stylegan2", "--src", str(tmp_path / "g.pt"), "--dst", str(one)]) == 0
    assert main(["export", "--src", str(one), "--dst", str(other)]) == 0
    assert main(["auto", "--src", str(other), "--dst", str(two)]) == 0
    assert pretrained.load(one).config["tree_hash"] == pretrained.load(two).config["tree_hash"]


def test_the_mean_code_is_carried_over(tmp_path):
    write_torch(tmp_path / "psp.pt", CHECKPOINTS["psp"]())
    assert main(["psp", "--src", str(tmp_path / "psp.pt"), "--dst", str(tmp_path / "psp")]) == 0
    model = pretrained.load(tmp_path / "psp")
    np.testing.assert_array_equal(model.arrays["latent_avg"], np.arange(8))
    assert set(model.networks) == {"encoder", "generator"}


def test_half_precision_is_widened_and_comes_back(tmp_path, capsys):
    halves = {key: value.astype(np.float16) for key, value in generator().items()}
    write_torch(tmp_path / "g.pt", halves)
    assert main(["auto", "--src", str(tmp_path / "g.pt"), "--dst", str(tmp_path / "g")]) == 0
    assert "half precision" in capsys.readouterr().out
    assert main(["export", "--src", str(tmp_path / "g"), "--dst", str(tmp_path / "back.npz")]) == 0
    again = read_state(tmp_path / "back.npz").arrays
    assert all(
        again[key].dtype == np.float16 and (again[key] == value).all()
        for key, value in halves.items()
    )


def test_all_misfits_are_named_at_once_and_nothing_is_written(tmp_path, capsys):
    state = generator()
    state["convs.3.noise.wieght"] = state.pop("convs.3.noise.weight")
    state["to_rgbs.1.bias"] = np.zeros((1, 4, 1, 1), np.float32)
    state["surprise"] = np.zeros(3, np.float32)
    write_torch(tmp_path / "g.pt", state)
    assert main(["stylegan2", "--src", str(tmp_path / "g.pt"), "--dst", str(tmp_path / "g")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and not (tmp_path / "g").exists()
    assert "convs.3.noise.weight is missing (nearest: convs.3.noise.wieght)" in error
    assert "surprise is left over" in error
    assert "to_rgbs.1.bias is (1, 4, 1, 1) instead of (1, 3, 1, 1)" in error


def test_another_blur_filter_is_refused(tmp_path, capsys):
    state = generator()
    state["convs.0.conv.blur.kernel"] = state["convs.0.conv.blur.kernel"] * np.float32(0.5)
    write_torch(tmp_path / "g.pt", state)
    assert main(["stylegan2", "--src", str(tmp_path / "g.pt"), "--dst", str(tmp_path / "g")]) == 2
    assert "convs.0.conv.blur.kernel is not the filter" in capsys.readouterr().err


def test_psp_and_e4e_are_told_apart_by_their_options(tmp_path, capsys):
    state = {
        f"encoder.{k}": v
        for k, v in entries("e4e", divide=4).items()
        if not re.match(r"styles\.([89]|1\d)", k)
    }
    for name, options in {"unknown": {}, "e4e": {"encoder_type": "Encoder4Editing"}}.items():
        write_torch(
            tmp_path / f"{name}.pt",
            {"state_dict": state, "opts": options, "latent_avg": np.zeros((8, 128))},
        )
    assert (
        main(["auto", "--src", str(tmp_path / "unknown.pt"), "--dst", str(tmp_path / "out")]) == 2
    )
    assert "name the kind instead of auto" in capsys.readouterr().err
    assert main(["psp", "--src", str(tmp_path / "e4e.pt"), "--dst", str(tmp_path / "out")]) == 2
    assert "convert it with the kind e4e" in capsys.readouterr().err
    assert main(["auto", "--src", str(tmp_path / "e4e.pt"), "--dst", str(tmp_path / "e4e")]) == 0
    assert pretrained.load(tmp_path / "e4e").config["kind"] == "e4e"


def test_class_names_and_direction_hashes_are_kept(tmp_path):
    write_torch(tmp_path / "da.pt", CHECKPOINTS["diffcam"]())
    model = main(["diffcam", "--src", str(tmp_path / "da.pt"), "--dst", str(tmp_path / "da")])
    config = pretrained.load(tmp_path / "da").config
    classes = pretrained.load(tmp_path / "da").network("classifier").module.num_classes
    assert model == 0 and len(config["classes"]) == classes
    names = ",".join(f"name{i}" for i in range(classes))
    arguments = ["diffcam", "--src", str(tmp_path / "da.pt"), "--dst", str(tmp_path / "da")]
    assert main([*arguments, "--classes", names]) == 0
    assert ",".join(pretrained.load(tmp_path / "da").config["classes"]) == names
    assert main([*arguments, "--classes", "a,b"]) == 2


def test_directions(tmp_path, capsys):
    (tmp_path / "npy").mkdir()
    rng = np.random.default_rng(0)
    for name in ("Smiling", "Old"):
        np.save(tmp_path / "npy" / f"{name}.npy", rng.standard_normal((18, 512)))
    assert main(["directions", "--src", str(tmp_path / "npy"), "--dst", str(tmp_path / "out")]) == 0
    model = pretrained.load(tmp_path / "out")
    assert list(model.config["direction_sha256"]) == ["Old", "Smiling"]
    # alpha 20 on the array of unit Frobenius norm, as the official code adds it
    assert np.linalg.norm(model.arrays["Old"]) == pytest.approx(20, rel=1e-5)
    assert (
        main(["directions", "--src", str(tmp_path / "out"), "--dst", str(tmp_path / "none")]) == 2
    )
    assert "holds no direction files" in capsys.readouterr().err


BAD = {
    "html.pt": (b"<!DOCTYPE html><html>Google Drive - Quota exceeded</html>", "web page"),
    "empty.pt": (b"", "is empty"),
    "truncated.pt": (b"PK\x03\x04" + b"\0" * 200, "not a readable"),
    "noise.pth": (bytes(range(256)) * 8, "not a readable"),
    "noise.safetensors": (bytes(range(256)) * 8, "not a readable"),
    "noise.npz": (bytes(range(256)) * 8, "not a readable"),
    "noise.pkl": (bytes(range(256)) * 8, "not a readable"),
    "picture.jpg": (b"\xff\xd8\xff", "are not known"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("kind", ["auto", "psp"])
def test_bad_files_end_in_one_line_and_code_2(name, kind, tmp_path, capsys):
    content, message = BAD[name]
    (tmp_path / name).write_bytes(content)
    assert main([kind, "--src", str(tmp_path / name), "--dst", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error
    assert not (tmp_path / "out").exists()


def test_a_truncated_checkpoint(tmp_path, capsys):
    write_torch(tmp_path / "g.pt", generator())
    content = (tmp_path / "g.pt").read_bytes()
    (tmp_path / "g.pt").write_bytes(content[: len(content) // 2])
    assert main(["auto", "--src", str(tmp_path / "g.pt"), "--dst", str(tmp_path / "out")]) == 2
    assert "not a readable checkpoint (its archive is cut short)" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["pt", "pkl"])
def test_a_pickle_that_would_run_a_command_is_refused(suffix, tmp_path, capsys):
    mark, path = tmp_path / "mark", tmp_path / f"evil.{suffix}"
    path.write_bytes(b"cos\nsystem\n(S'touch " + str(mark).encode() + b"'\ntR.")
    assert main(["auto", "--src", str(path), "--dst", str(tmp_path / "out")]) == 2
    assert "os.system" in capsys.readouterr().err
    assert not mark.exists()


def test_the_wrong_kind_and_an_unknown_one(tmp_path, capsys):
    write_torch(tmp_path / "g.pt", generator())
    assert main(["diffcam", "--src", str(tmp_path / "g.pt"), "--dst", str(tmp_path / "out")]) == 2
    assert "is not a diffcam checkpoint: it holds no classifier" in capsys.readouterr().err
    write_torch(tmp_path / "x.pt", {"weight": np.ones(3, np.float32)})
    assert main(["auto", "--src", str(tmp_path / "x.pt"), "--dst", str(tmp_path / "out")]) == 2
    assert "is not one of the known kinds" in capsys.readouterr().err
    assert (
        main(["auto", "--src", str(tmp_path / "nothing.pt"), "--dst", str(tmp_path / "out")]) == 2
    )
    assert "there is no" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written(tmp_path, capsys):
    write_torch(tmp_path / "g.pt", generator())
    (tmp_path / "file").write_text("")
    assert (
        main(["auto", "--src", str(tmp_path / "g.pt"), "--dst", str(tmp_path / "file" / "out")])
        == 2
    )
    assert re.search(r"cannot write to .* choose another --dst", capsys.readouterr().err)
    assert main(["auto", "--src", str(tmp_path / "g.pt"), "--dst", str(tmp_path / "g")]) == 0
    assert (
        main(["export", "--src", str(tmp_path / "g"), "--dst", str(tmp_path / "file" / "g.pt")])
        == 2
    )
    assert main(["export", "--src", str(tmp_path / "g"), "--dst", str(tmp_path / "g.txt")]) == 2
    assert main(["export", "--src", str(tmp_path), "--dst", str(tmp_path / "g.pt")]) == 2
    assert capsys.readouterr().err.count("error: ") == 3


def test_a_config_that_names_foreign_code_is_refused(tmp_path, capsys):
    write_torch(tmp_path / "g.pt", generator())
    assert main(["auto", "--src", str(tmp_path / "g.pt"), "--dst", str(tmp_path / "g")]) == 0
    path = tmp_path / "g" / "config.json"
    config = json.loads(path.read_text())
    config["networks"]["generator"]["module"] = "os.system"
    path.write_text(json.dumps(config))
    capsys.readouterr()
    assert main(["export", "--src", str(tmp_path / "g"), "--dst", str(tmp_path / "back.pt")]) == 2
    assert "not one of this package's networks" in capsys.readouterr().err
