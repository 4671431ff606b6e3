"""Directions: records, files, what fits a generator, SeFa, imports.

Answers from NumPy and by hand.
"""

import pickle

import jax.numpy as jnp
import numpy as np
import pytest

from diffcam_jax.directions import (
    Direction,
    check_strengths,
    direction_matrix,
    from_vector,
    load_directions,
    save_directions,
)
from diffcam_jax.directions.__main__ import main
from diffcam_jax.directions.importers import import_direction
from diffcam_jax.directions.sefa import modulation_kernels, sefa_directions
from diffcam_jax.errors import UserError
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN
from diffcam_jax.nn.stylegan1 import StyleGAN1Generator
from diffcam_jax.nn.stylegan2 import StyleGAN2Generator
from tests.random_variables import random_variables


def make(name: str = "smiling", layers: tuple[int, int] = (3, 5)) -> Direction:
    array = np.zeros((18, 512), np.float32)
    array[slice(*layers)] = np.random.default_rng(len(name)).standard_normal(
        (layers[1] - layers[0], 512)
    )
    return Direction(name, array, (-2.0, 1.5), layers, "abc", "unit", "by hand", "none")


def test_file_round_trip(tmp_path):
    made = {name: make(name) for name in ("smiling", "old")}
    save_directions(tmp_path / "d.safetensors", made)
    read = load_directions(tmp_path / "d.safetensors")
    assert list(read) == ["smiling", "old"]
    for name in made:
        np.testing.assert_array_equal(read[name].array, made[name].array)
        assert read[name].sha256 == made[name].sha256
        assert (read[name].range, read[name].layers, read[name].method) == (
            (-2.0, 1.5),
            (3, 5),
            "by hand",
        )
    assert direction_matrix(read, ["old", "smiling"]).shape == (2, 18, 512)


def test_a_file_keeps_rows_and_size(tmp_path):
    vector = np.arange(1, 9, dtype=np.float32)
    made = {
        "w": Direction("w", vector[None], (-1.0, 1.0), (0, 1), "", "", "", ""),
        "six": from_vector(vector, "six", 6, (4, 6), None, "", ""),
    }
    save_directions(tmp_path / "d.safetensors", made)
    read = load_directions(tmp_path / "d.safetensors")
    for name in made:
        np.testing.assert_array_equal(read[name].array, made[name].array)
    np.testing.assert_array_equal(read["six"].array[4:], [vector, vector])
    np.testing.assert_array_equal(
        direction_matrix(read, ["w", "six"], 4)[0], np.tile(vector, (4, 1))
    )
    # Codes of more rows than the generator reads take zeros there.
    np.testing.assert_array_equal(
        direction_matrix(read, ["six"], 8)[0, 4:],
        np.stack([vector, vector, 0 * vector, 0 * vector]),
    )


@pytest.mark.parametrize("array", [np.zeros(512, np.float32), np.zeros((18, 512))])
def test_record_refuses_another_shape(array):
    with pytest.raises(ValueError, match=r"expected float32 \[rows, k\]"):
        Direction("x", array, (-1.0, 1.0), (0, 18), "", "", "", "")


@pytest.mark.parametrize("layers", [(-1, 3), (3, 3), (5, 2), (0, 19)])
def test_layers_outside_the_generator_are_refused(layers):
    with pytest.raises(UserError, match="choose from 0 to 18"):
        from_vector(np.ones(4, np.float32), "x", 18, layers, 1.0, "", "")


def test_what_fits_a_generator():
    direction = make(layers=(3, 5))
    assert direction.fitted(18, 512) is direction
    cut = direction.fitted(8, 512)
    np.testing.assert_array_equal(cut.array, direction.array[:8])
    assert cut.layers == (3, 5)
    single = Direction("w", np.full((1, 512), 2, np.float32), (-1.0, 1.0), (0, 1), "", "", "", "")
    assert single.fitted(14, 512).array.shape == (14, 512) and single.fitted(14, 512).layers == (
        0,
        14,
    )
    for rows, size in ((4, 512), (3, 512), (20, 512), (18, 256)):
        with pytest.raises(
            UserError,
            match=rf"direction smiling has 18 rows of 512 numbers, the generator reads {rows} of",
        ):
            direction.fitted(rows, size)
    with pytest.raises(UserError, match="1 rows of 512"):
        single.fitted(14, 64)


