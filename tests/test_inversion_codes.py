"""Codes on disk: files that people keep, and the cache of the editor."""

import numpy as np
import pytest

from diffcam_jax.errors import UserError
from diffcam_jax.files import codes as code_files
from diffcam_jax.files import trees
from diffcam_jax.files.code_cache import CodeCache

HASH = "a" * 64
RECIPE = {
    "generator": HASH,
    "method": "prior",
    "space": "w+",
    "settings": {"steps": 80},
    "start": "mean",
}
CODES = np.random.default_rng(0).normal(size=(2, 18, 8)).astype(np.float32)


def test_codes_come_back_with_their_names_and_method(tmp_path):
    path = tmp_path / "new" / "codes.safetensors"
    code_files.save(path, CODES, HASH, "in_domain", ["ann.png", "bö.png"])
    found = code_files.load(path, HASH, rows=18)
    np.testing.assert_array_equal(found.codes, CODES)
    assert (found.names, found.method) == (("ann.png", "bö.png"), "in_domain")
    first = path.read_bytes()
    code_files.save(path, CODES, HASH, "in_domain", ["ann.png", "bö.png"])
    assert path.read_bytes() == first and [p.name for p in path.parent.iterdir()] == [
        "codes.safetensors"
    ]


def test_codes_of_another_generator_are_refused(tmp_path):
    path = tmp_path / "codes.safetensors"
    code_files.save(path, CODES, "b" * 64, "mse", ["a", "b"])
    with pytest.raises(UserError, match="another generator \\(bbbbbbbb, this one is aaaaaaaa\\)"):
        code_files.load(path, HASH)
    with pytest.raises(UserError, match="18 rows and the generator reads 14"):
        code_files.load(path, "b" * 64, rows=14)


@pytest.mark.parametrize(
    ("tree", "header", "message"),
    [
        ({"codes": CODES * np.float32(np.nan)}, {}, "not finite"),
        ({"codes": CODES[0]}, {}, "holds no inverted codes"),
        ({"other": CODES}, {}, "holds no inverted codes"),
        ({"codes": CODES}, {"names": ["a"]}, "holds no inverted codes"),
        ({"codes": {"deeper": CODES}}, {}, "holds no inverted codes"),
    ],
)
def test_other_files_are_refused(tmp_path, tree, header, message):
    path = tmp_path / "codes.safetensors"
    trees.save(path, tree, {"generator": HASH, "method": "mse", "names": ["a", "b"], **header})
    with pytest.raises(UserError, match=message):
        code_files.load(path, HASH)


def test_damaged_and_missing_files_are_refused(tmp_path):
    path = tmp_path / "codes.safetensors"
    with pytest.raises(UserError, match="no weight file"):
        code_files.load(path, HASH)
    code_files.save(path, CODES, HASH, "mse", ["a", "b"])
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(UserError, match="not a readable"):
        code_files.load(path, HASH)


def test_what_is_no_code_is_not_written(tmp_path):
    path = tmp_path / "codes.safetensors"
    with pytest.raises(UserError, match="not finite"):
        code_files.save(path, np.full((1, 18, 8), np.inf, np.float32), HASH, "mse", ["a"])
    with pytest.raises(UserError, match="with 1 names"):
        code_files.save(path, CODES, HASH, "mse", ["a"])
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        code_files.save(tmp_path / "file" / "codes.safetensors", CODES, HASH, "mse", ["a", "b"])
    assert not path.exists()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFCAM_HOME", str(tmp_path))
    return CodeCache(RECIPE)


def test_codes_come_back_for_this_picture_and_recipe_only(cache):
    aligned = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    codes = np.random.default_rng(1).normal(size=(18, 8)).astype(np.float32)
    assert cache.load(aligned) is None
    cache.save(aligned, codes)
    np.testing.assert_array_equal(CodeCache(dict(RECIPE)).load(aligned), codes)
    changed = aligned.copy()
    changed[3, 3, 0] ^= 1
    assert cache.load(changed) is None
    for changed in (
        {"generator": "b" * 64},
        {"settings": {"steps": 7}},
        {"start": "c" * 64},
        {"method": "mse"},
    ):
        assert CodeCache(RECIPE | changed).load(aligned) is None


def test_a_damaged_file_is_replaced(cache):
    aligned, codes = np.zeros((4, 4, 3), np.uint8), np.ones((18, 8), np.float32)
    cache.save(aligned, codes)
    cache.path(aligned).write_bytes(cache.path(aligned).read_bytes()[:-5])
    assert cache.load(aligned) is None
    cache.save(aligned, codes)
    np.testing.assert_array_equal(cache.load(aligned), codes)


def test_a_folder_that_cannot_be_written_fails_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DIFFCAM_HOME", str(tmp_path / "file"))
    cache = CodeCache(RECIPE)
    cache.save(np.zeros((4, 4, 3), np.uint8), np.ones((18, 8), np.float32))
    assert cache.load(np.zeros((4, 4, 3), np.uint8)) is None
