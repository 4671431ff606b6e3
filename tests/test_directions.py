"""Directions: records, files, fitting, conditioning, SeFa, imports; answers from NumPy and by hand."""

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
from diffcam_jax.directions.fit import condition, fit_boundary, unwhitened, whitened
from diffcam_jax.directions.importers import import_direction
from diffcam_jax.directions.recipe import ATTRIBUTES, calibrate, clean_range
from diffcam_jax.directions.sefa import modulation_kernels, sefa_directions
from diffcam_jax.errors import UserError
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN
from tests.random_variables import random_variables


def make(name: str = "smiling", layers: tuple[int, int] = (3, 5)) -> Direction:
    array = np.zeros((18, 512), np.float32)
    array[slice(*layers)] = np.random.default_rng(len(name)).standard_normal((layers[1] - layers[0], 512))
    return Direction(name, array, (-2.0, 1.5), layers, "abc", "unit", "by hand", "none")


def test_file_round_trip(tmp_path):
    made = {name: make(name) for name in ("smiling", "old")}
    save_directions(tmp_path / "d.safetensors", made)
    read = load_directions(tmp_path / "d.safetensors")
    assert list(read) == ["smiling", "old"]
    for name in made:
        np.testing.assert_array_equal(read[name].array, made[name].array)
        assert read[name].sha256 == made[name].sha256
        assert (read[name].range, read[name].layers, read[name].method) == ((-2.0, 1.5), (3, 5), "by hand")
    assert direction_matrix(read, ["old", "smiling"]).shape == (2, 18, 512)


def test_record_refuses_another_shape():
    with pytest.raises(ValueError, match=r"expected float32 \[18, 512\]"):
        Direction("x", np.zeros((1, 512), np.float32), (-1.0, 1.0), (0, 18), "", "", "", "")


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


def test_svm_finds_a_planted_direction():
    rng = np.random.default_rng(0)
    codes = rng.standard_normal((3000, 64)).astype(np.float32)
    planted = rng.standard_normal(64)
    planted /= np.linalg.norm(planted)
    scores = np.tanh(codes @ planted)
    scores[::50] = np.nan
    boundary = fit_boundary(codes, scores, ratio=0.25)
    assert boundary.normal @ planted > 0.97
    assert boundary.accuracy > 0.95
    assert np.linalg.norm(boundary.normal) == pytest.approx(1, abs=1e-5)
    with pytest.raises(ValueError, match="only 10 scored samples"):
        fit_boundary(codes[:10], np.arange(10.0), ratio=0.25)


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_condition_is_orthogonal_to_all_conditions(count):
    rng = np.random.default_rng(count)
    normal, others = rng.standard_normal(32).astype(np.float32), list(rng.standard_normal((count, 32)))
    kept = condition(normal, others)
    assert np.linalg.norm(kept) == pytest.approx(1, abs=1e-5)
    for other in others:
        assert abs(kept @ other) < 1e-5
    # What was removed lies in the span of the conditions: least squares explains all of it.
    removed = normal - (normal @ kept) * kept
    if others:
        residual = np.linalg.lstsq(np.stack(others).T, removed, rcond=None)[1]
        assert residual.sum() < 1e-8


def test_condition_refuses_nothing_left():
    normal = np.eye(4, dtype=np.float32)[0]
    with pytest.raises(ValueError, match="nothing is left"):
        condition(normal, [2 * normal])


def test_whitening_and_back():
    rng = np.random.default_rng(0)
    codes = rng.standard_normal((500, 8)) @ rng.standard_normal((8, 8)) + 3
    values, vectors = np.linalg.eigh(np.cov(codes.T))
    u = whitened(codes, codes.mean(0), vectors, values)
    np.testing.assert_allclose(np.cov(u.T), np.eye(8), atol=1e-6)
    normal = np.eye(8)[5]
    step = unwhitened(normal, vectors, values)
    np.testing.assert_allclose(
        whitened(codes + step, codes.mean(0), vectors, values) - u, np.tile(normal, (500, 1)), atol=1e-4
    )