@pytest.mark.parametrize(
    ("strengths", "message"),
    [
        ({"smilling": 1.0}, "did you mean smiling"),
        ({"zzz": 1.0}, "choose from smiling"),
        ({"smiling": 3.0}, r"choose from -2 to 1.5"),
        ({"smiling": float("nan")}, "out of range"),
        ({"smiling": float("inf")}, "out of range"),
    ],
)
def test_bad_strengths(strengths, message):
    with pytest.raises(UserError, match=message):
        check_strengths({"smiling": make()}, strengths)


def kernels_of(model, layers):
    params = random_variables(model, jnp.zeros((1, 16)))["params"]
    return modulation_kernels(model, params, layers), params


def test_sefa_is_the_top_singular_vector():
    model = MobileStyleGAN(widths=(8, 8, 8), latent_size=16, mapping_layers=1)
    kernels, _ = kernels_of(model, (1, 3))
    assert [k.shape for k in kernels] == [
        (16, 8),
        (16, 2),
        (16, 8),
    ]  # up, conv1 (after the Haar transform), conv2
    assert len(kernels_of(model, (0, 6))[0]) == 1 + 2 * 3 + 1
    found = sefa_directions(kernels, 3)
    a = np.concatenate(kernels, 1)
    u = np.linalg.svd(a / np.linalg.norm(a, axis=0))[0][:, :3].T
    np.testing.assert_allclose(np.abs(found @ u.T), np.eye(3), atol=1e-4)
    with pytest.raises(UserError, match="choose from 1 to 16"):
        sefa_directions(kernels, 17)


def test_kernels_are_those_the_rows_drive():
    """A row's kernels are the ones whose change alters the picture with that row alone."""
    kernels, params = kernels_of(
        StyleGAN2Generator((8, 8, 8), latent_size=16, mapping_layers=1), (1, 4)
    )
    expected = [params[name]["modulation"]["kernel"] for name in ("convs_0", "convs_1", "convs_2")]
    for kernel, known in zip(kernels, expected, strict=True):
        np.testing.assert_array_equal(kernel, known)
    kernels, params = kernels_of(
        StyleGAN1Generator((8, 8, 8), latent_size=16, mapping_layers=1), (2, 4)
    )
    for kernel, name in zip(kernels, ("layer_2", "layer_3"), strict=True):
        np.testing.assert_array_equal(kernel, params[name]["style"]["kernel"])


def test_sefa_refuses_what_it_cannot_read():
    model = StyleGAN2Generator((8, 8, 8), latent_size=16, mapping_layers=1)
    with pytest.raises(UserError, match="colours only"):
        kernels_of(model, (5, 6))
    with pytest.raises(UserError, match="choose from 0 to 6"):
        kernels_of(model, (2, 7))


def test_from_vector_scales_and_places():
    direction = from_vector(np.full(512, 2.0, np.float32), "x", 18, (2, 4), 3.0, "", "m")
    np.testing.assert_allclose(
        np.linalg.norm(direction.array, axis=1), [0, 0, 3, 3] + [0] * 14, atol=1e-5
    )
    rows = np.array([[3.0, 0.0], [0.0, 1.0], [1.0, 1.0]], np.float32)
    direction = from_vector(rows, "x", 3, (0, 2), 2.0, "", "m")
    assert np.sqrt((direction.array[:2] ** 2).sum(1).mean()) == pytest.approx(2)
    np.testing.assert_allclose(
        direction.array, rows * np.array([[1], [1], [0]]) * direction.array[1, 1], rtol=1e-6
    )


