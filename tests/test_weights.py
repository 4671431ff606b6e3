"""Parameter trees in files: what goes in comes out, the hash is what it says, and a bad file is
named.
"""

import hashlib
import json
import re
from pathlib import Path

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from diffcam_jax.errors import UserError
from diffcam_jax.files import trees
from diffcam_jax.pretrained import parts, store

TREE = {
    "conv": {"kernel": np.arange(12, dtype=np.float32).reshape(2, 6), "bias": np.float32(3)},
    "half": np.ones((3, 2), np.float16).T,
    "brain": np.array([1, 2], ml_dtypes.bfloat16),
    "empty": {"deep": {"er": np.zeros((0, 3), np.int64)}},
}


def test_a_tree_survives_the_file_and_its_metadata_too(tmp_path):
    path = tmp_path / "new" / "x.safetensors"
    metadata = {"kind": "test", "sizes": [1, 2], "nested": {"a": None}, "text": "é"}
    trees.save(path, TREE | {"jax": jnp.ones(2)}, metadata)
    params, read = trees.load(path)
    assert read == metadata
    flat = trees.flatten(params)
    assert list(flat) == ["brain", "conv/bias", "conv/kernel", "empty/deep/er", "half", "jax"]
    for name, array in (trees.flatten(TREE) | {"jax": np.ones(2, np.float32)}).items():
        assert (flat[name].dtype, flat[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(flat[name], array)
    assert [file.name for file in path.parent.iterdir()] == ["x.safetensors"]
    reordered = dict(reversed((TREE | {"jax": np.ones(2, np.float32)}).items()))
    reordered["conv"] = {
        "bias": np.array(3, ">f4"),
        "kernel": np.asfortranarray(TREE["conv"]["kernel"]),
    }
    trees.save(tmp_path / "again", reordered, dict(reversed(metadata.items())))
    assert (tmp_path / "again").read_bytes() == path.read_bytes()
    assert path.stat().st_mode & 0o044 == 0o044, "others may read it"


def test_tree_hash_is_sha256_over_sorted_names_types_shapes_and_bytes():
    tree = {"b": np.array([1, 2], "<i4"), "a": {"k": np.array([[1.5]], "<f4")}}
    text = (
        b"a/k\0float32\0(1, 1)\0"
        + b"\x00\x00\xc0\x3f"
        + b"b\0int32\0(2,)\0"
        + b"\x01\0\0\0\x02\0\0\0"
    )
    assert trees.tree_hash(tree) == hashlib.sha256(text).hexdigest()
    assert trees.tree_hash(
        {"a": {"k": jnp.array([[1.5]])}, "b": np.array([1, 2], "<i4")}
    ) == trees.tree_hash(tree)


def test_tree_hash_sees_every_change():
    base = np.arange(6, dtype=np.float32)
    others = [
        {"a": base},
        {"b": base},
        {"a": base.reshape(2, 3)},
        {"a": base.astype(np.float64)},
        {"a": base + np.eye(6, dtype=np.float32)[0]},
        {"a": {"a": base}},
        {"a": base.reshape(2, 3).T},
    ]
    assert len({trees.tree_hash(tree) for tree in others}) == len(others)
    assert trees.tree_hash({"a": base.astype(">f4")}) == trees.tree_hash({"a": base})


def test_what_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        trees.save(tmp_path / "x.safetensors", TREE, {"bad": object()})
    with pytest.raises(ValueError, match="'a' is complex128"):
        trees.save(tmp_path / "x.safetensors", {"a": np.ones(1, complex)}, {})
    with pytest.raises(ValueError, match="parameter name 'a/b'"):
        trees.save(tmp_path / "x.safetensors", {"a/b": np.ones(1)}, {})
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "x.safetensors").mkdir()
    with pytest.raises(OSError, match=re.escape(str(tmp_path))):
        trees.save(tmp_path / "x.safetensors", TREE, {})
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


def test_files_that_are_no_trees_are_named(tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(UserError, match="no weight file at"):
        trees.load(path)
    trees.save(path, TREE, {})
    good = path.read_bytes()
    entry = {"dtype": "U8", "shape": [1]}
    names = json.dumps(
        {"a": entry | {"data_offsets": [0, 1]}, "a/b": entry | {"data_offsets": [1, 2]}}
    )
    clash = len(names).to_bytes(8, "little") + names.encode() + b"\0\0"
    for bad in (b"", b"not a weight file", good[: len(good) // 2], b"\xff" * 64, clash):
        path.write_bytes(bad)
        with pytest.raises(UserError, match="not a readable safetensors file"):
            trees.load(path)


def test_metadata_of_other_writers_is_kept_as_text(tmp_path):
    from safetensors.numpy import save_file

    save_file(
        {"a/b": np.ones(2, np.float32)},
        tmp_path / "x.safetensors",
        metadata={"format": "pt", "n": "3"},
    )
    params, metadata = trees.load(tmp_path / "x.safetensors")
    assert metadata == {"format": "pt", "n": 3}
    assert params["a"]["b"].tolist() == [1, 1]


def test_unflatten_is_the_inverse_of_flatten():
    flat = {"a/b/c": np.ones(1), "a/d": np.zeros(2), "e": np.ones(3)}
    tree = trees.unflatten(flat)
    assert list(tree) == ["a", "e"]
    assert list(tree["a"]) == ["b", "d"]
    assert tree["a"]["b"]["c"] is flat["a/b/c"]


def test_cache_folder_follows_the_environment(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("DIFFCAM_HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert store.cache_dir() == Path("/home/someone/.cache/diffcam_jax")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/tmp/cache")
    assert store.cache_dir() == Path("/var/tmp/cache/diffcam_jax")
    monkeypatch.setenv("DIFFCAM_HOME", "~/parts")
    assert store.cache_dir() == Path("/home/someone/parts")


# The table


def test_the_table_pins_every_archive_and_states_every_licence():
    archives = {part.archive for part in parts.PARTS.values() if part.archive}
    for archive in archives:
        assert re.fullmatch("[0-9a-f]{64}", archive.sha256)
        assert archive.version in archive.filename
        assert 1e6 < archive.size < 1e9
    for name, part in parts.PARTS.items():
        assert name == part.name
        assert part.licence
        assert part.origin
        assert part.members if part.archive else part.sha256
    assert len({part.file for part in parts.PARTS.values()}) == len(parts.PARTS)


def test_parts_that_ship_with_the_package_are_intact():
    for part in parts.PARTS.values():
        if not part.archive:
            path = store.fetch(part.name)
            assert hashlib.sha256(path.read_bytes()).hexdigest() == part.sha256


def test_unknown_part_suggests_the_nearest():
    with pytest.raises(UserError, match="did you mean face_landmarker"):
        store.fetch("face_landmark")
    with pytest.raises(UserError, match="choose from mobile_stylegan_ffhq, "):
        store.fetch("xyz")


# The real parts, from the cache


@pytest.mark.weights
@pytest.mark.parametrize(
    ("name", "tree_hash"),
    [
        (
            "mobile_stylegan_ffhq",
            "6cd99b9dc660a609bd2ee32cb5a9793759f964808f6a2580ab96e820c6a0baac",
        ),
        ("lpips", "0692a0e046f1c5755c55c66af219ae45ea3ca97d4b74fb79b7e3c3a7ee61eae5"),
        ("bisenet", "ca5cf9d0156978443cdeac347f61a3d5f6220ea1e28da28f6593f6c4d18dbcab"),
    ],
)
def test_conversions_give_the_same_tree_everywhere(name, tree_hash):
    params, metadata = store.load_pretrained(name)
    assert trees.tree_hash(params) == tree_hash
    assert metadata["tree_hash"] == tree_hash
    assert metadata["archive_sha256"] == parts.PARTS[name].archive.sha256


@pytest.mark.weights
def test_the_photographs_are_those_that_their_own_table_names():
    folder = store.fetch("ffhq_photos")
    table = json.loads((folder / "ffhq-dataset-meta.json").read_text())
    photos = sorted(folder.glob("*.png"))
    assert len(photos) == 11
    for photo in photos:
        md5 = hashlib.md5(photo.read_bytes()).hexdigest()
        assert md5 == table[str(int(photo.stem))]["image"]["file_md5"]


@pytest.mark.weights
def test_the_files_that_are_kept_as_they_are():
    # The sums that OpenCV's and MediaPipe's own model collections publish.
    sha = {
        name: hashlib.sha256(store.fetch(name).read_bytes()).hexdigest()
        for name in ("sface", "face_landmarker")
    }
    assert sha == {
        "sface": "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
        "face_landmarker": "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
    }