def test_calibration_stops_where_the_shift_is_reached():
    codes = np.zeros((4, 512), np.float32)
    step = np.zeros((18, 512), np.float32)
    step[3, 0] = 1.0
    attribute = ATTRIBUTES["smiling"]
    found = calibrate(attribute, step, codes, spread=2.0, score=lambda rows: rows[:, 3, 0])
    assert found == pytest.approx(2.0 * attribute.shift)
    saturated = calibrate(attribute, step, codes, spread=1.0, score=lambda rows: np.minimum(rows[:, 3, 0], 0.5))
    assert saturated <= attribute.most


def test_clean_range_ends_where_a_face_is_lost():
    array = np.zeros((18, 512), np.float32)
    array[0, 0] = 1.0

    def score(rows):
        return np.where((rows[:, 0, 0] > 2.2) | (rows[:, 0, 0] < -1.2), np.nan, 1.0)

    assert clean_range(array, np.zeros((3, 512), np.float32), score) == (-1.0, 2.0)


def test_sefa_is_the_top_singular_vector():
    model = MobileStyleGAN(widths=(8, 8, 8), latent_size=16, mapping_layers=1)
    params = random_variables(model, jnp.zeros((1, 16)))["params"]
    kernels = modulation_kernels(params, (1, 3))
    assert [k.shape for k in kernels] == [(16, 8), (16, 2), (16, 8)]  # up, conv1 (after the Haar transform), conv2
    assert len(modulation_kernels(params, (0, 6))) == 1 + 3 * 2 + 1
    found = sefa_directions(kernels, 3)
    a = np.concatenate(kernels, 1)
    u = np.linalg.svd(a / np.linalg.norm(a, axis=0))[0][:, :3].T
    np.testing.assert_allclose(np.abs(found @ u.T), np.eye(3), atol=1e-4)


def test_from_vector_scales_and_places():
    direction = from_vector(np.full(512, 2.0, np.float32), "x", (2, 4), 3.0, "", "m")
    np.testing.assert_allclose(np.linalg.norm(direction.array, axis=1), [0, 0, 3, 3] + [0] * 14, atol=1e-5)


def test_imports_of_every_layout(tmp_path):
    rng = np.random.default_rng(0)
    full = rng.standard_normal((18, 512))
    np.save(tmp_path / "full.npy", full)
    imported = import_direction(tmp_path / "full.npy", "full")
    assert np.linalg.norm(imported.array) == pytest.approx(20, rel=1e-5)
    np.testing.assert_allclose(imported.array, 20 * full / np.linalg.norm(full), rtol=1e-5, atol=1e-6)

    np.save(tmp_path / "one.npy", full[:1])
    one = import_direction(tmp_path / "one.npy", "one", scale=3.0)
    np.testing.assert_allclose(one.array, np.tile(3 * full[:1], (18, 1)), rtol=1e-5)

    boundary = {"boundary": full[None, :14], "meta_data": {"manipulate_layers": [2, 3, 4]}}
    np.save(tmp_path / "idinvert.npy", boundary, allow_pickle=True)
    third = import_direction(tmp_path / "idinvert.npy", "third", scale=1.0)
    assert third.layers == (2, 5)
    np.testing.assert_allclose(third.array[2:5], full[2:5], rtol=1e-5)
    assert not third.array[:2].any() and not third.array[5:].any()


class Malicious:
    def __reduce__(self):
        import os

        return os.mkdir, ("owned",)


@pytest.mark.parametrize("kind", ["pickle", "npy", "text", "shape", "nan", "missing"])
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
    np.testing.assert_allclose(np.linalg.norm(direction.array, axis=1), [0, 0, 3, 3, 3, 3] + [0] * 12, atol=1e-4)
    assert main(["validate", "--directions", str(out), "--samples", "2", "--out", str(tmp_path)]) == 0
    table = (tmp_path / "directions.md").read_text()
    assert "| sefa_0 |" in table and "2 fresh samples" in table
    assert (tmp_path / "directions.jpg").stat().st_size > 10_000
    capsys.readouterr()