def test_imports_of_every_layout(tmp_path):
    rng = np.random.default_rng(0)
    full = rng.standard_normal((18, 512))
    np.save(tmp_path / "full.npy", full)
    imported = import_direction(tmp_path / "full.npy", "full")
    assert np.linalg.norm(imported.array) == pytest.approx(20, rel=1e-5)
    np.testing.assert_allclose(
        imported.array, 20 * full / np.linalg.norm(full), rtol=1e-5, atol=1e-6
    )

    np.save(tmp_path / "one.npy", full[:1])
    one = import_direction(tmp_path / "one.npy", "one", scale=3.0)
    np.testing.assert_allclose(one.array, 3 * full[:1], rtol=1e-5)
    # By norm, a single row counts as the 18 that it is added to.
    assert np.linalg.norm(
        import_direction(tmp_path / "one.npy", "one").fitted(18, 512).array
    ) == pytest.approx(20, rel=1e-5)

    boundary = {"boundary": full[None, :14], "meta_data": {"manipulate_layers": [2, 3, 4]}}
    np.save(tmp_path / "idinvert.npy", boundary, allow_pickle=True)
    third = import_direction(tmp_path / "idinvert.npy", "third", scale=1.0)
    assert third.layers == (2, 5)
    assert third.array.shape == (14, 512)
    np.testing.assert_allclose(third.array[2:5], full[2:5], rtol=1e-5)
    assert not third.array[:2].any() and not third.array[5:].any()


class Malicious:
    def __reduce__(self):
        import os

        return os.mkdir, ("owned",)


@pytest.mark.parametrize(
    "kind", ["pickle", "npy", "text", "shape", "two", "nan", "layers", "words", "missing"]
)
def test_hostile_and_wrong_files(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.npy"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Malicious()))
    elif kind == "npy":
        np.save(path, np.array(Malicious(), dtype=object), allow_pickle=True)
    elif kind == "text":
        path.write_text("<html>404</html>")
    elif kind == "shape":
        np.save(path, np.zeros((3, 512)))
    elif kind == "two":
        np.save(path, np.zeros((2, 14, 512)))
    elif kind in ("layers", "words"):
        layers = [12, 14] if kind == "layers" else "all"
        np.save(
            path,
            {"boundary": np.ones((1, 14, 512)), "meta_data": {"manipulate_layers": layers}},
            allow_pickle=True,
        )
    elif kind == "nan":
        np.save(path, np.full((18, 512), np.nan))
    with pytest.raises(UserError, match=r"bad\.npy"):
        import_direction(path, "bad")
    assert not (tmp_path / "owned").exists()


def test_command_line_imports_and_lists(tmp_path, capsys):
    np.save(tmp_path / "d.npy", np.ones((18, 512)))
    out = str(tmp_path / "mine.safetensors")
    assert main(["import", str(tmp_path / "d.npy"), "--name", "mine", "--out", out]) == 0
    assert main(["list", "--directions", out]) == 0
    assert "mine" in capsys.readouterr().out
    assert main(["import", str(tmp_path / "none.npy"), "--name", "mine", "--out", out]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "no such file" in error


@pytest.mark.weights
def test_sefa_and_validate_commands(tmp_path, capsys):
    out = tmp_path / "sefa.safetensors"
    assert main(["sefa", "--count", "1", "--layers", "2", "6", "--out", str(out)]) == 0
    direction = load_directions(out)["sefa_0"]
    assert direction.layers == (2, 6) and direction.generator
    np.testing.assert_allclose(
        np.linalg.norm(direction.array, axis=1), [0, 0, 3, 3, 3, 3] + [0] * 12, atol=1e-4
    )
    (tmp_path / "directions.md").write_text(
        "# Mine\n\n## What the directions change\n\nan older table\n"
    )
    assert (
        main(["validate", "--directions", str(out), "--samples", "2", "--out", str(tmp_path)]) == 0
    )
    table = (tmp_path / "directions.md").read_text()
    assert table.startswith("# Mine") and "older" not in table
    assert "| sefa_0 |" in table and "2 new samples" in table
    assert (tmp_path / "directions.jpg").stat().st_size > 10_000
    capsys.readouterr()
