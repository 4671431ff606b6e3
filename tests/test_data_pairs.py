"""Pairs: both sources, the folder writer, and that a batch depends on the step alone."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffcam_jax.data.edit_samples import (
    EditableGenerator,
    Recipe,
    draw_code,
    draw_strengths,
    make_sample,
)
from diffcam_jax.data.pairs import SHARD, CachedPairs, OnlinePairs, main, write
from diffcam_jax.errors import UserError
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN
from diffcam_jax.nn.network import Network, initial_variables
from diffcam_jax.ops.image import to_unit


@pytest.fixture(scope="module")
def editable():
    model = MobileStyleGAN(widths=(16, 8, 8), latent_size=8, mapping_layers=2)
    generator = Network(model, initial_variables(model, jax.random.key(0), jnp.zeros((1, 8))))
    directions = 2 * jax.random.normal(jax.random.key(1), (3, 18, 8))
    return EditableGenerator(generator, jnp.zeros(8), ("beard", "old", "smiling"), directions)


RECIPE = Recipe(seed=5, size=32)


def test_strengths_and_codes_follow_the_recipe(editable):
    strengths = np.stack([draw_strengths(editable, RECIPE, jnp.asarray(i)) for i in range(20)])
    assert 0.6 <= strengths.min() < 0.75 and 1.25 < strengths.max() <= 1.4
    signed = np.stack(
        [draw_strengths(editable, Recipe(both_signs=True), jnp.asarray(i)) for i in range(10)]
    )
    assert (signed < 0).any() and (signed > 0).any() and (np.abs(signed) >= 0.6).all()
    codes = np.stack([draw_code(editable, RECIPE, jnp.asarray(i)) for i in range(40)])
    mixed = np.array([len(np.unique(c, axis=0)) == 2 for c in codes])
    assert codes.shape == (40, 18, 8) and 3 <= mixed.sum() <= 22  # expected 12
    assert all((c[:6] == c[0]).all() for c in codes)  # pose and shape stay one face's


def test_online_batch_is_the_edit_of_its_own_face(editable):
    source = OnlinePairs(editable, RECIPE, batch_size=4, held_out=2)
    batch = source[3]
    assert (
        batch["inverted"].shape == batch["edited"].shape == (4, 32, 32, 3)
        and batch["inverted"].dtype == np.uint8
    )
    np.testing.assert_array_equal(batch["edited"], source[3]["edited"])
    assert (batch["inverted"] != source[4]["inverted"]).any()
    index = 2 + 3 * 4 + 1  # the second face of step 3 counts on from the held-out ones
    code = draw_code(editable, RECIPE, jnp.asarray(index))
    label = batch["label"][1]
    code = (
        code
        + draw_strengths(editable, RECIPE, jnp.asarray(index))[label] * editable.directions[label]
    )
    picture = editable.generator(code[None], method="synthesis", size=32)[0]
    expected = np.clip(np.asarray(picture) * 127.5 + 127.5, 0, 255)
    np.testing.assert_allclose(batch["edited"][1], expected, atol=0.51)


def test_folder_is_written_once_and_read_back(editable, tmp_path):
    write(editable, RECIPE, tmp_path, count=SHARD + 1)  # rounds up to two files
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["00000.npy", "00001.npy", "index.json"]
    before = (tmp_path / "00000.npy").stat().st_mtime_ns
    (tmp_path / "00001.npy").unlink()
    write(editable, RECIPE, tmp_path, count=2 * SHARD)
    assert (tmp_path / "00000.npy").stat().st_mtime_ns == before and (
        tmp_path / "00001.npy"
    ).exists()

    source = CachedPairs(tmp_path, batch_size=64, held_out=SHARD, seed=1)
    assert source.names == ("beard", "old", "smiling") and source.count == 2 * SHARD
    online = OnlinePairs(editable, RECIPE, batch_size=1, held_out=0)
    np.testing.assert_array_equal(source.sample(SHARD + 3), online.sample(SHARD + 3))
    batch = source[0]
    assert set(batch["label"]) == {0, 1, 2}
    held_out = np.stack([source.sample(i)[0] for i in range(SHARD)])
    assert not any((held_out == picture).all(axis=(1, 2, 3)).any() for picture in batch["inverted"])
    again = CachedPairs(tmp_path, batch_size=64, held_out=SHARD, seed=1)[0]
    np.testing.assert_array_equal(batch["edited"], again["edited"])


def test_a_folder_of_other_parts_is_refused(editable, tmp_path):
    write(editable, RECIPE, tmp_path, count=1)
    with pytest.raises(UserError, match="other parts"):
        write(editable, Recipe(seed=6, size=32), tmp_path, count=1)
    index = json.loads((tmp_path / "index.json").read_text())
    assert index["recipe"]["seed"] == 5 and len(index["direction_sha256"]["old"]) == 64
    with pytest.raises(UserError, match="write more"):
        CachedPairs(tmp_path, batch_size=2, held_out=SHARD)
    with pytest.raises(UserError, match="no pairs"):
        CachedPairs(tmp_path / "none", batch_size=2, held_out=1)


def test_codes_are_found_again_as_often_as_the_recipe_says(editable, tmp_path):
    recipe, seen = Recipe(seed=5, size=32, encoded=0.5), []

    def encode(images):
        seen.append(np.asarray(images))
        return jnp.full((1, 18, 8), 0.3)

    samples, plain = (
        [make_sample(editable, recipe, i, *given) for i in range(16)] for given in ([encode], [])
    )
    found = [i for i in range(16) if (samples[i] != plain[i]).any()]
    assert len(found) == len(seen) and 4 <= len(found) <= 12
    again = editable.generator(jnp.full((1, 18, 8), 0.3), method="synthesis", size=32)[0]
    for i, given in zip(found, seen, strict=True):
        np.testing.assert_allclose(
            samples[i][0], np.clip(np.asarray(again) * 127.5 + 127.5, 0, 255), atol=0.51
        )
        assert given.shape == (1, 32, 32, 3) and -1 <= given.min() < given.max() <= 1
    # What the encoder is given is the sample's face, and mostly changed as photographs are.
    faces = [to_unit(plain[i][0]) for i in found]
    assert 0 < np.median([abs(a - b).mean() for a, b in zip(faces, seen)]) < 0.3

    write(editable, recipe, tmp_path, 1, encode, "0123")
    assert json.loads((tmp_path / "index.json").read_text())["encoder_sha256"] == "0123"
    with pytest.raises(UserError, match="other parts"):
        write(editable, recipe, tmp_path, 1, encode, "4567")


@pytest.mark.parametrize(
    ("flags", "told"),
    [(["--encoded", "2"], "give 0 to 1"), (["--encoder", "runs/e"], "add --encoded")],
)
def test_flags_that_make_no_sense_are_told(flags, told, tmp_path, capsys):
    assert main(["--out", str(tmp_path / "pairs"), *flags]) == 2
    assert told in capsys.readouterr().err and not (tmp_path / "pairs").exists()
