"""Tuned numbers on disk: found again for the very same picture, code and recipe, and kept below a
limit.
"""

import os

import numpy as np
import pytest

from diffcam_jax.inversion import tuned_cache
from diffcam_jax.inversion.tuned_cache import Entry, TunedCache
from diffcam_jax.ops.window import Window

RECIPE = {"generator": "abc", "steps": 20, "rate": 0.015}
WINDOW = Window(3, 4, 28, 32)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFCAM_HOME", str(tmp_path))
    return tmp_path


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)


def codes(seed=0):
    return np.random.default_rng(seed).standard_normal((4, 8)).astype(np.float32)


def entry(seed=0, window=WINDOW, loss=0.125):
    rng = np.random.default_rng(seed)
    shapes = {("block_1", "conv1", "pointwise"): (5, 6), ("to_image", "bias"): (12,)}
    return Entry(
        window,
        {path: rng.standard_normal(s).astype(np.float16) for path, s in shapes.items()},
        loss,
    )


def files(home):
    return sorted((home / "tuned").glob("*"))


def assert_same(found, expected):
    assert found.window == expected.window and found.loss == expected.loss
    assert set(found.deltas) == set(expected.deltas)
    for path, array in expected.deltas.items():
        assert found.deltas[path].dtype == np.float16
        np.testing.assert_array_equal(found.deltas[path], array)


def use(home, window, when):
    (path,) = (home / "tuned").glob(
        f"*_{window.top}_{window.left}_{window.height}_{window.width}.safetensors"
    )
    os.utime(path, (when, when))


def test_an_entry_comes_back_in_half_precision():
    store = TunedCache(picture(), codes(), RECIPE)
    assert store.load() == []
    store.save(entry())
    (found,) = TunedCache(picture(), codes(), dict(reversed(RECIPE.items()))).load()
    assert_same(found, entry())


def test_numbers_in_single_precision_are_rounded_and_traced_places_are_numbers():
    given = entry(window=Window(np.int32(3), np.int32(4), 28, 32))
    fine = {path: x.astype(np.float32) + np.float32(1e-5) for path, x in given.deltas.items()}
    store = TunedCache(picture(), codes(), RECIPE)
    store.save(given._replace(deltas=fine))
    (found,) = store.load()
    assert_same(
        found, Entry(WINDOW, {path: x.astype(np.float16) for path, x in fine.items()}, 0.125)
    )


def test_another_picture_code_or_recipe_is_never_found():
    TunedCache(picture(), codes(), RECIPE).save(entry())
    other_picture, other_codes = picture(), codes()
    other_picture[7, 7, 1] ^= 1
    other_codes[0, 0] = np.nextafter(other_codes[0, 0], np.float32(9))
    for others in (
        (other_picture, codes(), RECIPE),
        (picture().reshape(16, 16, 3)[::-1], codes(), RECIPE),
        (picture(), other_codes, RECIPE),
        (picture(), codes(), {**RECIPE, "rate": 0.0151}),
        (picture(), codes(), {**RECIPE, "generator": "abd"}),
        (picture(), codes(), {**RECIPE, "more": 1}),
    ):
        assert TunedCache(*others).load() == []
    assert len(TunedCache(picture(), codes(), RECIPE).load()) == 1


def test_another_revision_is_never_found(monkeypatch):
    TunedCache(picture(), codes(), RECIPE).save(entry())
    monkeypatch.setattr(tuned_cache, "REVISION", tuned_cache.REVISION + 1)
    assert TunedCache(picture(), codes(), RECIPE).load() == []


def test_the_window_used_last_comes_first(home):
    store = TunedCache(picture(), codes(), RECIPE)
    windows = [Window(0, 0, 28, 32), Window(1, 2, 28, 32), Window(4, 4, 44, 48)]
    for i, window in enumerate(windows):
        store.save(entry(i, window))
        use(home, window, 1000 + i)
    assert [found.window for found in store.load()] == windows[::-1]
    store.touch(windows[1])
    assert [found.window for found in store.load()] == [windows[1], windows[2], windows[0]]
    for found in store.load():
        assert_same(found, entry(windows.index(found.window), found.window))
    store.touch(Window(9, 9, 9, 9))  # which was never kept
    assert len(store.load()) == 3


def test_a_window_tuned_again_takes_the_place_of_the_first(home):
    store = TunedCache(picture(), codes(), RECIPE)
    store.save(entry(0, loss=0.5))
    store.save(entry(1, loss=0.25))
    (found,) = store.load()
    assert_same(found, entry(1, loss=0.25))


@pytest.mark.parametrize(
    "damage", ["cut", "empty", "text", "folder", "infinite", "no window", "short window"]
)
def test_a_damaged_file_counts_as_absent(home, damage):
    store = TunedCache(picture(), codes(), RECIPE)
    other = Window(0, 0, 64, 64)
    store.save(entry())
    (path,) = files(home)
    store.save(entry(1, other))
    content = path.read_bytes()
    if damage == "infinite":
        broken = entry()
        broken.deltas["to_image", "bias"][3] = np.inf
        store.save(broken)
    elif damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(
            {
                "cut": content[:-3],
                "empty": b"",
                "text": b"no weights",
                # The header keeps its length.
                "no window": content.replace(b'"window"', b'"widows"'),
                "short window": content.replace(b"[3, 4, 28, 32]", b"[3, 4, 282832]"),
            }[damage]
        )
    (found,) = store.load()
    assert_same(found, entry(1, other))
    if damage != "folder":
        store.save(entry())
        assert len(store.load()) == 2


def test_too_large_an_entry_is_not_kept(home, monkeypatch):
    size = sum(x.nbytes for x in entry().deltas.values())
    store = TunedCache(picture(), codes(), RECIPE)
    monkeypatch.setattr(tuned_cache, "LARGEST", size - 1)
    store.save(entry())
    assert store.load() == [] and files(home) == []
    monkeypatch.setattr(tuned_cache, "LARGEST", size)
    store.save(entry())
    assert len(store.load()) == 1


def test_what_was_used_longest_ago_goes_first(home, monkeypatch):
    stores = [TunedCache(picture(i), codes(), RECIPE) for i in range(4)]
    stores[0].save(entry())
    (first,) = files(home)
    size = first.stat().st_size
    monkeypatch.setattr(tuned_cache, "LIMIT", 3 * size)
    seen = {first}
    for i, store in enumerate(stores[:3]):
        store.save(entry())
        (path,) = set(files(home)) - seen or {first}
        seen.add(path)
        os.utime(path, (1000 + i, 1000 + i))
    assert [len(store.load()) for store in stores] == [1, 1, 1, 0]
    stores[0].touch(WINDOW)  # now the second is the oldest
    stores[3].save(entry())
    assert [len(store.load()) for store in stores] == [1, 0, 1, 1]
    assert sum(path.stat().st_size for path in files(home)) <= 3 * size


def test_a_folder_that_cannot_be_written_to_fails_nothing(home, monkeypatch):
    (home / "file").write_text("not a folder")
    monkeypatch.setenv("DIFFCAM_HOME", str(home / "file"))
    store = TunedCache(picture(), codes(), RECIPE)
    store.save(entry())
    store.touch(WINDOW)
    assert store.load() == []
    assert (home / "file").read_text() == "not a folder"
